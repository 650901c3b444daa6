"""The emulated board and the C firmware, each against docs/serial-protocol.md and its vectors."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from board_host import (
    ALL,
    ARM,
    ERR,
    FETCH,
    HELLO,
    PING,
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
    NoAnswer,
    Refused,
    fill,
    frame,
    simple,
    status_of,
    step,
    unframe,
)  # fmt: skip

VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs" / "serial-protocol-vectors.json").read_text()
)


def answers(board, data):
    return [unframe(piece) for piece in board.exchange(data).split(b"\0") if piece]


def refusal(host, *request, **options):
    with pytest.raises(Refused) as caught:
        host.request(*request, **options)
    return caught.value.code, caught.value.detail


# -- frames --------------------------------------------------------------------------------------


def test_every_good_vector_is_understood_and_every_bad_one_is_bad_frame(board):
    for vector in VECTORS["good"]:
        (reply,) = answers(board, b"\0" + bytes.fromhex(vector["wire"])) or [None]
        if reply is not None:
            assert reply[3][:2] != b"\x01\x00", vector["what"]
        board.reset()
    for vector in VECTORS["bad"]:
        replies = answers(board, b"\0" + bytes.fromhex(vector["wire"]) + b"\0")
        assert [(r[1], r[2]) for r in replies] == [(0, 0xC0)], vector["what"]
        assert replies[0][3][0] in (1, 2)


def test_replies_are_encoded_as_the_vectors_are(host):
    for size in (*range(236, 250), 254, 255, 508):
        body = bytes(k % 254 + 1 for k in range(size))
        assert host.request(PING, body) == body
        wire = host.exchange(frame(host.session, host.number % 65535 + 1, PING, body))
        host.number += 1
        assert wire == frame(host.session, host.number, PING | 0x80, body)


def test_a_terminal_can_ask_for_the_identity_in_plain_text(board, host):
    for text in (b"*IDN?\n", b"*IDN?\r\n", b"\0noise\n*IDN?\n\0"):
        reply = board.exchange(text)
        assert reply.startswith(b"synapse-hil,")
        assert reply.split(b"\n")[0].endswith(b",0001,1.0")
    assert not board.exchange(b"*IDN? \n")
    assert not board.exchange(b"IDN?\n")
    board.exchange(b"\0")
    assert host.request(PING, b"after the text") == b"after the text"


def test_too_many_bytes_without_an_end_are_dropped_and_the_next_frame_is_read(board, host):
    replies = answers(board, b"\x55" * 30_000 + b"\0")
    assert [(r[1], r[2], r[3][0]) for r in replies] == [(0, 0xC0, 1)]
    assert host.request(PING, b"x") == b"x"


def test_another_version_is_answered_by_bad_version(board, host):
    (reply,) = answers(board, frame(host.session, 2, PING, b"", version=2))
    assert reply[1:3] == (0, 0xC0)
    assert struct.unpack_from("<HI", reply[3]) == (2, 2)


# -- sessions and numbers ------------------------------------------------------------------------


def test_hello_begins_another_session_each_time_and_disarms(board, host):
    first = host.session
    assert board.outputs_on
    fields = host.hello()
    assert host.session != first
    assert not board.outputs_on
    assert (fields["rows"], fields["cols"], fields["lines"], fields["watchdog"]) == (4, 4, 8, 1000)
    assert status_of(host.request(SEQ_STATUS))["state"] == 0


def test_a_repeated_number_is_answered_again_and_does_not_pulse_again(new_board):
    board, pins = new_board()
    host = Host(board.exchange, patience_s=0.0)
    host.hello(), host.arm()
    host.pulse(1, 2, 1.0, count=3)
    assert len(pins.log) == 3
    body = struct.pack("<HHfIIIIIfB", 1, 2, 1.0, 100_000, 0, 0, 1000, 3, np.inf, 1)
    again = frame(host.session, host.number, PULSE, body + struct.pack("<I", zlib.crc32(body)))
    replies = answers(board, b"\0" + again + again)
    assert len(replies) == 2
    assert replies[0] == replies[1]
    assert replies[0][2] == PULSE | 0x80
    assert len(pins.log) == 3
    other = frame(host.session, host.number, PING, b"")
    assert answers(board, other)[0][3][0] == 5  # CONFLICT
    assert answers(board, again)[0] == replies[0]


def test_numbers_out_of_order_and_other_sessions_do_nothing(board, host):
    assert refusal(host, PING, b"", number=host.number + 2) == ("BAD_NUMBER", host.number + 1)
    assert refusal(host, ARM, bytes(16), number=0)[0] == "BAD_NUMBER"
    host.session ^= 5
    assert refusal(host, PING, b"")[0] == "NO_SESSION"
    assert board.outputs_on
    host.session ^= 5
    host.number -= 1
    assert host.request(PING, b"x") == b"x"


def test_numbers_go_on_at_1_after_65535(board, host):
    numbers = range(host.number + 1, 65536)
    for first in range(0, len(numbers), 250):
        board.exchange(b"".join(frame(host.session, n, PING) for n in numbers[first:][:250]))
    host.number = 65535
    assert host.request(PING, b"x") == b"x"
    assert host.number == 1
    assert host.request(PING, b"y") == b"y"


def test_a_board_that_was_reset_knows_no_session(board, host):
    board.reset()
    assert refusal(host, PING, b"")[0] == "NO_SESSION"
    assert not board.outputs_on


def test_safe_is_obeyed_whatever_its_session_and_number(board, host):
    for session, number in ((host.session, 0), (77, 0), (77, 9), (host.session, 999)):
        host.arm()
        assert board.outputs_on
        (reply,) = answers(board, b"\0" + frame(session, number, SAFE))
        assert reply[:3] == (session, number, SAFE | 0x80)
        assert status_of(reply[3])["reason"] == 1
        assert not board.outputs_on


def test_number_0_asks_for_the_status_and_feeds_the_watchdog_without_an_answer(board, host):
    (reply,) = answers(board, frame(host.session, 0, SEQ_STATUS))
    assert reply[:3] == (host.session, 0, SEQ_STATUS | 0x80)
    assert answers(board, frame(host.session, 0, PING, b"abc")) == []


# -- safety --------------------------------------------------------------------------------------


def test_unarmed_boards_refuse_to_pulse_and_to_read(new_board):
    board, pins = new_board()
    host = Host(board.exchange, patience_s=0.0)
    host.hello()
    for act in (lambda: host.pulse(0, 0, 1.0), lambda: host.read(0, 0), lambda: host.matrix(4, 4)):
        with pytest.raises(Refused, match="UNARMED"):
            act()
    host.load(simple())
    with pytest.raises(Refused, match="UNARMED"):
        host.run(simple())
    assert pins.log == []


def test_the_watchdog_makes_the_board_safe(board, host):
    assert struct.unpack("<I", host.request(WDOG, struct.pack("<I", 60))) == (60,)
    assert refusal(host, WDOG, struct.pack("<I", 49)) == ("LIMIT", 49)
    host.request(PING)
    assert board.outputs_on
    deadline = time.monotonic() + 2.0
    while board.outputs_on and time.monotonic() < deadline:
        board.exchange(b"", 0.02)
    status = host.status()
    assert (status["state"], status["reason"]) == (0, 2)
    with pytest.raises(Refused, match="UNARMED"):
        host.pulse(0, 0, 1.0)


def test_frames_of_the_session_keep_the_watchdog_from_biting(board, host):
    host.request(WDOG, struct.pack("<I", 200))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        board.exchange(frame(host.session, 0, PING), 0.02)
    assert board.outputs_on


def test_limits_of_arm_and_of_the_board_are_checked_before_anything_is_driven(new_board):
    board, pins = new_board()
    host = Host(board.exchange, patience_s=0.0)
    host.hello()
    assert host.arm(-1.0, 1.5, 2000, 1e-4)[1] == 1.5
    for refused in (
        (4.0, 1000, 1, 1e-5), (1.0, 3000, 1, 1e-5), (1.0, 1000, 1, np.inf), (1.0, 1000, 1, 1e-3),
        (np.nan, 1000, 1, 1e-5), (1.0, 50, 1, 1e-5), (1.0, 1000, 3_000_000, 1e-5),
    ):  # fmt: skip
        level, width, count, limit = refused
        with pytest.raises(Refused, match="LIMIT"):
            host.pulse(0, 0, level, width, count, limit=limit)
    for act in (lambda: host.load(simple(2.0)), lambda: host.load(simple(repeat=9_000_000))):
        with pytest.raises(Refused, match="LIMIT"):
            act()
    assert pins.log == []
    host.pulse(0, 0, 1.0, 1000, limit=1e-5)
    assert len(pins.log) == 1
    host.arm()
    items = simple(2.0)
    host.load(items)
    host.arm(-1.0, 1.0)
    with pytest.raises(Refused, match="LIMIT"):
        host.run(items)
    assert len(pins.log) == 1


def test_a_fault_of_the_hardware_is_told_with_the_next_request(board, host):
    if hasattr(board, "tell"):
        board.tell(b"F")
        board.exchange(b"")
    else:
        board.core.fault = "over temperature"
    assert refusal(host, PING, b"")[0] == "HARDWARE"
    assert not board.outputs_on
    assert host.status()["reason"] == 5


# -- requests ------------------------------------------------------------------------------------


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


def test_a_lost_link_makes_the_board_safe(board, host):
    if hasattr(board, "tell"):
        board.tell(b"L\0")
        board.exchange(b"")
    else:
        board.machine.link_lost()
    assert not board.outputs_on
    assert host.status()["reason"] == 3


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


def test_silence_is_no_answer(board):
    with pytest.raises(NoAnswer):
        Host(lambda data, patience: b"", patience_s=0.0).hello()
    assert (HELLO, ALL) == (1, 0xFFFFFFFF)
