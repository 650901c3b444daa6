"""What goes into a driver and comes out: channel steps, delivered steps, channel readings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.capabilities import Range
from hil.errors import LimitError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

#: Slack of a comparison of times and levels that went through text and float32.
RELATIVE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered ``*IDN?``."""

    maker: str
    model: str
    serial: str
    firmware: str

    @classmethod
    def parse(cls, answer: str) -> Identity | None:
        """Return the four fields of an ``*IDN?`` answer, None when there are fewer.

        Keithley prefixes the model with ``MODEL`` or ``Model``; it is left out.
        """
        parts = [p.strip() for p in answer.strip().split(",", 3)]
        if len(parts) != 4:
            return None
        model = parts[1]
        if model.lower().startswith("model "):
            model = model[6:].strip()
        return cls(parts[0], model, parts[2], parts[3])

    def __str__(self) -> str:
        return f"{self.maker} {self.model} (serial {self.serial}, firmware {self.firmware})"


@dataclass(frozen=True, slots=True)
class ChannelCapabilities:
    """What one channel can do, in SI units; see each driver for the manual's pages.

    Attributes:
        level_v: levels and their resolution on the finest range.
        width_s: pulse widths and their grid, source only.
        min_measured_s: shortest pulse that can also be measured with the shortest aperture.
        compliance_a: current limits that can be set; unused without ``can_limit_current``.
        sense_a: current that can be measured, resolution of the lowest range.
        ranges_v, ranges_a: full scales, rising.
        max_list_steps: pulses (repeats expanded unless ``repeats_free``) of one run.
        max_readings: readings that one run can store.
        min_period_s: shortest pulse period.
        can_float: the output can be disconnected or made high impedance.
        overhead_s: documented time of a run besides its pulses (bus, output relay, settling).
        counts_a: counts of a measuring range's full scale; resolution = full scale / counts.
        overrange_a: what a measuring range reads, as a share of its full scale.
        single_precision: readings are sent as 32-bit floats.
        clock_error: by which share pulses may come early or late; 50 ppm is a planning value.
    """

    level_v: Range
    width_s: Range
    compliance_a: Range
    sense_a: Range
    ranges_v: tuple[float, ...]
    ranges_a: tuple[float, ...]
    max_list_steps: int
    max_readings: int
    min_period_s: float
    min_measured_s: float = 0.0
    can_measure: bool = True
    can_limit_current: bool = True
    can_float: bool = True
    repeats_free: bool = False
    overhead_s: float = 0.0
    counts_a: float = math.inf
    overrange_a: float = 1.0
    single_precision: bool = False
    clock_error: float = 50e-6

    def resolution_a(self, range_a: float) -> float:
        """Return the smallest difference in amperes that a measuring range shows."""
        return range_a / self.counts_a

    def shown_a(self, current_a: FloatArray, range_a: float) -> FloatArray:
        """Return what arrives in amperes when true currents are measured on ``range_a``.

        NaN beyond the range, as an overflow is decoded.
        """
        step = self.resolution_a(range_a)
        shown = np.round(current_a / step) * step if step > 0.0 else current_a
        if self.single_precision:
            shown = shown.astype(np.float32).astype(np.float64)
        return np.where(np.abs(current_a) > range_a * self.overrange_a, np.nan, shown)

    def range_for_a(self, current_a: float) -> float:
        """Return the lowest range in amperes that holds ``current_a``; LimitError if none."""
        return _range_for(self.ranges_a, current_a, "current range", "A")

    def range_for_v(self, level_v: float) -> float:
        """Return the lowest source range in volts that holds ``level_v``; LimitError if none."""
        return _range_for(self.ranges_v, level_v, "level_v", "V")


def _range_for(ranges: tuple[float, ...], value: float, quantity: str, unit: str) -> float:
    for full_scale in ranges:
        if abs(value) <= full_scale * (1 + RELATIVE):
            return full_scale
    raise LimitError(quantity, abs(value), ranges[-1] if ranges else 0.0, unit)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelSteps:
    """What one channel does in one run: columns over n steps.

    Every step is ``repeat`` pulses of ``level_v`` for ``width_s``, one each ``period_s``,
    left-aligned; between pulses the channel idles at 0 V with the output on. A channel that only
    holds its level through the step has ``width_s == period_s``. ``measure``: each pulse of the
    step gives a reading, taken at its end. ``range_a`` None = the lowest range that holds the
    compliance; ``aperture_s`` None = as much of the shortest measured pulse as the instrument can
    use.
    """

    level_v: FloatArray
    width_s: FloatArray
    period_s: FloatArray
    repeat: IntArray
    measure: BoolArray
    compliance_a: float = math.inf
    range_a: float | None = None
    aperture_s: float | None = None

    @classmethod
    def build(
        cls,
        level_v: ArrayLike,
        width_s: ArrayLike,
        period_s: ArrayLike,
        *,
        repeat: ArrayLike = 1,
        measure: ArrayLike = False,
        compliance_a: float = math.inf,
        range_a: float | None = None,
        aperture_s: float | None = None,
    ) -> ChannelSteps:
        """Broadcast the columns to the length of ``level_v``.

        Raises:
            LimitError: a width is longer than its period, a time or repeat is not positive.
        """
        level = np.atleast_1d(np.asarray(level_v, dtype=np.float64))
        n = level.shape
        width = np.broadcast_to(np.asarray(width_s, dtype=np.float64), n).copy()
        period = np.broadcast_to(np.asarray(period_s, dtype=np.float64), n).copy()
        times = np.broadcast_to(np.asarray(repeat, dtype=np.int64), n).copy()
        measured = np.broadcast_to(np.asarray(measure, dtype=np.bool_), n).copy()
        for name, column, unit in (("width_s", width, "s"), ("period_s", period, "s"),
                                   ("repeat", times, "")):  # fmt: skip
            bad = np.flatnonzero(~(column > 0) | ~np.isfinite(column))
            if bad.size:
                raise LimitError(name, float(column[bad[0]]), 0.0, unit, step=int(bad[0]),
                                 note="must be above 0")  # fmt: skip
        bad = np.flatnonzero(width > period * (1 + RELATIVE))
        if bad.size:
            raise LimitError("width_s", float(width[bad[0]]), float(period[bad[0]]), "s",
                             step=int(bad[0]), note="longer than the period")  # fmt: skip
        bad = np.flatnonzero(~np.isfinite(level))
        if bad.size:
            raise LimitError("level_v", float(level[bad[0]]), 0.0, "V", step=int(bad[0]),
                             note="not a finite level")  # fmt: skip
        return cls(level, width, period, times, measured, compliance_a, range_a, aperture_s)

    def __len__(self) -> int:
        return len(self.level_v)

    def equals(self, other: ChannelSteps) -> bool:
        """Return whether the other does the same."""
        if self is other:
            return True
        scalars = (self.compliance_a, self.range_a, self.aperture_s)
        return scalars == (other.compliance_a, other.range_a, other.aperture_s) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("level_v", "width_s", "period_s", "repeat", "measure")
        )

    @property
    def n_pulses(self) -> int:
        """Pulses of the run, repeats expanded."""
        return int(self.repeat.sum())

    @property
    def n_readings(self) -> int:
        """Readings of the run."""
        return int(self.repeat[self.measure].sum())

    @property
    def duration_s(self) -> float:
        """Time of all pulses."""
        return float((self.repeat * self.period_s).sum())

    @property
    def holds(self) -> BoolArray:
        """Steps in which the channel keeps its level for the whole period."""
        return np.asarray(self.width_s >= self.period_s * (1 - RELATIVE), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """The columns of :class:`ChannelSteps` after quantisation to the instrument's grids."""

    level_v: FloatArray
    width_s: FloatArray
    period_s: FloatArray
    repeat: IntArray
    measure: BoolArray
    compliance_a: float = math.inf
    range_a: float = math.nan
    aperture_s: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class ChannelReadings:
    """Raw readings of one channel: one row per measured pulse, in the order taken.

    ``pulse`` is the ordinal within the step's repeats; ``t_ns`` the start of the pulse since the
    start of the run, by the instrument's timers; ``current_a`` positive out of the source, NaN
    where the instrument gave an overflow; ``status`` bits of :class:`hil.measurement.Status`.
    ``tripped_steps``: steps not asked to be measured in which the instrument saw the compliance
    reached all the same.
    """

    step: IntArray
    pulse: IntArray
    t_ns: IntArray
    level_v: FloatArray
    current_a: FloatArray
    range_a: FloatArray
    status: NDArray[np.uint32]
    tripped_steps: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class SpotReading:
    """One DC reading: level set, current measured (positive out of the source), status bits."""

    level_v: float
    current_a: float
    range_a: float
    status: int = 0


class SyncRole(Enum):
    """How a run begins."""

    SOFTWARE = "software"  #: on ``start``, alone
    MASTER = "master"  #: on ``start``, and sends a pulse on the line
    FOLLOWER = "follower"  #: armed by ``start``, begins with a pulse on the line


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """One instrument's part in a common start.

    ``line`` is a line of the instrument: the number of a digital I/O line (``3``) or ``EXT`` for a
    trigger socket. With ``each_pulse`` the line paces every pulse, so that clocks cannot drift
    apart; otherwise it only starts the run. Followers are started first, the master last.
    """

    role: SyncRole = SyncRole.SOFTWARE
    line: str = ""
    each_pulse: bool = False


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """A run as the preview shows it: messages, seconds, and what is batched."""

    transactions: int
    duration_s: float
    batched: bool
    note: str = ""


SOFTWARE_START: Final = SyncPlan()

__all__ = [
    "SOFTWARE_START", "ChannelCapabilities", "ChannelReadings", "ChannelSteps", "Delivered",
    "Identity", "RunEstimate", "SpotReading", "SyncPlan", "SyncRole",
]  # fmt: skip
