"""Frames of the serial protocol: COBS, header, CRC-16 (docs/serial-protocol.md, section 1)."""

from __future__ import annotations

import struct
from binascii import crc_hqx
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cobs import cobs

VERSION: Final = 1
HEADER: Final = struct.Struct("<BIHBH")  # version, session, number, op, length
_CRC = struct.Struct("<H")
_SMALLEST: Final = HEADER.size + _CRC.size
REPLY, ERROR, DATA = 0x80, 0xC0, 0x40
IDN: Final = b"*IDN?"


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact frame; ``crc`` is that of its bytes."""

    session: int
    number: int
    op: int
    payload: bytes
    crc: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """What arrived between two delimiters and is no frame; ``version`` where only that is wrong."""

    version: int | None = None


@dataclass(frozen=True, slots=True)
class Identify:
    """The text ``*IDN?`` came instead of a frame."""


Arrival = Frame | Damaged | Identify


def encode(
    session: int, number: int, op: int, payload: bytes = b"", version: int = VERSION
) -> bytes:
    """Return a frame as sent, delimiter included."""
    body = HEADER.pack(version, session, number, op, len(payload)) + payload
    encoded: bytes = cobs.encode(body + _CRC.pack(crc_hqx(body, 0xFFFF)))
    return encoded + b"\0"


def decode(encoded: bytes, spoken: int = VERSION) -> Frame | Damaged:
    """Return the frame that ``encoded`` (without delimiter) holds."""
    try:
        body = cobs.decode(encoded)
    except cobs.DecodeError:
        return Damaged()
    if len(body) < _SMALLEST:
        return Damaged()
    (crc,) = _CRC.unpack_from(body, len(body) - 2)
    if crc_hqx(body[:-2], 0xFFFF) != crc:
        return Damaged()
    version, session, number, op, length = HEADER.unpack_from(body)
    if version != spoken:
        return Damaged(version)
    if length != len(body) - _SMALLEST:
        return Damaged()
    return Frame(session, number, op, body[HEADER.size : -2], crc)


class Receiver:
    """Cuts a stream of bytes into what arrives: frames, damage, text.

    Args:
        max_payload: a frame with a longer one is damage; so are more bytes without a delimiter.
    """

    def __init__(self, max_payload: int, version: int = VERSION) -> None:
        self._version = version
        largest = _SMALLEST + max_payload
        self._most = largest + largest // 254 + 1
        self._pending = bytearray()
        self._text_from = 0
        self._overflow = False

    def reset(self) -> None:
        """Forget what has come of a frame."""
        self._pending.clear()
        self._text_from, self._overflow = 0, False

    def feed(self, chunk: bytes) -> Iterator[Arrival]:
        """Yield what is complete with ``chunk``."""
        pieces = chunk.split(b"\0")
        for k, piece in enumerate(pieces):
            self._pending += piece
            if b"\n" in piece:
                yield from self._text()
            if len(self._pending) > self._most:
                self._overflow = True
                del self._pending[: -len(IDN) - 2]
                self._text_from = 0
            if k == len(pieces) - 1:
                return
            if self._overflow:
                self.reset()
                yield Damaged()
            elif self._pending:
                encoded = bytes(self._pending)
                self.reset()
                yield decode(encoded, self._version)

    def _text(self) -> Iterator[Identify]:
        """Yield an Identify for each line that is one.

        What has come since the delimiter is kept, as it may be a frame, unless it is that line.
        """
        while (end := self._pending.find(b"\n", self._text_from)) >= 0:
            line = bytes(self._pending[self._text_from : end])
            if line in (IDN, IDN + b"\r"):
                yield Identify()
                if self._text_from == 0 and not self._overflow:
                    del self._pending[: end + 1]
                    continue
            self._text_from = end + 1
