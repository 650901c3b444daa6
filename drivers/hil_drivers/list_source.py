"""Source-measure units whose sweep runs through a list of levels that nothing paces."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, cast

import numpy as np

from hil.capabilities import Range
from hil.config.quantities import Second, Table
from hil.errors import BackendError, LimitError
from hil.measurement import Status
from hil_drivers.gridlist import GridList, grid_lists
from hil_drivers.lowering import channel_readings, check_shared, quantise
from hil_drivers.scpi import numbers
from hil_drivers.scpi_source import ScpiSource
from hil_drivers.steps import (
    RELATIVE,
    SOFTWARE_START,
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    FloatArray,
    RunEstimate,
    SpotReading,
    SyncPlan,
    SyncRole,
)
from hil_drivers.transport.blocks import parse_numbers, readings

#: One list command takes so many levels, a list as many as ``list_points``.
GROUP: Final = 100
#: Apertures in power line cycles.
_NPLC: Final = (0.01, 10.0)
_GRID_S: Final = 1e-3  # widths and periods
#: Level resolution as a share of the source range.
_LEVEL_STEP: Final = 2.5e-5


class MeterSettings(Table):
    """Settings of one meter: terminals, sense, mains, off state, time that a point takes besides.

    ``point_overhead`` is found with an oscilloscope and taken off the delay of every point.
    """

    terminals: Literal["front", "rear"] = "front"
    sense: Literal["local", "remote"] = "local"
    line_frequency_hz: Literal[50, 60] = 50
    off: Literal["high-z", "normal", "zero"] = "high-z"
    point_overhead: Second = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ListRun:
    """One run as it is sent.

    ``per_trigger`` points follow each of ``triggers`` triggers; a run that a line does not pace
    has one trigger. ``delay_s`` passes between a level and its measurement.
    """

    delivered: Delivered
    grid: GridList
    range_v: float
    delay_s: float
    triggers: int
    per_trigger: int
    sync: SyncPlan


class ListSource(ScpiSource):
    """One channel, ``1``, that sources and measures every point of a list.

    Nothing paces a point: it lasts its delay, its measurement and a little more, so that widths are
    multiples of 1 ms. As a follower that a line paces it leaves out a part of every gap, so that it
    waits when the next trigger comes. 2 % error of its times is a planning value: nothing is
    specified for all three together.
    """

    Settings = MeterSettings
    list_points: ClassVar[int] = 2500  #: levels of one list
    run_points: ClassVar[int]  #: points of one run, the list begun again
    shortest_point_s: ClassVar[float]
    least_delay_s: ClassVar[float] = 0.0
    clock_error: ClassVar[float] = 0.02
    trigger_lines: ClassVar[int]  #: lines are numbered from 1
    limited_bit: ClassVar[int]  #: bit of a reading's status that says that the limit was reached

    _run: ListRun | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """One channel, ``1``."""
        return ("1",)

    @property
    def _chosen(self) -> MeterSettings:
        return cast(MeterSettings, self.settings)

    @property
    def _line_hz(self) -> float:
        return self._chosen.line_frequency_hz

    def _forget(self) -> None:
        self._run = None
        self._running = False
        self._sync = SOFTWARE_START

    # -- what a driver adds ----------------------------------------------------------------

    #: Smallest limit, and resolution, as a share of the lowest current range; counts of a range.
    least_limit: ClassVar[float]
    counts_a: ClassVar[float]
    overrange_a: ClassVar[float]
    overhead_s: ClassVar[float]

    @abstractmethod
    def _ranges(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Source ranges in volts and current ranges in amperes of the model found."""

    @abstractmethod
    def _run_messages(self, run: ListRun) -> Sequence[Sequence[str]]:
        """Messages that set a run up, outputs off."""

    @abstractmethod
    def _start_commands(self) -> Sequence[str]:
        """Output on and begin, or wait for the trigger line."""

    count_query: ClassVar[str]  #: how many points the buffer holds

    @abstractmethod
    def _readings_query(self, n_points: int) -> tuple[str, float]:
        """Return the query of current and status of the first points, and its time-out in s."""

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits of the model found (pages in the driver's docstring)."""
        self._own(channel)
        ranges_v, ranges_a = self._ranges()
        return ChannelCapabilities(
            level_v=Range(-ranges_v[-1], ranges_v[-1], _LEVEL_STEP * ranges_v[0]),
            width_s=Range(self.shortest_point_s, 2.0, _GRID_S),
            compliance_a=Range(self.least_limit * ranges_a[0], ranges_a[-1]),
            sense_a=Range(-ranges_a[-1], ranges_a[-1], ranges_a[0] / self.counts_a),
            ranges_v=ranges_v,
            ranges_a=ranges_a,
            max_list_steps=self.run_points,
            max_readings=self.run_points,
            min_period_s=self.shortest_point_s,
            min_measured_s=self.shortest_point_s,
            overhead_s=self.overhead_s,
            counts_a=self.counts_a,
            overrange_a=self.overrange_a,
            clock_error=self.clock_error,
        )

    # -- lowering --------------------------------------------------------------------------

    def _lowered(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan = SOFTWARE_START
    ) -> ListRun:
        check_shared(programs, self.name)
        for channel in programs:
            self._own(channel)
        steps = next(iter(programs.values()))
        can = self.channel_capabilities("1")
        range_v = can.range_for_v(float(np.abs(steps.level_v).max()))
        d = quantise(steps, can, f"{self.name}.1", level_resolution_v=_LEVEL_STEP * range_v)
        grid = grid_lists(
            {"1": self._listed(d, sync)}, grid_s=_GRID_S, shortest_unit_s=self.shortest_point_s,
            longest_list=self.list_points, most_points=self.run_points, name=self.name,
        )["1"]  # fmt: skip
        aperture = self._aperture_s(steps.aperture_s, grid.unit_s)
        delay = grid.unit_s - aperture - self._chosen.point_overhead
        triggers, per_trigger = self._triggers(d, grid, sync)
        return ListRun(replace(d, aperture_s=aperture), grid, range_v,
                       round(max(self.least_delay_s, delay), 6), triggers, per_trigger,
                       sync)  # fmt: skip

    def _listed(self, d: Delivered, sync: SyncPlan) -> Delivered:
        """Return what the list holds: all, or for a paced follower no more of a gap than it must.

        Raises:
            LimitError: periods differ, or the gap is too short to be back before the next trigger.
        """
        if not sync.each_pulse:
            return d
        odd = np.flatnonzero(~np.isclose(d.period_s, d.period_s[0], rtol=RELATIVE, atol=0.0))
        if odd.size:
            raise LimitError(
                "period_s", float(d.period_s[odd[0]]), float(d.period_s[0]), "s",
                step=int(odd[0]), where=self.name,
                note="a line that paces every pulse needs one period in a run",
            )  # fmt: skip
        if sync.role is not SyncRole.FOLLOWER:
            return d
        widths = np.round(d.width_s[(d.level_v != 0.0) | d.measure] / _GRID_S).astype(np.int64)
        longest, divisor = int(widths.max(initial=0)), int(np.gcd.reduce(widths))
        room = math.floor(float(d.period_s[0]) / _GRID_S * (1 - 2 * self.clock_error)) - longest
        shortest = math.ceil(self.shortest_point_s / _GRID_S * (1 - RELATIVE))
        for unit in range(room, shortest - 1, -1):
            if divisor % unit == 0:
                return replace(d, period_s=np.full_like(d.period_s, (longest + unit) * _GRID_S))
        gap_s = float(d.period_s[0]) - longest * _GRID_S
        raise LimitError("gap_s", gap_s, self.shortest_point_s, "s", where=self.name,
                         note="a point of 0 V has to end before the next trigger")  # fmt: skip

    def _aperture_s(self, asked: float | None, unit_s: float) -> float:
        lowest, highest = (nplc / self._line_hz for nplc in _NPLC)
        room = min(unit_s - self._chosen.point_overhead - self.least_delay_s, highest)
        if asked is None:
            return min(unit_s / 2, room)
        if not lowest * (1 - RELATIVE) <= asked <= room * (1 + RELATIVE):
            raise LimitError(
                "aperture_s", asked, room if asked > room else lowest, "s",
                where=f"{self.name}.1", note=f"points last {unit_s:g} s",
            )  # fmt: skip
        return asked

    def _triggers(self, d: Delivered, grid: GridList, sync: SyncPlan) -> tuple[int, int]:
        if sync.role is SyncRole.SOFTWARE:
            return 1, grid.n_points
        if not (sync.line.isdigit() and 1 <= int(sync.line) <= self.trigger_lines):
            raise LimitError(
                "trigger line", float(sync.line) if sync.line.isdigit() else 0.0,
                self.trigger_lines, "", where=self.name, note=f"lines are 1 … {self.trigger_lines}",
            )  # fmt: skip
        if not sync.each_pulse:
            return 1, grid.n_points
        pulses = int(d.repeat.sum())
        return pulses, grid.n_points // pulses

    # -- runs ------------------------------------------------------------------------------

    def delivered(self, programs: Mapping[str, ChannelSteps]) -> Mapping[str, Delivered]:
        """Return the steps on the instrument's grids; nothing is sent."""
        return {"1": self._lowered(programs).delivered}

    def check_start(self, programs: Mapping[str, ChannelSteps], sync: SyncPlan) -> None:
        """Refuse a line that there is not, and to be paced by one that comes too early."""
        self._lowered(programs, sync)

    def estimate(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> RunEstimate:
        """Return the messages of load, start, done, errors and readings."""
        run = self._lowered(programs, sync or SOFTWARE_START)
        can = self.channel_capabilities("1")
        steps = next(iter(programs.values()))
        note = f"{run.grid.n_points} list points of {run.grid.unit_s:g} s, not paced"
        messages = self._common_messages(sync) + len(self._run_messages(run))
        return RunEstimate(messages + bool(steps.n_readings),
                           steps.duration_s + can.overhead_s, True, note)  # fmt: skip

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Send the list, what begins it and the size of the buffer."""
        run = self._lowered(programs, sync or SOFTWARE_START)
        for commands in self._run_messages(run):
            self._send(*commands)
        self._run = run
        self._sync = run.sync
        self._note_duration(run.delivered)
        return {"1": run.delivered}

    def _begin_commands(self) -> Sequence[str]:
        return () if self._run is None else self._start_commands()

    def collect(self) -> Mapping[str, ChannelReadings]:
        """Read the buffer; the last point of every pulse is its reading."""
        if self._run is None:
            raise BackendError(f"{self.name}: nothing is loaded")
        d, grid = self._run.delivered, self._run.grid
        if not d.measure.any():
            return {}
        values = self._fetch(grid.n_points)
        there = grid.pulse_point[grid.pulse_point < len(values)]
        current, status = readings(values[there, 0])
        limited = (values[there, 1].astype(np.int64) & self.limited_bit) != 0
        status[limited] |= np.uint32(Status.I_COMPLIANCE)
        taken = np.ones(len(grid.pulse_point), dtype=np.bool_)
        return {"1": channel_readings(d, taken, current, status, int(Status.I_COMPLIANCE))}

    def _fetch(self, planned: int) -> FloatArray:
        """Return (n, 2): current in amperes and status of the points measured, in order."""
        n = self._points_taken(self.count_query, planned)
        if not n:
            return np.empty((0, 2))
        query, timeout_s = self._readings_query(n)
        text = self.session.query(query, timeout_s)
        return parse_numbers(text, 2 * n, self.session.address).reshape(-1, 2)

    def measure_once(
        self,
        channel: str,
        *,
        level_v: float,
        compliance_a: float,
        range_a: float | None = None,
        aperture_s: float | None = None,
    ) -> SpotReading:
        """Return one DC reading in amperes; the output is off before and after."""
        aperture = 1 / self._line_hz if aperture_s is None else aperture_s
        width = max(self.shortest_point_s, aperture + self._chosen.point_overhead + 2e-3)
        return self._spot(channel, level_v, compliance_a, range_a, aperture,
                          math.ceil(width * 1e3) / 1e3)  # fmt: skip


def list_commands(header: str, levels_v: FloatArray) -> list[str]:
    """Return the commands that define a list: the first group, then what is appended."""
    groups = [numbers(levels_v[k : k + GROUP]) for k in range(0, len(levels_v), GROUP)]
    return [f"{header} {groups[0]}", *(f"{header}:APP {more}" for more in groups[1:])]


__all__ = ["GROUP", "ListRun", "ListSource", "MeterSettings", "list_commands"]
