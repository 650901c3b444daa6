"""Fewer points for a trace, the way it looks kept."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Points of a trace at most.
MOST_POINTS: Final = 2000


def kept(y: NDArray[Any], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Return at most ``most`` positions of ``y``: first, last, and each bin's lowest and highest.

    NaN never is a bin's extreme unless all of the bin is NaN.
    """
    n = len(y)
    if n <= most:
        return np.arange(n)
    n_bins = (most - 2) // 2
    edges = np.linspace(0, n, n_bins + 1).astype(np.int64)
    filled = np.nan_to_num(np.asarray(y, dtype=np.float64), nan=0.0)
    known = ~np.isnan(np.asarray(y, dtype=np.float64))
    low, high = np.where(known, filled, np.inf), np.where(known, filled, -np.inf)
    bins = np.repeat(np.arange(n_bins), np.diff(edges))
    positions = []
    for values in (low, -high):
        order = np.lexsort((values, bins))
        positions.append(order[edges[:-1]])
    return np.unique(np.concatenate([[0, n - 1], *positions]))
