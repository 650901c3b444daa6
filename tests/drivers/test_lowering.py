from __future__ import annotations

import numpy as np
import pytest
from command_tables import unknown_scpi, unknown_tsp
from hil_drivers.gridlist import grid_lists
from hil_drivers.keithley_2600b.lowering import deliver, segments
from hil_drivers.keysight_b2900.lowering import lower
from hil_drivers.lowering import PulseTable, channel_readings, quantise
from hil_drivers.steps import ChannelCapabilities, ChannelSteps, Identity
from hypothesis import given
from hypothesis import strategies as st

from hil.capabilities import Range
from hil.errors import LimitError

WIDE = ChannelCapabilities(
    level_v=Range(-10, 10, 1e-4), width_s=Range(1e-3, 10, 1e-3), compliance_a=Range(1e-9, 1),
    sense_a=Range(-1, 1), ranges_v=(1.0, 10.0), ranges_a=(1e-6, 1e-3, 1.0), max_list_steps=10**6,
    max_readings=10**6, min_period_s=1e-3,
)  # fmt: skip

trains = st.lists(
    st.tuples(
        st.sampled_from([-1.0, 0.0, 0.5, 2.0]),  # level
        st.integers(1, 5),  # width in units of 2 ms
        st.integers(0, 4),  # gap
        st.integers(1, 4),  # repeats
        st.booleans(),  # measured
    ),
    min_size=1,
    max_size=8,
)


def steps_of(train, unit_s=2e-3):
    level, width, gap, repeat, measure = (np.array(x) for x in zip(*train, strict=True))
    return ChannelSteps.build(level, width * unit_s, (width + gap) * unit_s, repeat=repeat,
                              measure=measure, compliance_a=1e-3)  # fmt: skip


@given(trains)
def test_a_grid_list_has_the_time_integral_of_the_train(train):
    steps = steps_of(train)
    d = quantise(steps, WIDE, "x", level_resolution_v=0.0)
    grid = grid_lists({"1": d}, grid_s=1e-3, shortest_unit_s=1e-3, longest_list=10**6,
                      most_points=10**6, name="x")["1"]  # fmt: skip
    expected = (steps.level_v * steps.width_s * steps.repeat).sum()
    assert grid.levels_v.sum() * grid.unit_s * grid.cycles == pytest.approx(expected, abs=1e-12)
    assert grid.n_points * grid.unit_s == pytest.approx(steps.duration_s)


@given(trains)
def test_the_last_point_of_a_pulse_has_its_level(train):
    d = quantise(steps_of(train), WIDE, "x", level_resolution_v=0.0)
    grid = grid_lists({"1": d}, grid_s=1e-3, shortest_unit_s=1e-3, longest_list=10**6,
                      most_points=10**6, name="x")["1"]  # fmt: skip
    table = PulseTable.of(d)
    levels = np.tile(grid.levels_v, grid.cycles)
    assert levels[grid.pulse_point] == pytest.approx(d.level_v[table.step])
    assert (np.diff(grid.pulse_point) > 0).all()


@given(trains)
def test_segments_cover_every_step_once_and_never_contradict_it(train):
    d = deliver({"a": steps_of(train)}, "2636B", 50.0, "x")["a"]
    parts = segments({"a": d})
    covered = [k for p in parts for k in range(p.first, p.last + 1)]
    assert covered == list(range(len(d.level_v)))
    for part in parts:
        inside = slice(part.first, part.last + 1)
        pulsed = d.level_v[inside] != 0
        holds = np.isclose(d.width_s[inside], d.period_s[inside])
        assert (holds[pulsed] == part.held["a"]).all()
        assert part.measured["a"] or not d.measure[inside].any()
        if part.measured["a"]:
            assert (d.width_s[inside] >= d.aperture_s + 60e-6 - 1e-12).all()


@given(trains, st.integers(0, 40))
def test_a_run_that_broke_off_gives_a_prefix_of_the_readings(train, n_taken):
    d = quantise(steps_of(train), WIDE, "x", level_resolution_v=0.0)
    n = len(PulseTable.of(d))
    taken = np.ones(n, dtype=np.bool_)
    current = np.arange(float(n))
    whole = channel_readings(d, taken, current, np.zeros(n, np.uint32), 1)
    part = channel_readings(d, taken, current[:n_taken], np.zeros(min(n, n_taken), np.uint32), 1)
    assert len(whole) == int(d.repeat[d.measure].sum())
    assert part.current_a.tolist() == whole.current_a[: len(part)].tolist()
    assert part.step.tolist() == whole.step[: len(part)].tolist()
    assert (np.diff(whole.t_ns) > 0).all()


def test_steps_that_make_no_sense_are_refused():
    for bad in (
        {"width_s": 2e-3, "period_s": 1e-3}, {"width_s": 0.0, "period_s": 1e-3},
        {"width_s": 1e-3, "period_s": 1e-3, "repeat": 0},
        {"width_s": np.nan, "period_s": 1e-3},
    ):  # fmt: skip
        with pytest.raises(LimitError):
            ChannelSteps.build([1.0], **bad)
    with pytest.raises(LimitError, match="finite"):
        ChannelSteps.build([np.inf], 1e-3, 1e-3)


def test_identities_are_read_with_and_without_the_word_model():
    one = Identity.parse(
        "KEITHLEY INSTRUMENTS INC.,MODEL 2400,123,C32 Oct  4 2010 14:20:11/A02/D/A"
    )
    assert one is not None
    assert (one.model, one.serial) == ("2400", "123")
    two = Identity.parse("Keysight Technologies,B2902A,MY1,3.4.2011")
    assert two is not None
    assert two.model == "B2902A"
    assert Identity.parse("hello") is None


def test_the_command_tables_find_invented_commands():
    assert unknown_scpi("keithley-2400", ":SOUR:VOLT:LEV 1;:SOUR:VOLT:LEVELS 1") == [
        ":SOUR:VOLT:LEVELS 1"
    ]
    assert unknown_scpi("keithley-2400", ":source:volt 1") == [":source:volt 1"]
    assert unknown_scpi("keithley-2450", ":SENS:CURR:PROT 1e-3") == [":SENS:CURR:PROT 1e-3"]
    assert unknown_scpi("keysight-b2900", ":INIT (@1,2);*WAI") == []
    assert unknown_tsp("keithley-2600b", "smua.source.levelz=0") == ["smua.source.levelz"]
    assert unknown_tsp("keithley-2600b", "smua.source.levelv=0 smua.abort()") == []
    assert unknown_tsp("keithley-707b", "channel.slam('1A01')") != []


def test_a_line_sensed_at_0_v_is_measured_before_the_pulse_of_the_others_ends():
    drive = ChannelSteps.build([0.2], 4e-3, 12e-3, repeat=3)
    sense = ChannelSteps.build([0.0], 4e-3, 12e-3, repeat=3, measure=True, compliance_a=1e-3)
    channels = {
        name: quantise(steps, WIDE, "x", level_resolution_v=0.0)
        for name, steps in (("drive", drive), ("sense", sense))
    }
    alone = {name: grid_lists({name: d}, grid_s=1e-3, shortest_unit_s=1e-3, longest_list=10**6,
                              most_points=10**6, name="x")[name]
             for name, d in channels.items()}  # fmt: skip
    ends = (alone["sense"].pulse_point + 1) * alone["sense"].unit_s
    assert ends == pytest.approx([4e-3, 16e-3, 28e-3])
    assert alone["sense"].unit_s == alone["drive"].unit_s
    plan = lower({"1": drive, "2": sense}, "B2902A", "smu")["2"]
    assert plan.acquire_delay_s + plan.delivered.aperture_s < 4e-3


def test_pulses_do_not_grow_together_on_a_coarse_grid():
    steps = ChannelSteps.build([1.0, 1.0, 1.0], 2e-3, [2.1e-3, 2e-3, 3.4e-3], compliance_a=1e-3)
    d = quantise(steps, WIDE, "x", level_resolution_v=0.0)
    assert d.width_s == pytest.approx([2e-3] * 3)
    assert d.period_s == pytest.approx([3e-3, 2e-3, 3e-3])
