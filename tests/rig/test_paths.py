"""Currents behind path resistances: what is taken off again."""

from __future__ import annotations

import numpy as np
import pytest
from hil_drivers.calibration.paths import without_paths

from hil.capabilities import Capabilities
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.measurement import MeasurementBlock, reading_index
from hil.operating import OperatingPoint
from hil.phases.reading import read_map
from hil.program import LineState, Phase, PulseBlock

OP = OperatingPoint(read_v=0.2, read_s=1e-3, gate_read_v=1.0)


def solved(g, ohm, level, held):
    """Return the currents into the array of lines behind their paths: rows first, then columns."""
    n_rows = g.shape[0]
    nodal = np.block([[np.diag(g.sum(axis=1)), -g], [-g.T, np.diag(g.sum(axis=0))]])
    at = np.linalg.solve(np.eye(len(ohm)) + ohm[:, None] * nodal, level)
    assert n_rows + g.shape[1] == len(at)
    assert held.all()
    return nodal @ at


def rows_of(block, current):
    step, line, pulse = reading_index(block)
    rows = MeasurementBlock.empty(step.size)
    rows.step[:], rows.line[:], rows.pulse[:] = step, line, pulse
    rows.current_a[:] = current[step, line]
    rows.level_v[:] = block.level_v[step, line]
    return rows


def currents(block, g, ohm):
    level = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
    return np.array([solved(g, ohm, v, np.ones(len(ohm), dtype=bool)) for v in level])


def read_block(geometry):
    (block,) = read_map(geometry, OP, Capabilities())
    return block


def test_a_map_behind_paths_is_the_map_without_them(rng):
    geometry = ArrayGeometry(5, 6)
    g = 10 ** rng.uniform(-6, -4, (5, 6))
    ohm = rng.uniform(5.0, 60.0, 11)
    block = read_block(geometry)
    rows = rows_of(block, currents(block, g, ohm))
    before = -rows.current_a.reshape(5, 6) / 0.2
    after = -without_paths(rows.current_a, rows, block, ohm, geometry).reshape(5, 6) / 0.2
    assert np.abs(before / g - 1).max() > 0.01
    # What is left is second order: grounded rows that rise with the sensed column.
    np.testing.assert_allclose(after, g, rtol=1e-3)


def test_a_reading_that_overflowed_spoils_no_other(rng):
    geometry = ArrayGeometry(3, 3)
    g, ohm = np.full((3, 3), 1e-5), np.full(6, 30.0)
    block = read_block(geometry)
    rows = rows_of(block, currents(block, g, ohm))
    rows.current_a[4] = np.nan
    after = -without_paths(rows.current_a, rows, block, ohm, geometry) / 0.2
    assert np.flatnonzero(np.isnan(after)).tolist() == [4]
    np.testing.assert_allclose(np.delete(after, 4), 1e-5, rtol=1e-3)


def test_rows_behind_closed_gates_pull_nothing():
    geometry = ArrayGeometry(3, 2, CELL_KINDS["1T1R"])
    block = read_block(geometry)
    ohm = np.zeros(geometry.n_lines)
    ohm[geometry.read_lines.minus] = 100.0
    g = 1e-4
    current = np.zeros((3, geometry.n_lines))
    current[:, geometry.read_lines.minus] = -0.2 * g / (1 + 100.0 * g)
    rows = rows_of(block, current)
    after = without_paths(rows.current_a, rows, block, ohm, geometry)
    np.testing.assert_allclose(after, -0.2 * g, rtol=1e-9)


@pytest.mark.parametrize("sense_own", [False, True], ids=["the other side", "the driven lines"])
def test_with_several_lines_driven_the_drop_is_taken_off_to_first_order(sense_own):
    n = 3
    g, ohm = np.full((n, n), 2e-5), np.full(2 * n, 20.0)
    state = np.full((1, 2 * n), LineState.DRIVE, dtype=np.uint8)
    state[0, n:] = LineState.GROUND
    level = np.where(state == LineState.DRIVE, 0.2, 0.0)
    sense = (state == LineState.DRIVE) == sense_own
    block = PulseBlock.build(Phase.READ, state, level, 1e-3, sense=sense)
    rows = rows_of(block, currents(block, g, ohm))
    after = without_paths(rows.current_a, rows, block, ohm, ArrayGeometry(n, n))
    wrong = np.abs(np.abs(rows.current_a) / (n * 0.2 * 2e-5) - 1).max()
    left = np.abs(np.abs(after) / (n * 0.2 * 2e-5) - 1).max()
    assert left < (0.6 if sense_own else 0.01) * wrong


def test_without_resistance_nothing_changes():
    geometry = ArrayGeometry(2, 2)
    block = read_block(geometry)
    rows = rows_of(block, currents(block, np.full((2, 2), 1e-5), np.zeros(4)))
    assert without_paths(rows.current_a, rows, block, np.zeros(4), geometry) is rows.current_a
