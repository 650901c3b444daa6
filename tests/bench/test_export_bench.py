"""Speed and size of exports, beside pandas in the same run; printed, never asserted on time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hil.export import SUFFIXES, export_run
from hil.program import Phase
from hil.record import RunFolder, open_run

N_ROWS, N_COLS, BLOCK = 64, 64, 65_536
#: Prints by how many MiB an export raises the peak of the resident set above that of the imports.
PEAK = """
import sys
from pathlib import Path
import h5py, pyarrow.parquet, pyarrow.csv, scipy.io
from hil.export import export_run
from hil.record import open_run

def peak_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak_kib()
export_run(open_run(sys.argv[1]), sys.argv[2], sys.argv[3], table="pulses")
print((peak_kib() - before) / 1024)
"""


def ltp_ltd(root: Path, n: int) -> RunFolder:
    """Record n pulses on a 64x64 array, each read before and after, as ltp-ltd gives them."""
    rng = np.random.default_rng(5)
    folder = RunFolder.create(root, "ltp-ltd", kind="run", backend="bench", simulated=True)
    row, col = (a.ravel() for a in np.divmod(np.arange(BLOCK) % (N_ROWS * N_COLS), N_COLS))
    g = np.full(BLOCK, 1e-6)
    for first in range(0, n, BLOCK):
        up = (first // BLOCK) % 200 < 100
        after = np.clip(g + (2e-7 if up else -2e-7) * rng.normal(1, 0.2, BLOCK), 1e-6, 3e-5)
        seen = after * rng.normal(1, 0.01, BLOCK)
        folder.pulses(
            {
                "op": first // BLOCK + 1, "t_ns": (first + np.arange(BLOCK)) // 64 * 13_000,
                "phase": int(Phase.PROGRAM), "row": row, "col": col, "v": 2.0 if up else -1.8,
                "width": 1e-6, "count": 1, "executed": 1, "i_read": -0.2 * seen,
                "g0": g, "g1": seen, "status": 1024,
            }
        )  # fmt: skip
        g = after
    folder.close()
    return folder


@pytest.mark.parametrize("n", [300_000, pytest.param(4_000_000, marks=pytest.mark.slow)])
def test_rows_per_second_and_bytes_per_row_beside_pandas(tmp_path, show, n):
    run = open_run(ltp_ltd(tmp_path / "runs", n).path)
    rows = run.pulses.num_rows
    show(f"{rows} rows with 16 columns")
    frame = run.to_pandas("pulses").head(300_000)
    begin = time.perf_counter()
    frame.to_csv(tmp_path / "pandas.csv", index=False)
    pandas = len(frame) / (time.perf_counter() - begin)
    size = (tmp_path / "pandas.csv").stat().st_size / len(frame)
    show(f"pandas.to_csv: {pandas:.3g} rows/s, {size:.1f} B/row")
    for to, table in (*((name, "pulses") for name in SUFFIXES), ("csv", "origin")):
        path = tmp_path / f"{table}{SUFFIXES[to]}"
        begin = time.perf_counter()
        done = export_run(open_run(run.path), to, path, table=table, force=True)
        rate = done.rows[table] / (time.perf_counter() - begin)
        per_row = path.stat().st_size / rows
        name = to if table == "pulses" else table
        show(f"{name}: {rate:.3g} rows/s ({rate / pandas:.1f} x pandas), {per_row:.1f} B/row")
        assert done.rows[table] == rows


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_run(tmp_path, show):
    peaks: dict[str, list[float]] = {}
    for n in (1_000_000, 10_000_000):
        run = ltp_ltd(tmp_path / f"runs-{n}", n).path
        for to in ("csv", "parquet", "hdf5", "netcdf"):
            command = [sys.executable, "-c", PEAK, run, to, tmp_path / f"{n}{SUFFIXES[to]}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.setdefault(to, []).append(float(done.stdout))
    for to, (small, large) in peaks.items():
        show(f"{to}: {small:.0f} MiB for 1 M rows, {large:.0f} MiB for 10 M rows")
        assert large < 450  # all rows would take 710 MB
