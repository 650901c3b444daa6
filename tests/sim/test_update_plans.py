"""Coincidence updates by a plan made once give what the steps give, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hil_sim.kernels.noise import PULSES
from hil_sim.models.device import load_device
from hil_sim.updateplan import UpdatePlan

from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.writing import CoincidenceUpdate
from hil.program import PulseBlock

GEOMETRY = ArrayGeometry(6, 9)
ROWS = np.array([5, 0, 2, 3])


def operating_point(inhibit: str = "v/2", **more: float) -> OperatingPoint:
    pulse = load_device("nonlinear").pulse
    return OperatingPoint(
        potentiate_v=pulse.potentiate_voltage, depress_v=pulse.depress_voltage,
        write_s=pulse.width, gap_s=1e-6, inhibit=inhibit, **more,
    )  # fmt: skip


def random_block(
    update: CoincidenceUpdate, polarity: int, rng: np.random.Generator
) -> PulseBlock | None:
    rows, cols = rng.random((3, ROWS.size)) < 0.6, rng.random((3, 9)) < 0.5
    return update.block(polarity, rows, (cols, update.col_lines(np.arange(9))))


def test_whole_rows_are_pulsed_as_their_devices_one_by_one_would_be():
    update = CoincidenceUpdate(GEOMETRY, operating_point(), ROWS)
    every = np.ones((2, 4), np.bool_), (np.ones((2, 9), np.bool_), update.col_lines(np.arange(9)))
    blocks = [update.block(polarity, *every) for polarity in (1, -1)]
    with (
        SimBackend(GEOMETRY, "nonlinear", seed=5, g0=5e-5) as one,
        SimBackend(GEOMETRY, "nonlinear", seed=5, g0=5e-5) as other,
    ):
        for _ in range(60):  # up to the bounds and back
            for block in blocks:
                assert block is not None
                one.run_block(block)
                other.run_block(dataclasses.replace(block, template=None, switched=False))
            assert np.array_equal(one.array.g, other.array.g)
        assert np.array_equal(one.array.ordinal, other.array.ordinal)


@pytest.mark.parametrize("shape", [(100, 130), (3, PULSES + 7)])
@pytest.mark.parametrize("range_d2d", [0.0, 0.1])
def test_batch_after_batch_is_pulsed_as_one_by_one_from_either_end(shape, range_d2d):
    geometry, rows = ArrayGeometry(*shape), np.arange(shape[0])
    device = load_device("nonlinear")
    variation = device.variation.model_copy(update={"g_max_d2d": range_d2d})
    varied = device.model_copy(update={"variation": variation})
    update = CoincidenceUpdate(geometry, operating_point(), rows)
    every = (
        np.ones((1, shape[0]), np.bool_),
        (np.ones((1, shape[1]), np.bool_), update.col_lines(np.arange(shape[1]))),
    )
    assert geometry.n_rows * geometry.n_cols > 2 * PULSES
    blocks = [update.block(polarity, *every) for polarity in (1, 1, -1)]
    with (
        SimBackend(geometry, varied, seed=5, g0=5e-5) as one,
        SimBackend(geometry, varied, seed=5, g0=5e-5) as other,
    ):
        before = one.array.g.copy()
        for block in blocks:
            assert block is not None
            one.run_block(block)
            other.run_block(dataclasses.replace(block, template=None, switched=False))
            assert (one.array.g != before).all()
            assert np.array_equal(one.array.g, other.array.g)
            before = one.array.g.copy()
        assert (one.array.ordinal == 3).all()


@pytest.mark.parametrize("inhibit", ["v/2", "v/3"])
def test_a_planned_update_gives_the_same_conductances_as_its_steps(inhibit):
    update = CoincidenceUpdate(GEOMETRY, operating_point(inhibit), ROWS)
    rng, driven = np.random.default_rng(0), 0
    with (
        SimBackend(GEOMETRY, "nonlinear", seed=5, g0=5e-5) as one,
        SimBackend(GEOMETRY, "nonlinear", seed=5, g0=5e-5) as other,
    ):
        for number in range(40):
            block = random_block(update, 1 if number % 3 else -1, rng)
            if block is None:
                continue
            one.run_block(block)
            other.run_block(dataclasses.replace(block, template=None, switched=False))
            driven += 1
            assert np.array_equal(one.array.g, other.array.g)
        assert driven > 10
        assert np.array_equal(one.array.ordinal, other.array.ordinal)
        assert one.clock_ns() == other.clock_ns()
        plans = update.template(1, 3).plans
        assert isinstance(plans[one.array], UpdatePlan)
        for name, table in one.ledger.tables().items():
            assert np.allclose(table, other.ledger.tables()[name], rtol=1e-12, equal_nan=True), name


def test_devices_with_their_own_threshold_are_pulsed_only_beyond_it():
    device = load_device("nonlinear")
    variation = device.variation.model_copy(update={"threshold_d2d": 0.5})
    varied = device.model_copy(update={"variation": variation})
    update = CoincidenceUpdate(GEOMETRY, operating_point(), ROWS)
    every = np.ones((1, 4), np.bool_), (np.ones((1, 9), np.bool_), update.col_lines(np.arange(9)))
    block = update.block(1, *every)
    assert block is not None
    with (
        SimBackend(GEOMETRY, varied, seed=5, g0=5e-5) as one,
        SimBackend(GEOMETRY, varied, seed=5, g0=5e-5) as other,
    ):
        one.run_block(block)
        other.run_block(dataclasses.replace(block, template=None, switched=False))
        assert np.array_equal(one.array.g, other.array.g)
        assert np.array_equal(one.array.ordinal, other.array.ordinal)


def test_a_plan_does_not_outlive_the_ranges_that_it_was_made_from():
    update = CoincidenceUpdate(GEOMETRY, operating_point(), ROWS)
    every = np.ones((1, 4), np.bool_), (np.ones((1, 9), np.bool_), update.col_lines(np.arange(9)))
    block = update.block(1, *every)
    assert block is not None
    with SimBackend(GEOMETRY, "nonlinear", seed=5, g0=5e-5) as backend:
        backend.run_block(block)
        snapshot = backend.snapshot()
        snapshot["g_low"], snapshot["g_high"] = snapshot["g"], snapshot["g"]
        backend.restore(snapshot)
        backend.run_block(block)
        assert np.array_equal(backend.array.g, snapshot["g"])
