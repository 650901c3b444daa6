"""Numbers and layouts of the serial protocol (docs/serial-protocol.md, sections 4 and 5)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray


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
    """State of the board in a status block."""

    SAFE = 0
    ARMED = 1
    RUNNING = 2
    DONE = 3
    STOPPED = 4


class Why(IntEnum):
    """Why a board is not armed, or has stopped."""

    NONE = 0
    ASKED = 1
    WATCHDOG = 2
    LINK = 3
    NO_TRIGGER = 4
    HARDWARE = 5


class Refused(Exception):
    """A request is answered with an error."""

    def __init__(self, code: Code, detail: int = 0, text: str = "") -> None:
        super().__init__(text)
        self.code, self.detail, self.text = code, detail, text


#: Bits of a status; the rest of :class:`hil.measurement.Status` does not go over the wire.
LIMITED, OVER_RANGE, INTERLOCK, SIMULATED = 0x0001, 0x0004, 0x0200, 0x0400
ALL: Final = 0xFFFFFFFF

HELLO_REPLY = struct.Struct("<IIHHHHIfffIIIIffffIIIII")
ARM = struct.Struct("<ffIf")
ERROR_HEAD = struct.Struct("<HI")
PULSE = struct.Struct("<HHfIIIIIfBI")
PULSE_REPLY = struct.Struct("<fIIH")
READ = struct.Struct("<HHfIIIfI")
MATRIX = struct.Struct("<HHHHfIIIIIIffI")
MATRIX_HEAD = struct.Struct("<HHHIIf")
LOAD_HEAD = struct.Struct("<IIB")
LOAD_REPLY = struct.Struct("<IIQIfI")
RUN = struct.Struct("<IIBI")
RUN_REPLY = struct.Struct("<IQ")
STATUS = struct.Struct("<BBHIIBHIIH")
FETCH = struct.Struct("<BII")
FETCH_HEAD = struct.Struct("<IH")
SUM = struct.Struct("<II")

READING = np.dtype([
    ("current", "<f4"), ("level", "<f4"), ("range", "<f4"), ("width", "<u4"), ("t", "<u4"),
    ("line", "<u2"), ("status", "<u2"),
])  # fmt: skip
CELL = np.dtype([("current", "<f4"), ("range", "<f4"), ("status", "<u2")])


def single(value: float) -> float:
    """Return ``value`` as an f32 holds it."""
    return float(np.float32(value))


def singles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` as f32 hold them."""
    return values.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Features:
    """What a board is and can: what it says to HELLO. Volts, amperes, nanoseconds."""

    rows: int
    cols: int
    lines: int
    identity: str
    can: Can = Can(0x000F) | Can.SIMULATED
    max_payload: int = 8192
    level_step: float = 0.0005
    low_code: int = -20000
    high_code: int = 20000
    width_min: int = 100
    width_max: int = 1_000_000_000
    time_step: int = 10
    edge_max: int = 1_000_000
    compliance_min: float = single(1e-9)
    compliance_max: float = single(1e-2)
    current_max: float = single(1e-2)
    current_step: float = 1e-9
    seq_bytes: int = 1 << 18
    max_steps: int = 4096
    max_readings: int = 65536
    max_run: int = 2_000_000_000

    @property
    def level_min(self) -> float:
        """Lowest level in volts."""
        return self.low_code * self.level_step

    @property
    def level_max(self) -> float:
        """Highest level in volts."""
        return self.high_code * self.level_step

    def hello(self, challenge: int, boot: int, watchdog_ms: int, identity: str) -> bytes:
        """Return the payload of the reply to HELLO."""
        limits_current = bool(self.can & Can.COMPLIANCE)
        return HELLO_REPLY.pack(
            challenge, boot, self.max_payload, self.rows, self.cols, self.lines, self.can,
            self.level_min, self.level_max, self.level_step, self.width_min, self.width_max,
            self.time_step, self.edge_max, self.compliance_min if limits_current else 0.0,
            self.compliance_max if limits_current else 0.0, self.current_max,
            self.current_step, self.seq_bytes, self.max_steps, self.max_readings,
            self.max_run, watchdog_ms,
        ) + identity.encode()[:128]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Armed:
    """Limits of ARM in force; infinite or ``ALL`` = the board's own."""

    level_min: float = -math.inf
    level_max: float = math.inf
    width_max: int = ALL
    compliance_max: float = math.inf
