"""Settings and outcomes of write-verify, and the check of its targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import ProtocolError
from hil.procedure import ArrayContext
from hil.program import BoolArray, FloatArray

Strategy = Literal["fixed", "ispp", "width"]
_START = {"fixed": 1.0, "ispp": 0.7, "width": 0.25}
_STOP = {"fixed": 1.0, "ispp": 1.5, "width": 10.0}


class Outcome(StrEnum):
    """How a cell ended.

    ``limit``: its next pulse would exceed a safety limit. ``stuck``: pulses
    did not move it, or it could not be read. ``skipped``: not asked for, or dead.
    """

    OK = "ok"
    MAX_PULSES = "max_pulses"
    STUCK = "stuck"
    LIMIT = "limit"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class WriteVerify:
    """Settings of write-verify.

    Attributes:
        tolerance_fraction: allowed |g − target| as a part of the conductance window;
        tolerance_siemens: the same in siemens, in its place.
        max_pulses: write pulses per cell before it is given up.
        strategy: ``fixed``, ``ispp`` or ``width``.
        start_scale, stop_scale: first and last amplitude (``ispp``) or width (``width``) as a
            multiple of the operating point's; None = 0.7 … 1.5 and 0.25 … 10. ``fixed`` uses
            ``start_scale`` (1) throughout for its amplitude.
        step_v: rise of the amplitude in volts (``ispp``), None = 1 % of the nominal amplitude.
        width_factor: growth of the width (``width``).
        hold: pulses at each amplitude or width before the next; the ramp stays at its end.
        burst: most pulses between two reads (``fixed``; the ramps read after every pulse).
        stuck_after: pulses in one direction within which a cell has to move: by half of the
            tolerance on the way, or about by 1.5 tolerances in all.
        read_repeat: readings averaged by each verify.
        erase_first: block-erase all rows of the chosen cells before (three-terminal cells).
    """

    tolerance_fraction: float = 0.02
    tolerance_siemens: float | None = None
    max_pulses: int = 1000
    strategy: Strategy = "fixed"
    start_scale: float | None = None
    stop_scale: float | None = None
    step_v: float | None = None
    width_factor: float = 1.2
    hold: int = 4
    burst: int = 8
    stuck_after: int = 50
    read_repeat: int = 1
    erase_first: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise ProtocolError(
                f"{self.strategy!r} is none of {', '.join(get_args(Strategy))}", field="strategy"
            )
        for name in ("max_pulses", "hold", "burst", "stuck_after", "read_repeat"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"must be at least 1, got {getattr(self, name)}", field=name)
        for name in ("tolerance_fraction", "tolerance_siemens", "start_scale", "stop_scale",
                     "step_v"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ProtocolError(f"must be above 0, got {value:g}", field=name)
        if not self.width_factor > 1:
            raise ProtocolError(f"must be above 1, got {self.width_factor:g}", field="width_factor")
        first, last = self.scales
        if last < first:
            raise ProtocolError(
                f"the ramp ends at {last:g}, below its start {first:g}", field="stop_scale"
            )

    @property
    def scales(self) -> tuple[float, float]:
        """First and last multiple of the nominal amplitude or width."""
        start = _START[self.strategy] if self.start_scale is None else self.start_scale
        stop = max(_STOP[self.strategy], start) if self.stop_scale is None else self.stop_scale
        return start, stop


def checked_targets(
    context: ArrayContext, targets_siemens: ArrayLike, mask: BoolArray
) -> FloatArray:
    """Return targets as (n_rows, n_cols) siemens.

    Raises:
        ProtocolError: shape; NaN, a negative value or one outside the window under ``mask``.
    """
    geometry, op = context.geometry, context.op
    try:
        given = np.asarray(targets_siemens, dtype=np.float64)
        targets: FloatArray = np.broadcast_to(given, geometry.shape)
    except ValueError as exc:
        raise ProtocolError(
            f"needs one value or shape {geometry.shape}: {exc}", field="targets"
        ) from exc
    known = op.g_max_siemens > 0
    low = op.g_min_siemens * (1 - 1e-9) if known else 0.0
    high = op.g_max_siemens * (1 + 1e-9) if known else np.inf
    with np.errstate(invalid="ignore"):
        wrong = np.argwhere(mask & ~((targets >= low) & (targets <= high) & np.isfinite(targets)))
    if wrong.size:
        row, col = (int(k) for k in wrong[0])
        allowed = f"{low:.6g} … {high:.6g} S" if known else "at least 0 S, finite"
        raise ProtocolError(
            f"cell ({row}, {col}) has target {targets[row, col]:.6g} S, allowed {allowed} "
            f"({len(wrong)} such cells)",
            field="targets",
        )
    return targets


def outcome_counts(outcome: NDArray[np.str_]) -> Iterator[tuple[Outcome, int]]:
    """Yield every outcome that occurs, with its number of cells."""
    for kind in Outcome:
        count = int((outcome == kind.value).sum())
        if count:
            yield kind, count
