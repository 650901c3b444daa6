"""Running sums over rows of many devices that come mixed, without a loop over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows sorted by device, each device's in the order recorded.

    Attributes:
        order: the sorting; apply it to every column before the methods below.
        first, last: for every sorted row, whether it is its device's first one, last one.
    """

    order: NDArray[np.intp]
    first: NDArray[np.bool_]
    last: NDArray[np.bool_]

    @classmethod
    def of(cls, device: NDArray[np.int64]) -> Groups:
        """Return the groups of rows with the same ``device``."""
        order = np.argsort(device, kind="stable")
        is_sorted = device[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = is_sorted[1:] != is_sorted[:-1]
        return cls(order, first, np.append(first[1:], True)[: len(order)])

    def previous(self, value: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
        """Return the value of the same device's row before; ``before`` where there is none."""
        shifted = np.roll(value, 1)
        return np.where(self.first, before, shifted)

    def running_sum(
        self,
        value: NDArray[np.int64],
        before: NDArray[np.int64],
        restart: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int64]:
        """Return each device's sum so far, beginning at ``before``.

        Where ``restart`` is true the sum begins anew with the row's own value.
        """
        sums = np.cumsum(value)
        base = sums - value - np.where(self.first, before, 0)
        begins = self.first
        if restart is not None:
            base = np.where(restart, sums - value, base)
            begins = begins | restart
        since = np.maximum.accumulate(np.where(begins, np.arange(len(sums)), 0))
        result: NDArray[np.int64] = sums - base[since]
        return result

    def rank(self) -> NDArray[np.int64]:
        """Return each row's number among its device's rows, from 0."""
        at = np.arange(len(self.order))
        result: NDArray[np.int64] = at - np.maximum.accumulate(np.where(self.first, at, 0))
        return result
