"""Pulse generators: trains as bursts of one pulse, or as a downloaded waveform on a time grid."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Range
from hil.config.quantities import Table
from hil.errors import LimitError, ReadbackError
from hil_drivers.gridlist import GridList, grid_lists
from hil_drivers.lowering import check_shared, quantise
from hil_drivers.scpi_source import ScpiSource
from hil_drivers.steps import (
    RELATIVE,
    SOFTWARE_START,
    ChannelCapabilities,
    ChannelReadings,
    ChannelSteps,
    Delivered,
    RunEstimate,
    SpotReading,
    SyncPlan,
    SyncRole,
)

#: A unit of a waveform is divided by up to this, while the waveform stays shorter than so many
#: points: its first point delays the pulses by as little.
_FINEST: Final = 100
_MANY_POINTS: Final = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Train:
    """One channel's train.

    ``codes`` None = ``cycles`` identical pulses of the burst mode; else ``cycles`` times the
    waveform of ``codes``, with ``full_v`` at the full code and ``point_s`` a point. A waveform
    begins with a point of 0 V, the level at which the output waits for its trigger; its pulses
    are late by that point, on all channels alike.
    """

    delivered: Delivered
    cycles: int
    codes: NDArray[np.int64] | None
    point_s: float
    full_v: float


class LoadSettings(Table):
    """Settings of a generator: the load in ohms that its levels are meant for.

    An array is of high impedance, so that ``inf`` is right for it.
    """

    load: Literal["50", "inf"] = "inf"


class PulseGenerator(ScpiSource):
    """A voltage source that cannot measure and cannot limit current.

    Levels are those at the load that the settings name, half as large into 50 ohm as into an open
    circuit; a negative, a held or a mixed train becomes a waveform. ``wait`` of a follower must
    come after that of the master.
    """

    Settings = LoadSettings
    open_v: ClassVar[float] = 10.0  #: largest level into an open circuit
    least_open_v: ClassVar[float]  #: smallest amplitude into an open circuit
    level_grid_v: ClassVar[float]
    narrowest_s: ClassVar[float]
    time_grid_s: ClassVar[float]
    shortest_period_s: ClassVar[float]
    full_code: ClassVar[int]  #: code of the positive full scale of a waveform
    longest_waveform: ClassVar[int]  #: points
    fewest_points: ClassVar[int] = 1
    waveform_messages: ClassVar[int] = 2  #: messages that set a channel up for a waveform
    shortest_point_s: ClassVar[float]
    burst_cycles: ClassVar[int] = 1_000_000
    open_load: ClassVar[str]  #: what says that nothing loads the output

    _trains: Mapping[str, Train] | None = None
    _ends_s = 0.0

    @abstractmethod
    def _train_commands(self, channel: str, train: Train, sync: SyncPlan) -> None:
        """Send what sets one channel up for its train; outputs stay off."""

    @property
    def channels(self) -> tuple[str, ...]:
        """``1`` and, on two-channel models, ``2``."""
        return ("1", "2") if self._two_channels() else ("1",)

    @abstractmethod
    def _two_channels(self) -> bool:
        """Whether the instrument found has two channels."""

    @abstractmethod
    def _by_bus(self, channel: str) -> str:
        """Command that lets ``*TRG`` start a channel."""

    @property
    def _terminated(self) -> bool:
        return cast(LoadSettings, self.settings).load == "50"

    @property
    def _full_v(self) -> float:
        return self.open_v / 2 if self._terminated else self.open_v

    @property
    def _smallest_full_v(self) -> float:
        return self.least_open_v / 2 if self._terminated else self.least_open_v

    def channel_capabilities(self, channel: str) -> ChannelCapabilities:
        """Return the limits at the load of the settings (pages in the driver's docstring)."""
        self._own(channel)
        return ChannelCapabilities(
            level_v=Range(-self._full_v, self._full_v, self.level_grid_v),
            width_s=Range(self.narrowest_s, 1e3, self.time_grid_s),
            compliance_a=Range(0.0, math.inf),
            sense_a=Range(0.0, 0.0),
            ranges_v=(self._full_v,),
            ranges_a=(),
            max_list_steps=self.burst_cycles,
            max_readings=0,
            min_period_s=self.shortest_period_s,
            can_measure=False,
            can_limit_current=False,
            overhead_s=10e-3,
        )

    def reset_to_known(self) -> None:
        """Reset; load first, then levels; triggered by the bus; outputs off.

        Raises:
            ReadbackError: the load is not what was set, so that levels would be wrong.
        """
        load = "50" if self._terminated else self.open_load
        self._trains = None
        self._running = False
        self._sync = SOFTWARE_START
        commands = ["*RST", "*CLS", ":FORM:BORD NORM"]
        for c in self.channels:
            commands += [f":OUTP{c} OFF", f":OUTP{c}:LOAD {load}", self._by_bus(c)]
        self._send(*commands)
        for c in self.channels:
            answer = float(self.session.query(f":OUTP{c}:LOAD?"))
            is_open = answer >= 9e37  # what an infinite load reads back
            right = is_open if load == "INF" else math.isclose(answer, float(load), rel_tol=0.01)
            if not right:
                raise ReadbackError(f"{self.name}: load {load} was set, {answer:g} ohm is read "
                                    f"back; the levels would be wrong")  # fmt: skip
        self.check_errors("*RST")

    def _output_queries(self) -> Sequence[str]:
        return [f":OUTP{c}?" for c in self.channels]

    def _lowered(self, programs: Mapping[str, ChannelSteps]) -> dict[str, Train]:
        check_shared(programs, self.name)
        quantised = {}
        for channel, steps in programs.items():
            can = self.channel_capabilities(channel)
            quantised[channel] = quantise(steps, can, f"{self.name}.{channel}",
                                          level_resolution_v=0.0)  # fmt: skip
        n_pulses = int(next(iter(quantised.values())).repeat.sum())
        if n_pulses <= self.burst_cycles and all(map(self._is_burst, quantised.values())):
            return {c: self._burst(d, n_pulses) for c, d in quantised.items()}
        # A burst begins at once and a waveform after its first point: all channels do the same.
        return self._waveforms(quantised)

    def _burst(self, d: Delivered, n_pulses: int) -> Train:
        grid_v = self.channel_capabilities(self.channels[0]).level_v.resolution
        levels = np.round(d.level_v / grid_v) * grid_v
        return Train(replace(d, level_v=levels), n_pulses, None, 0.0, float(levels[0]))

    def _waveforms(self, channels: Mapping[str, Delivered]) -> dict[str, Train]:
        # A full scale is a level of the front panel; the codes below it are finer than that.
        grid_v = self.channel_capabilities(self.channels[0]).level_v.resolution
        full_v = {
            c: max(math.ceil(float(np.abs(d.level_v).max()) / grid_v * (1 - RELATIVE)) * grid_v,
                   self._smallest_full_v)
            for c, d in channels.items()
        }  # fmt: skip
        coded = {
            c: replace(d, level_v=np.round(d.level_v / full_v[c] * self.full_code)
                       / self.full_code * full_v[c])
            for c, d in channels.items()
        }  # fmt: skip
        grids = grid_lists(
            coded, grid_s=self.channel_capabilities(self.channels[0]).width_s.resolution,
            shortest_unit_s=self.shortest_point_s, longest_list=self.longest_waveform - 1,
            most_points=2**62, name=self.name,
        )  # fmt: skip
        first = next(iter(grids.values()))
        finer = self._subdivision(len(first.levels_v), first.unit_s)
        return {c: self._waveform(coded[c], grid, full_v[c], finer, f"{self.name}.{c}")
                for c, grid in grids.items()}  # fmt: skip

    def _subdivision(self, n_points: int, unit_s: float) -> int:
        """Parts of a unit, so that the first point of 0 V is short beside the pulses."""
        finest = max(1, math.floor(unit_s / self.shortest_point_s * (1 + RELATIVE)))
        wanted = min(_FINEST, _MANY_POINTS // n_points)
        return min(finest, max(1, wanted, math.ceil(self.fewest_points / n_points)))

    def _waveform(self, d: Delivered, grid: GridList, full_v: float, finer: int,
                  where: str) -> Train:  # fmt: skip
        """Put the point of 0 V in front without making the period of a cycle longer."""
        points = np.round(grid.levels_v / full_v * self.full_code).astype(np.int64)
        points = np.repeat(points, finer)
        cycles = grid.cycles
        if cycles > 1 and points[-1] == 0:
            points = points[:-1]
        elif cycles > 1:
            points, cycles = np.tile(points, cycles), 1
        points = np.concatenate([[0], points])
        for quantity, value, limit in (
            ("points of a waveform", len(points), self.longest_waveform),
            ("cycles of a burst", cycles, self.burst_cycles),
        ):
            if value > limit:
                raise LimitError(quantity, value, limit, "", where=where)
        return Train(d, cycles, points, grid.unit_s / finer, full_v)

    def _is_burst(self, d: Delivered) -> bool:
        """One positive pulse repeated, with a gap between pulses that the burst mode can do."""
        same = all(np.allclose(x, x[0], rtol=RELATIVE, atol=0)
                   for x in (d.level_v, d.width_s, d.period_s))  # fmt: skip
        gap_s = float(d.period_s[0] - d.width_s[0])
        return same and d.level_v[0] >= self._smallest_full_v and gap_s >= self._shortest_gap_s()

    @abstractmethod
    def _shortest_gap_s(self) -> float:
        """Shortest time at 0 V between two pulses of a burst, in seconds."""

    def delivered(self, programs: Mapping[str, ChannelSteps]) -> Mapping[str, Delivered]:
        """Return the steps on the instrument's grids; nothing is sent."""
        return {c: t.delivered for c, t in self._lowered(programs).items()}

    def check_start(self, programs: Mapping[str, ChannelSteps], sync: SyncPlan) -> None:
        """Refuse a line that there is not, and to be paced by one."""
        if sync.role is not SyncRole.SOFTWARE and (sync.line != "EXT" or sync.each_pulse):
            what = f"not {sync.line!r}" if sync.line != "EXT" else "not every pulse"
            raise LimitError("trigger line", 0, 1, "", where=self.name,
                             note=f"EXT starts a whole run, {what}")  # fmt: skip

    def estimate(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> RunEstimate:
        """Return what sets the channels up and asks for errors, then start, done and errors."""
        trains = self._lowered(programs)
        messages = sum(1 if t.codes is None else self.waveform_messages for t in trains.values())
        kinds = ", ".join(
            f"{c}: {'burst' if t.codes is None else f'{len(t.codes)} points'}"
            for c, t in trains.items()
        )
        steps = next(iter(programs.values()))
        return RunEstimate(
            messages + 1 + self._common_messages(sync), steps.duration_s + 20e-3, True, kinds
        )

    def load(
        self, programs: Mapping[str, ChannelSteps], sync: SyncPlan | None = None
    ) -> Mapping[str, Delivered]:
        """Set every channel up for its train; errors are polled here too."""
        trains = self._lowered(programs)
        sync = sync or SOFTWARE_START
        self.check_start(programs, sync)
        for channel, train in trains.items():
            self._train_commands(channel, train, sync)
        self.check_errors(self._last)
        self._trains = trains
        self._note_duration(next(iter(trains.values())).delivered)
        self._sync = sync
        return {c: t.delivered for c, t in trains.items()}

    def _begin_commands(self) -> Sequence[str]:
        on = [f":OUTP{c} ON" for c in self._trains or ()]
        return [*on, "*TRG"] if on and self._sync.role is not SyncRole.FOLLOWER else on

    def _end_commands(self) -> Sequence[str]:
        # *WAI ends with the burst (33500 operating and service guide, *WAI with bursts); a follower
        # has nothing pending before its trigger comes, so that its host counts the time instead.
        off = [f":OUTP{c} OFF" for c in self._trains or ()]
        return off if self._sync.role is SyncRole.FOLLOWER else ["*WAI", *off]

    def start(self) -> None:
        """Outputs on and trigger, or outputs on and wait for the trigger socket."""
        super().start()
        self._ends_s = time.monotonic() + self._run_s

    def wait(self, timeout_s: float) -> None:
        """Return when the outputs are off; a follower is switched off here, after its duration."""
        if self._sync.role is SyncRole.FOLLOWER:
            time.sleep(max(0.0, min(self._ends_s - time.monotonic(), timeout_s)))
        super().wait(timeout_s)

    def collect(self) -> Mapping[str, ChannelReadings]:
        """A pulse generator measures nothing."""
        return {}

    def measure_once(
        self,
        channel: str,
        *,
        level_v: float,
        compliance_a: float,
        range_a: float | None = None,
        aperture_s: float | None = None,
    ) -> SpotReading:
        """Refuse: a pulse generator cannot measure."""
        raise LimitError("readings", 1, 0, "", where=f"{self.name}.{channel}",
                         note="a pulse generator cannot measure")  # fmt: skip
