from __future__ import annotations

import numpy as np
import pytest
from blocks import D, G, one_step, random_writes
from hypothesis import given
from hypothesis import strategies as st

from hil.geometry import THREE_TERMINAL, ArrayGeometry
from hil.ledger import Ledger
from hil.phases.reading import idle
from hil.program import Phase, PulseBlock, by_phase


def counted_by_hand(geometry, block):
    """Count device by device and pulse by pulse, as slowly and plainly as possible."""
    rows, cols = geometry.shape
    plus, minus, half = (np.zeros(geometry.shape, dtype=int) for _ in range(3))
    for s in range(block.n_steps):
        for r in range(rows):
            for c in range(cols):
                on = block.selected[s, r], block.selected[s, rows + c]
                v = block.level_v[s, r] - block.level_v[s, rows + c]
                n = int(block.repeat[s])
                if all(on):
                    (plus if v > 0 else minus)[r, c] += n
                elif any(on):
                    half[r, c] += n
    return plus, minus, half


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_selected_and_half_selected_pulses_are_those_counted_by_hand(seed, rows, cols):
    geometry = ArrayGeometry(rows, cols)
    block = random_writes(np.random.default_rng(seed), geometry, 5)
    ledger = Ledger(geometry)
    pulses = ledger.add(block)
    plus, minus, half = counted_by_hand(geometry, block)
    assert (ledger.selected_plus == plus).all()
    assert (ledger.selected_minus == minus).all()
    assert (ledger.half_selected() == half).all()
    assert pulses == ledger.device_pulses == plus.sum() + minus.sum()
    assert ledger.most_pulses_bound >= ledger.selected().max()


@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_a_block_counts_the_same_whole_and_in_pieces(seed, cut):
    geometry = ArrayGeometry(4, 3)
    block = random_writes(np.random.default_rng(seed), geometry, 5)
    whole, pieces = Ledger(geometry), Ledger(geometry)
    whole.add(block)
    pieces.add(block.steps(0, cut))
    pieces.add(block.steps(cut, 5))
    for name, table in whole.tables().items():
        assert np.allclose(table, pieces.tables()[name], equal_nan=True), name


def test_reads_are_counted_apart_from_writes():
    ledger = Ledger(ArrayGeometry(2, 2))
    ledger.add(one_step([0.1, None, None, None], phase=Phase.READ, repeat=7))
    assert ledger.reads().tolist() == [[7, 7], [0, 0]]
    assert ledger.device_pulses == 0
    assert ledger.half_selected().sum() == 0


def test_waiting_is_no_pulse():
    geometry = ArrayGeometry(2, 2)
    ledger = Ledger(geometry)
    assert ledger.add(idle(geometry, 10.0)) == 0
    assert ledger.summary()["device_pulses"] == 0


def test_an_erase_counts_as_a_negative_pulse_on_every_device_of_its_block():
    geometry = ArrayGeometry(4, 3, THREE_TERMINAL, block_rows=2)
    state = np.full((1, geometry.n_lines), G, dtype=np.uint8)
    level = np.zeros(state.shape)
    well = geometry.line_index("PW1")
    selected = np.zeros(state.shape, dtype=bool)
    selected[0, well] = True
    state[0, well], level[0, well] = D, 8.0
    ledger = Ledger(geometry)
    erase = PulseBlock.build(Phase.ERASE, state, level, 1e-3, selected=selected)
    assert ledger.add(erase) == 6
    assert ledger.selected_minus.tolist() == [[0] * 3, [0] * 3, [1] * 3, [1] * 3]


def test_stress_is_the_square_of_the_voltage_times_its_time():
    ledger = Ledger(ArrayGeometry(2, 2))
    ledger.add(one_step([1.0, None, None, -1.0], width_s=2e-6, repeat=3))
    assert ledger.selected_v2s[0, 1] == pytest.approx(4.0 * 2e-6 * 3)
    assert ledger.selected_v2s[0, 0] == 0.0
    assert ledger.row_v2s[0] == pytest.approx(1.0 * 2e-6 * 3)


def test_energy_is_not_known_before_a_read():
    ledger = Ledger(ArrayGeometry(1, 1))
    ledger.add(one_step([1.0, -1.0], width_s=1e-6))
    assert np.isnan(ledger.energy_joule()[0, 0])
    ledger.g_last_siemens[0, 0] = 1e-6
    assert ledger.energy_joule()[0, 0] == pytest.approx(4e-12)


def test_a_copy_is_independent():
    ledger = Ledger(ArrayGeometry(2, 2))
    ledger.add(one_step([1.0, None, None, -1.0]))
    other = ledger.copy()
    other.add(one_step([1.0, None, None, -1.0]))
    assert (ledger.device_pulses, other.device_pulses) == (1, 2)
    assert ledger.summary()["most_half_selects_on_a_device"] == 1


def train(geometry, pulses):
    """Return write pulses on device (0, 1) with a read after each, in one block."""
    state = np.full((2, geometry.n_lines), G, dtype=np.uint8)
    level = np.zeros(state.shape)
    bit = geometry.n_rows + 1
    state[0, [0, bit]] = D
    level[0, [0, bit]] = 1.0, -1.0
    state[1, 0], level[1, 0] = D, 0.2
    sense = np.zeros(state.shape, dtype=bool)
    sense[1, bit] = True
    selected = np.zeros(state.shape, dtype=bool)
    selected[0, [0, bit]] = True
    at = np.tile([0, 1], pulses)
    return PulseBlock.build(Phase.PROGRAM, state[at], level[at], 1e-4, sense=sense[at],
                            selected=selected[at])  # fmt: skip


def test_steps_of_a_writing_block_that_select_nothing_and_sense_count_as_reads():
    geometry = ArrayGeometry(3, 3)
    ledger = Ledger(geometry)
    block = train(geometry, 4)
    assert block.reading_steps.tolist() == [False, True] * 4
    assert ledger.add(block) == 4
    assert ledger.selected_plus[0, 1] == ledger.selected().sum() == 4
    assert ledger.row_reads.tolist() == [4, 0, 0]
    assert ledger.row_pulses.tolist() == [4, 0, 0]
    assert ledger.row_v2s[0] == pytest.approx(4 * (1.0 + 0.04) * 1e-4)


def test_writes_and_reads_of_one_block_come_apart_with_all_their_pulses():
    geometry = ArrayGeometry(3, 3)
    block = train(geometry, 4)
    writes, reads = by_phase(block)
    assert (writes.phase, reads.phase) == (Phase.PROGRAM, Phase.READ)
    assert (writes.repeat + reads.repeat == block.repeat).all()
    assert writes.n_readings == 0
    assert reads.n_readings == block.n_readings == 4
    assert by_phase(reads) == (reads, None)
