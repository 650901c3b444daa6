"""One block made ready: lowered, routed, cut into runs, and the plan of it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock, Status, reading_index
from hil.program import LineState, PulseBlock
from hil_drivers.instrument import ChannelReadings, Delivered
from hil_drivers.rig.programs import Run
from hil_drivers.rig.reads import Lowered
from hil_drivers.router.plan import RoutePlan

if TYPE_CHECKING:
    from hil_drivers.calibration.table import SourceCorrection


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one block becomes.

    Attributes:
        asked: the block as it was asked for.
        lowered: the block as it is driven.
        plan: its stages.
        runs: the runs of every stage.
        delivered: the lowered block after quantisation.
    """

    asked: PulseBlock
    lowered: Lowered
    plan: RoutePlan
    runs: tuple[tuple[Run, ...], ...]
    delivered: PulseBlock

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to suit the wiring and the instruments, each once."""
        of_runs = (run.note for runs in self.runs for run in runs)
        return tuple(n for n in dict.fromkeys((*self.lowered.notes, *of_runs)) if n)

    @property
    def n_runs(self) -> int:
        """Starts of the instruments."""
        return sum(len(r) for r in self.runs)


def deliver(
    block: PulseBlock, run: Run, delivered: Mapping[str, Delivered],
    lines_of: Mapping[str, list[int]], sources: Mapping[str, SourceCorrection],
    level_v: NDArray[np.float64], width_s: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write what a run delivers into the levels and widths of its steps, in place."""
    for name, d in delivered.items():
        source = sources.get(name)
        level = d.level_v if source is None else source.delivered_v(d.level_v)
        used = d.measure.copy()
        for line in lines_of[name]:
            driven = (block.state[run.steps, line] == LineState.DRIVE) & (
                block.level_v[run.steps, line] != 0.0
            )
            level_v[run.steps[driven], line] = level[driven]
            used |= driven
        at = run.steps[used]
        if width_s.ndim == 1:
            width_s[at] = d.width_s[used]
        else:
            for line in lines_of[name]:
                width_s[at, line] = d.width_s[used]


class _Order:
    """Where the readings of a block are among those that it promises."""

    def __init__(self, block: PulseBlock) -> None:
        self._key = np.flatnonzero(block.sense)
        self._n_lines = block.n_lines
        step = self._key // block.n_lines
        self._sensed = np.bincount(step, minlength=block.n_steps)
        self._pairs = np.cumsum(self._sensed) - self._sensed
        count = self._sensed * block.repeat
        self._first = np.cumsum(count) - count
        self.n_readings = int(count.sum())

    def rows(
        self, step: NDArray[np.int64], line: NDArray[np.int64], pulse: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the row of each reading."""
        rank = np.searchsorted(self._key, step * self._n_lines + line) - self._pairs[step]
        out: NDArray[np.int64] = self._first[step] + pulse * self._sensed[step] + rank
        return out


@dataclass(eq=False)
class Collector:
    """Gathers the readings of a job's runs into the rows that the block promises."""

    job: Job
    current_a: NDArray[np.float64] = field(init=False)
    range_a: NDArray[np.float64] = field(init=False)
    status: NDArray[np.uint32] = field(init=False)
    t_ns: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._order = _Order(self.job.lowered.block)
        n = self._order.n_readings
        self.current_a = np.full(n, np.nan)
        self.range_a = np.full(n, np.nan)
        self.status = np.full(n, int(Status.TIMEOUT), dtype=np.uint32)
        self.t_ns = np.zeros(n, dtype=np.int64)

    def add(self, run: Run, readings: dict[str, ChannelReadings], start_ns: int) -> None:
        """Take the readings of one run that began at ``start_ns``."""
        for channel, lines in run.sensed.items():
            got = readings.get(channel)
            if got is None:
                continue
            pulse = run.first_pulse[got.step] + got.pulse
            rows = self._order.rows(run.steps[got.step], lines[got.step], pulse)
            self.current_a[rows] = got.current_a
            self.range_a[rows] = got.range_a
            self.status[rows] = got.status
            self.t_ns[rows] = start_ns + got.t_ns

    @property
    def asked_rows(self) -> NDArray[np.int64]:
        """Reading of the block asked for to which each reading that is taken contributes."""
        lowered = self.job.lowered
        if self._as_asked:
            return np.arange(self._order.n_readings)
        step, line, pulse = reading_index(lowered.block)
        return _Order(self.job.asked).rows(
            lowered.origin[step],
            line.astype(np.int64),
            pulse.astype(np.int64) // lowered.averages,
        )

    @property
    def _as_asked(self) -> bool:
        """Every reading that is taken is one that was asked for."""
        return self.job.lowered.block is self.job.asked and self.job.lowered.averages == 1

    @property
    def missing(self) -> int:
        """Readings that no instrument gave."""
        return int((self.t_ns == 0).sum())

    def readings(self, simulated: bool) -> MeasurementBlock:
        """Return the rows: averages formed, currents of steps with one origin added up."""
        job, lowered = self.job, self.job.lowered
        block, asked = lowered.block, job.asked
        a_step, a_line, a_pulse = reading_index(asked)
        out = MeasurementBlock.empty(a_step.size)
        out.step[:], out.line[:], out.pulse[:] = a_step, a_line, a_pulse
        out.status[:] = int(Status.SIMULATED) if simulated else 0
        out.executed[:] = asked.repeat[a_step]
        width = job.delivered.step_width_s
        if self._as_asked:
            out.current_a[:], out.range_a[:], out.t_ns[:] = self.current_a, self.range_a, self.t_ns
            out.status[:] |= self.status
            out.width_s[:] = width[a_step]
            out.level_v[:] = job.delivered.level_v[a_step, a_line]
            _share_starts(out)
            return out
        at = self.asked_rows
        current = np.zeros(a_step.size)
        np.add.at(current, at, self.current_a / lowered.averages)
        out.current_a[:] = current
        span = np.zeros(a_step.size)
        np.fmax.at(span, at, self.range_a)
        out.range_a[:] = np.where(span > 0.0, span, np.nan)
        np.bitwise_or.at(out.status, at, self.status)
        begin = np.full(a_step.size, np.iinfo(np.int64).max)
        np.minimum.at(begin, at, self.t_ns)
        out.t_ns[:] = begin
        _share_starts(out)
        of_step = np.zeros(asked.n_steps)
        of_step[lowered.origin] = width
        out.width_s[:] = of_step[a_step]
        level = np.zeros(asked.state.shape)
        level[lowered.origin] = np.where(block.sense, job.delivered.level_v, 0.0)
        out.level_v[:] = level[a_step, a_line]
        return out


def _share_starts(rows: MeasurementBlock) -> None:
    """Give lines sensed in one pulse the one start of that pulse: the earliest."""
    if not len(rows):
        return
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (rows.step[1:] != rows.step[:-1]) | (rows.pulse[1:] != rows.pulse[:-1])
    begins = np.flatnonzero(new)
    rows.t_ns[:] = np.minimum.reduceat(rows.t_ns, begins)[np.cumsum(new) - 1]


def quantised(
    lowered: PulseBlock, level: NDArray[np.float64], width: NDArray[np.float64]
) -> PulseBlock:
    """Return the block with the levels and widths that are delivered."""
    return replace(lowered, level_v=level, width_s=width, template=None)
