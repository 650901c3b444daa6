"""A pulse or arbitrary-waveform generator's channel: levels behind 50 Ω, bursts on a trigger."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.engine import EVENTS, Sweep, Timer
from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.terminal import SourceMeter, Terminal

SOURCE_OHM = 50.0
#: The 81160A knows no infinite load; its largest stands for one.
HIGH_IMPEDANCE_OHM = 1e6
LEVEL_GRID_V = 1e-4  #: of high and low level, open circuit (four digits below 1 V) [M]
FloatArray = NDArray[np.float64]
_MAX_POINTS = 1 << 20
_STORED = ("load_ohm", "open_high_v", "open_low_v", "width_s", "period_s", "cycles", "delay_s")


class GeneratorTerminal(Terminal):
    """A terminal whose levels are on no grid: those of a waveform are codes between two levels."""

    def quantised(self, level_v: FloatArray) -> FloatArray:
        """Return the levels as they are; high and low were rounded when they were set."""
        return level_v


class GeneratorChannel:
    """One output.

    The array is a load of high impedance: the terminal shows the open-circuit voltage, which is
    ``(load + 50)/load`` times what the instrument displays for the load it believes in.

    Attributes:
        open_high_v, open_low_v: open-circuit levels.
        load_ohm: what levels are displayed for; inf = high impedance.
        width_s, period_s: of a pulse; cycles: of a burst.
        waits: armed for an external trigger.
        arbitrary: (dt, levels open circuit) played instead of pulses, None for pulses.
    """

    def __init__(self, owner: Personality, channel: str, top_v: float) -> None:
        self.owner = owner
        meter = SourceMeter((top_v,), (1.0,), top_v / LEVEL_GRID_V, 1.0, 1.0, 0.0)
        self.terminal = GeneratorTerminal(owner.name, channel, meter)
        self.terminal.can_measure = False
        new = owner.bench.engine.new_event
        self.events = tuple(new() for _ in EVENTS)
        self.tick = new()
        self.sweep: Sweep | None = None
        self.waits = False
        self.reset()

    def reset(self) -> None:
        """Go to the state after ``*RST``: output off, 100 mVpp into 50 Ω."""
        accuracy = self.terminal.accuracy
        self.terminal.reset()
        self.terminal.accuracy = accuracy
        # A relay opens when the output is off.
        self.terminal.off_mode = "high-z"
        self.load_ohm = 50.0
        self.open_high_v, self.open_low_v = 0.1, -0.1
        self.width_s, self.period_s, self.cycles, self.delay_s = 1e-4, 1e-3, 1, 0.0
        self.arbitrary: tuple[float, FloatArray] | None = None
        self.sweep = None

    def settings(self) -> dict[str, float]:
        """Return what a stored setup keeps of this channel."""
        return {name: getattr(self, name) for name in _STORED}

    def recall(self, settings: dict[str, float]) -> None:
        """Take back what :meth:`settings` returned."""
        for name in _STORED:
            setattr(self, name, settings[name])

    @property
    def factor(self) -> float:
        """Open-circuit volts per displayed volt."""
        if self.load_ohm >= HIGH_IMPEDANCE_OHM:
            return 1.0
        return (self.load_ohm + SOURCE_OHM) / self.load_ohm

    def set_levels(self, open_high_v: float, open_low_v: float) -> None:
        """Set the open-circuit levels, on their grid."""
        self.open_high_v, self.open_low_v = (
            round(level / LEVEL_GRID_V) * LEVEL_GRID_V for level in (open_high_v, open_low_v)
        )

    def shown(self, open_v: float) -> float:
        """Return an open-circuit level as it is displayed."""
        return open_v / self.factor

    def rest(self) -> None:
        """Hold the level between pulses, 0 V between waveforms."""
        self.terminal.set_level_v(self.open_low_v if self.arbitrary is None else 0.0)

    def arm(self, stimulus: int, arms: int) -> None:
        """Arm bursts that each start at ``stimulus`` (0 = at once)."""
        engine = self.owner.bench.engine
        self.waits = stimulus != 0
        if self.sweep is not None:
            self.sweep.aborted = True
            engine.sweeps = [s for s in engine.sweeps if s is not self.sweep]
        levels, delays = self._points()
        arms = max(1, min(arms, _MAX_POINTS // levels.size))
        begin = self.events[0]
        timer = Timer(begin, self.tick, (self.delay_s, *delays), levels.size)
        engine.timers[self.owner.name, self.terminal.channel] = [timer]
        pulses = self.arbitrary is None
        self.sweep = Sweep(
            self.terminal, levels, arms, (stimulus, self.tick, 0, 0), self.events,
            lambda _: None, idle_v=self.open_low_v if pulses else 0.0, end_idle=pulses,
            width_s=self.width_s if pulses else 0.0, idle_when_done=True,
        )  # fmt: skip
        engine.arm(self.sweep)

    def _points(self) -> tuple[FloatArray, tuple[float, ...]]:
        """Return levels of the points and the times between them."""
        if self.arbitrary is None:
            n = self.cycles
            return np.full(n, self.open_high_v), (self.period_s,) * (n - 1)
        dt, samples = self.arbitrary
        edges = np.flatnonzero(np.diff(samples)) + 1
        starts = np.concatenate([[0], edges])
        runs = np.diff(np.append(starts, samples.size)) * dt
        levels, lengths = np.tile(samples[starts], self.cycles), np.tile(runs, self.cycles)
        # A last point of 0 V ends the waveform; it starts when the last sample is over.
        return np.append(levels, 0.0), tuple(lengths.tolist())

    @property
    def idle(self) -> bool:
        """Whether no burst runs; one that waits for its trigger is idle."""
        return self.sweep is None or self.sweep.done or not self.sweep.within_arm
