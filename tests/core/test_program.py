from __future__ import annotations

import numpy as np
import pytest
from blocks import D, G, one_step, random_writes
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.program import LineState, Phase, Programme, PulseBlock, line_levels, split
from hil.template import BlockTemplate


def block_of(repeats, width_s=1e-3, phase=Phase.PROGRAM, gap_s=0.0):
    n = len(repeats)
    return PulseBlock.build(
        phase, np.full((n, 2), D), np.arange(2.0 * n).reshape(n, 2), width_s, repeat=repeats,
        gap_s=gap_s, target=np.arange(n),
    )  # fmt: skip


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=30),
    st.integers(1, 7),
    st.floats(1e-3, 20e-3),
)
def test_splitting_keeps_every_pulse_in_order_within_the_bounds(repeats, max_steps, max_block_s):
    pieces = list(split(block_of(repeats), max_steps, max_block_s))
    pulses = [
        (int(target), tuple(level))
        for piece in pieces
        for target, level, n in zip(piece.target, piece.level_v, piece.repeat, strict=True)
        for _ in range(n)
    ]
    whole = block_of(repeats)
    assert pulses == [(k, tuple(whole.level_v[k])) for k, n in enumerate(repeats) for _ in range(n)]
    assert all(piece.n_steps <= max_steps for piece in pieces)
    assert all(piece.duration_s <= max_block_s * (1 + 1e-9) for piece in pieces)


def test_waiting_is_outside_the_time_cap():
    wait = block_of([1], width_s=0.0, phase=Phase.IDLE, gap_s=3600.0)
    assert list(split(wait, 10, 2.0)) == [wait]


def test_a_block_says_how_long_it_takes_and_what_it_promises():
    block = PulseBlock.build(
        Phase.READ, [[D, G], [D, G]], 0.1, [2e-6, 4e-6], rise_s=1e-6, fall_s=3e-6, gap_s=5e-6,
        repeat=[3, 0], sense=[[False, True], [True, True]],
    )  # fmt: skip
    assert block.period_s == pytest.approx([9e-6, 11e-6])
    assert block.duration_s == pytest.approx(27e-6)
    assert (block.n_pulses, block.n_readings) == (3, 3)


def test_widths_per_line_make_the_step_as_long_as_the_widest():
    block = PulseBlock.build(Phase.READ, [[D, D]], 0.1, [[2e-6, 7e-6]])
    assert block.step_width_s.tolist() == [7e-6]


def test_a_block_is_read_only():
    block = one_step([1.0, None])
    with pytest.raises(ValueError, match="read-only"):
        block.level_v[0, 0] = 2.0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"width_s": -1e-6}, "width_s"),
        ({"width_s": np.nan}, "width_s"),
        ({"level_v": [[np.nan, 0.0]]}, "level_v"),
        ({"level_v": [[np.inf, 0.0]]}, "level_v"),
        ({"level_v": [[1.0, 0.0, 0.0]]}, "level_v"),
        ({"gap_s": -1.0}, "gap_s"),
        ({"rise_s": np.inf}, "rise_s"),
        ({"repeat": -1}, "repeat"),
        ({"state": [[7, 0]]}, "state"),
        ({"state": [1, 1]}, "state"),
        ({"compliance_a": 0.0}, "compliance_a"),
        ({"compliance_a": np.nan}, "compliance_a"),
        ({"level_v": "high"}, "level_v"),
    ],
)
def test_a_block_that_means_nothing_is_refused(change, field):
    columns = {"state": [[D, G]], "level_v": [[1.0, 0.0]], "width_s": 1e-6, **change}
    with pytest.raises(ProtocolError) as caught:
        PulseBlock.build(Phase.READ, **columns)
    assert caught.value.field == field


def test_a_programme_can_be_walked_again_and_joined():
    first, second = one_step([1.0, None]), one_step([2.0, None])
    both = Programme.of(first, name="a") + Programme.of(second, name="b")
    assert [list(both), both.name] == [[first, second], "a"]
    assert list(both) == [first, second]


def test_every_line_is_grounded_to_begin_with():
    state, level = line_levels(ArrayGeometry(2, 3), 4)
    assert (state == LineState.GROUND).all()
    assert (level == 0.0).all()
    assert state.shape == level.shape == (4, 5)


@given(st.integers(0, 2**32 - 1))
def test_a_filled_template_stays_within_its_bounds(seed):
    rng = np.random.default_rng(seed)
    base = random_writes(rng, ArrayGeometry(3, 2), 4)
    template = BlockTemplate.around(base)
    level = base.level_v * rng.random(base.level_v.shape)
    filled = template.fill(level_v=level)
    assert filled.template is template
    assert (filled.level_v >= template.level_lo_v).all()
    assert (filled.level_v <= template.level_hi_v).all()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"level_v": np.array([[1.1, 0.0]])}, "level_v"),
        ({"level_v": np.array([[-0.1, 0.0]])}, "level_v"),
        ({"level_v": np.array([[np.nan, 0.0]])}, "level_v"),
        ({"level_v": np.zeros((1, 3))}, "level_v"),
        ({"width_s": np.array([2e-6])}, "width_s"),
        ({"width_s": np.array([-1e-9])}, "width_s"),
        ({"width_s": np.array([[1e-6, 1e-6]])}, "width_s"),
        ({"state": np.array([[D, D]], dtype=np.uint8)}, "state"),
        ({"selected": np.zeros((1, 3), dtype=bool)}, "selected"),
    ],
)
def test_a_template_refuses_what_was_not_checked(change, field):
    template = BlockTemplate.around(one_step([1.0, None]))
    with pytest.raises(ProtocolError) as caught:
        template.fill(**change)
    assert caught.value.field == field


def test_bits_switch_lines_between_on_and_off():
    on = one_step([1.0, -1.0], phase=Phase.UPDATE)
    off_state = np.array([[G, G]], dtype=np.uint8)
    template = BlockTemplate.switching(on, off_state, np.zeros((1, 2)), (on,))
    filled = template.fill_bits(np.array([[True, False]]))
    assert filled.level_v.tolist() == [[1.0, 0.0]]
    assert filled.state.tolist() == [[D, G]]
    assert filled.selected.tolist() == [[True, False]]
    with pytest.raises(ProtocolError, match="bits"):
        template.fill_bits(np.array([[True]]))
