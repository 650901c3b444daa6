from __future__ import annotations

import math

import numpy as np
import pytest
from blocks import one_step, random_writes
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ConfigError, EnduranceError
from hil.geometry import ArrayGeometry
from hil.ledger import Ledger
from hil.limits import PulseBudget, SafetyLimits
from hil.measurement import MeasurementBlock, Status
from hil.program import LineState, Phase, PulseBlock

READ_V = 0.1


def stress_by_hand(block, shape):
    """Return the time for which each device sees a selected write level on one of its lines."""
    rows, cols = shape
    out = np.zeros(shape)
    for s in range(block.n_steps):
        for r in range(rows):
            for c in range(cols):
                driven = [
                    block.selected[s, k] and block.state[s, k] == LineState.DRIVE
                    and block.level_v[s, k] != 0.0 for k in (r, rows + c)
                ]  # fmt: skip
                both = block.selected[s, r] and block.selected[s, rows + c]
                opposed = block.level_v[s, r] - block.level_v[s, rows + c] != 0.0
                if any(driven) and (not both or opposed):
                    out[r, c] += block.width_s[s] * block.repeat[s]
    return out


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_stress_time_is_that_under_a_selected_line(seed, rows, cols):
    geometry = ArrayGeometry(rows, cols)
    block = random_writes(np.random.default_rng(seed), geometry, 6)
    ledger = Ledger(geometry)
    ledger.add(block)
    assert ledger.stress_s() == pytest.approx(stress_by_hand(block, geometry.shape))


def taken(n):
    """Return ``n`` readings of the first step with every column 0."""
    readings = MeasurementBlock.empty(n)
    for column in readings.columns().values():
        column[:] = 0
    return readings


def read_of(row, conductances, *, v=READ_V, status=0):
    """Return a read of one row of an array, and the readings of its columns."""
    n_cols = len(conductances)
    levels = np.zeros((1, 3 + n_cols))
    levels[0, row] = v
    sense = np.zeros(levels.shape, dtype=bool)
    sense[0, 3:] = True
    state = np.where(levels != 0.0, LineState.DRIVE, LineState.GROUND)
    block = PulseBlock.build(Phase.READ, state, levels, 1e-6, sense=sense)
    readings = taken(n_cols)
    readings.line[:] = 3 + np.arange(n_cols)
    readings.current_a[:] = -v * np.array(conductances)
    readings.status[:] = status
    return block, readings


def test_the_last_conductance_is_that_of_the_last_read_of_a_row():
    ledger = Ledger(ArrayGeometry(3, 2))
    ledger.note(*read_of(1, [2e-6, 3e-6]), READ_V)
    ledger.note(*read_of(1, [4e-6, math.nan]), READ_V)
    ledger.note(*read_of(2, [1e-6, 1e-6], status=int(Status.OVERFLOW)), READ_V)
    ledger.note(*read_of(2, [1e-6, 1e-6], v=0.3), READ_V)  # an I–V point is another quantity
    assert ledger.g_last_siemens[1] == pytest.approx([4e-6, 3e-6])
    assert np.isnan(ledger.g_last_siemens[[0, 2]]).all()


def test_energy_takes_the_mean_of_the_conductances_around_the_pulses():
    ledger = Ledger(ArrayGeometry(1, 1))
    write = one_step([2.0, 0.0], width_s=1e-3, repeat=5)

    def read(g):
        block = one_step([READ_V, None], phase=Phase.READ, width_s=1e-9)
        readings = taken(1)
        readings.line[:], readings.current_a[:] = 1, -READ_V * g
        ledger.note(block, readings, READ_V)

    read(1e-6)
    ledger.add(write)
    before = ledger.v2s()[0, 0]
    assert ledger.energy_joule()[0, 0] == pytest.approx(before * 1e-6)
    read(3e-6)
    assert ledger.energy_joule()[0, 0] == pytest.approx(before * 2e-6)
    ledger.add(write)
    assert ledger.energy_joule()[0, 0] == pytest.approx(before * 5e-6)


def test_what_is_since_a_copy_adds_up_to_the_whole():
    geometry, rng = ArrayGeometry(4, 3), np.random.default_rng(5)
    ledger = Ledger(geometry)
    ledger.add(random_writes(rng, geometry, 4))
    start = ledger.copy()
    ledger.add(random_writes(rng, geometry, 7))
    later = ledger.since(start)
    start.include(later.tables())
    for name, table in ledger.tables().items():
        assert np.allclose(table, start.tables()[name], equal_nan=True), name
    assert start.device_pulses == ledger.device_pulses


def test_the_ledger_of_another_array_is_refused():
    with pytest.raises(ConfigError, match=r"ledger.selected_plus: has shape \(2, 2\), .* \(3, 2\)"):
        Ledger(ArrayGeometry(3, 2)).restore(Ledger(ArrayGeometry(2, 2)).tables())


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 40))
def test_the_budget_counts_earlier_runs(carried, repeat, limit):
    ledger = Ledger(ArrayGeometry(2, 2))
    ledger.carry(np.array([[0, carried], [0, 0]]))
    budget = PulseBudget(SafetyLimits(pulses_per_device=limit), ledger)
    block = one_step([1.0, None, None, 0.0], repeat=repeat, selected=[True, False, False, True])
    for _ in range(50):
        total = int(ledger.life()[0, 1])
        if total + repeat > limit:
            with pytest.raises(EnduranceError, match=r"cell \(0, 1\)") as caught:
                budget.check_block(block)
            assert (caught.value.value, caught.value.limit) == (total + repeat, limit)
            with pytest.raises(EnduranceError):
                budget.check_programme([block])
            return
        budget.check_block(block)
        ledger.add(block)


def test_a_device_without_a_pulse_left_is_named_unless_it_is_dead():
    used = np.array([[0, 10], [0, 0]])
    for dead, refused in (((), True), ((((0, 1)),), False)):
        ledger = Ledger(ArrayGeometry.with_dead_cells(2, 2, dead))
        ledger.carry(used)
        budget = PulseBudget(SafetyLimits(pulses_per_device=10), ledger)
        if refused:
            with pytest.raises(EnduranceError, match=r"cell \(0, 1\): .*10 of them in earlier"):
                budget.check_left()
        else:
            budget.check_left()
