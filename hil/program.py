"""Pulse blocks: what is driven, as columns over steps x lines.

A *step* drives all lines at once: every line floats, is grounded or is driven to a level for a
width, left-aligned in the step. Widths are full widths at half maximum, so that the time integral
of a driven level is ``level · width`` whatever the edges are; a step lasts
``max(width) + (rise + fall)/2 + gap``. A *block* is one chunk of one phase, bounded in steps and in
time; a *programme* is a stream of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil._quick import quickly_made
from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry

if TYPE_CHECKING:
    from hil.template import BlockTemplate

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class LineState(IntEnum):
    """State of a line during a step."""

    FLOAT = 0
    GROUND = 1
    DRIVE = 2


class Phase(IntEnum):
    """What a block is for; recorded with every pulse and reading."""

    READ = 0
    FORWARD = 1
    BACKWARD = 2
    UPDATE = 3
    REFRESH = 4
    ERASE = 5
    FORM = 6
    PROGRAM = 7
    VERIFY = 8
    IDLE = 9
    CALIBRATE = 10


#: Phases whose driven lines only read; all others count as write pulses in the ledger.
READING_PHASES: Final = frozenset(
    {Phase.READ, Phase.FORWARD, Phase.BACKWARD, Phase.VERIFY, Phase.CALIBRATE}
)


@dataclass(frozen=True, slots=True)
class SensePlan:
    """How currents are measured; ``range_a`` None = autorange, ``aperture_s`` None = all of it."""

    range_a: float | None = None
    aperture_s: float | None = None
    averages: int = 1
    settle_s: float = 0.0
    delay_s: float = 0.0


DEFAULT_SENSE: Final = SensePlan()


@quickly_made
@dataclass(frozen=True, slots=True, eq=False)
class PulseBlock:
    """One chunk of one phase; arrays are read-only. Build it with :meth:`build`.

    Attributes:
        state: (n_steps, n_lines) :class:`LineState`.
        level_v: (n_steps, n_lines) volts, used where the state is DRIVE.
        width_s: (n_steps,) or (n_steps, n_lines) seconds; per line = pulse-width coding.
        rise_s, fall_s, gap_s: (n_steps,) seconds, 0–100 % edges and time at 0 V after the pulse.
        compliance_a: (n_lines,) amperes, ``inf`` where no limit is asked for.
        repeat: (n_steps,) identical pulses.
        sense: (n_steps, n_lines) where the mean current (charge / step width) is measured.
        selected: (n_steps, n_lines) lines addressed on purpose; a device is *selected* when both
            its lines are, *half-selected* when one is (what the ledger and the limits call so).
            A step of a writing block that senses and selects nothing only reads.
        target: (n_steps,) sample or device this step serves.
        template: the checked template that the block was filled from, None otherwise.
        switched: filled by bits: states and levels are the template's, on where selected, else off.
    """

    phase: Phase
    state: NDArray[np.uint8]
    level_v: FloatArray
    width_s: FloatArray
    rise_s: FloatArray
    fall_s: FloatArray
    gap_s: FloatArray
    compliance_a: FloatArray
    repeat: NDArray[np.int64]
    sense: BoolArray
    selected: BoolArray
    sensing: SensePlan
    target: NDArray[np.int64]
    template: BlockTemplate | None = None
    switched: bool = False

    @classmethod
    def build(
        cls,
        phase: Phase,
        state: ArrayLike,
        level_v: ArrayLike,
        width_s: ArrayLike,
        *,
        rise_s: ArrayLike = 0.0,
        fall_s: ArrayLike = 0.0,
        gap_s: ArrayLike = 0.0,
        compliance_a: ArrayLike = np.inf,
        repeat: ArrayLike = 1,
        sense: ArrayLike = False,
        selected: ArrayLike | None = None,
        sensing: SensePlan = DEFAULT_SENSE,
        target: ArrayLike | None = None,
    ) -> PulseBlock:
        """Broadcast the arguments to a block and check their shapes and values.

        ``selected`` defaults to the driven lines with a level other than 0 V; ``target`` to the
        step number. Arrays that already have the right shape and type are taken over without a
        copy and made read-only.

        Raises:
            ProtocolError: shapes do not fit, a value is NaN, a width or repeat is negative.
        """
        state_ = _column(state, np.uint8, 2, "state")
        n_steps, n_lines = state_.shape
        level = _column(level_v, np.float64, 2, "level_v", (n_steps, n_lines))
        width = np.asarray(width_s, dtype=np.float64)
        width = _column(width, np.float64, 2 if width.ndim == 2 else 1, "width_s",
                        (n_steps, n_lines) if width.ndim == 2 else (n_steps,))  # fmt: skip
        sense_ = _column(sense, np.bool_, 2, "sense", (n_steps, n_lines))
        if selected is None:
            selected_ = (state_ == LineState.DRIVE) & (level != 0.0)
        else:
            selected_ = _column(selected, np.bool_, 2, "selected", (n_steps, n_lines))
        per_step = {
            name: _column(value, np.float64, 1, name, (n_steps,))
            for name, value in (("rise_s", rise_s), ("fall_s", fall_s), ("gap_s", gap_s))
        }
        repeat_ = _column(repeat, np.int64, 1, "repeat", (n_steps,))
        compliance = _column(compliance_a, np.float64, 1, "compliance_a", (n_lines,))
        target_ = _column(
            np.arange(n_steps) if target is None else target, np.int64, 1, "target", (n_steps,)
        )
        if n_steps:
            if state_.max() > LineState.DRIVE:
                raise ProtocolError("a line state is none of FLOAT, GROUND, DRIVE", field="state")
            for name, values in (("level_v", level), ("width_s", width), *per_step.items()):
                if not np.isfinite(values).all():
                    raise ProtocolError("a value is NaN or infinite", field=name)
                if name != "level_v" and values.min() < 0:
                    raise ProtocolError(f"negative time {values.min():g} s", field=name)
            if repeat_.min() < 0:
                raise ProtocolError(f"negative repeat {repeat_.min()}", field="repeat")
        if np.isnan(compliance).any() or (compliance <= 0).any():
            raise ProtocolError("compliance must be above 0 A (inf = none)", field="compliance_a")
        return cls(
            phase, state_, level, width, per_step["rise_s"], per_step["fall_s"], per_step["gap_s"],
            compliance, repeat_, sense_, frozen(selected_), sensing, target_,
        )  # fmt: skip

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        n_steps: int = self.state.shape[0]
        return n_steps

    @property
    def n_lines(self) -> int:
        """Number of lines of the array."""
        n_lines: int = self.state.shape[1]
        return n_lines

    @property
    def widths_2d(self) -> FloatArray:
        """Widths as (n_steps, 1) or (n_steps, n_lines), in seconds."""
        return self.width_s if self.width_s.ndim == 2 else self.width_s[:, None]

    @property
    def step_width_s(self) -> FloatArray:
        """(n_steps,) longest width of each step, over which currents are averaged, in seconds."""
        if self.width_s.ndim == 1:
            return self.width_s
        widest: FloatArray = self.width_s.max(axis=1, initial=0.0)
        return widest

    @property
    def period_s(self) -> FloatArray:
        """(n_steps,) time from one pulse of a step to its next, in seconds."""
        return self.step_width_s + (self.rise_s + self.fall_s) / 2 + self.gap_s

    @property
    def reading_steps(self) -> BoolArray:
        """(n_steps,) steps of a writing block that only read: they sense and select nothing."""
        sensed: BoolArray = np.asarray(self.sense.any(axis=1))
        return sensed & ~self.selected.any(axis=1) if sensed.any() else sensed

    @property
    def duration_s(self) -> float:
        """Time the block takes without overheads, in seconds."""
        return float((self.period_s * self.repeat).sum())

    @property
    def n_pulses(self) -> int:
        """Number of pulses (steps x repeats)."""
        return int(self.repeat.sum())

    @property
    def n_readings(self) -> int:
        """Number of readings that the block promises: sensed lines x repeats, summed over steps."""
        return int((self.sense.sum(axis=1) * self.repeat).sum())

    def steps(self, start: int, stop: int) -> PulseBlock:
        """Return steps ``start`` to ``stop`` (exclusive) as a block of its own, without a copy."""
        part = slice(start, stop)
        return PulseBlock(
            self.phase, self.state[part], self.level_v[part], self.width_s[part],
            self.rise_s[part], self.fall_s[part], self.gap_s[part], self.compliance_a,
            self.repeat[part], self.sense[part], self.selected[part], self.sensing,
            self.target[part],
        )  # fmt: skip


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return ``array``, made read-only."""
    array.setflags(write=False)
    return array


def _column(
    value: ArrayLike, dtype: Any, ndim: int, name: str, shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    if shape is not None and isinstance(value, float | int):  # much quicker than broadcasting
        return frozen(np.full(shape, value, dtype=dtype))
    try:
        array = np.asarray(value, dtype=dtype)
        if shape is not None and array.shape != shape:
            array = np.broadcast_to(array, shape)
    except (ValueError, TypeError) as exc:
        raise ProtocolError(f"cannot make an array of shape {shape}: {exc}", field=name) from exc
    if array.ndim != ndim:
        raise ProtocolError(f"has {array.ndim} dimensions, needs {ndim}", field=name)
    return frozen(np.ascontiguousarray(array))


def by_phase(block: PulseBlock) -> tuple[PulseBlock, PulseBlock | None]:
    """Return the block with its reading steps left out, and a READ block of these alone, if any.

    Both keep all steps; those left out have no repeats. Blocks of other phases than the writing
    ones are returned as they are.
    """
    if block.phase in READING_PHASES or block.phase is Phase.IDLE:
        return block, None
    template = block.template
    if template is not None and not template.n_readings:
        return block, None
    reads = block.reading_steps
    if not reads.any():
        return block, None
    writing, reading = np.where(reads, 0, block.repeat), np.where(reads, block.repeat, 0)
    return (
        replace(block, repeat=frozen(writing), template=None),
        replace(block, phase=Phase.READ, repeat=frozen(reading), template=None),
    )


def split(block: PulseBlock, max_steps: int, max_block_s: float) -> Iterator[PulseBlock]:
    """Cut a block into pieces of at most ``max_steps`` steps and ``max_block_s`` seconds.

    A step whose repeats alone are longer than ``max_block_s`` is cut into several steps with fewer
    repeats. IDLE steps are outside the time cap (waiting with outputs off is safe at any length).
    """
    time_s = block.period_s * block.repeat
    if block.n_steps <= max_steps and (block.phase is Phase.IDLE or time_s.sum() <= max_block_s):
        yield block
        return
    start, used_s = 0, 0.0
    for step in range(block.n_steps):
        too_long = block.phase is not Phase.IDLE and used_s + time_s[step] > max_block_s
        if step > start and (too_long or step - start >= max_steps):
            yield block.steps(start, step)
            start, used_s = step, 0.0
        used_s += time_s[step]
        if block.phase is not Phase.IDLE and time_s[step] > max_block_s and block.repeat[step] > 1:
            per_piece = max(int(max_block_s / block.period_s[step]), 1)
            left = int(block.repeat[step])
            one = block.steps(step, step + 1)
            while left > 0:
                yield _with_repeat(one, min(per_piece, left))
                left -= per_piece
            start, used_s = step + 1, 0.0
    if start < block.n_steps:
        yield block.steps(start, block.n_steps)


def _with_repeat(block: PulseBlock, repeat: int) -> PulseBlock:
    return PulseBlock(
        block.phase, block.state, block.level_v, block.width_s, block.rise_s, block.fall_s,
        block.gap_s, block.compliance_a, np.full(block.n_steps, repeat, dtype=np.int64),
        block.sense, block.selected, block.sensing, block.target,
    )  # fmt: skip


class Programme:
    """A static programme: a stream of blocks that can be walked more than once.

    ``make`` returns a fresh iterator each time, so that a long programme is checked whole before
    its first step and never held in memory at once.
    """

    def __init__(self, make: Callable[[], Iterator[PulseBlock]], name: str = "") -> None:
        self._make = make
        self.name = name

    @classmethod
    def of(cls, *blocks: PulseBlock, name: str = "") -> Programme:
        """Return a programme of the given blocks."""
        return cls(lambda: iter(blocks), name)

    def __iter__(self) -> Iterator[PulseBlock]:
        return self._make()

    def __add__(self, other: Programme) -> Programme:
        def both() -> Iterator[PulseBlock]:
            yield from self
            yield from other

        return Programme(both, self.name or other.name)


def line_levels(geometry: ArrayGeometry, n_steps: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """Return writable (state, level_v) of ``n_steps`` steps with every line grounded at 0 V."""
    shape = (n_steps, geometry.n_lines)
    return np.full(shape, LineState.GROUND, dtype=np.uint8), np.zeros(shape)
