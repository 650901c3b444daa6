"""Terminals of emulated instruments: what they drive, and how well their sources and meters do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

OffMode = Literal["normal", "zero", "high-z", "guard"]
FloatArray = NDArray[np.float64]
NO_CURRENT_A = 1e-18  # limit of a source of 0 A; a limit is never 0


@dataclass(slots=True)
class Accuracy:
    """Errors of one channel; all zero on an ideal bench.

    Attributes:
        source_gain, meter_gain: relative errors; 1e-3 reads 0.1 % too much.
        source_offset_v: volts added to every level.
        meter_offset_a: by measuring range; ranges that are absent have none.
        leak_siemens: of the cable, to guard: its current is measured but never reaches the array.
    """

    source_gain: float = 0.0
    source_offset_v: float = 0.0
    meter_gain: float = 0.0
    meter_offset_a: dict[float, float] = field(default_factory=dict)
    leak_siemens: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceMeter:
    """Ranges of one kind of channel, ascending, and its digits.

    Attributes:
        ranges_v, ranges_a: full scales.
        level_steps, meter_steps: counts per full scale (resolution = range / counts).
        overrange: part of a range that still reads, e.g. 1.02.
        overflow: what a reading beyond it shows.
    """

    ranges_v: tuple[float, ...]
    ranges_a: tuple[float, ...]
    level_steps: float
    meter_steps: float
    overrange: float
    overflow: float

    def range_for(self, value: float, ranges: tuple[float, ...]) -> float | None:
        """Return the lowest range that holds ``value``, None when none does."""
        for full in ranges:
            if abs(value) <= full * self.overrange:
                return full
        return None


class Terminal:
    """One channel's connection to the outside.

    Attributes:
        level_v: programmed level in volts (voltage source).
        level_a: programmed level in amperes (current source).
        limit_a, limit_v: compliance of the voltage and of the current source.
        on: output on; off_mode says what an off output is: 0 V behind ``off_limit_a`` (normal,
            zero), open (high-z), or 0 A (guard).
        ceiling_v: most that the output gives while an interlock is open, inf = no limit.
        range_v: source range, which sets the level's resolution.
        range_a: measuring range, None while autoranging.
        limited: the last evaluation found the source in compliance.
    """

    def __init__(self, instrument: str, channel: str, meter: SourceMeter) -> None:
        self.instrument, self.channel, self.meter = instrument, channel, meter
        self.accuracy = Accuracy()
        self.can_measure = True
        self.reset()

    def reset(self) -> None:
        """Go to the state of a channel that is off."""
        self.level_v, self.level_a = 0.0, 0.0
        self.limit_a, self.limit_v = math.inf, math.inf
        self.on = False
        self.off_mode: OffMode = "normal"
        self.off_limit_a = math.inf
        self.range_v: float = self.meter.ranges_v[-1]
        self.range_a: float | None = None
        self.sources_current = False
        self.limited = False
        self.ceiling_v = math.inf

    @property
    def name(self) -> str:
        """``instrument.channel``."""
        return f"{self.instrument}.{self.channel}"

    @property
    def low_impedance(self) -> bool:
        """Whether the terminal holds its lines at a level rather than letting them float."""
        return self.on or self.off_mode in ("normal", "zero")

    def set_level_v(self, level_v: float) -> None:
        """Program a level."""
        self.level_v = float(level_v)

    def drive(self) -> tuple[float, float]:
        """Return level in volts and current limit in amperes of the equivalent voltage source.

        A current source is a voltage source at its voltage limit that limits at its level.
        """
        if not self.on:
            return 0.0, self.off_limit_a
        if self.sources_current:
            if self.level_a == 0.0:
                return 0.0, NO_CURRENT_A
            return math.copysign(self.limit_v, self.level_a), abs(self.level_a)
        return float(self.delivered(np.array([self.level_v]))[0]), self.limit_a

    def in_compliance(self, clamped: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return where the source limits, given where the equivalent voltage source does.

        A current source regulates while that one clamps.
        """
        return ~clamped & (self.level_a != 0.0) if self.sources_current else clamped

    def quantised(self, level_v: FloatArray) -> FloatArray:
        """Return levels on the source's grid in its present range."""
        step = self.range_v / self.meter.level_steps
        return np.asarray(np.round(level_v / step) * step)

    def delivered(self, level_v: FloatArray) -> FloatArray:
        """Return the levels in volts that really appear for programmed ones."""
        levels = self.quantised(level_v)
        errors = self.accuracy
        if errors.source_gain or errors.source_offset_v:
            levels = levels * (1.0 + errors.source_gain) + errors.source_offset_v
        return (
            levels if math.isinf(self.ceiling_v) else levels.clip(-self.ceiling_v, self.ceiling_v)
        )

    def metered(
        self, current_a: FloatArray, level_v: FloatArray, range_a: float | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return what the meter shows for true currents in amperes, and the range of each."""
        errors, meter = self.accuracy, self.meter
        seen = current_a + level_v * errors.leak_siemens
        if range_a is None:
            limits = np.array(meter.ranges_a) * meter.overrange
            at = np.minimum(np.searchsorted(limits, np.abs(seen)), len(limits) - 1)
            full = np.array(meter.ranges_a)[at]
        else:
            full = np.full(seen.shape, range_a)
        if errors.meter_gain:
            seen = seen * (1.0 + errors.meter_gain)
        for one, offset in errors.meter_offset_a.items():
            seen = np.where(full == one, seen + offset, seen)
        step = full / meter.meter_steps
        shown = np.round(seen / step) * step
        over = np.abs(seen) > full * meter.overrange
        return np.where(over, np.copysign(meter.overflow, seen), shown), full


class Rail(Terminal):
    """The 0 V rail that all instruments share: always there, never measured."""

    def __init__(self) -> None:
        super().__init__("common", "", SourceMeter((1.0,), (1.0,), 1.0, 1.0, 1.0, 0.0))
        self.can_measure = False
        self.on = True

    @property
    def name(self) -> str:
        """``common``."""
        return self.instrument
