"""Frames and sequences of the serial protocol, against its vectors and against plain decoders."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hil_drivers.serial_board.frames import Frame, FrameError, VersionError, crc16, pack, unpack
from hil_drivers.serial_board.sequence import Steps, encode
from hypothesis import given, settings
from hypothesis import strategies as st

VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs" / "serial-protocol-vectors.json").read_text()
)
GOOD = [pytest.param(vector, id=vector["what"]) for vector in VECTORS["good"]]
BAD = [pytest.param(vector, id=vector["what"]) for vector in VECTORS["bad"]]


def plain_crc16(raw):
    """CRC-16/CCITT-FALSE, bit by bit."""
    crc = 0xFFFF
    for byte in raw:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


def plain_cobs(raw):
    """COBS as Cheshire and Baker describe it, byte by byte."""
    out, group = bytearray(), bytearray()
    for byte in [*raw, 0]:
        if byte:
            group.append(byte)
            if len(group) == 254:
                out += b"\xff" + group
                group.clear()
                full = True
            else:
                full = False
        else:
            out += bytes([len(group) + 1]) + group
            group.clear()
            full = False
    del full
    return bytes(out)


@pytest.mark.parametrize("vector", GOOD)
def test_every_good_vector_encodes_to_and_decodes_from_its_bytes(vector):
    frame = Frame(
        vector["session"], vector["number"], vector["op"], bytes.fromhex(vector["payload"])
    )
    wire = bytes.fromhex(vector["wire"])
    assert pack(frame) == b"\0" + wire
    assert unpack(wire[:-1]) == frame


@pytest.mark.parametrize("vector", GOOD)
def test_the_good_vectors_are_those_of_a_plain_encoder(vector):
    payload = bytes.fromhex(vector["payload"])
    head = (vector["session"], vector["number"], vector["op"], len(payload))
    raw = struct.pack("<BIHBH", 1, *head) + payload
    raw += struct.pack("<H", plain_crc16(raw))
    wire = bytes.fromhex(vector["wire"])
    assert wire[-1] == 0
    assert 0 not in wire[:-1]
    if len(raw) < 254:  # of longer ones encoders differ in a last empty group
        assert wire == plain_cobs(raw) + b"\0"


@pytest.mark.parametrize("vector", BAD)
def test_every_bad_vector_is_dropped_whole(vector):
    *parts, rest = bytes.fromhex(vector["wire"]).split(b"\0")
    assert rest == b""
    for part in parts:
        with pytest.raises(FrameError) as caught:
            unpack(part)
        assert isinstance(caught.value, VersionError) == ("BAD_VERSION" in vector["what"])


def test_the_checks_are_the_ones_that_the_vectors_name():
    assert f"{crc16(b'123456789'):04x}" == VECTORS["checks"]["crc16_of_123456789"]
    assert f"{zlib.crc32(b'123456789'):08x}" == VECTORS["checks"]["crc32_of_123456789"]


@given(st.binary(max_size=600), st.integers(0, 2**32 - 1), st.integers(0, 65535))
@settings(max_examples=50, deadline=None)
def test_any_payload_comes_back_and_holds_no_delimiter(payload, session, number):
    frame = Frame(session, number, 0x23, payload)
    coded = pack(frame)
    assert coded[:1] == coded[-1:] == b"\0"
    assert 0 not in coded[1:-1]
    assert unpack(coded[1:-1]) == frame


def test_a_flipped_bit_at_any_place_of_a_frame_is_noticed():
    coded = pack(Frame(0xC0FFEE42, 7, 0x10, bytes(range(40))))[1:-1]
    for bit in range(8 * len(coded)):
        flipped = bytearray(coded)
        flipped[bit // 8] ^= 1 << bit % 8
        for part in bytes(flipped).split(b"\0"):
            with pytest.raises(FrameError):
                unpack(part)


def test_lost_doubled_and_swapped_bytes_are_noticed():
    coded = pack(Frame(0xC0FFEE42, 7, 0x10, bytes(range(1, 41))))[1:-1]
    for k in range(len(coded)):
        swapped = coded[:k] + coded[k : k + 2][::-1] + coded[k + 2 :]
        for changed in (coded[:k] + coded[k + 1 :], coded[: k + 1] + coded[k:], swapped):
            if changed != coded and len(set(coded[k : k + 2])) == 2:
                with pytest.raises(FrameError):
                    unpack(changed)


# -- sequences -----------------------------------------------------------------------------


def played(code, n_lines):
    """Return the steps that a board would drive, by section 6 of the page."""
    sizes = {0: "<f4", 1: "<u4", 2: "<f4"}
    registers = {
        0: np.zeros(n_lines, "<f4"), 1: np.zeros(n_lines, "<u4"),
        2: np.full(n_lines, np.inf, "<f4"), 3: np.ones(n_lines, np.uint8),
        4: np.zeros(n_lines, np.uint8),
    }  # fmt: skip
    times, sensing, steps, at = (0, 0, 0), (0.0, 0, 0), [], 0
    while at < len(code):
        tag, at = code[at], at + 1
        if tag == 0x30:
            times, at = struct.unpack_from("<III", code, at), at + 12
        elif tag == 0x31:
            sensing, at = struct.unpack_from("<fII", code, at), at + 12
        elif tag == 0x40:
            (repeat,), at = struct.unpack_from("<I", code, at), at + 4
            steps.append(({r: v.copy() for r, v in registers.items()}, times, sensing, repeat))
        else:
            kind, r = tag & 0xF0, tag & 0x0F
            (first, count), at = struct.unpack_from("<HH", code, at), at + 4
            assert count > 0
            assert first + count <= n_lines
            size = (4 if r < 3 else 1) if kind == 0x10 else -(-count * {3: 2, 4: 1}.get(r, 32) // 8)
            body, at = code[at : at + size], at + size
            assert len(body) == size
            if r < 3:
                registers[r][first : first + count] = np.frombuffer(body, sizes[r])
            elif kind == 0x10:
                registers[r][first : first + count] = body[0]
            else:
                bits = 5 - r if r == 3 else 1
                mask = (1 << bits) - 1
                for k in range(count):
                    registers[r][first + k] = body[k * bits // 8] >> k * bits % 8 & mask
    return steps


def drawn(rng, n_steps, n_lines, per_line, few):
    """Return random steps; ``few`` = few lines differ from one step to the next."""
    state = rng.integers(0, 3, (n_steps, n_lines)).astype(np.uint8)
    sense = rng.integers(0, 2, (n_steps, n_lines)).astype(np.uint8)
    level = rng.choice([0.0, 0.5, -0.5, 0.1], (n_steps, n_lines)).astype(np.float32)
    width = rng.integers(1, 4, (n_steps, n_lines) if per_line else n_steps).astype(np.uint32) * 100
    if few:
        for k in range(1, n_steps):
            keep = rng.random(n_lines) < 0.9
            for rows in (state, sense, level, *((width,) if per_line else ())):
                rows[k, keep] = rows[k - 1, keep]
    compliance = rng.choice([np.inf, 1e-3], n_lines).astype(np.float32)
    return Steps(
        state, sense, level, width, rng.integers(0, 3, (n_steps, 3)).astype(np.uint32) * 10,
        rng.integers(0, 5, n_steps).astype(np.uint32), compliance, 1e-4, 100, 0,
    )  # fmt: skip


@pytest.mark.parametrize("few", [False, True], ids=["many-change", "few-change"])
@pytest.mark.parametrize("per_line", [False, True], ids=["one-width", "line-widths"])
@pytest.mark.parametrize("seed", range(8))
def test_a_sequence_drives_the_steps_that_it_was_made_of(seed, per_line, few):
    rng = np.random.default_rng(seed)
    n_lines = int(rng.integers(1, 70))
    steps = drawn(rng, 12, n_lines, per_line, few)
    found = played(encode(steps), n_lines)
    assert len(found) == 12
    for k, (registers, times, sensing, repeat) in enumerate(found):
        driven = steps.state[k] == 2
        assert (registers[3] == steps.state[k]).all()
        assert (registers[4] == steps.sense[k]).all()
        assert (registers[0] == steps.level[k])[driven].all()
        assert (registers[1] == steps.width[k]).all()
        assert (registers[2] == steps.compliance).all()
        assert times == tuple(steps.times[k])
        assert sensing == (np.float32(1e-4), 100, 0)
        assert repeat == steps.repeat[k]


def test_a_line_driven_to_0_v_again_is_not_left_at_its_former_level():
    state = np.array([[2], [1], [2]], np.uint8)
    level = np.array([[0.5], [0.0], [0.0]], np.float32)
    steps = Steps(
        state, np.zeros_like(state), level, np.full(3, 100, np.uint32), np.zeros((3, 3), np.uint32),
        np.ones(3, np.uint32), np.full(1, np.inf, np.float32),
    )  # fmt: skip
    assert [registers[0][0] for registers, *_ in played(encode(steps), 1)] == [0.5, 0.5, 0.0]


def test_the_vector_of_a_sequence_plays_as_it_says():
    vector = VECTORS["sequence"]
    code = bytes.fromhex(vector["bytes"])
    assert f"{zlib.crc32(code):08x}" == vector["crc32"]
    found = played(code, vector["lines"])
    assert len(found) == vector["steps"]
    assert sum(int(r[4].sum()) * repeat for r, _, _, repeat in found) == vector["readings"]
    took = sum((int(r[1].max()) + (t[0] + t[1]) // 2 + t[2]) * repeat for r, t, _, repeat in found)
    assert took == vector["duration_ns"]
    assert found[0][0][0][:4] == pytest.approx([0.1, 0.2, 0.0, -0.1])
    assert found[0][0][3].tolist() == [2, 2, 2, 2, 1, 1, 1, 1]
    assert found[1][0][3].tolist() == [2, 2, 1, 2, 1, 1, 1, 1]


def test_a_step_in_which_few_lines_change_costs_few_bytes():
    n_steps, n_lines = 100, 128
    state = np.ones((n_steps, n_lines), np.uint8)
    level = np.zeros((n_steps, n_lines), np.float32)
    steps_, rows = np.arange(n_steps), np.arange(n_steps) % 64
    state[steps_, rows] = 2
    level[steps_, rows] = 0.5
    steps = Steps(
        state, np.zeros_like(state), level, np.full(n_steps, 100, np.uint32),
        np.zeros((n_steps, 3), np.uint32), np.ones(n_steps, np.uint32),
        np.full(n_lines, np.inf, np.float32),
    )  # fmt: skip
    assert len(encode(steps)) < 32 * n_steps
