"""Checks and completes the columns that a caller gives for device-level rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import StoreError
from hil.record.schema import Column, columns_to_fill

_LAYOUT: Final = columns_to_fill("pulses")
_NAMES: Final = frozenset(c.name for c in _LAYOUT)
_NEEDED: Final = ("op", "phase", "row", "col", "v", "width", "count")
_DEFAULTS: Final[dict[str, float]] = {"layer": 0, "status": 0, "i_read": float("nan")}


def pulse_rows(
    given: Mapping[str, ArrayLike], t_ns: int, full: Sequence[bool]
) -> tuple[list[NDArray[Any]], dict[int, NDArray[np.bool_] | bool], int]:
    """Return (columns, null flags by position, number of rows) for the ``pulses`` table.

    ``full`` says for each phase whether its rows are recorded; others are left out.

    Raises:
        StoreError: a column that is unknown, missing, of another length or out of its range.
    """
    if not _NAMES.issuperset(given):
        unknown = ", ".join(sorted(set(given) - _NAMES))
        raise StoreError(f"pulses: unknown columns: {unknown}")
    missing = [name for name in _NEEDED if name not in given]
    if missing:
        raise StoreError(f"pulses: missing columns: {', '.join(missing)}")
    columns: list[NDArray[Any]] = []
    nulls: dict[int, NDArray[np.bool_] | bool] = {}
    n: int | None = None
    for position, column in enumerate(_LAYOUT):
        value = given.get(column.name)
        if value is None:
            value = t_ns if column.name == "t_ns" else _DEFAULTS.get(column.name, 0)
            nulls.update({position: True} if column.nullable else {})
            columns.append(np.asarray(value, column.dtype))
            continue
        array, null = _typed(column, value)
        if array.ndim == 1:
            if n is None:
                n = array.size
            elif array.size != n:
                raise StoreError(f"pulses.{column.name}: {array.size} rows, others have {n}")
        elif array.ndim:
            raise StoreError(f"pulses.{column.name}: {array.ndim} dimensions, needs 1")
        columns.append(array)
        if column.nullable:
            nulls[position] = null
    return _recorded(columns, nulls, 1 if n is None else n, full)


def _typed(column: Column, value: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_] | bool]:
    """Return (values of the column's type, null flags); masked, and NaN where nullable, is null."""
    null: NDArray[np.bool_] | bool = False
    if isinstance(value, np.ma.MaskedArray):
        if not column.nullable and np.ma.is_masked(value):
            raise StoreError(f"pulses.{column.name}: a value is masked, but it cannot be null")
        null = np.ma.getmaskarray(value)
        value = value.filled(0)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise StoreError(f"pulses.{column.name}: {array.dtype} is not a number")
    if column.dtype.kind == "f":
        typed = array.astype(column.dtype, copy=False)
        return typed, null | np.isnan(typed) if column.nullable else False
    if array.dtype == column.dtype:
        return array, null
    if array.size:
        limits = np.iinfo(column.dtype)
        lo, hi = array.min(), array.max()
        if not (lo >= limits.min and hi <= limits.max):  # also false for NaN
            bad = hi if lo >= limits.min else lo
            raise StoreError(f"pulses.{column.name}: {bad} is outside {limits.min} to {limits.max}")
    typed = array.astype(column.dtype)
    if array.dtype.kind == "f" and not (typed == array).all():
        raise StoreError(f"pulses.{column.name}: a value is no whole number")
    return typed, null


def _recorded(
    columns: list[NDArray[Any]],
    nulls: dict[int, NDArray[np.bool_] | bool],
    n: int,
    full: Sequence[bool],
) -> tuple[list[NDArray[Any]], dict[int, NDArray[np.bool_] | bool], int]:
    """Leave out the rows of phases that are not recorded at level ``full``."""
    phases = columns[_PHASE]
    if phases.size and phases.max() >= len(full):
        raise StoreError(f"pulses.phase: no phase {int(phases.max())}")
    keep = np.asarray(full)[phases]
    if keep.all():
        return columns, nulls, n
    if not keep.ndim or not keep.any():
        return columns, nulls, 0
    kept_nulls = {k: m if isinstance(m, bool) or not m.ndim else m[keep] for k, m in nulls.items()}
    return [c[keep] if c.ndim else c for c in columns], kept_nulls, int(keep.sum())


_PHASE: Final = [c.name for c in _LAYOUT].index("phase")
