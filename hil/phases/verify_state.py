"""What write-verify keeps of every cell while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.program import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class VerifyState:
    """State of every chosen cell, arrays of length n; ``outcome`` is empty while it is at work."""

    row: NDArray[np.int64]
    col: NDArray[np.int64]
    target: FloatArray
    g: FloatArray
    pulses: NDArray[np.int64]
    sign: NDArray[np.int64]  # direction of the last pulses, 0 = none yet
    held: NDArray[np.int64]  # pulses given since the ramp started
    step: FloatArray  # siemens per pulse last observed, 0 = not known
    burst: NDArray[np.int64]  # pulses given before the coming read
    mark_g: FloatArray  # conductance at the start of the window that decides about `stuck`
    low_g: FloatArray  # extremes read since then
    high_g: FloatArray
    mark_pulses: NDArray[np.int64]
    misreads: NDArray[np.int64]
    outcome: NDArray[np.str_]

    @classmethod
    def of(cls, mask: BoolArray, targets: FloatArray) -> VerifyState:
        """Return the state before the first read of the cells of ``mask``."""
        row, col = np.nonzero(mask)

        def zeros() -> NDArray[np.int64]:
            return np.zeros(row.size, dtype=np.int64)

        nan = np.full(row.size, np.nan)
        return cls(
            row, col, targets[row, col], nan, zeros(), zeros(), zeros(), np.zeros(row.size),
            zeros(), nan.copy(), nan.copy(), nan.copy(), zeros(), zeros(),
            np.full(row.size, "", dtype="<U10"),
        )  # fmt: skip
