"""What every lowering does: check against a channel's limits, quantise, say when each pulse is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Range
from hil.errors import LimitError
from hil_drivers.steps import (
    RELATIVE,
    BoolArray,
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    FloatArray,
    IntArray,
)


def _refuse(quantity: str, column: FloatArray, allowed: Range, unit: str, where: str) -> None:
    low = np.flatnonzero(column < allowed.min - RELATIVE * abs(allowed.min))
    high = np.flatnonzero(column > allowed.max * (1 + RELATIVE))
    for steps, limit in ((low, allowed.min), (high, allowed.max)):
        if steps.size:
            step = int(steps[0])
            raise LimitError(quantity, float(column[step]), limit, unit, step=step, where=where)


def check_shared(programs: Mapping[str, ChannelSteps], name: str) -> None:
    """Check that there is something to do and that all channels share period and repeat.

    Raises:
        LimitError: naming the channel that differs.
    """
    if not programs:
        raise LimitError("channels", 0, 1, "", where=name, note="nothing to run")
    first_channel, first = next(iter(programs.items()))
    if not len(first):
        raise LimitError("steps", 0, 1, "", where=f"{name}.{first_channel}")
    for channel, steps in programs.items():
        if len(steps) != len(first):
            raise LimitError("steps", len(steps), len(first), "", where=f"{name}.{channel}",
                             note="all channels of a run have the same steps")  # fmt: skip
        for what, mine, theirs in (("period_s", steps.period_s, first.period_s),
                                   ("repeat", steps.repeat, first.repeat)):  # fmt: skip
            bad = np.flatnonzero(~np.isclose(mine, theirs, rtol=RELATIVE, atol=0.0))
            if bad.size:
                k = int(bad[0])
                raise LimitError(
                    what, float(mine[k]), float(theirs[k]), "", step=k, where=f"{name}.{channel}",
                    note="channels must share it",
                )  # fmt: skip


def quantise(
    steps: ChannelSteps,
    capabilities: ChannelCapabilities,
    where: str,
    *,
    level_resolution_v: float,
    aperture_s: float = math.nan,
) -> Delivered:
    """Return the steps on the channel's grids.

    A compliance of ``inf`` becomes the channel's highest where it can limit current.

    Raises:
        LimitError: level, width, period, compliance, range or a count is outside the capabilities.
    """
    _refuse("level_v", steps.level_v, capabilities.level_v, "V", where)
    grid = capabilities.width_s.resolution
    width = _on_grid(steps.width_s, grid)
    period = _on_grid(steps.period_s, grid)
    # A gap shorter than half the grid stays a gap: pulses do not grow together.
    period = np.where((period <= width) & ~steps.holds, width + grid, period)
    _refuse("width_s", width, capabilities.width_s, "s", where)
    _refuse("period_s", period, Range(capabilities.min_period_s, math.inf), "s", where)
    pulses = len(steps) if capabilities.repeats_free else steps.n_pulses
    if pulses > capabilities.max_list_steps:
        raise LimitError("pulses of one run", pulses, capabilities.max_list_steps, "", where=where,
                         note="the instrument's list is shorter")  # fmt: skip
    if steps.n_readings and not capabilities.can_measure:
        raise LimitError("readings", steps.n_readings, 0, "", where=where,
                         note="this channel cannot measure")  # fmt: skip
    if steps.n_readings > capabilities.max_readings:
        raise LimitError("readings of one run", steps.n_readings, capabilities.max_readings, "",
                         where=where, note="the instrument's memory is smaller")  # fmt: skip
    compliance = _compliance(steps, capabilities, where)
    range_a = math.nan
    if capabilities.can_measure:
        wanted = compliance if steps.range_a is None else steps.range_a
        range_a = capabilities.range_for_a(wanted)
    level = steps.level_v
    if level_resolution_v > 0:
        level = np.round(level / level_resolution_v) * level_resolution_v
    return Delivered(level, width, np.maximum(period, width), steps.repeat, steps.measure,
                     compliance, range_a, aperture_s)  # fmt: skip


def _on_grid(times_s: FloatArray, grid_s: float) -> FloatArray:
    if grid_s <= 0:
        return times_s
    return np.asarray(np.round(times_s / grid_s) * grid_s, dtype=np.float64)


def _compliance(steps: ChannelSteps, capabilities: ChannelCapabilities, where: str) -> float:
    if not capabilities.can_limit_current:
        if math.isfinite(steps.compliance_a):
            raise LimitError("compliance_a", steps.compliance_a, math.inf, "A", where=where,
                             note="this channel cannot limit current")  # fmt: skip
        return math.inf
    if not math.isfinite(steps.compliance_a):
        return capabilities.compliance_a.max
    limits = capabilities.compliance_a
    if not limits.min * (1 - RELATIVE) <= steps.compliance_a <= limits.max * (1 + RELATIVE):
        bound = limits.min if steps.compliance_a < limits.min else limits.max
        raise LimitError("compliance_a", steps.compliance_a, bound, "A", where=where)
    return steps.compliance_a


@dataclass(frozen=True, slots=True, eq=False)
class PulseTable:
    """Repeats expanded: one row per pulse (step, ordinal, start in seconds)."""

    step: IntArray
    pulse: IntArray
    start_s: FloatArray

    @classmethod
    def of(cls, delivered: Delivered) -> PulseTable:
        """Return the pulses of a run in order."""
        repeat = delivered.repeat
        step = np.repeat(np.arange(len(repeat), dtype=np.int64), repeat)
        before = np.concatenate([[0], np.cumsum(repeat)[:-1]])
        pulse = np.arange(step.size, dtype=np.int64) - np.repeat(before, repeat)
        period = delivered.period_s[step]
        start = np.concatenate([[0.0], np.cumsum(period)[:-1]])
        return cls(step, pulse, start)

    def __len__(self) -> int:
        return len(self.step)


def channel_readings(
    delivered: Delivered,
    taken: BoolArray,
    current_a: FloatArray,
    status: NDArray[np.uint32],
    compliance_bit: int,
) -> ChannelReadings:
    """Return what was asked for out of what the instrument took.

    Args:
        delivered: the channel's run.
        taken: (n_pulses,) pulses in which the instrument took a reading.
        current_a: readings in that order; shorter after a run that broke off.
        status: their status bits.
        compliance_bit: the bit that says that the compliance was reached.
    """
    table = PulseTable.of(delivered)
    where = np.flatnonzero(taken)[: len(current_a)]
    asked = delivered.measure[table.step[where]]
    kept = where[asked]
    tripped = (status[: len(where)] & compliance_bit).astype(bool) & ~asked
    steps = table.step[kept]
    return ChannelReadings(
        step=steps,
        pulse=table.pulse[kept],
        t_ns=np.round(table.start_s[kept] * 1e9).astype(np.int64),
        level_v=delivered.level_v[steps],
        current_a=current_a[: len(where)][asked],
        range_a=np.full(len(kept), delivered.range_a),
        status=status[: len(where)][asked],
        tripped_steps=tuple(int(s) for s in np.unique(table.step[where[tripped]])),
    )


def number(value: float) -> str:
    """Return a number as every command language reads it, with nine digits."""
    return f"{value:.9g}"
