"""Payloads of the framed protocol: ops, error codes, and records. See docs/serial-protocol.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Final

import numpy as np

from hil.errors import LinkError


class Op(IntEnum):
    """Requests."""

    HELLO = 0x01
    PING = 0x02
    ARM = 0x03
    SAFE = 0x04
    WDOG = 0x05
    ERR = 0x06
    TRIG = 0x07
    PULSE = 0x10
    READ = 0x11
    READ_MATRIX = 0x12
    SEQ_LOAD = 0x20
    SEQ_RUN = 0x21
    SEQ_STATUS = 0x22
    FETCH = 0x23


class Code(IntEnum):
    """Errors."""

    BAD_FRAME = 1
    BAD_VERSION = 2
    NO_SESSION = 3
    BAD_NUMBER = 4
    CONFLICT = 5
    BAD_OP = 6
    BAD_LENGTH = 7
    RANGE = 8
    LIMIT = 9
    UNARMED = 10
    BUSY = 11
    BAD_SEQUENCE = 12
    NOT_LOADED = 13
    UNSUPPORTED = 14
    CHECKSUM = 15
    HARDWARE = 16


class Can(IntFlag):
    """Capability bits."""

    FLOAT = 0x0001
    LINE_WIDTH = 0x0002
    PARALLEL_SENSE = 0x0004
    COMPLIANCE = 0x0008
    TRIG_OUT = 0x0010
    TRIG_IN = 0x0020
    SIMULATED = 0x0400


class State(IntEnum):
    """States of a board."""

    SAFE = 0
    ARMED = 1
    RUNNING = 2
    DONE = 3
    STOPPED = 4


#: Why a board is safe or stopped, by the reason's number.
REASONS: Final = {
    0: "no reason given", 1: "it was told to be safe", 2: "its watchdog was not fed",
    3: "it lost its link", 4: "no trigger came", 5: "a fault of its hardware",
}  # fmt: skip

ALL: Final = 0xFFFFFFFF  #: a count without end, a limit without bound
READINGS, LEVELS, STEPS = 0, 1, 2  #: kinds of FETCH

#: Readings, see section 5; cells of a READ_MATRIX frame, and the head before them.
READING: Final = np.dtype([
    ("current", "<f4"), ("level", "<f4"), ("range", "<f4"), ("width", "<u4"), ("t", "<u4"),
    ("line", "<u2"), ("status", "<u2"),
])  # fmt: skip
CELL: Final = np.dtype([("current", "<f4"), ("range", "<f4"), ("status", "<u2")])
RECORDS: Final = {READINGS: READING, LEVELS: np.dtype("<f4"), STEPS: np.dtype("<u2")}

CHALLENGE: Final = struct.Struct("<I")
ARM: Final = struct.Struct("<ffIf")
WDOG: Final = struct.Struct("<I")
MATRIX: Final = struct.Struct("<HHHHfIIIIIIff")
MATRIX_PART: Final = struct.Struct("<HHHIIf")
SEQ_LOAD: Final = struct.Struct("<IIB")
LOADED: Final = struct.Struct("<IIQIfI")
SEQ_RUN: Final = struct.Struct("<IIBI")
RUNNING: Final = struct.Struct("<IQ")
FETCH: Final = struct.Struct("<BII")
FETCH_PART: Final = struct.Struct("<IH")
STREAMED: Final = struct.Struct("<II")
CHECK: Final = struct.Struct("<I")
_ERROR: Final = struct.Struct("<HI")
_STATUS: Final = struct.Struct("<BBHIIBHIIH")
_HELLO: Final = struct.Struct("<IIHHHHIfffIIIIffffIIIII")
_LAST: Final = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """What a board says of itself; SI units, times in nanoseconds, see HELLO."""

    challenge: int
    boot: int
    max_payload: int
    rows: int
    cols: int
    lines: int
    can: int
    level_min_v: float
    level_max_v: float
    level_step_v: float
    width_min: int
    width_max: int
    time_step: int
    edge_max: int
    compliance_min_a: float
    compliance_max_a: float
    current_max_a: float
    current_step_a: float
    seq_bytes: int
    max_steps: int
    max_readings: int
    max_run: int
    watchdog_ms: int
    identity: str

    @classmethod
    def of(cls, payload: bytes, address: str) -> Hello:
        """Read a reply.

        Raises:
            LinkError: it is too short, or its values cannot be.
        """
        if len(payload) < _HELLO.size:
            raise LinkError(
                f"HELLO answered {len(payload)} bytes, fewer than {_HELLO.size}", address
            )
        numbers = _HELLO.unpack_from(payload)
        text = payload[_HELLO.size :].decode("utf-8", "replace")
        values: list[Any] = [_decimal(x) if isinstance(x, float) else x for x in numbers]
        values.append("".join(c for c in text if c.isprintable()))
        out = cls(*values)
        if not (
            out.rows > 0 and out.cols > 0 and out.lines >= out.rows + out.cols
            and out.level_min_v <= 0.0 <= out.level_max_v and out.level_step_v >= 0.0
            and 0 < out.width_min <= out.width_max and out.time_step > 0
            and out.max_payload >= 256 and out.seq_bytes > 0 and out.max_steps > 0
            and out.max_run > 0
            and out.compliance_min_a >= 0.0 and out.current_max_a >= 0.0
            and out.current_step_a >= 0.0
        ):  # fmt: skip
            raise LinkError(f"HELLO answered limits that cannot be: {out}", address)
        return out


def _decimal(value: float) -> float:
    """Return the decimal number that was meant: 0.0005 and not 0.000500000024."""
    return float(str(np.float32(value)))


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """The status block."""

    state: int
    reason: int
    number: int
    steps: int
    pulses: int
    in_pulse: int
    status: int
    readings: int
    limited_step: int
    limited_line: int

    @classmethod
    def of(cls, payload: bytes, address: str) -> BoardStatus:
        """Read a status block; LinkError when it is none."""
        if len(payload) != _STATUS.size:
            raise LinkError(f"{len(payload)} bytes are no status of {_STATUS.size}", address)
        return cls(*_STATUS.unpack(payload))

    @property
    def why(self) -> str:
        """The reason in words."""
        return REASONS.get(self.reason, f"reason {self.reason}")


def error_of(payload: bytes) -> tuple[int, int, str]:
    """Return (code, detail, text) of an error reply; code 0 when it holds none."""
    if len(payload) < _ERROR.size:
        return 0, 0, "an error without a code"
    code, detail = _ERROR.unpack_from(payload)
    text = payload[_ERROR.size :].decode("utf-8", "replace")
    return code, detail, "".join(c for c in text if c.isprintable())


def code_name(code: int) -> str:
    """Return the name of an error code."""
    return Code(code).name if code in Code._value2member_map_ else f"code {code}"
