"""Frames on the wire: COBS, header, CRC-16/CCITT-FALSE. See docs/serial-protocol.md, section 1."""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from typing import Final

from cobs import cobs

VERSION: Final = 1
REPLY, PART, ERROR = 0x80, 0x40, 0xC0  #: added to an op by a reply, a data frame, an error

_HEADER: Final = struct.Struct("<BIHBH")
_CRC: Final = struct.Struct("<H")
OVERHEAD: Final = _HEADER.size + _CRC.size


class FrameError(ValueError):
    """Bytes that are no frame: damaged, or of another version."""


class VersionError(FrameError):
    """An intact frame of another version."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``op`` includes what marks it as a reply."""

    session: int
    number: int
    op: int
    payload: bytes = b""


def crc16(raw: bytes) -> int:
    """Return the CRC-16/CCITT-FALSE of bytes."""
    return binascii.crc_hqx(raw, 0xFFFF)


def pack(frame: Frame) -> bytes:
    """Return the frame as it goes over the wire, with a delimiter before and after it."""
    head = _HEADER.pack(VERSION, frame.session, frame.number, frame.op, len(frame.payload))
    raw = head + frame.payload
    coded: bytes = cobs.encode(raw + _CRC.pack(crc16(raw)))
    return b"\0" + coded + b"\0"


def unpack(coded: bytes) -> Frame:
    """Return the frame between two delimiters.

    Raises:
        FrameError: with the reason.
    """
    try:
        raw: bytes = cobs.decode(coded)
    except cobs.DecodeError as exc:
        raise FrameError(f"no COBS: {exc}") from exc
    if len(raw) < OVERHEAD:
        raise FrameError(f"{len(raw)} bytes are fewer than the {OVERHEAD} of an empty frame")
    if crc16(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
        raise FrameError("wrong crc")
    version, session, number, op, length = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise VersionError(f"speaks version {version} of the protocol instead of {VERSION}")
    if length != len(raw) - OVERHEAD:
        raise FrameError(f"length {length}, but {len(raw) - OVERHEAD} bytes of payload")
    return Frame(session, number, op, raw[_HEADER.size : -2])
