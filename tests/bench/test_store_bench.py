"""Speed and size of the store on realistic data; printed, on time nothing is asserted."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import hil
from hil.control.recorder import Recorder
from hil.program import Phase
from hil.record import CommitPolicy, RunFolder, open_run
from hil.record.catalogue import open_catalogue
from hil.record.sealing import seal_run

LIVE = CommitPolicy(seal_running=False, seal_share=0.0)


def create(root: Path, policy: CommitPolicy = LIVE) -> RunFolder:
    return RunFolder.create(root, "bench", kind="run", backend="sim", simulated=True, policy=policy)


def characterise(root: Path, rows: int, cols: int, times: int, policy: CommitPolicy = LIVE):
    """Record potentiation and depression of every device of a simulated array."""
    folder = create(root, policy)
    with folder, hil.open_array("nonlinear", rows=rows, cols=cols,
                                recorder=Recorder(folder)) as array:  # fmt: skip
        begin = time.perf_counter()
        for _ in range(times):
            array.run("ltp-ltd")
        driven_s = time.perf_counter() - begin
        folder.barrier()
        seconds = time.perf_counter() - begin
    return open_run(folder.path), driven_s, seconds


def stored(run, table: str, ending: str) -> int:
    return sum(file.stat().st_size for file in (run.path / table).glob(f"0*{ending}"))


def test_bytes_of_a_characterised_array_live_and_sealed(tmp_path, show):
    run, _, _ = characterise(tmp_path, 32, 32, 2)
    rows = {name: getattr(run, name).num_rows for name in ("pulses", "reads")}
    live = {name: stored(run, name, ".arrows") / n for name, n in rows.items()}
    begin = time.perf_counter()
    assert seal_run(run.path).kept == ()
    seconds = time.perf_counter() - begin
    sealed = {name: stored(run, name, ".parquet") / n for name, n in rows.items()}
    show(
        f"{sum(rows.values())} rows of ltp-ltd, B/row live and sealed: pulses "
        f"{live['pulses']:.1f} and {sealed['pulses']:.1f}, reads {live['reads']:.1f} and "
        f"{sealed['reads']:.1f}; sealing {sum(rows.values()) / seconds:.3g} rows/s\n"
    )
    assert live["pulses"] <= 20
    assert sealed["pulses"] <= 13


def test_rows_per_second_of_the_simulator_while_segments_are_sealed(tmp_path, show):
    characterise(tmp_path, 8, 8, 1)  # compiled loops
    small = CommitPolicy(segment_bytes=16 << 20, seal_share=0.0)
    for text, policy in (("not sealed", LIVE), ("sealed while running", small)):
        run, driven_s, seconds = characterise(tmp_path, 64, 64, 2, policy)
        rows = sum(run.stop["rows"].values())
        parts = len(list(run.path.glob("*/*.parquet")))
        show(
            f"simulator, level full, {text}: {rows} rows, {rows / seconds:.3g} rows/s until on the "
            f"disk, {rows / driven_s:.3g} until handed over; {parts} parts sealed"
        )
        assert run.problems == ()
    show("")


def test_one_devices_history_out_of_ten_million_rows(tmp_path, show):
    rng = np.random.default_rng(4)
    n, n_blocks = 1 << 18, 39
    row, col = (np.tile(k, n // 4096) for k in np.divmod(np.arange(4096), 64))
    g = rng.normal(5e-6, 1e-6, n)
    drawn = [rng.normal(1e-8, 3e-9, n) for _ in range(3)]
    run = create(tmp_path)
    for op in range(n_blocks):
        after = g + drawn[op % 3]
        run.pulses(
            {"op": op, "phase": Phase.UPDATE, "row": row, "col": col, "v": 1.5, "width": 1e-6,
             "count": 1, "executed": 1, "i_read": 0.1 * after, "g0": g, "g1": after}
        )  # fmt: skip
        g = after
    run.close()
    for state in ("live", "sealed"):
        if state == "sealed":
            assert seal_run(run.path).kept == ()
        times = []
        for _ in range(3):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            history = open_run(run.path).conductance_history(10, 20)
            times.append((time.perf_counter() - begin, time.process_time() - begin_cpu))
        assert len(history) == n * n_blocks // 4096
        walls, cpus = zip(*times, strict=True)
        show(
            f"one device out of {n * n_blocks} rows, {state}: {min(walls):.2f} to {max(walls):.2f} "
            f"s, {min(cpus):.2f} s of CPU"
        )
    begin = time.perf_counter()
    assert open_run(run.path).pulses.num_rows == n * n_blocks
    whole_s = time.perf_counter() - begin
    show(f"reading all of them {whole_s:.2f} s, ratio {whole_s / min(walls):.1f}\n")


def test_listing_many_runs(tmp_path, show):
    with create(tmp_path) as run:
        run.operation(0, Phase.READ)
    for k in range(500):
        copy = tmp_path / f"20260101T000000Z_copy_{k:08d}"
        copy.mkdir()
        for name in ("manifest.json", "stop.json"):
            (copy / name).write_bytes((run.path / name).read_bytes())
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        with open_catalogue(tmp_path) as catalogue:
            assert len(catalogue.runs()) == 501
        times.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    for folder in tmp_path.glob("2*"):
        assert open_run(folder).status == "done"
    opened_s = time.perf_counter() - begin
    show(
        f"501 runs: first listing {times[0] * 1e3:.0f} ms, then {min(times) * 1e3:.0f} ms; opening "
        f"every run {opened_s * 1e3:.0f} ms\n"
    )
