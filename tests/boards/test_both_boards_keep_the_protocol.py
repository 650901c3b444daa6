"""The emulated board and the C firmware, each against docs/serial-protocol.md and its vectors."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from board_host import (
    ALL,
    ARM,
    HELLO,
    PING,
    PULSE,
    SEQ_STATUS,
    Host,
    NoAnswer,
    answers,
    frame,
    refusal,
    status_of,
)  # fmt: skip

VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs" / "serial-protocol-vectors.json").read_text()
)


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


def test_number_0_asks_for_the_status_and_feeds_the_watchdog_without_an_answer(board, host):
    (reply,) = answers(board, frame(host.session, 0, SEQ_STATUS))
    assert reply[:3] == (host.session, 0, SEQ_STATUS | 0x80)
    assert answers(board, frame(host.session, 0, PING, b"abc")) == []


def test_silence_is_no_answer(board):
    with pytest.raises(NoAnswer):
        Host(lambda data, patience: b"", patience_s=0.0).hello()
    assert (HELLO, ALL) == (1, 0xFFFFFFFF)
