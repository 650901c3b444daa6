"""Damaged lines between a host and both boards: never a wrong pulse, and the next frame is heard.

What is delivered at the pins is compared with what the host asked for. 5 000 corruptions each run
by default; 100 000 with ``pytest -m slow tests/boards/test_fuzz_of_boards.py``.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from board_host import PING, Host, NoAnswer, Refused, frame, simple
from boards import SANITIZE, Emulated, Firmware, Resistors, build

KINDS = ("flip", "burst", "lose", "double", "cut", "garbage", "swap", "splice")


class Line:
    """Passes bytes between a host and a board, and spoils the next chunk when told to."""

    def __init__(self, board, rng):
        self.board, self.rng = board, rng
        self.spoil = {"out": None, "in": None}
        self.before = b"\0"

    def exchange(self, data, patience_s=0.0):
        came = self.board.exchange(self._passed("out", data), patience_s)
        return self._passed("in", came)

    def _passed(self, way, data):
        kind = self.spoil[way]
        if not data or kind is None:
            return data
        self.spoil[way] = None
        old, self.before = self.before, data
        return spoiled(kind, data, self.rng, old)


def spoiled(kind, data, rng, old):
    """Return ``data`` damaged in one of the ways in which lines damage it."""
    at = int(rng.integers(len(data)))
    n = int(rng.integers(1, 9))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
    if kind == "burst":
        noise = bytes(x ^ int(y) for x, y in zip(data[at : at + n], rng.integers(256, size=n),
                                                  strict=False))  # fmt: skip
        return data[:at] + noise + data[at + n :]
    if kind == "lose":
        return data[:at] + data[at + n :]
    if kind == "double":
        return data[: at + n] + data[at:]
    if kind == "cut":
        return data[:at]
    if kind == "garbage":  # as from a wrong baud rate: nothing of it is what was sent
        return rng.integers(256, size=len(data), dtype=np.uint8).tobytes()
    if kind == "swap":
        return data[at:] + data[:at]
    return old[: int(rng.integers(len(old) + 1))] + data[at:]


def wanted(row, col, level, width, scheme, n=4):
    """Return what one pulse does at the pins of an n x n array."""
    codes, state = np.zeros(2 * n), np.ones(2 * n, dtype=np.uint8)
    if scheme == 2:
        state[:] = 2
        codes[:n], codes[n:] = -level / 6, level / 6
    if scheme in (1, 2):
        codes[row], codes[n + col] = level / 2, -level / 2
        state[[row, n + col]] = 2
    else:
        state[:] = 0 if scheme == 3 else 1
        codes[row], state[row], state[n + col] = level, 2, 1
    codes = np.rint(codes.astype(np.float32).astype(float) / 0.0005).astype(int)
    return codes.tobytes() + state.tobytes() + np.full(2 * n, width).tobytes()


def one_case(line, host, pins, rng, kind, way):
    """Ask for one train of pulses over a spoiled line; return whether it was answered."""
    row, col, count = (int(x) for x in rng.integers((0, 0, 1), (4, 4, 4)))
    scheme, width = int(rng.integers(4)), 10 * int(rng.integers(100, 10_000))
    level = float(np.float32(0.0005 * int(rng.integers(-4000, 4000))))
    pins.log.clear()
    asked = [wanted(row, col, level, width, scheme)] * count
    line.spoil[way] = kind
    try:
        reply = host.pulse(row, col, level, width, count, scheme)
    except (NoAnswer, Refused) as error:
        assert pins.log in ([], asked), (kind, way)
        told = getattr(error, "code", "nothing")
    else:
        assert pins.log == asked, (kind, way)
        assert reply[1:3] == (width, count)
        assert reply[0] == pytest.approx(level, abs=2 * 0.0005)
        return True
    assert told not in ("LIMIT", "RANGE", "BUSY", "BAD_LENGTH")
    return False


def begin(board, pins):
    board.reset()
    rng = np.random.default_rng(17)
    line = Line(board, rng)
    host = Host(line.exchange, patience_s=0.0, tries=4)
    host.hello()
    host.arm()
    pins.log.clear()
    return line, host, rng


def fuzz(board, pins, cases, seed):
    """Run random corruptions; return the share of requests that were answered."""
    line, host, _ = begin(board, pins)
    rng = line.rng = np.random.default_rng(seed)
    answered = 0
    for case in range(cases):
        kind = KINDS[case % len(KINDS)]
        way = "in" if rng.random() < 0.4 else "out"
        if one_case(line, host, pins, rng, kind, way):
            answered += 1
        else:
            host.hello()
            host.arm()
        assert host.request(PING, b"heard") == b"heard"
    return answered / cases


@pytest.fixture(params=["emulator", "firmware"])
def spoiled_board(request):
    pins = Resistors()
    if request.param == "emulator":
        board = Emulated(pins)
    else:
        board = Firmware(request.getfixturevalue("firmware"), pins)
    yield board, pins
    board.close()


def test_no_random_corruption_gives_a_wrong_pulse(spoiled_board):
    # A resend heals the line whatever was damaged; only a request that was cut twice is lost.
    assert fuzz(*spoiled_board, 2500, 1) > 0.99


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_corruption_of_very_many_gives_a_wrong_pulse(spoiled_board):
    assert fuzz(*spoiled_board, 50_000, 2) > 0.99


def test_a_flipped_bit_in_every_position_of_a_frame_is_noticed(spoiled_board):
    board, pins = spoiled_board
    line, host, _ = begin(board, pins)
    sent = []
    exchange = line.exchange

    def flipped(data, patience_s):
        if data and bit[0] is not None:
            at, which = divmod(bit[0], 8)
            bit[0] = None
            sent.append(len(data))
            if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << which]) + data[at + 1 :]
        return exchange(data, patience_s)

    host.exchange, bit = flipped, [None]
    asked = wanted(1, 2, 1.5, 1000, 1)
    for n in range(8 * 58):
        pins.log.clear()
        bit[0] = n
        assert host.pulse(1, 2, 1.5, 1000)[2] == 1
        assert pins.log == [asked], n
    assert max(sent) <= 58
    assert host.resent >= 8 * (min(sent) - 2)


def test_a_sequence_over_a_spoiled_line_is_run_whole_or_not_at_all(spoiled_board):
    board, pins = spoiled_board
    line, host, rng = begin(board, pins)
    for case in range(300):
        items = simple(0.0005 * (case + 1), 1000 + 10 * case, repeat=3)
        codes = np.array([case + 1] * 4 + [0] * 4)
        one = codes.tobytes() + bytes([2] * 4 + [1] * 4) + np.full(8, 1000 + 10 * case).tobytes()
        pins.log.clear()
        line.spoil["out" if case % 2 else "in"] = KINDS[case % len(KINDS)]
        step = int(rng.integers(3))
        try:
            acts = (partial(host.load, items, 40), partial(host.run, items), host.fetch)
            for k, act in enumerate(acts):
                if k == step:
                    line.spoil["in" if case % 3 else "out"] = KINDS[case % len(KINDS)]
                result = act()
            assert result[0]["current"].size == 12
            assert pins.log == [one] * 3
        except (NoAnswer, Refused):
            assert pins.log in ([], [one] * 3)
            line.spoil = {"out": None, "in": None}
            host.hello()
            host.arm()


def test_an_old_reply_is_never_taken_for_one_of_a_new_session(spoiled_board):
    board, pins = spoiled_board
    _, host, _ = begin(board, pins)
    host.pulse(0, 0, 1.0)
    old = board.exchange(frame(host.session, host.number, PING))  # an answer nobody waits for
    host.hello()
    host.arm()
    host.number = 1
    first = host.exchange
    host.exchange = lambda data, patience: old + first(data, patience)
    assert host.pulse(3, 3, 1.5, 2000) == (1.5, 2000, 1, 0x400)


def test_noise_does_not_stop_the_firmware_under_the_sanitizers(tmp_path):
    pins = Resistors()
    board = Firmware(build(tmp_path, *SANITIZE), pins)
    try:
        assert fuzz(board, pins, 400, 3) > 0.99
        rng = np.random.default_rng(4)
        _, host, _ = begin(board, pins)
        for op in range(64):
            for size in (0, 1, 9, 13, 16, 28, 37, 48, 200, 1024):
                host.number = host.number % 65535 + 1
                payload = rng.integers(256, size=size, dtype=np.uint8).tobytes()
                board.exchange(frame(host.session, host.number, op, payload))
        host.hello()
        host.arm()
        codes = set()
        for _ in range(300):  # sequences of random items
            items = b"".join(
                bytes([rng.choice((0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x23, 0x24, 0x30,
                                   0x31, 0x40))])
                + rng.integers(6, size=int(rng.choice((4, 5, 6, 8, 12))), dtype=np.uint8).tobytes()
                for _ in range(int(rng.integers(1, 6)))
            )  # fmt: skip
            try:
                host.load(items)
                host.run(items)
                host.fetch(2)
            except Refused as refused:
                codes.add(refused.code)
        assert "BAD_SEQUENCE" in codes
        assert codes <= {"BAD_SEQUENCE", "LIMIT"}
    finally:
        board.close()
