"""Lowering of channel steps to list sweeps of the 2600B's trigger model.

A *segment* is one sweep of the trigger model, in which a channel either holds its levels or returns
to 0 V after every pulse. Segments follow each other inside the instrument; between them all levels
are 0 V for the milliseconds of the set-up.

A channel measures every pulse of a segment, none, or some. For some, the measurements run beside
the source (asynchronous mode, 2600BS-901-01 rev. F p. 9-264) and one timer walks a list of the
times between them. A timer's count is the number of events it gives each time it is triggered, the
next delay starts when the last one expires, and every event takes the next delay of the list
(section Timers; 2651A-901-01 rev. C p. 7-412 and 2470-901-01 rev. A p. 8-6 in more words). Without
``period_lists`` no list is walked so: a segment then ends where the period changes or a pulse is
not measured, and lists are used one delay per trigger only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hil.errors import LimitError
from hil_drivers.keithley_2600b import models
from hil_drivers.lowering import check_shared, number, quantise
from hil_drivers.steps import (
    RELATIVE,
    BoolArray,
    ChannelSteps,
    Delivered,
    FloatArray,
    SyncPlan,
    SyncRole,
)
from hil_drivers.tsp import lua_list

#: Numbers per line of an upload, so that no line is longer than a few kilobytes.
PER_LINE = 100
#: A level that is held ends this long before its period at the end of a sweep, in seconds.
TIMER_GAP_S = 1e-6


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps ``first`` … ``last`` (inclusive) and what each channel does in them.

    ``measured`` per channel: every pulse; ``apart``: the pulses of the steps asked for alone.
    """

    first: int
    last: int
    held: Mapping[str, bool]
    measured: Mapping[str, bool]
    apart: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """A lowered run.

    ``taken``: per channel, (n_pulses,) pulses in which the instrument takes a reading.
    """

    delivered: Mapping[str, Delivered]
    segments: tuple[Segment, ...]
    taken: Mapping[str, BoolArray]
    message: str


@dataclass(eq=False)
class Lowered:
    """Programs and what was found for them: a train is the same on every device of an array."""

    programs: Mapping[str, ChannelSteps]
    model: str
    line_hz: float
    delivered: Mapping[str, Delivered]
    plans: dict[SyncPlan, Plan] = field(default_factory=dict)
    n_segments: int | None = None

    def fits(self, programs: Mapping[str, ChannelSteps], model: str, line_hz: float) -> bool:
        """Return whether it is what these programs give on this model."""
        return (
            (model, line_hz) == (self.model, self.line_hz)
            and list(programs) == list(self.programs)
            and all(steps.equals(self.programs[c]) for c, steps in programs.items())
        )


def deliver(
    programs: Mapping[str, ChannelSteps], model: str, line_hz: float, name: str
) -> dict[str, Delivered]:
    """Return the quantised steps per channel; LimitError when the model cannot do them."""
    check_shared(programs, name)
    out = {}
    for channel, steps in programs.items():
        where = f"{name}.{channel}"
        if channel not in models.channels(model):
            raise LimitError("channels", len(models.channels(model)) + 1,
                             len(models.channels(model)), "", where=where,
                             note=f"a {model} has no channel {channel!r}")  # fmt: skip
        can = models.capabilities(model, line_hz)
        range_v = can.range_for_v(float(np.abs(steps.level_v).max()))
        highest_a = models.max_current_a(model, range_v)
        can = replace(can, compliance_a=replace(can.compliance_a, max=highest_a))
        out[channel] = quantise(
            steps, can, where, level_resolution_v=models.level_resolution_v(range_v),
            aperture_s=_aperture_s(steps, line_hz, where),
        )  # fmt: skip
    return out


def _aperture_s(steps: ChannelSteps, line_hz: float, where: str) -> float:
    """Return the aperture in seconds; without one, half of the shortest measured pulse."""
    lowest, highest = models.MIN_NPLC / line_hz, models.MAX_NPLC / line_hz
    if not steps.measure.any():
        return lowest
    shortest = float(steps.width_s[steps.measure].min())
    room = shortest - models.MEASURE_MARGIN_S
    if room < lowest * (1 - RELATIVE):
        raise LimitError("width_s", shortest, lowest + models.MEASURE_MARGIN_S, "s", where=where,
                         note="too short to be measured")  # fmt: skip
    if steps.aperture_s is None:
        return float(np.clip(shortest / 2, lowest, min(room, highest)))
    if not lowest * (1 - RELATIVE) <= steps.aperture_s <= highest * (1 + RELATIVE):
        bound = lowest if steps.aperture_s < lowest else highest
        raise LimitError("aperture_s", steps.aperture_s, bound, "s", where=where)
    if steps.aperture_s > room * (1 + RELATIVE):
        raise LimitError("aperture_s", steps.aperture_s, room, "s", where=where,
                         note="does not fit into the shortest measured pulse")  # fmt: skip
    return steps.aperture_s


def segments(
    delivered: Mapping[str, Delivered], *, same_period: bool = False, apart: bool = False
) -> tuple[Segment, ...]:
    """Return the fewest segments: each is extended until a channel has to change what it does.

    A step at 0 V may be held or pulsed, and a step that nobody asked to measure is measured along
    when it is long enough; both leave more freedom to the steps around them. With ``same_period``
    a segment also ends where the period changes. With ``apart`` pulses that are measured and pulses
    too short for that may be in one segment.
    """
    columns = {("held", c): _held(d) for c, d in delivered.items()}
    measured = {("measured", c): _measured(d) for c, d in delivered.items()}
    beside = frozenset(c for (_, c), x in measured.items() if apart and _mixed(x))
    columns |= {k: x for k, x in measured.items() if k[1] not in beside}
    n_steps = len(next(iter(delivered.values())).level_v)
    period = next(iter(delivered.values())).period_s
    changes = np.zeros(n_steps, dtype=np.bool_)
    if same_period:
        changes[1:] = ~np.isclose(period[1:], period[:-1], rtol=RELATIVE, atol=0.0)
    if not any(_mixed(x) for x in columns.values()) and not changes.any():
        now = {k: int(x.max()) for k, x in columns.items()}
        return (_segment(0, n_steps - 1, now, delivered, beside),)
    out: list[Segment] = []
    first = 0
    now = {}
    for step in range(n_steps):
        wants = {key: int(column[step]) for key, column in columns.items()}
        if changes[step] or any(
            w >= 0 and now.get(k, -1) >= 0 and now[k] != w for k, w in wants.items()
        ):
            out.append(_segment(first, step - 1, now, delivered, beside))
            first, now = step, {}
        now.update({k: w for k, w in wants.items() if w >= 0})
    out.append(_segment(first, n_steps - 1, now, delivered, beside))
    return tuple(out)


def _mixed(wants: FloatArray) -> bool:
    return bool((wants == 1).any() and (wants == 0).any())


def _segment(
    first: int, last: int, now: Mapping[tuple[str, str], int], delivered: Mapping[str, Delivered],
    beside: frozenset[str],
) -> Segment:  # fmt: skip
    """Return one segment; what is measured beside the source is measured at all only there."""
    asked = frozenset(c for c in beside if delivered[c].measure[first : last + 1].any())
    return Segment(first, last, {c: now.get(("held", c), 0) == 1 for c in delivered},
                   {c: now.get(("measured", c), 0) == 1 for c in delivered}, asked)  # fmt: skip


def _held(d: Delivered) -> FloatArray:
    """1 = held, 0 = pulsed, -1 = either."""
    holds = d.width_s >= d.period_s * (1 - RELATIVE)
    return np.where(d.level_v == 0.0, -1.0, holds.astype(np.float64))


def _measured(d: Delivered) -> FloatArray:
    """1 = measured, 0 = too short for that, -1 = may be measured along."""
    room = d.width_s >= (d.aperture_s + models.MEASURE_MARGIN_S) * (1 - RELATIVE)
    return np.where(d.measure, 1.0, np.where(room, -1.0, 0.0))


def lower(
    delivered: Mapping[str, Delivered],
    sync: SyncPlan,
    model: str,
    line_hz: float,
    name: str,
    *,
    same_period: bool = False,
) -> Plan:
    """Return a run (see :func:`deliver`) as one message of TSP statements for ``run.tsp``.

    Raises:
        LimitError: outside what the model can do, or a common start that needs one segment.
    """
    parts, line = starting(delivered, sync, model, name, same_period=same_period)
    lines = [
        f"hil_begin({lua_list([repr_lua(c) for c in delivered])},{len(parts)})",
        f'hil_sync("{sync.role.value}",{line},{lua_bool(sync.each_pulse)})',
    ]
    shared = next(iter(delivered.values()))
    lines += _column("n", shared.repeat.astype(np.float64))
    lines += _column("p", shared.period_s)
    for channel, d in delivered.items():
        range_v = models.capabilities(model, line_hz).range_for_v(float(np.abs(d.level_v).max()))
        lines.append(f'hil_setup("{channel}",{number(d.compliance_a)},{number(range_v)},'
                     f"{number(d.range_a)},{number(d.aperture_s * line_hz)})")  # fmt: skip
        lines += _column(f"v{channel}", d.level_v)
        # A timer that is stimulated in the moment in which it ends misses that pulse.
        width: FloatArray = np.minimum(d.width_s, np.round(d.period_s - TIMER_GAP_S, 7))
        lines += _column(f"w{channel}", width)
        delay: FloatArray = np.maximum(width - d.aperture_s - models.MEASURE_MARGIN_S, 0.0)
        delay = np.asarray(np.round(delay, 7), dtype=np.float64)
        if any(part.measured[channel] for part in parts):
            lines += _column(f"m{channel}", delay)
        if any(channel in part.apart for part in parts):
            intervals = [_intervals(d, delay, part) for part in parts if channel in part.apart]
            lines += _column(f"d{channel}", np.concatenate(intervals))
    for part in parts:
        flags = [x for c in "ab" for x in (lua_bool(part.held.get(c, False)),
                                           _how_measured(c, part, delivered))]  # fmt: skip
        lines.append(f"hil_segment({part.first + 1},{part.last + 1},{','.join(flags)})")
    taken = {c: _taken(d, parts, c) for c, d in delivered.items()}
    return Plan(delivered, parts, taken, "\n".join(lines))


def starting(
    delivered: Mapping[str, Delivered], sync: SyncPlan, model: str, name: str, *, same_period: bool
) -> tuple[tuple[Segment, ...], int]:
    """Return the segments and the number of the trigger line, 0 = none.

    Raises:
        LimitError: no such line, or a common start that needs one segment.
    """
    parts = plan_segments(delivered, sync, same_period=same_period)
    if sync.role is not SyncRole.SOFTWARE and len(parts) > 1:
        raise LimitError("segments", len(parts), 1, "", step=parts[1].first, where=name,
                         note="a run with a common trigger cannot mix held and pulsed levels, nor "
                         "measured pulses and pulses too short to be measured")  # fmt: skip
    return parts, _line(sync, model, name)


def plan_segments(
    delivered: Mapping[str, Delivered], sync: SyncPlan, *, same_period: bool
) -> tuple[Segment, ...]:
    """Return the segments of a run; a line that paces every pulse has no clock to measure by."""
    paced = sync.role is SyncRole.FOLLOWER and sync.each_pulse
    return segments(delivered, same_period=same_period, apart=not same_period and not paced)


def _how_measured(channel: str, part: Segment, delivered: Mapping[str, Delivered]) -> str:
    if channel not in part.apart:
        return lua_bool(part.measured.get(channel, False))
    d = delivered[channel]
    steps = slice(part.first, part.last + 1)
    return str(int(d.repeat[steps][d.measure[steps]].sum()))


def _intervals(d: Delivered, delay_s: FloatArray, part: Segment) -> FloatArray:
    """Return the time in seconds from the start of a segment to its first measurement, to the next.

    Rounded as times since the start, so that errors do not add up.
    """
    steps = slice(part.first, part.last + 1)
    repeat = d.repeat[steps]
    period, delay = np.repeat(d.period_s[steps], repeat), np.repeat(delay_s[steps], repeat)
    at = np.cumsum(period) - period + delay
    measured = at[np.repeat(d.measure[steps], repeat)]
    out: FloatArray = np.round(np.diff(np.round(measured, 6), prepend=0.0), 6)
    return out


def _taken(d: Delivered, parts: tuple[Segment, ...], channel: str) -> BoolArray:
    by_step = np.zeros(len(d.level_v), dtype=np.bool_)
    for part in parts:
        steps = slice(part.first, part.last + 1)
        by_step[steps] = d.measure[steps] if channel in part.apart else part.measured[channel]
    return np.repeat(by_step, d.repeat)


def _line(sync: SyncPlan, model: str, name: str) -> int:
    if sync.role is SyncRole.SOFTWARE:
        return 0
    if not sync.line.isdigit() or not 1 <= int(sync.line) <= 14:
        number_of_line = int(sync.line) if sync.line.isdigit() else 0
        raise LimitError("trigger line", number_of_line, 14, "", where=name,
                         note=f"digital I/O lines are 1 … 14, not {sync.line!r}")  # fmt: skip
    if not models.has_digital_lines(model):
        raise LimitError("trigger line", int(sync.line), 0, "", where=name,
                         note=f"a {model} has no digital I/O")  # fmt: skip
    return int(sync.line)


def _column(name: str, values: FloatArray) -> list[str]:
    if np.all(values == values[0]):
        values = values[:1]
    out = []
    for start in range(0, len(values), PER_LINE):
        piece = [number(v) for v in values[start : start + PER_LINE]]
        out.append(f'hil_put("{name}",{len(piece)},{lua_list(piece)})')
    return out


def lua_bool(value: bool) -> str:
    """Return a Lua boolean."""
    return "true" if value else "false"


def repr_lua(text: str) -> str:
    """Return a Lua string of plain ASCII without quotes in it."""
    return f'"{text}"'
