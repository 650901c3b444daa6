from __future__ import annotations

import math

import numpy as np
import pytest
from blocks import D, checker, one_step
from hypothesis import given
from hypothesis import strategies as st

from hil.capabilities import Capabilities, Range
from hil.errors import GeometryError, LimitError
from hil.geometry import ONE_T_ONE_R, THREE_TERMINAL, ArrayGeometry
from hil.ledger import Ledger
from hil.limits import LimitChecker, PulseBudget, SafetyLimits
from hil.program import Phase, PulseBlock
from hil.template import BlockTemplate

V = Range(-1.0, 1.0)
EDGES = {"rise_s": 1e-7, "fall_s": 1e-7}

CASES = {
    "level too high": (
        checker(level_v=V), one_step([1.2, None, None, None]), "line level", 1.2, 1.0, "V", "WL0"),
    "level too low": (
        checker(level_v=V), one_step([None, None, None, -1.3]), "line level", -1.3, -1.0, "V",
        "BL1"),
    "level of a group": (
        checker(group_level_v={"BL": Range(-0.2, 0.2)}), one_step([1.2, None, 0.3, None]),
        "line level", 0.3, 0.2, "V", "BL0"),
    "level of one line": (
        checker(line_level_v={"WL1": Range(0.0, 0.5)}), one_step([0.9, 0.9, None, None]),
        "line level", 0.9, 0.5, "V", "WL1"),
    "level beyond the backend's": (
        checker(capabilities=Capabilities(level_v=Range(-0.5, 0.5))),
        one_step([0.6, None, None, None]), "line level", 0.6, 0.5, "V", "WL0"),
    "slew": (
        checker(slew_v_per_s=1e6), one_step([1.0, None, None, None], **EDGES), "slew", 1e7, 1e6,
        "V/s", "WL0"),
    "slew without edges": (
        checker(slew_v_per_s=1e6), one_step([1.0, None, None, None]), "slew", math.inf, 1e6, "V/s",
        "WL0"),
    "width too short": (
        checker(width_s=Range(1e-6, 1.0)), one_step([1.0, None, None, None], width_s=5e-7),
        "pulse width", 5e-7, 1e-6, "s", "WL0"),
    "width too long": (
        checker(width_s=Range(0.0, 1e-6)), one_step([1.0, None, None, None], width_s=5e-6),
        "pulse width", 5e-6, 1e-6, "s", "WL0"),
    "width off the grid": (
        checker(width_s=Range(0.0, 1.0, 1e-6)), one_step([1.0, None, None, None], width_s=1.5e-6),
        "pulse width off the grid:", 1.5e-6, 1e-6, "s", "WL0"),
    "compliance": (
        checker(compliance_a=1e-4),
        one_step([1.0, None, None, None], compliance_a=[1e-3, 1e-5, 1e-5, 1e-5]),
        "compliance", 1e-3, 1e-4, "A", "WL0"),
    "energy": (
        checker(energy_joule=1e-12),
        one_step([2.0, None, None, None], compliance_a=1e-3, width_s=1e-6),
        "energy bound V·I·t", 2e-9, 1e-12, "J", "WL0"),
    "device voltage": (
        checker(device_v=Range(-1.5, 1.5)), one_step([1.0, None, None, -1.0]), "device voltage",
        2.0, 1.5, "V", "cell (0, 1)"),
    "negative device voltage": (
        checker(device_v=Range(-1.5, 1.5)), one_step([None, -1.0, 1.0, None]), "device voltage",
        -2.0, -1.5, "V", "cell (1, 0)"),
    "half-selected device": (
        checker(half_select_v=0.6), one_step([1.0, None, -1.0, None]),
        "half-selected device voltage", 1.0, 0.6, "V", None),
    "floating lines": (
        checker(capabilities=Capabilities(can_float=False)), one_step([1.0, "float", None, None]),
        "floating lines", 0.0, 0.0, "", "WL1"),
    "rise time": (
        checker(capabilities=Capabilities(rise_s=Range(1e-6, 1.0))),
        one_step([1.0, None, None, None], **EDGES), "rise time", 1e-7, 1e-6, "s", "WL0"),
    "widths per line": (
        checker(capabilities=Capabilities(per_line_width=False)),
        PulseBlock.build(Phase.READ, [[D] * 4], 0.1, [[1e-6, 2e-6, 1e-6, 1e-6]]),
        "width per line: narrowest", 1e-6, 2e-6, "s", None),
    "lines sensed at once": (
        checker(capabilities=Capabilities(parallel_sense=False)),
        one_step([0.1, None, None, None], sense=[[False, False, True, True]]),
        "lines sensed at once", 2, 1, "lines", None),
    "compliance where it cannot be had": (
        checker(capabilities=Capabilities(limits_current=False)),
        one_step([0.1, None, None, None], compliance_a=1e-3), "compliance", 1e-3, math.inf, "A",
        "WL0"),
    "too many steps": (
        checker(capabilities=Capabilities(max_steps=2)),
        PulseBlock.build(Phase.READ, np.full((3, 4), D), 0.1, 1e-6), "steps in one block", 3, 2,
        "steps", None),
    "too long": (
        checker(), one_step([0.1, None, None, None], width_s=1.5, repeat=2),
        "duration of one block", 3.0, 2.0, "s", None),
    "another array's lines": (
        checker(), one_step([0.1, None, None]), "lines in the block", 3, 4, "lines", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_request_out_of_range_says_what_where_and_how_much(case):
    limit_checker, block, quantity, value, limit, unit, where = case
    with pytest.raises(LimitError) as caught:
        limit_checker.check(block, 17)
    error = caught.value
    assert error.quantity == quantity
    assert error.value == pytest.approx(value)
    assert error.limit == pytest.approx(limit)
    assert (error.unit, error.block) == (unit, 17)
    assert "block 17" in str(error)
    if where is not None:
        assert error.where == where


def test_what_is_exactly_at_the_limit_is_allowed():
    checker(
        level_v=V, slew_v_per_s=1e7, width_s=Range(1e-6, 1e-6, 1e-7), device_v=Range(-2, 2),
        half_select_v=1.0, energy_joule=1e-9, compliance_a=1e-3,
    ).check(one_step([1.0, None, None, -1.0], compliance_a=1e-3, **EDGES))  # fmt: skip


def test_a_step_that_is_not_repeated_is_not_driven_and_not_checked():
    checker(level_v=V).check(one_step([9.0, None, None, None], repeat=0))


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3))
def test_the_device_check_agrees_with_every_crossing(a, b, c, d, bound):
    levels = np.array([a, b, c, d])
    across = levels[:2, None] - levels[None, 2:]
    block, limited = one_step([a, b, c, d]), checker(device_v=Range(-bound, bound))
    if not (np.abs(across) > bound).any():
        limited.check(block)
        return
    with pytest.raises(LimitError) as caught:
        limited.check(block)
    assert np.abs(across - caught.value.value).min() == pytest.approx(0.0, abs=1e-12)
    assert abs(caught.value.value) > bound


def test_a_floating_line_is_taken_at_the_worst_its_neighbours_can_give_it():
    block = one_step([1.0, "float", -1.0, None])
    with pytest.raises(LimitError, match=r"2 V against limit 1\.5 V"):
        checker(device_v=Range(-1.5, 1.5)).check(block)
    # WL1 floats between -1 V and 1 V: against BL0 at -1 V that may be 2 V, hence only 2 V passes.
    checker(device_v=Range(-2.0, 2.0)).check(block)


def test_devices_behind_closed_gates_see_nothing():
    limited = checker(1, 1, cell=ONE_T_ONE_R, device_v=Range(-1.0, 1.0))
    limited.check(one_step([2.0, None, None]))
    with pytest.raises(LimitError, match="device voltage"):
        limited.check(one_step([2.0, None, 3.0]))


def test_an_erase_is_held_against_the_erase_port_only():
    erase_only = checker(1, 1, cell=THREE_TERMINAL, device_v=V, erase_v=Range(0.0, 10.0))
    erase_only.check(one_step([None, None, None, 9.0], phase=Phase.ERASE))
    with pytest.raises(LimitError, match="erase voltage 11 V"):
        erase_only.check(one_step([None, None, None, 11.0], phase=Phase.ERASE))


def test_limits_for_lines_that_the_array_lacks_are_refused():
    with pytest.raises(GeometryError, match="WL2"):
        checker(line_level_v={"WL2": V})
    with pytest.raises(GeometryError, match="GL"):
        checker(group_level_v={"GL": V})


def writes(repeat):
    return one_step([1.0, None, None, -1.0], repeat=repeat)


def test_the_pulse_budget_is_kept_over_the_run():
    geometry = ArrayGeometry(2, 2)
    ledger = Ledger(geometry)
    budget = PulseBudget(SafetyLimits(pulses_per_device=10), ledger)
    for repeat in (4, 6):
        budget.check_block(writes(repeat))
        ledger.add(writes(repeat))
    with pytest.raises(LimitError, match=r"cell \(0, 1\): pulses over the run 11"):
        budget.check_block(writes(1), 2)
    budget.check_block(one_step([1.0, None, -1.0, None]))  # another device has all its budget
    budget.check_block(one_step([0.1, None, None, None], phase=Phase.READ, repeat=100))


def test_a_programme_is_held_against_the_budget_as_a_whole():
    budget = PulseBudget(SafetyLimits(pulses_per_device=10), Ledger(ArrayGeometry(2, 2)))
    budget.check_programme([writes(5), writes(5)])
    with pytest.raises(LimitError) as caught:
        budget.check_programme([writes(5), writes(5), writes(1)])
    assert caught.value.block == 2


def test_a_template_that_the_backend_refused_is_refused_again():
    class Unable(LimitChecker):
        def _check_able(self, block, index):
            raise LimitError("steps that it can do", 1, 0, "steps", block=index)

    unable = Unable(ArrayGeometry(2, 2), SafetyLimits(), Capabilities())
    block = one_step([1.0, None, None, None])
    filled = BlockTemplate.around(block).fill(level_v=block.level_v)
    for refused in (block, filled, filled):
        with pytest.raises(LimitError, match="steps that it can do"):
            unable.check(refused)
