"""The emulated board and the C firmware, each against docs/serial-protocol.md: requests."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
from board_host import (
    ARM,
    ERR,
    FETCH,
    PULSE,
    READ,
    READ_MATRIX,
    SAFE,
    SEQ_LOAD,
    SEQ_RUN,
    SEQ_STATUS,
    TRIG,
    WDOG,
    Host,
    Refused,
    answers,
    fill,
    frame,
    refusal,
    simple,
    status_of,
    step,
)  # fmt: skip


def test_wrong_lengths_ops_and_checks_are_refused(board, host):
    assert refusal(host, 0x3E, b"") == ("BAD_OP", 0x3E)
    wrong = {ARM: 15, SAFE: 1, WDOG: 3, ERR: 1, TRIG: 0, PULSE: 36, READ: 29, READ_MATRIX: 0,
             SEQ_LOAD: 8, SEQ_RUN: 12, SEQ_STATUS: 2, FETCH: 8}  # fmt: skip
    for op, size in wrong.items():
        assert refusal(host, op, bytes(size)) == ("BAD_LENGTH", size)
    for op, size in ((PULSE, 37), (READ, 28), (READ_MATRIX, 48)):
        host.arm()
        assert refusal(host, op, b"\1" * size)[0] == "CHECKSUM"


def test_places_that_are_not_there_are_out_of_range(board, host):
    for act in (
        lambda: host.pulse(4, 0, 1.0), lambda: host.pulse(0, 4, 1.0), lambda: host.read(0, 4),
        lambda: host.matrix(5, 4), lambda: host.fetch(0, 1),
        lambda: host.request(FETCH, struct.pack("<BII", 3, 0, 1)),
    ):  # fmt: skip
        with pytest.raises(Refused, match="RANGE"):
            act()
    assert refusal(host, SEQ_LOAD, struct.pack("<IIB", 0, 1 << 30, 1))[0] == "RANGE"
    assert refusal(host, SEQ_LOAD, struct.pack("<IIB", 8, 8, 1) + b"x")[0] == "RANGE"
    assert refusal(host, FETCH, struct.pack("<BII", 1, 0, 1))[0] == "NOT_LOADED"
    with pytest.raises(Refused, match="UNSUPPORTED"):
        host.pulse(0, 0, 1.0, scheme=4)
    assert refusal(host, TRIG, b"\0")[0] == "UNSUPPORTED"
    assert refusal(host, TRIG, b"\2")[0] == "RANGE"


def test_the_errors_are_counted_and_forgotten_when_asked_for(board, host):
    board.exchange(b"\1\2\3\0")
    refusal(host, 0x3E, b"")
    assert struct.unpack_from("<HH", host.request(ERR)) == (2, 6)
    assert struct.unpack_from("<HH", host.request(ERR)) == (0, 0)


@pytest.mark.parametrize("items", [
    b"\x40\0\0", b"\x50", b"\x15" + bytes(5), b"\x30" + bytes(11), b"\x31", fill(0, 0, 0, 1.0),
    fill(0, 7, 2, 1.0), fill(3, 0, 1, 3), fill(4, 0, 1, 2), b"\x23\0\0\4\0", b"\x23\0\0\1\0\3",
    fill(0, 0, 8, 1.0) + b"\x20\0\0\2\0" + bytes(7),
], ids=range(12))  # fmt: skip
def test_sequences_that_are_not_understood_are_refused_at_the_item(host, items):
    good = simple()
    with pytest.raises(Refused, match="BAD_SEQUENCE") as caught:
        host.load(good + items)
    at = len(good) + (13 if len(items) > 13 else 0)
    assert caught.value.detail in (at, len(good) + 9)
    with pytest.raises(Refused, match="NOT_LOADED"):
        host.run(good + items)


def test_only_the_bytes_that_changed_need_to_be_sent(new_board):
    board, pins = new_board()
    host = Host(board.exchange, patience_s=0.0)
    host.hello(), host.arm()
    first, second = simple(0.2), simple(0.3)
    host.load(first)
    changed = [k for k in range(len(first)) if first[k] != second[k]]
    low, high = changed[0], changed[-1] + 1
    host.request(SEQ_LOAD, struct.pack("<IIB", low, len(first), 1) + second[low:high])
    with pytest.raises(Refused, match="NOT_LOADED"):
        host.run(first)
    host.run(second)
    levels, _ = host.fetch(1)
    assert levels.tolist() == pytest.approx([0.3] * 4 + [0.0] * 4)
    assert len(pins.log) == 1


def test_capabilities_that_a_board_lacks_are_unsupported(new_board):
    board, pins = new_board(can=0)
    host = Host(board.exchange, patience_s=0.0)
    host.hello(), host.arm()
    for items in (
        fill(3, 0, 1, 0) + simple(), simple()[:-5] + fill(1, 0, 1, 500) + fill(4, 0, 8, 0) + step(),
        simple(), fill(2, 0, 8, 1e-4) + simple()[:-5] + fill(4, 5, 3, 0) + step(),
    ):  # fmt: skip
        with pytest.raises(Refused, match="UNSUPPORTED"):
            host.load(items)
    with pytest.raises(Refused, match="UNSUPPORTED"):
        host.matrix(2, 2)
    with pytest.raises(Refused, match="UNSUPPORTED"):
        host.arm(limit=1e-4)
    assert pins.log == []
    host.read(1, 1)
    assert len(pins.log) == 1


def test_triggers_begin_a_run_or_end_the_wait(new_board):
    board, pins = new_board(can=0x43F)
    host = Host(board.exchange, patience_s=0.0)
    host.hello(), host.arm()
    host.request(TRIG, b"\0")
    assert board.triggers == 1
    items = simple()
    host.load(items)
    host.request(SEQ_RUN, struct.pack("<IIBI", len(items), zlib.crc32(items), 1, 5000))
    assert status_of(host.request(SEQ_STATUS))["state"] == 2
    with pytest.raises(Refused, match="BUSY"):
        host.arm()
    if hasattr(board, "tell"):
        board.tell(b"T")
    else:
        board.edges += 1
    board.exchange(b"", 0.05)
    assert host.status()["state"] == 3
    assert len(pins.log) == 1
    assert struct.unpack("<I", host.request(TRIG, b"\1")) == (1,)
    host.request(SEQ_RUN, struct.pack("<IIBI", len(items), zlib.crc32(items), 1, 30))
    time.sleep(0.05)
    board.exchange(b"", 0.01)
    status = host.status()
    assert (status["state"], status["reason"]) == (4, 4)
    assert not board.outputs_on
    assert len(pins.log) == 1


def test_a_stream_is_sent_again_without_driving(new_board):
    board, pins = new_board()
    host = Host(board.exchange, patience_s=0.0)
    host.hello(), host.arm()
    first = host.matrix(4, 4)
    wire = b"\0" + frame(host.session, host.number, READ_MATRIX, b"other")
    assert answers(board, wire)[0][3][0] == 5
    host.number -= 1
    assert (host.matrix(4, 4) == first).all()
    assert len(pins.log) == 4
    np.testing.assert_allclose(-first["current"] / 0.2, pins.g, atol=5e-9)
    items = simple(repeat=50)
    host.load(items), host.run(items)
    records, status = host.fetch(0, 100, 37)
    assert status["readings"] == 200
    assert records.tobytes() == host.fetch()[0][100:137].tobytes()
    assert len(pins.log) == 54
