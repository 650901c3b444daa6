"""Time to plan closures, beside walking the same steps in Python; figures are printed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rig"))

from hil_drivers.router.plan import Router
from wirings import dual_smu, serial_read_map


@pytest.mark.parametrize("size", [16, 64])
def test_planning_a_serial_read_map(size, capsys):
    wiring, block = dual_smu(size, size), serial_read_map(size, size)
    router = Router(wiring)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        plan = router.plan(block)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    for step in range(block.n_steps):
        np.flatnonzero(block.sense[step])
    walk_s = time.perf_counter() - start
    fewest = wiring.n_lines + 4 * (size * size - 1) + 4 * (size - 1)
    assert plan.moves == fewest
    with capsys.disabled():
        print(f"\n  {size} x {size} read map: {np.median(times[1:]) * 1e3:.1f} ms, "
              f"{np.median(times[1:]) / walk_s:.1f} x one look at every step; "
              f"{plan.moves} moves")  # fmt: skip
