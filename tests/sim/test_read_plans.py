"""Reading rows by a plan made once gives what the steps give, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.backend import SimBackend

from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.phases.cells import checked_once
from hil.phases.reading import read_rows
from hil.program import PulseBlock

OP = OperatingPoint(read_v=0.1, read_s=1e-6, gap_s=2e-6)
ROWS, COLS = np.array([4, 0, 2]), np.array([0, 1, 3, 4, 6])


def block_of(geometry: ArrayGeometry, op: OperatingPoint = OP, cols=COLS) -> PulseBlock:
    return read_rows(geometry, op, Capabilities(), ROWS, cols)


def same(a: MeasurementBlock, b: MeasurementBlock) -> bool:
    return all(
        x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True)
        for x, y in zip(a.columns().values(), b.columns().values(), strict=True)
    )


@pytest.mark.parametrize("cols", [COLS, np.arange(7), np.array([6])], ids=["some", "all", "one"])
@pytest.mark.parametrize("device", ["nonlinear", "ideal"])
def test_a_planned_read_gives_the_same_readings_as_its_steps(device, cols):
    geometry = ArrayGeometry(6, 7)
    g0 = np.linspace(2e-6, 9e-6, 42).reshape(6, 7)
    block = block_of(geometry, cols=cols)
    planned = checked_once(block)
    with (
        SimBackend(geometry, device, seed=3) as one,
        SimBackend(geometry, device, seed=3) as other,
    ):
        for backend in (one, other):
            low, high = backend.device.range.g_min, backend.device.range.g_max
            backend.array.g[...] = low + (high - low) * g0 / 1e-5
        for _ in range(3):
            assert same(one.run_block(planned), other.run_block(block))
        assert planned.template is not None
        assert planned.template.plans[one.array] is not None
        assert one.clock_ns() == other.clock_ns()
        assert np.array_equal(one.array.reads, other.array.reads)


def test_a_read_whose_sources_may_limit_is_not_planned():
    geometry = ArrayGeometry(6, 7)
    block = checked_once(block_of(geometry, OperatingPoint(read_v=0.1, compliance_a=1e-7)))
    with SimBackend(geometry, "nonlinear", seed=3, g0=5e-6) as backend:
        backend.run_block(block)
        assert block.template is not None
        assert block.template.plans[backend.array] is None


def test_readings_of_a_plan_share_no_column_that_changes():
    geometry = ArrayGeometry(6, 7)
    block = checked_once(block_of(geometry))
    with SimBackend(geometry, "nonlinear", seed=3) as backend:
        first, second = backend.run_block(block), backend.run_block(block)
    assert not np.shares_memory(first.current_a, second.current_a)
    assert not np.shares_memory(first.t_ns, second.t_ns)
    assert second.t_ns[0] > first.t_ns[-1]
