"""Runs of several instruments: paced or cut before their clocks part them, or refused unsent."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from benches import on_bench, station_of
from fakes import SMU
from families import FAMILIES
from hil_drivers.factory import RigFactory
from hil_drivers.rig import pacing
from hypothesis import given
from hypothesis import strategies as st
from rigs import OP, rig_d

from hil.errors import LimitError
from hil.program import LineState, Phase, PulseBlock

TRAIN = 20  # pulses


def rehearsed(kind, gap=None, trigger=None):
    text = FAMILIES[kind].station(2, 2)
    if gap:
        text = text.replace('gap = "4 ms"', f'gap = "{gap}"')
    if trigger:
        text = text.replace('trigger = "2"', f'trigger = "{trigger}"')
    station = station_of(text)
    return RigFactory().rehearse(station, station.array[0]), station.drive.operating_point()


def train(rig, op, *, widths_s=(None,), repeat=TRAIN, sense=False):
    """Return pulses on one device, half of the voltage on either line: two channels at work."""
    n = len(widths_s)
    lines = rig.geometry.n_lines
    state = np.full((n, lines), LineState.GROUND, dtype=np.uint8)
    level, sensed = np.zeros(state.shape), np.zeros(state.shape, dtype=bool)
    bit = lines - 1
    state[:, [0, bit]] = LineState.DRIVE
    level[:, 0], level[:, bit] = 0.75, -0.75
    sensed[:, bit] = sense
    width = np.array([op.write_s if w is None else w for w in widths_s])
    return PulseBlock.build(Phase.UPDATE, state, level, width, gap_s=op.gap_s, repeat=repeat,
                            sense=sensed)  # fmt: skip


def runs_of(rig, block):
    rig.check([block])
    return [run for of_stage in rig.job(block).runs for run in of_stage]


def begins_s(rig, run):
    """Return how far apart the last pulses of a run may begin."""
    share = pacing.drift({f"{n}.{c}": rig.builder.limits[f"{n}.{c}"]
                          for n, p in run.programs.items() for c in p})  # fmt: skip
    steps = next(iter(next(iter(run.programs.values())).values()))
    return share * (steps.duration_s - steps.period_s[-1])


def test_meters_that_nothing_paces_wait_for_a_trigger_before_every_pulse():
    rig, op = rehearsed("2400")
    block = train(rig, op)
    (run,) = runs_of(rig, block)
    assert run.paced
    (note,) = rig.job(block).notes
    assert note.startswith("one and two: every pulse waits for the trigger line")
    assert "may differ by 0.04" in note
    assert any(note in line for line in rig.preview([block]))


def test_pulses_of_another_period_begin_another_run_when_a_line_paces_them():
    rig, op = rehearsed("2400")
    runs = runs_of(rig, train(rig, op, widths_s=(4e-3, 4e-3, 8e-3)))
    assert [(run.steps.tolist(), run.paced) for run in runs] == [([0, 1], True), ([2], True)]


@pytest.mark.parametrize("kind", ["2450", "2450-follows-B2900"])
def test_runs_are_cut_where_no_line_can_pace_them(kind):
    rig, op = rehearsed(kind)
    block = train(rig, op)
    runs = runs_of(rig, block)
    assert not any(run.paced for run in runs)
    assert sum(run.n_pulses for run in runs) == TRAIN
    assert [p for run in runs for p in range(run.first_pulse[0], run.first_pulse[0] + run.n_pulses)
            ] == list(range(TRAIN))  # fmt: skip
    tenth = op.write_s / 10
    assert all(begins_s(rig, run) <= tenth for run in runs)
    longest = max(runs, key=lambda run: run.n_pulses)
    assert begins_s(rig, longest) > tenth * (longest.n_pulses - 1) / (longest.n_pulses + 1)
    (note,) = rig.job(block).notes
    assert "short runs" in note
    assert ("0 V has to end" if kind == "2450" else "not every pulse") in note


def test_a_longer_gap_lets_a_line_pace_a_2450():
    rig, op = rehearsed("2450", gap="8 ms")
    (run,) = runs_of(rig, train(rig, op))
    assert run.paced


def test_clocks_of_crystals_stay_together_for_long_runs():
    rig, op = rehearsed("B2901A-pair")
    (run,) = runs_of(rig, train(rig, op, repeat=600))
    assert not run.paced
    assert begins_s(rig, run) <= op.write_s / 10
    # 100 ppm of two crystals part pulses of 200 us by a tenth of that after 0.2 s.
    runs = runs_of(rig, train(rig, op, repeat=700))
    assert [run.n_pulses for run in runs] == [667, 33]


def test_one_instrument_is_never_cut_or_paced():
    rig, op = rehearsed("2636B-and-3706A")
    (run,) = runs_of(rig, train(rig, op, repeat=6000))
    assert not run.paced
    assert not run.note


@pytest.mark.parametrize("kind", ["2400", "2450"])
def test_paced_and_cut_trains_are_driven_and_read_in_full(kind):
    pytest.importorskip("lupa")
    station = station_of(FAMILIES[kind].station(2, 2))
    with on_bench(station, options=FAMILIES[kind].options) as (rig, bench), rig:
        op = station.drive.operating_point()
        (rows,) = rig.run([train(rig, op, sense=True)])
        assert not bench.incidents
    assert rows.pulse.tolist() == list(range(TRAIN))
    assert rig.ledger.device_pulses == TRAIN
    assert np.all(rows.current_a < 0)
    assert (np.diff(rows.t_ns) > 0).all()
    assert any("clocks may differ" in note for note in rig.strategies)


def test_a_trigger_line_that_there_is_not_is_refused_before_anything_is_sent():
    rig, op = rehearsed("2400", trigger="9")
    with pytest.raises(LimitError, match="trigger line 9 against limit 4"):
        rig.check([train(rig, op, repeat=1)])


def test_instruments_whose_pulses_part_within_themselves_are_refused():
    rig, _ = rig_d()
    vague = replace(SMU, clock_error=0.06)
    rig.rack.sources["bias"].can = vague
    rig._wire(rig.geometry)
    block = train(rig, OP)
    state, level = block.state.copy(), block.level_v.copy()
    state[:, [1, 2]], level[:, 1], level[:, 2] = LineState.DRIVE, 0.25, -0.25
    four = PulseBlock.build(Phase.UPDATE, state, level, OP.write_s, gap_s=OP.gap_s)
    rig.check([four])  # 6 % and 50 ppm
    rig.rack.sources["smu"].can = vague
    rig._wire(rig.geometry)
    with pytest.raises(LimitError, match=r"bias and smu: clock errors 0.12 against limit 0.1"):
        rig.check([four])


@given(
    share=st.floats(1e-6, 0.1),
    steps=st.lists(st.tuples(st.floats(1e-4, 1.0), st.floats(0.0, 1.0), st.integers(1, 400)),
                   min_size=1, max_size=6),
)  # fmt: skip
def test_cut_runs_keep_every_pulse_once_and_stay_together(share, steps):
    width, gap, repeat = (np.array(column) for column in zip(*steps, strict=True))
    period, apart = width + gap, pacing.allowed_s(width, width + gap)
    first = np.full(len(steps), 3)
    seen = []
    pieces = list(pacing.cut(share, period, first, repeat, apart))
    for at, begin, times in pieces:
        seen += [(int(k), n) for k, b, t in zip(at, begin, times, strict=True)
                 for n in range(b, b + t)]  # fmt: skip
        slack = apart[at] * (1 + 1e-6)
        assert times.sum() == 1 or pacing.together(share, period[at], times, slack)
    assert seen == [(k, 3 + n) for k, r in enumerate(repeat.tolist()) for n in range(r)]
    for (at, _, times), (next_at, _, _) in itertools.pairwise(pieces):
        longer_at, longer = np.append(at, next_at[0]), np.append(times, 1)
        assert not pacing.together(share, period[longer_at], longer, apart[longer_at] * (1 - 1e-6))
