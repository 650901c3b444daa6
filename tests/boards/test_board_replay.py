"""Wire logs that answer in place of boards."""

from __future__ import annotations

import time

import arc_bench
import numpy as np
import pytest
import serial_bench
from hil_drivers.factory import RigFactory
from hil_drivers.serial_board.recording import feeds
from hil_drivers.transport import WireLog, load_wire_log
from hil_drivers.transport.replayport import bytes_of

from hil.control.array import SynapseArray
from hil.errors import HilError, LinkError, StoreError
from hil.testing import programs

TEXTS = {"serial-board": serial_bench.text_of, "arc-one": arc_bench.text_of}


def sessions(board, op, counts=(0, 3, 5)):
    """Return what is read of two sessions: written and read; then read again."""
    array, out = SynapseArray(board, op), []
    rows, cols = board.geometry.shape
    with board:
        array.program(np.resize(counts, (rows, cols)))
        out.append(array.read())
    with board:
        out.append(array.read())
    return np.array(out)


def recorded(kind, path, work=sessions, settings=""):
    """Return (station, operating point, what ``work`` returned) of a logged board."""
    station = serial_bench.station_of(TEXTS[kind](2, 3, settings=settings))
    op = station.drive.operating_point()
    with (
        WireLog(path) as log,
        serial_bench.on_any_bench(station, seed=3, wire_log=log) as (board, bench),
    ):
        return station, op, work(board, op) if work is sessions else work(board, op, bench)


def replaying(station, path):
    return RigFactory().create(station, station.array[0], seed=0, virtual=True, replay=path)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_board_that_is_asked_the_same_answers_the_same_from_its_log(kind, tmp_path):
    path = tmp_path / "wire.jsonl"
    station, op, found = recorded(kind, path)
    assert np.unique(found).size > 2
    board = replaying(station, path)
    np.testing.assert_array_equal(sessions(board, op), found)
    with pytest.raises(LinkError, match="has ended"), board:
        pass


@pytest.mark.parametrize("kind", TEXTS)
def test_another_pulse_than_the_recorded_one_is_a_link_error(kind, tmp_path):
    path = tmp_path / "wire.jsonl"
    station, op, _ = recorded(kind, path)
    with pytest.raises(LinkError, match="came where the recording has write"):
        sessions(replaying(station, path), op, counts=(0, 4, 5))


def test_the_watchdog_may_be_fed_at_other_times(tmp_path):
    def slowly(board, op, *_):
        with board:
            block = programs.write_step(board.geometry, op, [0], [0])
            board.run_block(block)
            time.sleep(0.8)
            board.run_block(block)
            return board.ledger.device_pulses

    path = tmp_path / "wire.jsonl"
    station, op, pulses = recorded("serial-board", path, slowly, 'watchdog = "400 ms"')
    writes = [bytes_of(e) for e in load_wire_log(path)["board"] if e.op == "write"]
    assert sum(feeds(sent) for sent in writes) > 3
    board = replaying(station, path)
    with board:
        block = programs.write_step(board.geometry, op, [0], [0])
        board.run_block(block)
        board.run_block(block)
    assert board.ledger.device_pulses == pulses == 2


def test_a_reply_that_was_lost_is_lost_again(tmp_path):
    def with_a_loss(board, op, bench):
        with board:
            bench.faults["board"].drop_replies = 1
            seen = board.run_block(programs.read_steps(board.geometry, op, np.eye(2, dtype=bool)))
            assert board.link.resends == 1
            return seen.current_a

    path = tmp_path / "wire.jsonl"
    station, op, found = recorded("serial-board", path, with_a_loss, 'timeout = "50 ms"')
    board = replaying(station, path)
    with board:
        seen = board.run_block(programs.read_steps(board.geometry, op, np.eye(2, dtype=bool)))
        assert board.link.resends == 1
    np.testing.assert_array_equal(seen.current_a, found)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_log_of_something_else_is_refused(kind, tmp_path):
    path = tmp_path / "wire.jsonl"
    station = serial_bench.station_of(TEXTS[kind]())
    with pytest.raises(StoreError, match="cannot be read"):
        replaying(station, path)
    path.write_text("")
    with pytest.raises(HilError, match="no instrument 'board'"):
        replaying(station, path)
