"""Time of a report, beside reading the same run; printed, never asserted on time."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from hil.program import Phase
from hil.record import RunFolder, open_run

N_PULSES, SIDE = 1_000_000, 64


@pytest.fixture
def million(tmp_path):
    """A run of a million device pulses on a 64 x 64 array, a read after each, 244 cycles' worth."""
    rng = np.random.default_rng(4)
    n_cells = SIDE * SIDE
    row, col = (a.ravel() for a in np.indices((SIDE, SIDE)))
    with RunFolder.create(
        tmp_path, "million", kind="run", backend="bench", simulated=True, meta={"kind": "ltp-ltd"}
    ) as run:
        g = np.full(n_cells, 1e-6)
        for k in range(-(-N_PULSES // n_cells)):
            up = k // 20 % 2 == 0
            after = np.clip(g + (1 if up else -1) * rng.normal(4e-6, 4e-7, n_cells), 1e-6, 1e-4)
            run.pulses({
                "op": k, "phase": Phase.PROGRAM, "row": row, "col": col, "v": 2.0 if up else -2.0,
                "width": 1e-6, "count": 1, "executed": 1, "g0": g, "g1": after,
                "i_read": -0.2 * after,
            })  # fmt: skip
            g = after
    return run.path


def test_report_of_a_million_pulses(million, tmp_path, show):
    begin = time.perf_counter()
    rows = open_run(million).pulses.num_rows
    read_s = time.perf_counter() - begin
    command = [sys.executable, "-m", "hil.cli.main", "report", str(million)]

    def spent(*more: str) -> float:
        begin = time.perf_counter()
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - begin

    page_s = min(spent("-o", str(tmp_path / "page.html")) for _ in range(2))
    pdf_s = spent("-o", str(tmp_path / "page.html"), "--pdf")
    size = (tmp_path / "page.html").stat().st_size
    show(f"{rows} device pulses, curves from their rows: hil report {page_s:.2f} s from start to "
         f"end, {page_s / read_s:.1f} x reading the table ({read_s:.2f} s)")  # fmt: skip
    show(f"with a PDF {pdf_s:.2f} s; page of {size / 1e6:.2f} MB")
    assert rows >= N_PULSES
