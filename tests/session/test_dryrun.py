from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.capabilities import Capabilities
from hil.control.dryrun import Exposure, worst_voltages
from hil.geometry import ONE_T_ONE_R, THREE_TERMINAL, ArrayGeometry
from hil.ledger import Ledger
from hil.operating import OperatingPoint
from hil.phases.reading import idle, read_map
from hil.phases.schemes import worst_half_select_v
from hil.phases.writing import erase_rows, program_counts
from hil.program import LineState, Phase, PulseBlock


def random_block(rng, geometry, n_steps):
    shape = (n_steps, geometry.n_lines)
    return PulseBlock.build(
        Phase.PROGRAM, rng.integers(0, 3, shape), rng.uniform(-2, 2, shape), 1e-6,
        selected=rng.random(shape) < 0.5, repeat=rng.integers(0, 3, n_steps),
    )  # fmt: skip


def worst_by_hand(geometry, block):
    """Return the largest |voltage| on selected and on other devices, device by device."""
    worst = [0.0, 0.0]
    for s in range(block.n_steps):
        if block.repeat[s] == 0:
            continue
        on = block.state[s] == LineState.DRIVE
        driven = np.where(on, block.level_v[s], 0.0)
        lowest, highest = min(0.0, driven.min()), max(0.0, driven.max())
        spans = [
            (lowest, highest) if block.state[s, k] == LineState.FLOAT else (driven[k], driven[k])
            for k in range(geometry.n_lines)
        ]
        for r in range(geometry.n_rows):
            for c in range(geometry.n_cols):
                k = geometry.n_rows + c
                v = max(spans[r][1] - spans[k][0], spans[k][1] - spans[r][0])
                kind = 0 if block.selected[s, r] and block.selected[s, k] else 1
                worst[kind] = max(worst[kind], v)
    return worst


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4))
def test_worst_voltages_are_those_found_device_by_device(seed, rows, cols):
    geometry = ArrayGeometry(rows, cols)
    block = random_block(np.random.default_rng(seed), geometry, 3)
    found = worst_voltages(geometry, block, geometry.write_lines)
    expected = worst_by_hand(geometry, block)
    assert [abs(w.v) for w in found] == pytest.approx(expected)


@pytest.mark.parametrize("scheme", ["v/2", "v/3", "ground"])
def test_the_worst_half_selected_voltage_is_the_schemes(scheme):
    geometry = ArrayGeometry(4, 4)
    op = OperatingPoint(potentiate_v=2.0, inhibit=scheme)
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[1, 2] = 3
    exposure = Exposure(geometry, Capabilities())
    exposure.add(program_counts(geometry, op, counts))
    assert exposure.selected.v == pytest.approx(2.0)
    assert (exposure.selected.row, exposure.selected.col) == (1, 2)
    assert abs(exposure.half_selected.v) == pytest.approx(worst_half_select_v(scheme, 2.0))


def test_cells_behind_closed_gates_are_not_stressed():
    geometry = ArrayGeometry(3, 3, ONE_T_ONE_R)
    op = OperatingPoint(potentiate_v=2.0, inhibit="gate-off", gate_write_v=3.0, gate_read_v=3.0)
    counts = np.zeros((3, 3), dtype=np.int64)
    counts[0, 0] = 1
    exposure = Exposure(geometry, Capabilities())
    exposure.add(program_counts(geometry, op, counts))
    assert exposure.selected.v == pytest.approx(2.0)
    assert exposure.half_selected.v == pytest.approx(0.0)


def test_an_erase_stresses_the_erase_port_of_its_block():
    geometry = ArrayGeometry(4, 2, THREE_TERMINAL, block_rows=2)
    op = OperatingPoint(erase_v=9.0, erase_s=1e-3)
    exposure = Exposure(geometry, Capabilities())
    exposure.add(erase_rows(geometry, op, np.array([2])))
    assert exposure.selected.v == pytest.approx(9.0)
    assert exposure.selected.row == 2
    assert exposure.numbers()["device_pulses"] == 4


def test_numbers_are_the_ledgers_and_time_has_the_overheads():
    geometry = ArrayGeometry(3, 4)
    caps = Capabilities(step_overhead_s=1e-3, block_overhead_s=0.1)
    op = OperatingPoint(read_s=1e-5, write_s=1e-6)
    exposure, ledger = Exposure(geometry, caps), Ledger(geometry)
    blocks = [
        program_counts(geometry, op, np.arange(12).reshape(3, 4)),
        idle(geometry, 5.0),
        *read_map(geometry, op, caps),
    ]
    for block in blocks:
        exposure.add(block)
        ledger.add(block)
    numbers = exposure.numbers()
    for name, value in ledger.summary().items():
        assert numbers[name] == value, name
    assert numbers["readings"] == 12
    assert exposure.rows == 12 + sum(
        int((b.selected[:, :3].sum(axis=1) * b.selected[:, 3:].sum(axis=1)).sum())
        for b in blocks[:1]
    )
    pulses_s = sum(b.duration_s for b in blocks)
    assert numbers["seconds"] == pytest.approx(
        pulses_s + 0.1 * len(blocks) + 1e-3 * sum(b.n_steps for b in blocks)
    )
