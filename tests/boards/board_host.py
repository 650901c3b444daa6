"""A small host for the framed protocol, written for the tests from docs/serial-protocol.md."""

from __future__ import annotations

import struct
import time
import zlib
from binascii import crc_hqx

import numpy as np
import pytest
from cobs import cobs

HELLO, PING, ARM, SAFE, WDOG, ERR, TRIG = 1, 2, 3, 4, 5, 6, 7
PULSE, READ, READ_MATRIX = 0x10, 0x11, 0x12
SEQ_LOAD, SEQ_RUN, SEQ_STATUS, FETCH = 0x20, 0x21, 0x22, 0x23
CODES = dict(enumerate(
    ("", "BAD_FRAME", "BAD_VERSION", "NO_SESSION", "BAD_NUMBER", "CONFLICT", "BAD_OP", "BAD_LENGTH",
     "RANGE", "LIMIT", "UNARMED", "BUSY", "BAD_SEQUENCE", "NOT_LOADED", "UNSUPPORTED", "CHECKSUM",
     "HARDWARE")))  # fmt: skip
READING = np.dtype([
    ("current", "<f4"), ("level", "<f4"), ("range", "<f4"), ("width", "<u4"), ("t", "<u4"),
    ("line", "<u2"), ("status", "<u2"),
])  # fmt: skip
CELL = np.dtype([("current", "<f4"), ("range", "<f4"), ("status", "<u2")])
HELLO_FIELDS = [
    "challenge",
    "boot",
    "max_payload",
    "rows",
    "cols",
    "lines",
    "can",
    "level_min",
    "level_max",
    "level_step",
    "width_min",
    "width_max",
    "time_step",
    "edge_max",
    "compliance_min",
    "compliance_max",
    "current_max",
    "current_step",
    "seq_bytes",
    "max_steps",
    "max_readings",
    "max_run",
    "watchdog",
]
STATUS_FIELDS = [
    "state",
    "reason",
    "number",
    "steps",
    "pulses",
    "in_pulse",
    "status",
    "readings",
    "limited_step",
    "limited_line",
]
ALL = 0xFFFFFFFF


class Refused(Exception):
    """The board answered with an error; ``code`` is its name."""

    def __init__(self, code, detail, text):
        super().__init__(f"{CODES.get(code, code)} {detail} {text}")
        self.code, self.detail, self.text = CODES.get(code, str(code)), detail, text


class NoAnswer(Exception):
    """Nothing (intact) came within all tries."""


def frame(session, number, op, payload=b"", version=1):
    body = struct.pack("<BIHBH", version, session, number, op, len(payload)) + payload
    return cobs.encode(body + struct.pack("<H", crc_hqx(body, 0xFFFF))) + b"\0"


def unframe(encoded):
    """Return (session, number, op, payload), None for what is damaged."""
    try:
        body = cobs.decode(encoded)
    except cobs.DecodeError:
        return None
    if len(body) < 12 or crc_hqx(body[:-2], 0xFFFF) != int.from_bytes(body[-2:], "little"):
        return None
    version, session, number, op, length = struct.unpack_from("<BIHBH", body)
    if version != 1 or length != len(body) - 12:
        return None
    return session, number, op, body[10:-2]


def status_of(block):
    return dict(zip(STATUS_FIELDS, struct.unpack("<BBHIIBHIIH", block), strict=True))


def fill(register, first, count, value):
    layout = "<BHH" + ("f", "I", "f", "B", "B")[register]
    return struct.pack(layout, 0x10 + register, first, count, value)


def step(repeat=1):
    return b"\x40" + struct.pack("<I", repeat)


def simple(level=0.2, width=1000, repeat=1):
    """Drive all rows of a 4 x 4 array and sense the columns."""
    return (fill(0, 0, 4, level) + fill(3, 0, 4, 2) + fill(1, 0, 8, width) + fill(4, 4, 4, 1)
            + step(repeat))  # fmt: skip


class Host:
    """Talks to a board.

    Args:
        exchange: ``exchange(bytes, patience_s) -> bytes`` sends and returns what has come since,
            nothing when the line is silent for ``patience_s``.
    """

    def __init__(self, exchange, *, patience_s=1.0, tries=3):
        self.exchange, self.patience_s, self.tries = exchange, patience_s, tries
        self.session, self.number = 0, 0
        self.buffer = bytearray()
        self.resent = 0

    def frames(self, data):
        self.buffer += data
        *whole, rest = bytes(self.buffer).split(b"\0")
        self.buffer[:] = rest
        return [f for piece in whole if piece and (f := unframe(piece)) is not None]

    def request(self, op, payload=b"", *, number=None, stream=False):
        """Return the reply's payload (with ``stream`` and those of its data frames)."""
        if number is None:
            self.number = number = self.number % 65535 + 1
        sent = b"\0" + frame(self.session, number, op, payload)
        for attempt in range(self.tries):
            self.resent += attempt > 0
            reply = self._attempt(sent, number, op)
            if reply is None:
                continue
            kind, body, parts = reply
            if kind == op | 0xC0:
                code, detail = struct.unpack_from("<HI", body)
                raise Refused(code, detail, body[6:].decode())
            return (body, parts) if stream else body
        raise NoAnswer(f"op {op:#x}")

    def _attempt(self, sent, number, op):
        parts, data, silent = [], sent, False
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            came = self.exchange(data, self.patience_s)
            data = b""
            if not came and silent:
                return None
            silent = not came
            for session, got, kind, body in self.frames(came):
                if got == 0 and kind == 0xC0:
                    return None  # damaged on its way: send it again
                if op == HELLO and kind == HELLO | 0x80:
                    return kind, body, session
                if session != self.session or got != number:
                    continue
                if kind == op | 0x40:
                    parts.append(body)
                elif kind in (op | 0x80, op | 0xC0):
                    return kind, body, parts
        return None

    def hello(self, challenge=0x12345678):
        """Begin a session; return what the board says."""
        self.session, self.number = 0, 0
        sent = b"\0" + frame(0, 0, HELLO, struct.pack("<I", challenge))
        for _ in range(self.tries):
            reply = self._attempt(sent, 0, HELLO)
            if reply is not None and struct.unpack_from("<I", reply[1])[0] == challenge:
                _, body, self.session = reply
                fields = struct.unpack_from("<IIHHHHIfffIIIIffffIIIII", body)
                return dict(zip(HELLO_FIELDS, fields, strict=True)) | {
                    "identity": body[84:].decode()
                }
        raise NoAnswer("HELLO")

    def arm(self, low=-np.inf, high=np.inf, width=ALL, limit=np.inf):
        return struct.unpack(
            "<ffIf", self.request(ARM, struct.pack("<ffIf", low, high, width, limit))
        )

    def status(self):
        return status_of(self.request(SEQ_STATUS))

    def safe(self):
        return status_of(self.request(SAFE))

    def load(self, items, size=240):
        """Load a whole sequence; return the reply's fields."""
        for at in range(0, len(items), size):
            last = at + size >= len(items)
            body = self.request(
                SEQ_LOAD, struct.pack("<IIB", at, len(items), last) + items[at : at + size]
            )
        return struct.unpack("<IIQIfI", body)

    def run(self, items):
        return struct.unpack(
            "<IQ", self.request(SEQ_RUN, struct.pack("<IIBI", len(items), zlib.crc32(items), 0, 0))
        )

    def fetch(self, kind=0, first=0, count=ALL):
        """Return (records, status block)."""
        dtype = (READING, np.dtype("<f4"), np.dtype("<u2"))[kind]
        for _ in range(self.tries):
            body, parts = self.request(FETCH, struct.pack("<BII", kind, first, count), stream=True)
            records, expected = b"", first
            for part in parts:
                at, n = struct.unpack_from("<IH", part)
                if at == first:
                    records, expected = b"", first
                if at == expected and len(part) == 6 + n * dtype.itemsize:
                    records, expected = records + part[6:], expected + n
            n, check = struct.unpack_from("<II", body)
            if n * dtype.itemsize == len(records) and zlib.crc32(records) == check:
                return np.frombuffer(records, dtype=dtype), status_of(body[8:])
        raise NoAnswer("a stream with gaps")

    def pulse(self, row, col, level, width=100_000, count=1, scheme=1, *, gap=1000, limit=np.inf):
        """Return (delivered level, width, executed, status)."""
        body = struct.pack("<HHfIIIIIfB", row, col, level, width, 0, 0, gap, count, limit, scheme)
        return struct.unpack(
            "<fIIH", self.request(PULSE, body + struct.pack("<I", zlib.crc32(body)))
        )

    def read(self, row, col, level=0.2, width=1_000_000):
        body = struct.pack("<HHfIIIf", row, col, level, width, 0, 0, 0.0)
        reply = self.request(READ, body + struct.pack("<I", zlib.crc32(body)))
        return np.frombuffer(reply, dtype=READING)[0]

    def matrix(self, rows, cols, level=0.2, width=1_000_000):
        """Return (rows, cols) cells."""
        body = struct.pack(
            "<HHHHfIIIIIIff", 0, rows, 0, cols, level, width, 0, 0, 1000, 0, 0, 0.0, np.inf
        )
        sent = body + struct.pack("<I", zlib.crc32(body))
        reply, parts = self.request(READ_MATRIX, sent, stream=True)
        out = np.zeros((rows, cols), dtype=CELL)
        raw = b""
        for part in parts:
            row, col, n = struct.unpack_from("<HHH", part)
            out[row, col : col + n] = np.frombuffer(part[18:], dtype=CELL)
            raw += part[18:]
        assert struct.unpack_from("<II", reply) == (rows * cols, zlib.crc32(raw))
        return out


def answers(board, data):
    """Send bytes; return the frames that come back, as (session, number, op, payload)."""
    return [unframe(piece) for piece in board.exchange(data).split(b"\0") if piece]


def refusal(host, *request, **options):
    """Make a request that must be refused; return its code and detail."""
    with pytest.raises(Refused) as caught:
        host.request(*request, **options)
    return caught.value.code, caught.value.detail
