"""Pulse rows of a run as columns, in the order in which every device got its pulses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.measured import COMPLIANCE, OVERFLOW, Floats, Ints
from hil.measurement import Status
from hil.program import Phase
from hil.record import Run
from hil.record.labelled import numpy_of

_COLUMNS: Final = ("phase", "row", "col", "v", "width", "count", "g0", "g1", "status")
_LIMITED: Final = int(Status.I_COMPLIANCE | Status.V_COMPLIANCE)
_DOUBTFUL: Final = int(
    Status.OVERFLOW | Status.UNPARSABLE | Status.TIMEOUT | Status.COUNT_UNKNOWN
    | Status.INTERLOCK | Status.SUSPECT_LINK
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rows:
    """Pulse rows sorted by device, (n,) columns; NaN = not read."""

    cell: Ints  #: row · 2¹⁶ + column
    v: Floats
    width_s: Floats
    count: Ints
    g0: Floats
    g1: Floats
    flag: NDArray[np.uint8]


def pulse_rows(run: Run) -> Rows:
    """Return the rows of phase PROGRAM; erase blocks are left out."""
    pieces: list[list[NDArray[Any]]] = []
    for batch in run.batches("pulses"):
        columns = [numpy_of(batch.column(name), math.nan) for name in _COLUMNS]
        chosen = columns[0] == int(Phase.PROGRAM)
        pieces.append([column[chosen] for column in columns[1:]])
    if not pieces:
        empty = np.empty(0)
        pieces = [[empty] * (len(_COLUMNS) - 1)]
    row, col, v, width, count, g0, g1, status = (
        np.concatenate(column) for column in zip(*pieces, strict=True)
    )
    cell = row.astype(np.int64) << 16 | col.astype(np.int64)
    order = np.argsort(cell, kind="stable")
    bits = status[order].astype(np.int64)
    flag = np.where(bits & _LIMITED, COMPLIANCE, 0) | np.where(bits & _DOUBTFUL, OVERFLOW, 0)
    real = (column[order].astype(np.float64) for column in (v, width, g0, g1))
    v, width, g0, g1 = real
    return Rows(cell[order], v, width, count[order].astype(np.int64), g0, g1, flag.astype(np.uint8))


def cell_keys(outcome: Mapping[str, Any]) -> Ints:
    """Return row · 2¹⁶ + column of an outcome's cells."""
    row, col = (np.asarray(outcome[name]).astype(np.int64) for name in ("row", "col"))
    return row << 16 | col
