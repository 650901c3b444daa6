"""Indices that NumPy takes quickly: slices in place of index arrays, where these are regular."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def selector(index: Indices) -> slice | Indices:
    """Return the slice that selects what ``index`` does, or ``index`` where there is none."""
    if not index.size:
        return index
    step = int(index[1] - index[0]) if index.size > 1 else 1
    if step < 1 or not (np.diff(index) == step).all():
        return index
    return slice(int(index[0]), int(index[-1]) + 1, step)


def crossings(rows: Indices, cols: Indices) -> tuple[Any, Any]:
    """Return what selects all crossings of rows and columns."""
    chosen = selector(rows), selector(cols)
    if isinstance(chosen[0], slice) or isinstance(chosen[1], slice):
        return chosen
    row, col = np.ix_(rows, cols)
    return row, col
