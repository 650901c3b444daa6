"""Whole pulse trains of one cell after the other: writes and reads of a cell in one block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock
from hil.phases.cells import CellRead, as_reading_steps, joined, pieces
from hil.procedure import ArrayContext
from hil.program import Phase, PulseBlock
from hil_protocols.compile import nominal_pulse
from hil_protocols.plan import MAX_KEPT, Plan, Record, Shot
from hil_protocols.selection import Cells, Indices


class TrainPart(NamedTuple):
    """``pulses`` of one polarity (0 = none), then a read, which gives the curve's ``point``."""

    polarity: int
    pulses: int
    point: tuple[float, ...]


class Trains:
    """The same train for every cell, cell after cell.

    A block's ``target`` is the ordinal of the point that a step reads or leads to.

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
        self._context, self._cells, self._read_repeat = context, cells, read_repeat
        self._axes = axes
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
        """Return the programme and its record."""
        self._check_together()
        return Plan(self._shots, lambda: TrainRecord(self._cells, self._points, self._axes,
                                                     self._context))  # fmt: skip

    def _check_together(self) -> None:
        """Compile the first cell, so that what cannot be done is said before the first block."""
        next(self._shots())

    def _shots(self) -> Iterator[Shot]:
        rows, cols = self._cells.rows, self._cells.cols
        at = 0
        while at < rows.size:
            end = int(np.searchsorted(rows, rows[at], side="right"))
            row = Cells(rows[at:end], cols[at:end])
            for n, block in enumerate(self._row(row)):
                for piece in pieces(block, self._context.capabilities):
                    yield Shot(piece, (float(at + n),))
            at = end

    def _row(self, cells: Cells) -> Iterator[PulseBlock]:
        """Yield the trains of cells of one row."""
        context = self._context
        one_step = [
            self._reads(cells),
            nominal_pulse(context, cells, "cell", +1),
            nominal_pulse(context, cells, "cell", -1),
        ]
        n = len(cells)
        all_steps = joined(one_step)
        kinds, repeats, targets = self._kinds, self._repeats, self._targets
        for k in range(n):
            at = kinds * n + k
            yield PulseBlock.build(
                Phase.PROGRAM, all_steps.state[at], all_steps.level_v[at], all_steps.width_s[at],
                rise_s=all_steps.rise_s[at], fall_s=all_steps.fall_s[at],
                gap_s=all_steps.gap_s[at], compliance_a=all_steps.compliance_a, repeat=repeats,
                sense=all_steps.sense[at], selected=all_steps.selected[at],
                sensing=all_steps.sensing, target=targets,
            )  # fmt: skip

    def _reads(self, cells: Cells) -> PulseBlock:
        """Return one reading step for each cell."""
        context = self._context
        blocks = []
        for row, col in zip(cells.rows, cells.cols, strict=True):
            mask = np.zeros(context.geometry.shape, dtype=np.bool_)
            mask[row, col] = True
            (block,) = CellRead(context.geometry, context.op, context.capabilities, mask).blocks
            blocks.append(as_reading_steps(block, Phase.PROGRAM))
        return joined(blocks)


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
        n_kept = len(cells) if self._kept else 1
        self._sum_a = np.zeros((len(points), n_kept))
        self._count = np.zeros((len(points), n_kept))
        self._last = np.full(len(cells), np.nan)

    def add(self, shot: Shot, readings: MeasurementBlock) -> None:
        """Take the readings of a piece of a cell's train."""
        if shot.point is None:
            return
        cell = int(shot.point[0])
        at = cell if self._kept else 0
        point = shot.block.target[readings.step]
        if not self._kept and point.size and point[0] == 0:
            self._sum_a[:], self._count[:] = 0.0, 0.0
        # A grounded line sinks what the device passes: the current into the array is negative.
        np.subtract.at(self._sum_a[:, at], point, readings.current_a)
        np.add.at(self._count[:, at], point, 1.0)
        if point.size:
            last = int(point[-1])
            self._last[cell] = self._sum_a[last, at] / self._count[last, at] / self._read_v

    def outcome(self) -> dict[str, Any]:
        """Return rows, columns, axes and the curve."""
        rows: Indices = self._cells.rows
        out: dict[str, Any] = {"row": rows, "col": self._cells.cols}
        kept = len(self._points) if self._kept else 0
        for k, axis in enumerate(self._axes):
            out[axis] = self._points[:kept, k]
        with np.errstate(invalid="ignore", divide="ignore"):
            curve = self._sum_a / self._count / self._read_v
        out["g_siemens"] = curve if self._kept else np.empty((0, len(rows)))
        last = np.full(self._shape, np.nan)
        last[rows, self._cells.cols] = self._last
        out["g_last_siemens"] = last
        if not self._kept:
            out["n_points_not_kept"] = len(self._points)
        return out
