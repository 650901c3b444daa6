"""The event list says what compiled blocks do, and folds what repeats."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.capabilities import Capabilities
from hil.errors import GeometryError
from hil.explain import Event, events, render_events
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.matvec import MatVec
from hil.phases.reading import idle, read_map, read_rows
from hil.phases.writing import erase_rows, program_counts, pulse_train
from hil.program import LineState, Phase, PulseBlock

OP = OperatingPoint(read_v=0.2, potentiate_v=2.0, depress_v=-2.0, write_s=1e-6, gap_s=1e-6)


def array(cell="1R", n=4):
    return ArrayGeometry(n, n, CELL_KINDS[cell])


def test_a_read_map_is_one_scan_over_the_rows():
    (event,) = events(read_map(array(), OP, Capabilities()), array())
    assert event.phase == "READ"
    assert event.driven == (("WL0", 0.2, 1e-5),)
    assert event.sensed == "BL0…3"
    assert (event.row, event.rows) == (0, 4)
    assert event.every_s == pytest.approx(11e-6)
    text = event.to_text()
    assert "WL0 200 mV for 10 us; sense BL0…3; then rows 1…3 alike, every 11 us" in text


def test_a_scan_of_two_rows_names_the_second():
    (event,) = events(read_map(array(), OP, Capabilities()), array())
    assert "; then row 1 alike, every 11 us" in replace(event, rows=2).to_text()


def test_write_pulses_name_the_selected_devices_and_their_repeats():
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[2, [0, 1, 3]] = 5
    (event,) = events([program_counts(array(), OP, counts)], array())
    assert event.selected == "rows 2 × cols 0…1, 3"
    assert event.repeat == 5
    assert event.driven == (("WL2", 1.0, 1e-6), ("BL0…1 BL3", -1.0, 1e-6))
    assert event.to_text().endswith("[rows 2 × cols 0…1, 3]; × 5 every 2 us")


def test_a_cell_sees_whole_half_and_no_voltage():
    geometry = array()
    block = program_counts(geometry, OP, np.diag([1, 1, 1, 1]))
    seen = [(e.t_s, e.seen.v, e.seen.selection) for e in events([block], geometry, (1, 1))]
    assert seen == [(pytest.approx(2e-6), pytest.approx(2.0), "selected")]
    seen = [(e.seen.v, e.seen.selection) for e in events([block], geometry, (1, 2))]
    assert seen == [(1.0, "half-selected"), (1.0, "half-selected")]


def test_a_cell_behind_a_closed_gate_sees_nothing():
    geometry = array("1T1R")
    op = OperatingPoint(potentiate_v=1.0, depress_v=-1.0, gate_write_v=2.5, inhibit="gate-off")
    block = pulse_train(geometry, op, np.array([1]), np.array([2]), 1.0, 1e-6)
    assert [e.seen.selection for e in events([block], geometry, (1, 2))] == ["selected"]
    assert list(events([block], geometry, (0, 2))) == []


def test_a_block_erase_names_its_rows_and_reaches_every_cell():
    geometry = array("3T")
    op = OperatingPoint(erase_v=10.0, erase_s=1e-3)
    block = erase_rows(geometry, op, np.array([0]))
    (event,) = events([block], geometry)
    assert event.selected == "erases rows 0…3"
    (event,) = events([block], geometry, (3, 3))
    assert (event.seen.port, event.seen.v, event.seen.selection) == ("erase", 10.0, "selected")


def test_pulse_width_coding_is_told_piece_by_piece():
    geometry = array()
    lines = geometry.read_lines
    matvec = MatVec(
        geometry, OP, Capabilities(), lines.plus, lines.minus, np.arange(4), Phase.FORWARD
    )
    block = matvec.block(np.array([[0.5, 1.0, 0.25, 0.0]]))
    (event,) = events([block], geometry)
    assert {(name, round(w * 1e6, 6)) for name, _, w in event.driven} == {
        ("WL0", 5.0), ("WL1", 10.0), ("WL2", 2.5),
    }  # fmt: skip
    (event,) = events([block], geometry, (2, 0))
    assert event.seen.spans == ((pytest.approx(2.5e-6), pytest.approx(0.2)),)
    assert event.seen.selection == "read"


def test_different_widths_of_the_two_lines_give_a_stepped_device_voltage():
    geometry = array(n=2)
    state = np.full((1, 4), LineState.DRIVE, dtype=np.uint8)
    block = PulseBlock.build(
        Phase.PROGRAM, state, [[1.0, 0.0, -1.0, 0.0]], [[3e-6, 0.0, 1e-6, 0.0]]
    )
    (event,) = events([block], geometry, (0, 0))
    assert event.seen.spans == ((1e-6, 2.0), (3e-6, 1.0))
    assert "sees 2 V until 1 us, 1 V until 3 us (selected)" in event.to_text()


def test_a_floating_line_is_said_to_float():
    geometry = array()
    op = OperatingPoint(potentiate_v=2.0, depress_v=-2.0, inhibit="float")
    block = pulse_train(geometry, op, np.array([0]), np.array([0]), 2.0, 1e-6)
    (event,) = events([block], geometry)
    assert event.floating == "WL1…3 BL1…3"
    (event,) = events([block], geometry, (0, 1))
    assert event.seen.selection == "floating"


def test_waits_are_events_of_their_own():
    (event,) = events([idle(array(), 30.0)], array())
    assert "wait 30 s, outputs off" in event.to_text()


def test_rounds_that_repeat_are_folded_with_their_period():
    geometry = array()
    read = read_rows(geometry, OP, Capabilities(), np.arange(4), np.arange(4))
    write = program_counts(geometry, OP, np.ones((4, 4), dtype=np.int64))
    listed = list(events([write, read] * 50 + [write], geometry))
    assert [e.of for e in listed] == [0, 0, 2, 0]
    assert listed[2].runs == 49
    assert listed[2].every_s == pytest.approx(write.duration_s + read.duration_s)
    assert listed[2].to_text().endswith("the last 2 events are repeated 49 times more, every 52 us")


def test_long_programmes_are_folded_without_being_held():
    geometry = array()
    write = program_counts(geometry, OP, np.ones((4, 4), dtype=np.int64))
    walked = 0

    def stream():
        nonlocal walked
        for _ in range(20_000):
            walked += 1
            yield write

    assert len(list(events(stream(), geometry))) == 2
    assert walked == 20_000


def test_a_list_that_is_cut_says_so():
    geometry = array()
    rng = np.random.default_rng(1)
    blocks = [program_counts(geometry, OP, rng.integers(0, 5, (4, 4))) for _ in range(20)]
    lines = list(render_events(blocks, geometry, max_events=5))
    assert len(lines) == 7
    assert lines[-1] == "… more than 5 events; the rest is not shown"
    assert "lines not named are grounded" in lines[0]


def test_events_are_plain_json():
    geometry = array("3T")
    op = OperatingPoint(erase_v=10.0, erase_s=1e-3, inhibit="float")
    blocks = [
        erase_rows(geometry, op, np.array([0])), idle(geometry, 1.0),
        pulse_train(geometry, op, np.array([0]), np.array([0]), 2.0, 1e-6),
    ]  # fmt: skip
    for cell in (None, (0, 0), (1, 1)):
        for event in events(blocks, geometry, cell):
            json.dumps(event.to_dict(), allow_nan=False)


def test_a_cell_outside_the_array_is_refused():
    with pytest.raises(GeometryError, match=r"cell \(4, 0\) is outside the 4 x 4 array"):
        events([], array(), (4, 0))


def unfold(listed: list[Event]) -> list[tuple[float, int]]:
    """Undo the folding: (start, signature's hash) of every step."""
    out: list[tuple[float, int]] = []
    rounds: list[list[tuple[float, int]]] = []
    for event in listed:
        if event.of:
            last = [item for part in rounds[-event.of :] for item in part]
            first = min(t for t, _ in last)
            for k in range(event.runs):
                shift = event.t_s + k * event.every_s - first
                out += [(t + shift, h) for t, h in last]
            continue
        steps = []
        for k in range(max(event.runs, event.rows)):
            row = None if event.row is None else event.row + (k if event.rows > 1 else 0)
            steps.append((event.t_s + k * event.every_s, hash((event.signature, row))))
        rounds.append(steps)
        out += steps
    return out


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 6))
def test_folding_loses_nothing(kinds, times):
    geometry = array()
    shapes = [
        np.diag([1, 0, 0, 0]),
        np.diag([0, 1, 0, 0]),
        np.ones((4, 4), int),
        np.eye(4, dtype=int),
    ]
    blocks = [program_counts(geometry, OP, shapes[k].astype(np.int64)) for k in kinds * times]
    from hil.explain.events import _unfolded

    plain = [(e.t_s, hash((e.signature, e.row))) for e in _unfolded(blocks, geometry, None)]
    again = unfold(list(events(blocks, geometry)))
    assert [h for _, h in again] == [h for _, h in plain]
    assert [t for t, _ in again] == pytest.approx([t for t, _ in plain], rel=1e-5, abs=1e-12)
