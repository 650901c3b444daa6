"""What the pulses of a template share whose lines are switched on and off: all but the place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState, Phase
from hil.template import BlockTemplate

Number = TypeVar("Number", float, NDArray[np.float64])


def short(x: Number) -> Number:
    """Return ``x`` with 32 binary digits (Veltkamp's splitting), as the ledger's kernels do.

    Sums of a million such numbers are exact, so that they do not depend on what was summed when.
    """
    c = x * 2097153.0
    return c - (c - x)


@dataclass(frozen=True, slots=True)
class Alike:
    """What every pulse on a selected device of a template is; lines are switched on and off.

    Attributes:
        at: number of the count.
        positive: the sign of the device voltage.
        v2s, width_s, lines_s: ∫V²dt of one pulse, its time, and that of its driven lines; of 32
            binary digits, so that a million of them add up without rounding.
        row, col: (on V²·s, off V²·s, on s) of one pulse on a line of either side.
    """

    at: int
    positive: bool
    v2s: float
    width_s: float
    lines_s: float
    row: tuple[float, float, float]
    col: tuple[float, float, float]

    @classmethod
    def of(
        cls, template: BlockTemplate, plus: NDArray[np.int64], minus: NDArray[np.int64], at: int
    ) -> Alike | None:
        """Return what the pulses of ``template`` are, None where they are not all alike."""
        block = template.block
        width = block.width_s
        if width.ndim != 1 or np.ptp(width) or (block.repeat != 1).any() or not width[0]:
            return None
        if block.phase is Phase.ERASE or template.n_readings:
            return None
        off_v = np.zeros_like(block.level_v)
        if template.off_state is not None and template.off_level_v is not None:
            off_v = np.where(template.off_state == LineState.DRIVE, template.off_level_v, 0.0)
        on_v = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
        w, sides, levels = float(width[0]), [], []
        for lines in (plus, minus):
            chosen = block.selected[:, lines]
            on, off = np.unique(on_v[:, lines][chosen]), np.unique(off_v[:, lines])
            if on.size != 1 or off.size != 1 or (on_v[:, lines][~chosen] != off[0]).any():
                return None
            levels.append(float(on[0]))
            sides.append(
                (float(on[0] ** 2 * w), float(off[0] ** 2 * w), w if on[0] != 0.0 else 0.0)
            )
        v = levels[0] - levels[1]
        if v == 0.0:
            return None
        lines_s = short(sides[0][2]) + short(sides[1][2])
        return cls(at, v > 0.0, short(v * v * w), short(w), lines_s, sides[0], sides[1])
