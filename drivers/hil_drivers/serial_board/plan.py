"""A block as a board does it: on its grids, cut into sequences that fit its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import LimitError
from hil.limits import LimitChecker
from hil.program import READING_PHASES, LineState, PulseBlock
from hil_drivers.rig.reads import Lowered, averaged, unchanged
from hil_drivers.serial_board import messages
from hil_drivers.serial_board.messages import Can, Hello
from hil_drivers.serial_board.sequence import Steps, encode

_NS: Final = 1e9
_SAME: Final = (
    1e-9  #: a quantised value is the one asked for when it differs by this share of a step
)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A run of the board: consecutive steps, of which the first may go on with its repeats.

    Attributes:
        start, stop: its steps in the lowered block.
        repeat: (stop - start,) pulses of each.
        code: its sequence; empty for a READ_MATRIX.
        n_readings, duration: readings and nanoseconds.
        matrix: the payload of READ_MATRIX, if it is one.
    """

    start: int
    stop: int
    repeat: Ints
    code: bytes
    n_readings: int
    duration: int
    matrix: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one block becomes.

    Attributes:
        asked: the block as it was asked for.
        lowered: as it is driven; ``block`` has the averages as repeats.
        delivered: the lowered block on the board's grids.
        parts: runs, in order.
    """

    asked: PulseBlock
    lowered: Lowered
    delivered: PulseBlock
    parts: tuple[Part, ...]


class Planner:
    """Plans blocks for one board.

    Args:
        hello: what the board can do.
        board_line: (n_lines,) the board's line of every line of the array.
    """

    def __init__(self, hello: Hello, board_line: Ints) -> None:
        self.hello = hello
        self._ordered = bool((board_line == np.arange(board_line.size)).all())
        self._array_line = np.argsort(board_line)
        self.board_line = board_line

    def plan(self, block: PulseBlock) -> Plan:
        """Return what will be done for a block; nothing is driven.

        Raises:
            LimitError: the board cannot do it.
        """
        lowered = averaged(unchanged(block))
        steps, delivered = self._on_grid(lowered.block)
        matrix = self._matrix(lowered.block, steps)
        parts = (matrix,) if matrix is not None else tuple(self._parts(steps))
        return Plan(block, lowered, delivered, parts)

    # -- grids -----------------------------------------------------------------------------

    def ticks(self, seconds: NDArray[np.float64]) -> Ints:
        """Return times in nanoseconds on the board's grid."""
        step = self.hello.time_step
        return (np.rint(seconds * (_NS / step)) * step).astype(np.int64)

    def _on_grid(self, block: PulseBlock) -> tuple[Steps, PulseBlock]:
        hello = self.hello
        level, same = block.level_v, True
        if hello.level_step_v:
            on = np.rint(level / hello.level_step_v) * hello.level_step_v
            same = bool((np.abs(on - level) <= _SAME * hello.level_step_v).all())
            level = level if same else on
        asked = (block.width_s, block.rise_s, block.fall_s, block.gap_s)
        width, rise, fall, gap = (self.ticks(t) for t in asked)
        for found, wanted in zip((width, rise, fall, gap), asked, strict=True):
            same = same and bool((np.abs(found / _NS - wanted) <= _SAME / _NS).all())
        delivered = block
        if not same:
            delivered = replace(
                block, level_v=level, width_s=width / _NS, rise_s=rise / _NS, fall_s=fall / _NS,
                gap_s=gap / _NS, template=None,
            )  # fmt: skip
        state, sense, compliance = block.state, block.sense.view(np.uint8), block.compliance_a
        if not self._ordered:
            at = self._array_line
            state, sense, level, compliance = (
                state[:, at],
                sense[:, at],
                level[:, at],
                compliance[at],
            )
            width = width[:, at] if width.ndim == 2 else width
        delay, aperture = self.aperture(block)
        steps = Steps(
            state, sense, level.astype(np.float32), width.astype(np.uint32),
            np.stack([rise, fall, gap], axis=1).astype(np.uint32), block.repeat.astype(np.uint32),
            compliance.astype(np.float32), block.sensing.range_a or 0.0, delay, aperture,
        )  # fmt: skip
        return steps, delivered

    def aperture(self, block: PulseBlock) -> tuple[int, int]:
        """Return (delay, aperture) of the readings in nanoseconds.

        Raises:
            LimitError: they do not fit into the shortest measured pulse.
        """
        plan = block.sensing
        wait_s = plan.settle_s + plan.delay_s
        if not (wait_s or plan.aperture_s) or not block.sense.any():
            return 0, 0
        sensed = block.sense.any(axis=1)
        shortest_s = float(block.step_width_s[sensed].min())
        if block.width_s.ndim == 2:
            driven = (block.state == LineState.DRIVE) & (block.level_v != 0.0)
            uneven = driven & (block.width_s != block.step_width_s[:, None])
            if (uneven.any(axis=1) & sensed).any():
                raise LimitError(
                    "settling and aperture", wait_s + (plan.aperture_s or 0.0), 0.0, "s",
                    step=int((uneven.any(axis=1) & sensed).argmax()),
                    note="inputs coded in widths are read as a charge, over the whole step",
                )  # fmt: skip
        if wait_s + (plan.aperture_s or 0.0) > shortest_s * (1 + 1e-9) or wait_s >= shortest_s:
            raise LimitError(
                "settling and aperture", wait_s + (plan.aperture_s or 0.0), shortest_s, "s",
                step=int(sensed.argmax()), note="they do not fit into the measured pulse",
            )  # fmt: skip
        delay, aperture = (int(t) for t in self.ticks(np.array([wait_s, plan.aperture_s or 0.0])))
        return delay, aperture

    # -- parts -----------------------------------------------------------------------------

    def _parts(self, steps: Steps) -> Iterator[Part]:
        """Yield as few runs as the board's memory allows."""
        hello = self.hello
        width = steps.width.astype(np.int64)
        width = width.max(axis=1, initial=0) if width.ndim == 2 else width
        times = steps.times.astype(np.int64)
        period = width + (times[:, 0] + times[:, 1]) // 2 + times[:, 2]
        sensed = steps.sense.sum(axis=1, dtype=np.int64)
        repeat = steps.repeat.astype(np.int64)
        n = repeat.size
        most_readings, most_ns = hello.max_readings, hello.max_run
        total = int((repeat * sensed).sum()), int((repeat * period).sum())
        if n <= hello.max_steps and total[0] <= most_readings and total[1] <= most_ns:
            yield from self._fitting(steps, 0, n, repeat, sensed, period)
            return
        start, left = 0, repeat.copy()
        while start < n:
            stop, readings, spent = start, 0, 0
            taken: list[int] = []
            while stop < n and stop - start < hello.max_steps:
                pulses = int(left[stop])
                if sensed[stop]:
                    pulses = min(pulses, (most_readings - readings) // int(sensed[stop]))
                if period[stop]:
                    pulses = min(pulses, (most_ns - spent) // int(period[stop]))
                if pulses == 0 and left[stop] > 0:
                    break
                taken.append(pulses)
                readings += pulses * int(sensed[stop])
                spent += pulses * int(period[stop])
                stop += 1
                if pulses < left[stop - 1]:
                    break
            if not taken:
                raise LimitError("one pulse", float(period[start] / _NS), most_ns / _NS, "s",
                                 step=start, note="longer than a run of the board")  # fmt: skip
            yield from self._fitting(
                steps, start, stop, np.array(taken, dtype=np.int64), sensed, period
            )
            left[start : stop - 1] = 0
            left[stop - 1] -= taken[-1]
            start = stop if left[stop - 1] == 0 else stop - 1

    def _fitting(
        self, steps: Steps, start: int, stop: int, repeat: Ints, sensed: Ints, period: Ints
    ) -> Iterator[Part]:
        """Yield the part, or its halves where its sequence is larger than the board's memory."""
        code = encode(steps.part(start, stop, repeat.astype(np.uint32)))
        if len(code) > self.hello.seq_bytes:
            if stop - start == 1:
                raise LimitError("bytes of one step", len(code), self.hello.seq_bytes, "bytes",
                                 step=start)  # fmt: skip
            middle = (start + stop) // 2
            yield from self._fitting(steps, start, middle, repeat[: middle - start], sensed, period)
            yield from self._fitting(steps, middle, stop, repeat[middle - start :], sensed, period)
            return
        at = slice(start, stop)
        yield Part(start, stop, repeat, code, int((repeat * sensed[at]).sum()),
                   int((repeat * period[at]).sum()))  # fmt: skip

    def _matrix(self, block: PulseBlock, steps: Steps) -> Part | None:
        """Return the block as a READ_MATRIX where it is one: one row after the other, all alike."""
        hello, n = self.hello, len(steps.state)
        reads = block.phase in READING_PHASES and Can.PARALLEL_SENSE in Can(hello.can & 0xFFFF)
        if n < 2 or not reads or not self._ordered or steps.width.ndim != 1:
            return None
        driven = steps.state == LineState.DRIVE
        cols = np.flatnonzero(steps.sense[0]) - hello.rows
        if not (
            (driven.sum(axis=1) == 1).all() and (steps.state != LineState.FLOAT).all()
            and (steps.repeat == 1).all() and cols.size and cols[0] >= 0 and cols[-1] < hello.cols
            and cols[-1] - cols[0] == cols.size - 1 and (steps.sense == steps.sense[0]).all()
        ):  # fmt: skip
            return None
        row = driven.argmax(axis=1)
        level = steps.level[np.arange(n), row]
        alike = (level, steps.width, *steps.times.T, steps.compliance)
        if (
            row[0] + n > hello.rows or (row != row[0] + np.arange(n)).any()
            or any((column != column[0]).any() for column in alike)
            or n * cols.size > hello.max_readings
        ):  # fmt: skip
            return None
        rise, fall, gap = (int(t) for t in steps.times[0])
        payload = messages.MATRIX.pack(
            int(row[0]), n, int(cols[0]), cols.size, float(level[0]), int(steps.width[0]), rise,
            fall, gap, steps.delay, steps.aperture, steps.range_a, float(steps.compliance[0]),
        )  # fmt: skip
        duration = n * (int(steps.width[0]) + (rise + fall) // 2 + gap)
        if duration > hello.max_run:
            return None
        return Part(0, n, np.ones(n, dtype=np.int64), b"", n * cols.size, duration, payload)


class BoardChecker(LimitChecker):
    """The limit check of a board: what every backend checks, and whether the board can do it."""

    planner: Planner | None = None

    def span_v(self) -> tuple[float, float]:
        """Return the lowest and highest level that any line may have, in volts."""
        return float(self._lo.min()), float(self._hi.max())

    def _check_able(self, block: PulseBlock, index: int | None) -> None:
        """Raise LimitError when the board does not allow ``block``."""
        able = self.capabilities.compliance_a
        driven = ((block.state == LineState.DRIVE) & (block.level_v != 0.0)).any(axis=0)
        asked = driven & np.isfinite(block.compliance_a)
        outside = asked & ((block.compliance_a < able.min) | (block.compliance_a > able.max))
        if outside.any():
            line = int(outside.argmax())
            value = float(block.compliance_a[line])
            limit = able.min if value < able.min else able.max
            raise LimitError("compliance", value, limit, "A", block=index,
                             where=self.geometry.line_name(line), note="of the board")  # fmt: skip
        if self.planner is not None:
            averaged(unchanged(block))  # refuses to repeat a write
            self.planner.aperture(block)
