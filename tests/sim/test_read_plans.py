"""Reading rows by a plan made once gives what the steps give, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hil_sim.readplan import ProductPlan

from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.phases.cells import checked_once
from hil.phases.matvec import MatVec
from hil.phases.reading import read_rows
from hil.program import Phase, PulseBlock

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


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("chosen", [COLS, np.arange(6)], ids=["some", "all"])
def test_a_planned_product_gives_the_same_readings_as_its_steps(chosen, backward):
    geometry = ArrayGeometry(6, 7)
    word, bit = geometry.read_lines.plus[:6], geometry.read_lines.minus[:6]
    drive, sense, phase = (bit, word, Phase.BACKWARD) if backward else (word, bit, Phase.FORWARD)
    sense = sense[chosen[chosen < sense.size]]
    product = MatVec(
        geometry, OP, Capabilities(), drive, sense, np.arange(6), phase, backward=backward
    )
    rng = np.random.default_rng(4)
    g0 = rng.uniform(2e-6, 9e-6, (6, 7))
    with (
        SimBackend(geometry, "nonlinear", seed=3, g0=g0) as one,
        SimBackend(geometry, "nonlinear", seed=3, g0=g0) as other,
    ):
        for _ in range(4):
            inputs = rng.uniform(-1.0, 1.0, (3, drive.size)) * (rng.random((3, drive.size)) < 0.7)
            planned = product.block(inputs, signed=True)
            plain = dataclasses.replace(planned, template=None)
            assert same(one.run_block(planned), other.run_block(plain))
        assert one.clock_ns() == other.clock_ns()
        assert any(isinstance(p, ProductPlan) for p in product.template(6).plans.values())


def test_a_product_at_a_voltage_that_writes_is_not_planned():
    geometry = ArrayGeometry(6, 7)
    strong = dataclasses.replace(OP, read_v=2.0)
    word, bit = geometry.read_lines.plus, geometry.read_lines.minus
    product = MatVec(geometry, strong, Capabilities(), word, bit, np.arange(6), Phase.FORWARD)
    with SimBackend(geometry, "nonlinear", seed=3) as backend:
        before = backend.true_conductance_siemens()
        backend.run_block(product.block(np.full((2, 6), 0.5)))
        assert (backend.true_conductance_siemens() > before).any()
