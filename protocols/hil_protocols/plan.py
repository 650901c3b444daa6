"""A compiled static protocol: its shots (blocks, some of them readings) and how to decode them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock
from hil.phases.cells import CellRead
from hil.procedure import Steps
from hil.program import FloatArray, Programme, PulseBlock

#: A curve with more values than this is not kept in memory (the readings are recorded anyway).
MAX_KEPT = 8_000_000


class Shot(NamedTuple):
    """One block of a programme; ``point`` holds the axes' values when it reads a curve point."""

    block: PulseBlock
    point: tuple[float, ...] | None = None


class Record(ABC):
    """Collects the readings of a run."""

    @abstractmethod
    def add(self, shot: Shot, readings: MeasurementBlock) -> None:
        """Take the readings of a shot that has a point."""

    @abstractmethod
    def outcome(self) -> dict[str, Any]:
        """Return the collected arrays, units in the names."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A static protocol compiled for an array.

    Attributes:
        shots: returns a fresh iterator over the same shots each time.
        record: returns an empty record for one run.
    """

    shots: Callable[[], Iterator[Shot]]
    record: Callable[[], Record]

    def programme(self, name: str) -> Programme:
        """Return the blocks alone."""
        return Programme(lambda: (shot.block for shot in self.shots()), name)

    def steps(self) -> Steps:
        """Yield the blocks, take the readings, return the outcome."""
        record = self.record()
        for shot in self.shots():
            readings = yield shot.block
            if shot.point is not None:
                record.add(shot, readings)
        return record.outcome()


class CurveRecord(Record):
    """Conductance (or current) of chosen cells over the points of a programme.

    The outcome has ``row``, ``col`` (n_cells,), one array (n_points,) per axis, ``g_siemens``
    (n_points, n_cells) and ``g_last_siemens`` (n_rows, n_cols). A curve that is too long for memory
    is left out and ``n_points_not_kept`` says how many points it had.

    Args:
        read: decodes the readings; its blocks are those of the shots.
        rows, cols: (n_cells,) the cells.
        axes: names of the axes, units in the names.
        quantity: ``g_siemens`` or ``current_a``.
    """

    def __init__(
        self, read: CellRead, rows: NDArray[np.int64], cols: NDArray[np.int64],
        axes: tuple[str, ...], quantity: str = "g_siemens",
    ) -> None:  # fmt: skip
        self._read, self._rows, self._cols = read, rows, cols
        self._axes, self._quantity = axes, quantity
        self._points: list[tuple[float, ...]] = []
        self._values: list[FloatArray] = []
        self._current: tuple[float, ...] | None = None
        self._not_kept = 0
        self._last: FloatArray | None = None
        read.clear()

    def add(self, shot: Shot, readings: MeasurementBlock) -> None:
        """Take the readings of a shot; shots with the same point belong together."""
        if shot.point != self._current:
            self._close()
            self._current = shot.point
        self._read.add(shot.block, readings)

    def _close(self) -> None:
        if self._current is None:
            return
        read = self._read
        values = read.siemens() if self._quantity == "g_siemens" else read.current_a()
        self._last = values
        if (len(self._values) + 1) * self._rows.size <= MAX_KEPT:
            self._points.append(self._current)
            self._values.append(values[self._rows, self._cols])
        else:
            self._not_kept += 1
        read.clear()

    def outcome(self) -> dict[str, Any]:
        """Return rows, columns, axes and the curve."""
        self._close()
        self._current = None
        out: dict[str, Any] = {"row": self._rows, "col": self._cols}
        points = np.array(self._points).reshape(len(self._points), len(self._axes))
        for k, axis in enumerate(self._axes):
            out[axis] = points[:, k]
        out[self._quantity] = np.array(self._values).reshape(len(self._values), self._rows.size)
        if self._quantity == "g_siemens" and self._last is not None:
            out["g_last_siemens"] = self._last
        if self._not_kept:
            out["n_points_not_kept"] = self._not_kept
        return out
