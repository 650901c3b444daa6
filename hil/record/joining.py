"""Many small columns made one, holding the interpreter lock once instead of once per piece."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CACHED_ROWS: Final = 1 << 16


def joined(arrays: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the values of ``arrays`` one after the other, read-only, as one flat array.

    ``np.concatenate`` gives up the interpreter lock for every array of some size, and getting it
    back takes up to 5 ms each time while a control loop computes.
    """
    if not arrays:
        return _nothing(dtype)
    if {array.dtype for array in arrays} != {dtype}:
        arrays = [np.asarray(array, dtype) for array in arrays]
    if len(arrays) == 1:
        whole = arrays[0].reshape(-1)
        whole = whole.view() if whole.flags.c_contiguous else whole.copy()
        whole.flags.writeable = False
        return whole
    if not all(array.flags.c_contiguous for array in arrays):
        arrays = [np.ascontiguousarray(array) for array in arrays]
    content = b"".join(arrays)  # type: ignore[arg-type]  # they are buffers, unknown to Python 3.11
    return np.frombuffer(content, dtype) if content else _nothing(dtype)


@cache
def _nothing(dtype: np.dtype[Any]) -> NDArray[Any]:
    empty = np.empty(0, dtype)
    empty.flags.writeable = False
    return empty


@cache
def _block_of(value: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    block = np.full(_CACHED_ROWS, value, dtype)
    block.flags.writeable = False
    return block


def constant(value: float, dtype: np.dtype[Any], n: int) -> NDArray[Any]:
    """Return ``n`` times ``value``, read-only and mostly without making it anew."""
    if math.isnan(value):
        value = math.nan  # the one that is cached: another NaN is not equal to it
    return _block_of(value, dtype)[:n] if n <= _CACHED_ROWS else np.full(n, value, dtype)
