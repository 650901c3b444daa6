"""Measurement blocks: columns, one row per reading, in the order taken."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil._quick import quickly_made
from hil.program import PulseBlock


class Status(IntFlag):
    """Bits of a reading's or pulse's status; NaN never encodes a state, these do."""

    OK = 0
    I_COMPLIANCE = 1 << 0
    V_COMPLIANCE = 1 << 1
    OVERFLOW = 1 << 2
    UNPARSABLE = 1 << 3
    TIMEOUT = 1 << 4
    READ_RETRIED = 1 << 5
    RECONCILED = 1 << 6
    COUNT_UNKNOWN = 1 << 7
    VERIFY_FAILED = 1 << 8
    INTERLOCK = 1 << 9
    SIMULATED = 1 << 10
    SUSPECT_LINK = 1 << 11


#: column -> (dtype, unit, meaning); the recorder writes units and meanings into the file.
COLUMNS: Final[dict[str, tuple[type[np.generic], str, str]]] = {
    "step": (np.int32, "", "step within the block"),
    "line": (np.int16, "", "sensed line"),
    "pulse": (np.uint32, "", "ordinal of the pulse within the step's repeats"),
    "t_ns": (np.int64, "ns", "start of the pulse on the backend's monotonic clock"),
    "level_v": (np.float32, "V", "level delivered on the sensed line, after quantisation"),
    "width_s": (np.float32, "s", "step width delivered, over which the current is averaged"),
    "current_a": (np.float64, "A", "mean current into the array through the line (charge / width)"),
    "range_a": (np.float32, "A", "measuring range; NaN = none"),
    "executed": (np.uint32, "", "pulses of the step known to have run"),
    "status": (np.uint32, "bits", "Status bits"),
}


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class MeasurementBlock:
    """Readings of one pulse block, see :data:`COLUMNS`.

    The sign of ``current_a``: positive flows from the line's source into the array. Readings are
    ordered by step, then by pulse, then by line. ``t_ns`` rises strictly from pulse to pulse; lines
    sensed in parallel share the start of their pulse.
    """

    step: NDArray[np.int32]
    line: NDArray[np.int16]
    pulse: NDArray[np.uint32]
    t_ns: NDArray[np.int64]
    level_v: NDArray[np.float32]
    width_s: NDArray[np.float32]
    current_a: NDArray[np.float64]
    range_a: NDArray[np.float32]
    executed: NDArray[np.uint32]
    status: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.step)

    @classmethod
    def empty(cls, n_readings: int = 0) -> MeasurementBlock:
        """Return a block of ``n_readings`` uninitialised rows for a backend to write into."""
        return cls(*(np.empty(n_readings, dtype=dtype) for dtype, _, _ in COLUMNS.values()))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def reading_index(
    block: PulseBlock,
) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.uint32]]:
    """Return (step, line, pulse) of every reading that ``block`` promises, in order."""
    pair_step, pair_line = np.divmod(np.flatnonzero(block.sense), max(block.n_lines, 1))
    sensed = np.bincount(pair_step, minlength=block.n_steps)
    count = sensed * block.repeat
    step = np.repeat(np.arange(block.n_steps), count)
    within = np.arange(step.size) - np.repeat(np.cumsum(count) - count, count)
    pulse, rank = np.divmod(within, sensed[step])
    line = pair_line[(np.cumsum(sensed) - sensed)[step] + rank]
    return step.astype(np.int32), line.astype(np.int16), pulse.astype(np.uint32)
