"""Speed of the controller's own part: compiling, checking, counting, recording.

Figures are printed beside a baseline of the same run (`pytest tests/bench -s`); nothing is asserted
on time.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

import hil
from hil.control.recorder import Recorder
from hil.control.runner import ProcedureResult
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.reading import read_rows
from hil.phases.writing import program_counts, pulse_train
from hil.program import Phase, PulseBlock, line_levels
from hil.record import RunFolder
from hil.template import BlockTemplate


def median_s(call: Callable[[], object], n: int) -> float:
    call()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def one_object_per_pulse(counts: np.ndarray) -> list[tuple[int, int, float, float]]:
    return [
        (int(r), int(c), 1.0, 1e-6)
        for r, c in np.argwhere(counts > 0)
        for _ in range(int(counts[r, c]))
    ]


def test_compiling_a_64_by_64_half_bias_programme(rng, show):
    geometry, op = ArrayGeometry(64, 64), OperatingPoint()
    counts = np.array([rng.permutation(np.repeat(np.arange(32), 2)) for _ in range(64)])
    block = program_counts(geometry, op, counts)
    assert block.n_steps == 64 * 31
    mine = median_s(lambda: program_counts(geometry, op, counts), 30)
    baseline = median_s(lambda: one_object_per_pulse(counts), 3)
    show(
        f"compile {block.n_steps} steps, {counts.sum()} device pulses: {mine * 1e3:.2f} ms; "
        f"one object per pulse {baseline * 1e3:.1f} ms; ratio {baseline / mine:.1f}"
    )


def test_an_empty_templated_run(show):
    with hil.open_array("ideal", rows=64, cols=64) as array:
        geometry = array.geometry
        state, level = line_levels(geometry, 0)
        empty = PulseBlock.build(Phase.UPDATE, state, level, 1e-6)
        template = BlockTemplate.around(empty)
        backend = array.backend

        def run() -> None:
            for _ in backend.run((template.fill(),)):
                pass

        def baseline() -> list[int]:
            return list(iter([1]))

        mine, base = median_s(run, 3000), median_s(baseline, 3000)
        show(f"empty templated run: {mine * 1e6:.1f} us; an empty generator {base * 1e6:.2f} us")


def test_one_pulse_and_one_read_through_check_physics_and_recording(tmp_path, show):
    folder = RunFolder.create(
        tmp_path, "bench", kind="run", backend="sim", simulated=True, levels="full",
        config={}, meta={}, seeds={}, limits={},
    )  # fmt: skip
    with folder, hil.open_array("nonlinear", rows=64, cols=64, recorder=Recorder(folder)) as array:
        context, one = array.context, np.array([3])
        op, runner = context.op, array._sides[0]
        pulse = pulse_train(context.geometry, op, one, one, op.potentiate_v, op.write_s)
        read = read_rows(context.geometry, op, context.capabilities, one, one)

        def pulse_and_read() -> None:
            runner.block(pulse)
            runner.block(read)

        def bare() -> tuple[float, list[tuple[float, float]]]:
            rows.append((1.0, 1e-6))
            return float(g[3, 3]) * 0.2, rows

        g, rows = np.ones((64, 64)), []
        mine, base = median_s(pulse_and_read, 500), median_s(bare, 500)
    show(f"one pulse + one read, recorded: {mine * 1e6:.0f} us; a list append {base * 1e6:.2f} us")


#: Characterisation runs on 32 x 32 devices: whole rows at once, many cycles, one cell at a time.
RUNS = {
    "row by row": "cycles = 1\npulses = 100\n",
    "row by row, 5 cycles of 128 pulses": "cycles = 5\npulses = 64\n",
    "cell by cell, 4 cells": (
        'cycles = 5\npulses = 100\ntogether = "cell"\ncells = [[0, 0], [5, 7], [9, 9], [3, 2]]\n'
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_recording_a_characterisation_run_in_full(tmp_path, show, name):
    protocol = tmp_path / "protocol.toml"
    protocol.write_text(f'schema = 1\nkind = "ltp-ltd"\n{RUNS[name]}')
    number = count()

    def characterise(recorder: Recorder | None) -> tuple[float, float, ProcedureResult]:
        with hil.open_array("nonlinear", rows=32, cols=32, recorder=recorder) as array:
            array.read()
            start, start_cpu = time.perf_counter(), time.thread_time()
            result = array.run(protocol)
            return time.perf_counter() - start, time.thread_time() - start_cpu, result

    def recorded() -> tuple[float, float, float]:
        folder = RunFolder.create(
            tmp_path / "runs", f"bench{next(number)}", kind="run", backend="sim", simulated=True
        )
        with folder:
            wall_s, cpu_s, _ = characterise(Recorder(folder))
            start = time.perf_counter()
        return wall_s, cpu_s, wall_s + time.perf_counter() - start

    def plain() -> tuple[float, float]:
        return characterise(None)[:2]

    _, _, result = characterise(None)
    pairs = [(plain(), recorded()) for _ in range(7)]  # in turn, so that both meet the same load
    wall, cpu = np.min([p for p, _ in pairs], axis=0)
    to_last_block, control, to_close = np.min([r for _, r in pairs], axis=0)
    rows = result.n_readings + result.n_device_pulses
    show(
        f"ltp-ltd on 32 x 32, {name}: {result.n_blocks} blocks, {rows} rows, {wall * 1e3:.0f} ms "
        f"unrecorded. Recording in full adds {100 * (to_last_block / wall - 1):.0f} % until the "
        f"last block is driven and {100 * (to_close / wall - 1):.0f} % until all is on the disk; "
        f"{100 * (control / cpu - 1):.0f} % CPU time of the control thread, "
        f"{(control - cpu) / result.n_blocks * 1e6:.0f} us per block. "
        f"({usable_cores():.1f} of {os.cpu_count()} cores were free)\n"
    )


def usable_cores() -> float:
    """Return how many cores two busy threads get now; recording needs one besides the control's."""
    content = bytes(1 << 24)

    def busy() -> None:
        hashlib.sha256(content)

    def seconds(n: int) -> float:
        threads = [threading.Thread(target=busy) for _ in range(n)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    return 2 * min(seconds(1) for _ in range(5)) / float(np.median([seconds(2) for _ in range(5)]))


def test_recording_of_a_whole_run_as_a_command(tmp_path, show):
    station = tmp_path / "station.toml"
    station.write_text(
        'schema = 1\n[[array]]\nrows = 32\ncols = 32\ndevice = "nonlinear"\n', encoding="utf-8"
    )

    def run(level: str) -> float:
        command = [sys.executable, "-m", "hil.cli.main", "run", "ltp-ltd", "--sim", "--json"]
        command += ["--station", str(station), "--level", level, "--out", str(tmp_path / "runs")]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
        assert b'"device_pulses": 204800' in done.stdout
        return time.perf_counter() - start

    run("off")
    seconds = {level: min(run(level) for _ in range(3)) for level in ("off", "full")}
    show(
        f"hil run ltp-ltd on 32 x 32, 411 648 rows: {seconds['full']:.2f} s recorded in full, "
        f"{seconds['off']:.2f} s unrecorded; overhead "
        f"{100 * (seconds['full'] / seconds['off'] - 1):.0f} %"
    )
