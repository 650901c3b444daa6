"""Speed of the recorder, beside CSV and SQLite in the same run; printed, never asserted on time."""

from __future__ import annotations

import csv
import os
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hil.measurement import MeasurementBlock
from hil.program import LineState, Phase, PulseBlock
from hil.record import RunFolder, open_run

BLOCK = PulseBlock.build(Phase.READ, np.full((1, 64), LineState.DRIVE), 0.1, 1e-5, sense=True)


def create(root: Path) -> RunFolder:
    return RunFolder.create(root, "bench", kind="run", backend="bench", simulated=True)


def readings(rng: np.random.Generator, n: int) -> MeasurementBlock:
    """Readings of a 64-column array with noise on every current, as a read map gives them."""
    m = MeasurementBlock.empty(n)
    m.step[:] = np.arange(n) // 64
    m.line[:] = np.arange(n) % 64
    m.pulse[:] = 0
    m.t_ns[:] = m.step.astype(np.int64) * 20_000
    m.level_v[:] = 0.1
    m.width_s[:] = 1e-5
    m.current_a[:] = rng.normal(1e-6, 1e-7, n)
    m.range_a[:] = 1e-5
    m.executed[:] = 1
    m.status[:] = 1 << 10
    return m


def stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_sustained_rows_per_second_beside_csv_and_sqlite(tmp_path, show):
    rng = np.random.default_rng(5)
    n, n_blocks = 10_000, 200
    blocks = [readings(rng, n) for _ in range(n_blocks)]

    run = create(tmp_path)
    start = time.perf_counter()
    for ordinal, m in enumerate(blocks):
        run.readings(0, ordinal, BLOCK, m)
    run.barrier()
    seconds = time.perf_counter() - start
    run.close()
    per_row = stored_bytes(run.path / "reads") / (n * n_blocks)
    show(
        f"record reads, blocks of 10 000: {n * n_blocks / seconds:.3g} rows/s, {per_row:.1f} B/row"
    )
    start = time.perf_counter()
    assert open_run(run.path).reads.num_rows == n * n_blocks
    show(f"read back with CRC: {n * n_blocks / (time.perf_counter() - start):.3g} rows/s")

    few = blocks[:5]
    start = time.perf_counter()
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for m in few:
            writer.writerows(zip(*(c.tolist() for c in m.columns().values()), strict=True))
            file.flush()
            os.fsync(file.fileno())
    csv_rate = len(few) * n / (time.perf_counter() - start)
    csv_bytes = (tmp_path / "rows.csv").stat().st_size / (len(few) * n)
    show(f"csv.writer: {csv_rate:.3g} rows/s, {csv_bytes:.1f} B/row")

    base = sqlite3.connect(tmp_path / "rows.sqlite")
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    names = list(few[0].columns())
    base.execute(f"CREATE TABLE reads ({', '.join(names)})")
    insert = f"INSERT INTO reads VALUES ({', '.join('?' * len(names))})"
    start = time.perf_counter()
    for m in few:
        base.executemany(insert, zip(*(c.tolist() for c in m.columns().values()), strict=True))
        base.commit()
    sqlite_rate = len(few) * n / (time.perf_counter() - start)
    base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    base.close()
    sqlite_bytes = (tmp_path / "rows.sqlite").stat().st_size / (len(few) * n)
    show(f"sqlite3: {sqlite_rate:.3g} rows/s, {sqlite_bytes:.1f} B/row")
    rate = n * n_blocks / seconds
    show(f"recorder / csv = {rate / csv_rate:.1f}, recorder / sqlite = {rate / sqlite_rate:.1f}\n")


def test_bytes_of_device_level_rows(tmp_path, show):
    rng = np.random.default_rng(6)
    n, n_blocks = 4096, 50
    run = create(tmp_path)
    row, col = np.divmod(np.arange(n), 64)
    g = rng.normal(5e-6, 1e-6, n)
    start = time.perf_counter()
    for op in range(n_blocks):
        after = g + rng.normal(1e-8, 3e-9, n)
        run.pulses(
            {"op": op, "phase": Phase.UPDATE, "row": row, "col": col, "v": 1.5, "width": 1e-6,
             "count": rng.integers(0, 4, n), "i_read": 0.1 * after, "g0": g, "g1": after}
        )  # fmt: skip
        g = after
    run.barrier()
    rate = n * n_blocks / (time.perf_counter() - start)
    run.close()
    per_row = stored_bytes(run.path / "pulses") / (n * n_blocks)
    show(f"record pulses, 64 x 64 devices: {rate:.3g} rows/s, {per_row:.1f} B/row\n")


def test_cost_of_one_append(tmp_path, show):
    rng = np.random.default_rng(7)
    one = readings(rng, 1)
    n = 20_000
    with create(tmp_path) as run:
        run.readings(0, 0, BLOCK, one)
        start = time.perf_counter()
        for op in range(n):
            run.readings(op, 0, BLOCK, one)
        single = (time.perf_counter() - start) / n
        start = time.perf_counter()
        for op in range(n):
            run.operation(op, Phase.UPDATE, 1, n_steps=2, n_pulses=64, duration_s=2e-6)
        summary = (time.perf_counter() - start) / n
    log: list[tuple[object, ...]] = []
    start = time.perf_counter()
    for op in range(n):
        log.append((op, 3, 1, 2, 64, 0, 2e-6, float("nan")))  # noqa: PERF401 - the baseline
    baseline = (time.perf_counter() - start) / n
    show(
        f"append one reading {single * 1e6:.2f} us, one operation {summary * 1e6:.2f} us, "
        f"list.append of a tuple {baseline * 1e6:.2f} us\n"
    )


@pytest.mark.parametrize(
    ("n", "rate"), [(1, 1_000), (10, 10_000), (100, 100_000), (10_000, 1_000_000)]
)
def test_time_until_rows_are_acknowledged(tmp_path, show, n, rate):
    rng = np.random.default_rng(8)
    blocks = [readings(rng, n) for _ in range(20)]
    appended: list[tuple[int, float]] = []
    lags: list[float] = []
    finished = threading.Event()
    run = create(tmp_path)

    def watch() -> None:
        while not finished.is_set() or len(lags) < len(appended):
            acked, now = run.acked, time.perf_counter()
            while len(lags) < len(appended) and appended[len(lags)][0] <= acked:
                lags.append(now - appended[len(lags)][1])
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = due = time.perf_counter()
    while time.perf_counter() - start < 1.5:
        now = time.perf_counter()
        m = blocks[len(appended) % len(blocks)]
        appended.append((run.readings(0, len(appended), BLOCK, m), now))
        due += n / rate
        time.sleep(max(due - time.perf_counter(), 0.0))
    seconds = time.perf_counter() - start
    run.close()
    finished.set()
    watcher.join()
    p50, p99 = np.percentile(lags, [50, 99]) * 1e3
    per_row = stored_bytes(run.path / "reads") / (n * len(appended))
    probe = (tmp_path / "probe").open("wb")
    syncs = []
    for _ in range(20):
        probe.write(b"x" * 4096)
        probe.flush()
        begin = time.perf_counter()
        os.fsync(probe.fileno())
        syncs.append(time.perf_counter() - begin)
    probe.close()
    show(
        f"{n * len(appended) / seconds:.3g} rows/s in blocks of {n}: acknowledged after p50 "
        f"{p50:.1f}, p99 {p99:.1f} ms (a bare fsync: {np.median(syncs) * 1e3:.2f} ms), "
        f"{per_row:.1f} B/row\n"
    )
    assert open_run(run.path).reads.num_rows == n * len(appended)


def test_acknowledgement_beside_a_busy_control_loop(tmp_path, show):
    rng = np.random.default_rng(9)
    one = readings(rng, 1)
    with create(tmp_path) as run:
        lags, rows, start = [], 0, time.perf_counter()
        last_s, last = start, 0
        while time.perf_counter() - start < 2.0:
            block = PulseBlock.build(Phase.READ, np.full((1, 64), LineState.DRIVE), 0.1, 1e-5)
            run.readings(0, rows, block, one)
            rows += 1
            if run.acked != last:
                now_s = time.perf_counter()
                lags.append(now_s - last_s)
                last_s, last = now_s, run.acked
    alone_start, alone = time.perf_counter(), 0
    while time.perf_counter() - alone_start < 2.0:
        PulseBlock.build(Phase.READ, np.full((1, 64), LineState.DRIVE), 0.1, 1e-5)
        alone += 1
    show(
        f"busy loop: {rows / 2:.0f} recorded blocks/s, {alone / 2:.0f}/s without recording; "
        f"between acknowledgements p50 {np.median(lags) * 1e3:.0f}, max {max(lags) * 1e3:.0f} ms\n"
    )
