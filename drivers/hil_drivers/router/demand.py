"""What a block asks of each line, as a sparse list: everything that is not simply grounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Range
from hil.program import LineState, PulseBlock
from hil_drivers.router.errors import RouteRefused
from hil_drivers.router.wiring import ChannelSpec, Wiring

SLACK = 1e-9  # relative, of comparisons of levels and times


@dataclass(frozen=True, slots=True, eq=False)
class Demands:
    """Entries (step, line) that need more than 0 V, sorted by step; one row each.

    Attributes:
        step, line: where.
        level_v, width_s: what is driven; 0 V and the step's width on a sensed, grounded line.
        step_s: width of the step.
        sense: the current is measured.
        alone: the line needs a channel of its own (sensed, or it limits for another line).
        limit_a: current limit asked for, inf where none is.
    """

    step: NDArray[np.int64]
    line: NDArray[np.int64]
    level_v: NDArray[np.float64]
    width_s: NDArray[np.float64]
    step_s: NDArray[np.float64]
    sense: NDArray[np.bool_]
    alone: NDArray[np.bool_]
    limit_a: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)

    def name(self, entry: int, wiring: Wiring) -> str:
        """Return one entry in words."""
        what = f"{self.level_v[entry]:g} V" + (" sensed" if self.sense[entry] else "")
        return f"{wiring.geometry.line_name(int(self.line[entry]))} ({what})"


def demands_of(block: PulseBlock, wiring: Wiring) -> Demands:
    """Return what the steps of ``block`` ask for; steps without repeats ask for nothing.

    A compliance on a line whose channels cannot limit current is handed to the selected lines at
    the other end of its devices, which then need channels of their own that can.

    Raises:
        RouteRefused: nothing at either end can limit the current.
    """
    live = (block.repeat > 0)[:, None]
    driven = (block.state == LineState.DRIVE) & (block.level_v != 0.0) & live
    sense = block.sense & live
    paired = line_limits(block, wiring, driven)
    alone, limit = (None, None) if paired is None else paired
    special = driven | sense
    if alone is not None:
        special |= alone
    step, line = np.nonzero(special)
    step_s = block.step_width_s[step]
    width = step_s if block.width_s.ndim == 1 else block.width_s[step, line]
    is_driven = driven[step, line]
    level = np.where(is_driven, block.level_v[step, line], 0.0)
    sensed = sense[step, line]
    own = sensed if alone is None else sensed | alone[step, line]
    if limit is None:
        limit_a = np.where(is_driven, block.compliance_a[line], np.inf)
    else:
        limit_a = limit[step, line]
    return Demands(
        step, line, level, np.where(is_driven, width, step_s), step_s, sensed, own, limit_a
    )


def line_limits(
    block: PulseBlock, wiring: Wiring, driven: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    """Return (n_steps, n_lines) lines that must limit alone, and every line's limit in amperes.

    None when every driven line limits for itself.

    Raises:
        RouteRefused: nothing at either end can limit the current.
    """
    asked = np.isfinite(block.compliance_a)
    if not asked.any():
        return None
    able = np.zeros(wiring.n_lines, dtype=np.bool_)
    for line in range(wiring.n_lines):
        able[line] = any(wiring.channels[c].can_limit for c in wiring.ways_of(line))
    unable = driven & (asked & ~able)
    if not unable.any():
        return None
    limit = np.where(driven, block.compliance_a, np.inf)
    limit[unable] = np.inf
    alone = np.zeros(driven.shape, dtype=np.bool_)
    for step, line in zip(*np.nonzero(unable), strict=True):
        span = next(s for s in wiring.geometry.groups.values() if s.start <= line < s.stop)
        other = block.selected[step] & (block.state[step] != LineState.FLOAT)
        other[span] = False
        if not (other.any() and able[other].all()):
            raise RouteRefused(
                "compliance", float(block.compliance_a[line]), np.inf, "A", step=int(step),
                where=wiring.geometry.line_name(int(line)),
                note=f"{_names(wiring, int(line))} cannot limit current, and no selected line at "
                "the other end of its devices is on a channel that can",
            )  # fmt: skip
        alone[step] |= other
        limit[step, other] = np.minimum(limit[step, other], block.compliance_a[line])
    return alone, limit


def _names(wiring: Wiring, line: int) -> str:
    return " and ".join(wiring.channels[c].name for c in wiring.ways_of(line))


def within(values: NDArray[np.float64], span: Range) -> NDArray[np.bool_]:
    """Return where ``values`` are in the range, with slack for rounding."""
    low = span.min - abs(span.min) * SLACK if np.isfinite(span.min) else span.min
    high = span.max + abs(span.max) * SLACK if np.isfinite(span.max) else span.max
    inside: NDArray[np.bool_] = (values >= low) & (values <= high)
    return inside


def able(demands: Demands, spec: ChannelSpec) -> NDArray[np.bool_]:
    """Return (n_entries,) which entries ``spec`` could serve."""
    ok = within(demands.level_v, spec.level_v)
    held = demands.level_v == 0.0
    ok &= held | within(demands.width_s, spec.width_s)
    if not spec.can_measure:
        ok &= ~demands.sense
    else:
        ok &= ~demands.sense | (demands.step_s >= spec.min_measured_s * (1 - SLACK))
    limited = np.isfinite(demands.limit_a)
    if not spec.can_limit:
        ok &= ~limited
    else:
        ok &= ~limited | within(demands.limit_a, spec.compliance_a)
    return ok


def refuse(demands: Demands, entry: int, wiring: Wiring) -> RouteRefused:
    """Return the error that says why no channel serves one entry: the nearest miss."""
    line = int(demands.line[entry])
    where, step = wiring.geometry.line_name(line), int(demands.step[entry])
    specs = [wiring.channels[c] for c in wiring.ways_of(line)]
    names = ", ".join(s.name for s in specs)
    level, width = float(demands.level_v[entry]), float(demands.width_s[entry])
    step_s, limit = float(demands.step_s[entry]), float(demands.limit_a[entry])
    if demands.sense[entry]:
        if not any(s.can_measure for s in specs):
            return RouteRefused("channels that measure", 1, 0, "", step=step, where=where,
                                note=f"the line reaches {names}, which cannot measure")  # fmt: skip
        specs = [s for s in specs if s.can_measure]
        shortest = min(s.min_measured_s for s in specs)
        if step_s < shortest * (1 - SLACK):
            return RouteRefused(
                "width of a measured pulse", step_s, shortest, "s", step=step, where=where,
                note=f"the shortest that {', '.join(s.name for s in specs)} can measure",
            )  # fmt: skip
    if np.isfinite(limit):
        if not any(s.can_limit for s in specs):
            return RouteRefused("compliance", limit, np.inf, "A", step=step, where=where,
                                note=f"{names} cannot limit current")  # fmt: skip
        specs = [s for s in specs if s.can_limit]
    left = ", ".join(s.name for s in specs)
    only = f"; only {left} can do the rest" if left != names else ""
    for quantity, value, unit, spans in (
        ("line level", level, "V", [s.level_v for s in specs]),
        ("pulse width", width, "s", [s.width_s for s in specs]),
        ("compliance", limit, "A", [s.compliance_a for s in specs]),
    ):
        if np.isfinite(value) and not any(bool(within(np.array(value), r)) for r in spans):
            low, high = min(r.min for r in spans), max(r.max for r in spans)
            return RouteRefused(quantity, value, low if value < low else high, unit, step=step,
                                where=where, note=f"the line reaches {names}{only}")  # fmt: skip
    return RouteRefused(
        "channels that do all of it", 1, 0, "", step=step, where=where,
        note=f"{demands.name(entry, wiring)} for {width:g} s: the line reaches {names}, none of "
        "which has level, width, limit and measuring together",
    )  # fmt: skip
