"""The emulated board and the C firmware, each against docs/serial-protocol.md: safety."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from board_host import (
    PING,
    SAFE,
    WDOG,
    Host,
    Refused,
    answers,
    frame,
    refusal,
    simple,
    status_of,
)  # fmt: skip


def test_safe_is_obeyed_whatever_its_session_and_number(board, host):
    for session, number in ((host.session, 0), (77, 0), (77, 9), (host.session, 999)):
        host.arm()
        assert board.outputs_on
        (reply,) = answers(board, b"\0" + frame(session, number, SAFE))
        assert reply[:3] == (session, number, SAFE | 0x80)
        assert status_of(reply[3])["reason"] == 1
        assert not board.outputs_on


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
    deadline = time.monotonic() + 20.0
    while board.outputs_on and time.monotonic() < deadline:
        board.exchange(b"", 0.02)
    status = host.status()
    assert (status["state"], status["reason"]) == (0, 2)
    with pytest.raises(Refused, match="UNARMED"):
        host.pulse(0, 0, 1.0)


def test_frames_of_the_session_keep_the_watchdog_from_biting(board, host):
    host.request(WDOG, struct.pack("<I", 500))
    end = time.monotonic() + 1.0
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


def test_a_lost_link_makes_the_board_safe(board, host):
    if hasattr(board, "tell"):
        board.tell(b"L\0")
        board.exchange(b"")
    else:
        board.machine.link_lost()
    assert not board.outputs_on
    assert host.status()["reason"] == 3
