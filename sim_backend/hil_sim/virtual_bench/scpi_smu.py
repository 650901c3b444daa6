"""A source-measure channel as SCPI instruments have it: spot readings, sweeps, records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench import discrete as ds
from hil_sim.virtual_bench.engine import EVENTS, Reading, Sweep
from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.scpi_values import ScpiError
from hil_sim.virtual_bench.terminal import SourceMeter, Terminal

LINE_HZ = 50.0
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Record:
    """One reading: level programmed, volts and amperes shown, seconds, compliance, overflow."""

    source: float
    volts: float
    amps: float
    time_s: float
    limited: bool
    overflow: bool


@dataclass(slots=True)
class Shape:
    """When the points of a sweep happen, seconds.

    Attributes:
        source_delay_s: from level to measurement; aperture_s: of the measurement.
        after_s: from the end of the measurement to the next point.
        pulsed: back to the idle level after each point.
        stimuli: events of arm, source, measure, end; 0 = at once.
        asynchronous: the end does not wait for the measurement.
    """

    source_delay_s: float = 0.0
    aperture_s: float = 0.0
    after_s: float = 0.0
    pulsed: bool = False
    measures: bool = True
    stimuli: tuple[int, int, int, int] = (0, 0, 0, 0)
    asynchronous: bool = False


class SmuChannel:
    """Terminal and records of one channel."""

    def __init__(self, owner: Personality, channel: str, meter: SourceMeter) -> None:
        self.owner, self.meter = owner, meter
        self.terminal = Terminal(owner.name, channel, meter)
        self.events = tuple(owner.bench.engine.new_event() for _ in EVENTS)
        self.records: list[Record] = []
        self.sweep: Sweep | None = None

    def reset(self, limit_a: float, range_v: float) -> None:
        """Return to an output that is off at 0 V; accuracy stays."""
        accuracy = self.terminal.accuracy
        self.terminal.reset()
        self.terminal.accuracy = accuracy
        self.terminal.limit_a, self.terminal.range_v = limit_a, range_v
        self.terminal.limit_v = self.meter.ranges_v[-1]
        self.records.clear()

    def switch(self, on: bool) -> None:
        """Switch the output; a relay that was open takes its time on a realistic bench."""
        terminal = self.terminal
        if on and not terminal.on and terminal.off_mode == "high-z":
            self.owner.settle("output relay")
        terminal.on = on

    @property
    def present_range_a(self) -> float:
        """Current range in use; while autoranging the one that holds the limit."""
        full = self.terminal.range_a
        if full is None:
            full = self.meter.range_for(self.terminal.limit_a, self.meter.ranges_a)
        return self.meter.ranges_a[-1] if full is None else full

    def range_v(self, value: float) -> float:
        """Return the source range that holds ``value``.

        Raises:
            ScpiError: -222, none does.
        """
        full = self.meter.range_for(value, self.meter.ranges_v)
        if full is None:
            raise ScpiError(-222, "Parameter data out of range")
        return full

    def range_a(self, value: float) -> float:
        """Return the measuring range that holds ``value``.

        Raises:
            ScpiError: -222, none does.
        """
        full = self.meter.range_for(value, self.meter.ranges_a)
        if full is None:
            raise ScpiError(-222, "Parameter data out of range")
        return full

    def spot(self, aperture_s: float, settle_s: float = 0.0) -> Record:
        """Take one reading at the present level."""
        amps, volts, limited = self.owner.bench.measure(self.terminal, aperture_s, settle_s)
        now = np.array([self.owner.bench.clock_ns * 1e-9])
        return self._records(
            np.array([self.terminal.level_v]), np.array([volts]), np.array([amps]), now,
            np.array([limited]),
        )[0]  # fmt: skip

    def _records(self, source: FloatArray, volts: FloatArray, amps: FloatArray, time_s: FloatArray,
                 limited: NDArray[np.bool_]) -> list[Record]:  # fmt: skip
        terminal = self.terminal
        if terminal.sources_current:
            source = np.full(source.shape, terminal.level_a)
        shown, full = terminal.metered(amps, volts, terminal.range_a)
        step = terminal.range_v * 1e-6
        seen = np.round(volts / step) * step
        over = np.abs(shown) > full * self.meter.overrange
        columns = (source, seen, shown, time_s, limited, over)
        return [Record(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def start(self, levels: FloatArray, arms: int, shape: Shape,
              done: Callable[[list[Record]], None] | None = None,
              points: int | None = None) -> Sweep:  # fmt: skip
        """Arm a sweep over ``levels``; it runs when somebody waits. Records are appended.

        A channel that sources current holds its level.

        With ``points`` each arm takes so many of the levels, from where the one before stopped;
        after the last level comes the first.
        """
        begin_s = self.owner.bench.clock_ns * 1e-9
        terminal = self.terminal
        idle_v, limit_a = terminal.level_v, terminal.limit_a
        if terminal.sources_current:
            idle_v, limit_a = terminal.drive()
            levels = np.full(levels.shape, idle_v)

        def deliver(reading: Reading) -> None:
            records = self._records(
                reading.source_v, reading.level_v, reading.current_a, begin_s + reading.time_s,
                terminal.in_compliance(reading.limited),
            )  # fmt: skip
            self.records.extend(records)
            if done is not None:
                done(records)

        self.sweep = Sweep(
            terminal, levels, arms, shape.stimuli, self.events, deliver,
            idle_v=idle_v, end_idle=shape.pulsed, measures=shape.measures,
            asynchronous=shape.asynchronous, source_delay_s=shape.source_delay_s,
            aperture_s=shape.aperture_s, width_s=shape.after_s, limit_a=limit_a,
        )  # fmt: skip
        if points is not None:
            self.sweep.row[ds.POINTS] = points
        self.owner.bench.engine.arm(self.sweep)
        return self.sweep

    @property
    def waits_for_arm(self) -> bool:
        """Whether a sweep is initiated and waits at its arm layer."""
        return not self.idle and self.sweep is not None and not self.sweep.within_arm

    @property
    def idle(self) -> bool:
        """Whether no sweep is armed or running."""
        return self.sweep is None or self.sweep.done
