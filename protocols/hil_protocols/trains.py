"""Whole pulse trains of one cell after the other: writes and reads of a cell in one block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock
from hil.phases.cells import as_reading_steps, joined, pieces
from hil.phases.reading import read_rows
from hil.procedure import ArrayContext
from hil.program import Phase, PulseBlock, frozen
from hil_protocols.compile import MAX_CELLS, nominal_pulse
from hil_protocols.plan import MAX_KEPT, Plan, Record, Shot
from hil_protocols.selection import Cells


class TrainPart(NamedTuple):
    """``pulses`` of one polarity (0 = none), then a read, which gives the curve's ``point``."""

    polarity: int
    pulses: int
    point: tuple[float, ...]


class Trains:
    """The same train for every cell, cell after cell; as many cells in a block as it may hold.

    A step's ``target`` is ``cell · n_points + point``: the ordinals of the cell among those chosen
    and of the point that the step reads or leads to.

    Args:
        context: the array.
        cells: in the order in which they get their trains.
        parts: the train.
        axes: names of the points' values, units in the names.
        read_repeat: readings averaged for a point.
    """

    def __init__(
        self, context: ArrayContext, cells: Cells, parts: Sequence[TrainPart],
        axes: tuple[str, ...], read_repeat: int = 1,
    ) -> None:  # fmt: skip
        self._context, self._cells, self._axes = context, cells, axes
        self._points = np.array([part.point for part in parts], dtype=np.float64)
        kinds, repeats, targets = [], [], []
        for n, part in enumerate(parts):
            if part.pulses:
                kinds.append(1 if part.polarity > 0 else 2)
                repeats.append(part.pulses)
                targets.append(n)
            kinds.append(0)
            repeats.append(read_repeat)
            targets.append(n)
        self._kinds, self._repeats, self._targets = (
            np.array(column, dtype=np.int64) for column in (kinds, repeats, targets)
        )

    def plan(self) -> Plan:
        """Return the programme and its record; ProtocolError when it does not fit the array."""
        next(self._shots())  # what cannot be done is said before the first block is driven
        return Plan(self._shots, lambda: TrainRecord(self._cells, self._points, self._axes,
                                                     self._context))  # fmt: skip

    def _shots(self) -> Iterator[Shot]:
        rows, cols = self._cells.rows, self._cells.cols
        at = 0
        while at < rows.size:
            end = int(np.searchsorted(rows, rows[at], side="right"))
            for block in self._row(Cells(rows[at:end], cols[at:end]), at):
                for piece in pieces(block, self._context.capabilities):
                    yield Shot(piece, ())
            at = end

    def _row(self, cells: Cells, first: int) -> Iterator[PulseBlock]:
        """Yield the trains of cells of one row, of which the first has the ordinal ``first``."""
        context, n = self._context, len(cells)
        steps = joined(
            [
                self._reads(cells),
                nominal_pulse(context, cells, "cell", +1),
                nominal_pulse(context, cells, "cell", -1),
            ]
        )
        together = self._together(steps, n)
        for k in range(0, n, together):
            which = np.arange(k, min(k + together, n))[:, None]
            at = (self._kinds * n + which).ravel()
            target = (self._targets + (first + which) * len(self._points)).ravel()
            yield PulseBlock(
                steps.phase, rows(steps.state, at), rows(steps.level_v, at),
                rows(steps.width_s, at), rows(steps.rise_s, at), rows(steps.fall_s, at),
                rows(steps.gap_s, at), steps.compliance_a,
                frozen(np.tile(self._repeats, which.size)), rows(steps.sense, at),
                rows(steps.selected, at), steps.sensing, frozen(target),
            )  # fmt: skip

    def _together(self, steps: PulseBlock, n: int) -> int:
        """Return how many whole trains a block may hold, at least one."""
        caps = self._context.capabilities
        train_s = float((steps.period_s[self._kinds * n] * self._repeats).sum())
        most = min(caps.max_steps, MAX_CELLS // steps.n_lines) // self._kinds.size
        if train_s > 0.0:
            most = min(most, int(caps.max_block_s / train_s))
        return max(most, 1)

    def _reads(self, cells: Cells) -> PulseBlock:
        """Return one reading step for each of the cells, which are on one row."""
        context = self._context
        able = dataclasses.replace(context.capabilities, parallel_sense=True, per_line_width=True)
        block = read_rows(context.geometry, context.op, able, cells.rows, cells.cols)
        own = np.zeros_like(block.sense)
        own[np.arange(len(cells)), context.geometry.read_lines.minus[cells.cols]] = True
        return as_reading_steps(dataclasses.replace(block, sense=own), Phase.PROGRAM)


def rows(column: NDArray[Any], at: NDArray[np.int64]) -> NDArray[Any]:
    """Return the given rows of a column of a block, read-only."""
    return frozen(np.take(column, at, axis=0))


class TrainRecord(Record):
    """Conductance of every cell at every point of its train; outcome as :class:`CurveRecord`'s."""

    def __init__(
        self, cells: Cells, points: NDArray[np.float64], axes: tuple[str, ...],
        context: ArrayContext,
    ) -> None:  # fmt: skip
        self._cells, self._points, self._axes = cells, points, axes
        self._read_v = context.op.read_v
        self._shape = context.geometry.shape
        self._kept = len(points) * len(cells) <= MAX_KEPT
        n_kept = len(points) if self._kept else 1  # the last one, at least
        self._sum_a = np.zeros(n_kept * len(cells))
        self._count = np.zeros(n_kept * len(cells))

    def add(self, shot: Shot, readings: MeasurementBlock) -> None:
        """Take the readings of a block of trains."""
        at, current_a = shot.block.target[readings.step], readings.current_a
        if not self._kept:
            cell, point = np.divmod(at, len(self._points))
            last = point == len(self._points) - 1
            at, current_a = cell[last], current_a[last]
        # A grounded line sinks what the device passes: the current into the array is negative.
        np.subtract.at(self._sum_a, at, current_a)
        np.add.at(self._count, at, 1.0)

    def outcome(self) -> dict[str, Any]:
        """Return rows, columns, axes and the curve."""
        rows, cols = self._cells.rows, self._cells.cols
        with np.errstate(invalid="ignore", divide="ignore"):
            g_siemens = self._sum_a / self._count / self._read_v
        curve = np.ascontiguousarray(g_siemens.reshape(len(rows), -1).T)
        kept = len(self._points) if self._kept else 0
        out: dict[str, Any] = {"row": rows, "col": cols}
        for k, axis in enumerate(self._axes):
            out[axis] = self._points[:kept, k]
        out["g_siemens"] = curve[:kept]
        last = np.full(self._shape, np.nan)
        last[rows, cols] = curve[-1]
        out["g_last_siemens"] = last
        if not self._kept:
            out["n_points_not_kept"] = len(self._points)
        return out
