"""From stages of equal closures to runs: what each channel of each instrument does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.errors import LimitError
from hil.program import LineState, PulseBlock
from hil_drivers.instrument import ChannelCapabilities, ChannelSteps
from hil_drivers.rig import pacing
from hil_drivers.router.demand import line_limits
from hil_drivers.router.plan import Stage
from hil_drivers.router.wiring import Wiring

if TYPE_CHECKING:
    from hil_drivers.calibration.table import SourceCorrection

_KEPT = 16  # different steps of a channel that are remembered


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One start of the instruments: steps of a block that run inside them without the computer.

    Attributes:
        steps: (n,) step of the block for each step of the run.
        first_pulse: (n,) ordinal of its first pulse (a step with many repeats may be cut).
        repeat: (n,) pulses.
        programs: instrument -> channel -> what it does.
        sensed: channel ``instrument.channel`` -> line that it measures.
        paced: a trigger line has to pace every pulse, or clocks drift apart.
        note: what was done about clocks that drift apart, empty when nothing had to be.
    """

    steps: NDArray[np.int64]
    first_pulse: NDArray[np.int64]
    repeat: NDArray[np.int64]
    programs: Mapping[str, Mapping[str, ChannelSteps]]
    sensed: Mapping[str, NDArray[np.int64]]
    paced: bool = False
    note: str = ""

    @property
    def n_pulses(self) -> int:
        """Pulses of the run."""
        return int(self.repeat.sum())

    @property
    def n_readings(self) -> int:
        """Readings of the run."""
        return int(sum(s.n_readings for p in self.programs.values() for s in p.values()))

    @property
    def duration_s(self) -> float:
        """Time of the pulses."""
        first = next(iter(next(iter(self.programs.values())).values()))
        return first.duration_s


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """What one channel does over the steps of a stage; ``line`` is the line that it measures."""

    level_v: NDArray[np.float64]
    width_s: NDArray[np.float64]
    measure: NDArray[np.bool_]
    line: NDArray[np.int64]


class RunBuilder:
    """Makes the runs of a stage.

    Args:
        wiring: lines and channels.
        limits: channel capabilities as ``instrument.channel``.
        check_start: raises LimitError when instruments cannot begin a run together.
        g_max_siemens: largest conductance of a device, from which a measuring range is chosen when
            the block names none; 0 = not known, the range then follows the limit.
        sources: corrections of the channels' sources, from a calibration.
    """

    def __init__(
        self,
        wiring: Wiring,
        limits: Mapping[str, ChannelCapabilities],
        check_start: Callable[[Run], object],
        g_max_siemens: float = 0.0,
        sources: Mapping[str, SourceCorrection] | None = None,
    ) -> None:
        self.wiring, self.limits, self.g_max_siemens = wiring, limits, g_max_siemens
        self.check_start = check_start
        self.sources = dict(sources or {})
        self._built: tuple[ChannelSteps, ...] = ()
        self._last: tuple[PulseBlock, NDArray[np.float64] | None] | None = None

    def runs(self, block: PulseBlock, stage: Stage) -> Iterator[Run]:
        """Yield the runs of one stage, in order.

        Raises:
            LimitError: the aperture does not fit, a driven line is sensed in a part of a step, or
                instruments that have to begin together cannot.
        """
        steps = np.arange(stage.start, stage.stop)
        steps = steps[block.repeat[steps] > 0]
        paired = self._paired(block)
        lines_of = self._lines_of(stage)
        channels = sorted(lines_of)
        period = self._period(block, steps, channels)
        columns = {c: self._column(block, steps, lines_of[c]) for c in channels}
        names = {c: self.wiring.channels[c].name for c in channels}
        share = pacing.drift({name: self.limits[name] for name in names.values()})
        apart_s = pacing.allowed_s(block.step_width_s[steps], period)

        def run(at: NDArray[np.int64], first: NDArray[np.int64], repeat: NDArray[np.int64]) -> Run:
            run_steps = steps[at]
            programs: dict[str, dict[str, ChannelSteps]] = {}
            sensed: dict[str, NDArray[np.int64]] = {}
            for c in channels:
                column = columns[c]
                level, measure = column.level_v[at], column.measure[at]
                instrument, _, channel = names[c].partition(".")
                limit_a = self._limit(block, run_steps, lines_of[c], level, paired)
                taken = measure
                if math.isfinite(limit_a) and not measure.any():
                    taken = self._watched(names[c], column.width_s[at], repeat)
                steps_of = ChannelSteps.build(
                    self._programmed(names[c], level), column.width_s[at], period[at],
                    repeat=repeat, measure=taken, compliance_a=limit_a,
                    range_a=self._range(block, run_steps, lines_of[c], measure),
                    aperture_s=_aperture(block, run_steps, measure),
                )  # fmt: skip
                programs.setdefault(instrument, {})[channel] = self._shared(steps_of)
                if measure.any():
                    sensed[names[c]] = column.line[at]
            return Run(run_steps, first, repeat, programs, sensed)

        for at, first, repeat in self._chunks(block, steps, channels, columns):
            if pacing.together(share, period[at], repeat, apart_s[at]):
                yield self._started(run(at, first, repeat))
                continue
            for k in pacing.same_period(period[at]):
                # Each stretch of one period may be paced by a trigger for every pulse.
                some, begin, times = at[k], first[k], repeat[k]
                whole = run(some, begin, times)
                names_of = " and ".join(whole.programs)
                if pacing.together(share, period[some], times, apart_s[some]):
                    yield self._started(whole)
                    continue
                try:
                    yield self._started(replace(whole, paced=True, note=(
                        f"{names_of}: every pulse waits for the trigger line, since their clocks "
                        f"may differ by {share:.2g}")))  # fmt: skip
                except LimitError as refused:
                    note = (f"{names_of}: short runs, since their clocks may differ by {share:.2g} "
                            f"and a trigger for every pulse cannot be had ({refused})")  # fmt: skip
                else:
                    continue
                for j, start, n in pacing.cut(share, period[some], begin, times, apart_s[some]):
                    yield self._started(replace(run(some[j], start, n), note=note))

    def _started(self, run: Run) -> Run:
        """Return the run, which its instruments can begin together."""
        if len(run.programs) > 1:
            self.check_start(run)
        return run

    def _watched(
        self, channel: str, width_s: NDArray[np.float64], repeat: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return steps to measure only to learn whether the limit that was asked for is reached.

        All or none, since instruments that start together measure in the same steps.
        """
        can = self.limits[channel]
        fits = can.can_measure and int(repeat.sum()) <= can.max_readings
        return np.full(width_s.shape, fits and bool((width_s >= can.min_measured_s).all()))

    def _shared(self, steps: ChannelSteps) -> ChannelSteps:
        """Return the same object for equal steps: drivers then need not compare them again."""
        for known in self._built:
            if known.equals(steps):
                return known
        self._built = (steps, *self._built[: _KEPT - 1])
        return steps

    def _programmed(self, channel: str, level_v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what to program so that the levels appear at the terminal."""
        source = self.sources.get(channel)
        return level_v if source is None else source.programmed_v(level_v)

    def _lines_of(self, stage: Stage) -> dict[int, NDArray[np.int64]]:
        """Return channel -> its lines, without the 0 V rail."""
        out = {}
        for channel in np.unique(stage.channel_of_line):
            if channel >= 0 and self.wiring.channels[channel].name in self.limits:
                out[int(channel)] = np.flatnonzero(stage.channel_of_line == channel)
        return out

    def _period(
        self, block: PulseBlock, steps: NDArray[np.int64], channels: list[int]
    ) -> NDArray[np.float64]:
        """Return the pulse periods in seconds: the block's, or the instruments' shortest."""
        shortest = max(
            (self.limits[self.wiring.channels[c].name].min_period_s for c in channels), default=0.0
        )
        return np.maximum(block.period_s[steps], shortest)

    def _column(
        self, block: PulseBlock, steps: NDArray[np.int64], lines: NDArray[np.int64]
    ) -> _Column:
        """Return what a channel does; all its lines have equal levels."""
        part = np.ix_(steps, lines)
        driven = (block.state[part] == LineState.DRIVE) & (block.level_v[part] != 0.0)
        level = np.where(driven, block.level_v[part], 0.0)
        which = driven.argmax(axis=1)
        row = np.arange(steps.size)
        whole = block.step_width_s[steps]
        width = whole
        if block.width_s.ndim == 2:
            width = np.where(driven[row, which], block.width_s[part][row, which], whole)
        sense = block.sense[part]
        measure = np.asarray(sense.any(axis=1))
        partly = np.flatnonzero(measure & (width < whole * (1 - 1e-9)))
        if partly.size:
            k = int(partly[0])
            raise LimitError(
                "width of a sensed line", float(width[k]), float(whole[k]), "s",
                step=int(steps[k]), where=self.wiring.geometry.line_name(int(lines[0])),
                note="a line that is driven and sensed has to last the whole step",
            )  # fmt: skip
        return _Column(level[row, which], width, measure, lines[sense.argmax(axis=1)])

    def _paired(self, block: PulseBlock) -> NDArray[np.float64] | None:
        """Return the limits of lines that limit for those that cannot; kept for the last block."""
        if self._last is None or self._last[0] is not block:
            driven = (block.state == LineState.DRIVE) & (block.level_v != 0.0)
            limits = line_limits(block, self.wiring, driven & (block.repeat > 0)[:, None])
            self._last = block, None if limits is None else limits[1]
        return self._last[1]

    def _limit(
        self, block: PulseBlock, steps: NDArray[np.int64], lines: NDArray[np.int64],
        level: NDArray[np.float64], paired: NDArray[np.float64] | None,
    ) -> float:  # fmt: skip
        """Return the strictest limit of the channel's lines: it holds for their sum."""
        if paired is not None:
            return float(paired[np.ix_(steps, lines)].min())
        if not (level != 0.0).any():
            return math.inf
        return float(block.compliance_a[lines].min())

    def _range(
        self, block: PulseBlock, steps: NDArray[np.int64], lines: NDArray[np.int64],
        measure: NDArray[np.bool_],
    ) -> float | None:  # fmt: skip
        """Return the measuring range: the block's, else the largest current that can come."""
        if not measure.any():
            return None
        if block.sensing.range_a is not None:
            return block.sensing.range_a
        if self.g_max_siemens <= 0.0:
            return None
        level = np.where(block.state[steps] == LineState.DRIVE, block.level_v[steps], 0.0)[measure]
        own = level[:, lines[:1]]
        port = np.unique(
            np.concatenate([self.wiring.geometry.read_lines.plus,
                            self.wiring.geometry.read_lines.minus])
        )  # fmt: skip
        others = np.abs(level[:, port] - own)
        side = next(s for s in self.wiring.geometry.groups.values() if s.start <= lines[0] < s.stop)
        others[:, (port >= side.start) & (port < side.stop)] = 0.0
        return float(self.g_max_siemens * others.sum(axis=1).max()) or None

    def _chunks(
        self, block: PulseBlock, steps: NDArray[np.int64], channels: list[int],
        columns: Mapping[int, _Column],
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:  # fmt: skip
        """Yield (position in ``steps``, first pulse, pulses) of runs that fit the instruments."""
        if not channels or not steps.size:
            return
        can = [self.limits[self.wiring.channels[c].name] for c in channels]
        most = min(c.max_list_steps for c in can)
        free = all(c.repeats_free for c in can)
        readings = min((c.max_readings for c in can if c.can_measure), default=most)
        measured = np.any([columns[c].measure for c in channels], axis=0)
        several = len({self.wiring.channels[c].name.partition(".")[0] for c in channels}) > 1
        repeat = block.repeat[steps]
        fits = (steps.size if free else repeat.sum()) <= most
        if (
            fits
            and repeat[measured].sum() <= readings
            and not (several and (measured[1:] != measured[:-1]).any())
        ):
            yield np.arange(steps.size), np.zeros(steps.size, dtype=np.int64), repeat
            return
        start: list[tuple[int, int, int]] = []
        room, room_read = most, readings
        for k, step in enumerate(steps):
            if several and start and bool(measured[k] != measured[k - 1]):
                yield pacing.triple(start)
                start, room, room_read = [], most, readings
            left, done = int(block.repeat[step]), 0
            while left:
                if room <= 0 or (measured[k] and room_read <= 0):
                    yield pacing.triple(start)
                    start, room, room_read = [], most, readings
                take = left if free else min(left, room)
                if measured[k]:
                    take = min(take, room_read)
                    room_read -= take
                start.append((k, done, take))
                room -= 1 if free else take
                left, done = left - take, done + take
        if start:
            yield pacing.triple(start)


def _aperture(
    block: PulseBlock, steps: NDArray[np.int64], measure: NDArray[np.bool_]
) -> float | None:
    """Return the aperture in seconds that leaves the settling time, None = the driver's choice.

    Raises:
        LimitError: settling and aperture do not fit into the shortest measured pulse.
    """
    if not measure.any():
        return None
    plan = block.sensing
    wait_s = plan.settle_s + plan.delay_s
    shortest_s = float(block.step_width_s[steps][measure].min())
    asked = plan.aperture_s
    if asked is None and wait_s <= shortest_s / 2:
        return None
    room_s = shortest_s - wait_s
    if room_s <= 0.0 or (asked is not None and asked > room_s * (1 + 1e-9)):
        raise LimitError(
            "settling and aperture", wait_s + (asked or 0.0), shortest_s, "s",
            step=int(steps[int(measure.argmax())]), note="they do not fit into the measured pulse",
        )  # fmt: skip
    return room_s if asked is None else asked
