"""The outcome of a protocol as a run keeps it: named arrays, units in the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Outcome: TypeAlias = Mapping[str, NDArray[Any]]


def has(outcome: Outcome, *names: str) -> bool:
    """Whether the outcome has all these arrays, with something in them."""
    return all(name in outcome and outcome[name].size for name in names)


def cells_of(outcome: Outcome) -> Ints:
    """Return (n_cells, 2) row and column of the cells that were chosen."""
    return np.stack([outcome["row"], outcome["col"]], axis=1).astype(np.int64)
