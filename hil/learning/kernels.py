"""Compiled loops of the learning rules; loaded when the first rule is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hil._kernels import largest_of


@njit(cache=True, nogil=True)
def magnitudes(x: Any, delta: Any, dead_zone: float, larger: Any, smaller: Any, size: Any) -> bool:
    """Fill ``size`` with |δ|, 0 inside the dead zone; return whether x ≥ 0 and all is finite.

    ``larger`` and ``smaller`` are factors of each |δ| for δ > 0 and for δ < 0, empty for none.
    """
    fine = True
    for i in range(x.size):
        fine &= (x[i] >= 0.0) & (x[i] < np.inf)
    for j in range(delta.size):
        d = abs(delta[j])
        fine &= d < np.inf
        if larger.size:
            d *= larger[j] if delta[j] > 0.0 else smaller[j]
        size[j] = d if abs(delta[j]) > dead_zone else 0.0
    return fine


@njit(cache=True, nogil=True)
def usable(x: Any, delta: Any) -> bool:
    """Return whether all activities are within 0 … 1 and all errors finite."""
    wrong = 0
    for i in range(x.size):
        wrong += not (x[i] >= 0.0 and x[i] <= 1.0)
    for j in range(delta.size):
        wrong += not abs(delta[j]) < np.inf
    return wrong == 0


@njit(cache=True, nogil=True)
def largest(x: Any, size: Any) -> tuple[float, float]:
    """Return the largest of either, 0 for none."""
    return largest_of(x), largest_of(size)


@njit(cache=True, nogil=True)
def coincide(
    x: Any, size: Any, of_x: float, of_size: float, chance: Any, rows: Any, cols: Any
) -> tuple[int, int]:
    """Fill bits where a ``chance`` in 0 … 1 is below the line's probability.

    That is ``of_x`` times x for a row and ``of_size`` times the size of the error for a column.

    ``chance`` is (n_slots, n_inputs + n_outputs). Returns how many probabilities are not 0, and
    how many above 1.
    """
    drawn = clipped = 0
    n = x.size
    for i in range(n):
        p = of_x * x[i]
        drawn += p != 0.0
        clipped += p > 1.0
    for j in range(size.size):
        p = of_size * size[j]
        drawn += p != 0.0
        clipped += p > 1.0
    for s in range(chance.shape[0]):
        for i in range(n):
            rows[s, i] = chance[s, i] < of_x * x[i]
        for j in range(size.size):
            cols[s, j] = chance[s, n + j] < of_size * size[j]
    return drawn, clipped


@njit(cache=True, nogil=True)
def split_by_sign(rows: Any, cols: Any, delta: Any, up: Any, down: Any) -> bool:
    """Fill the bits of columns by the sign of δ; return whether rows and columns have any."""
    any_row = any_col = False
    for s in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            any_row |= rows[s, i]
        for j in range(cols.shape[1]):
            any_col |= cols[s, j]
            up[s, j] = cols[s, j] and delta[j] > 0.0
            down[s, j] = cols[s, j] and delta[j] < 0.0
    return any_row and any_col


@njit(cache=True, nogil=True)
def find_due(
    plus: Any, minus: Any, falls: bool, threshold: float, floor: float, in_a_row: Any,
    most_in_a_row: int, due: Any,
) -> None:  # fmt: skip
    """Mark the pairs whose further device is beyond ``threshold``, the nearer beyond ``floor``.

    Shares of the range are counted from the end that pulses move away from: the upper end where
    the method ``falls``. ``in_a_row`` counts how often a pair was due; beyond ``most_in_a_row`` it
    is left alone.
    """
    for i in range(due.shape[0]):
        for j in range(due.shape[1]):
            p, m = plus[i, j], minus[i, j]
            if falls:
                p, m = 1.0 - p, 1.0 - m
            read = not (np.isnan(p) or np.isnan(m))
            is_due = read and max(p, m) > threshold and min(p, m) > floor
            in_a_row[i, j] = in_a_row[i, j] + 1 if is_due else 0
            due[i, j] = is_due and in_a_row[i, j] <= most_in_a_row


@njit(cache=True, nogil=True)
def any_negative(values: Any) -> bool:
    """Return whether a number of a 2-D array is below 0."""
    count = 0
    for b in range(values.shape[0]):
        for k in range(values.shape[1]):
            count += values[b, k] < 0.0
    return count > 0


@njit(cache=True, nogil=True)
def squash(sums: Any, out: Any) -> None:
    """Write clip(s/4 + 1/2, 0, 1) of 1-D sums; NaN stays NaN."""
    for k in range(sums.size):
        y = sums[k] * 0.25 + 0.5
        if y < 0.0:
            y = 0.0
        elif y > 1.0:
            y = 1.0
        out[k] = y


@njit(cache=True, nogil=True)
def error_behind(sums: Any, saturation: float, back: Any, out: Any) -> None:
    """Write ``back`` times 1/4 where |s| is below ``saturation`` and times 0 elsewhere."""
    for k in range(sums.size):
        out[k] = (0.25 if abs(sums[k]) < saturation else 0.0) * back[k]


@njit(cache=True, nogil=True)
def subtract_columns(first: Any, last: Any, plus: Any, minus: Any, factor: float, out: Any) -> None:
    """Write columns ``plus`` of ``first`` minus columns ``minus`` of ``last``, times ``factor``."""
    for b in range(out.shape[0]):
        for j in range(plus.size):
            out[b, j] = (first[b, plus[j]] - last[b, minus[j]]) * factor


@njit(cache=True, nogil=True)
def drive_errors(
    errors: Any, plus: Any, minus: Any, shared: bool, top: Any, of_plus: Any, of_minus: Any
) -> None:
    """Fill the drives of a backward product; ``top`` gets the magnitude each sample is scaled by.

    Errors go to the columns ``plus`` and, negative, to ``minus``; where all outputs share one minus
    column it takes their sum, found in ``top``. Errors that are all 0 are scaled by 1.
    """
    for b in range(errors.shape[0]):
        largest, total = 0.0, top[b]
        for j in range(errors.shape[1]):
            d = abs(errors[b, j])
            largest = d if d > largest else largest
        if shared:
            largest = max(largest, abs(total))
        scale = largest if largest > 0.0 else 1.0
        top[b] = scale
        for j in range(errors.shape[1]):
            of_plus[b, plus[j]] = errors[b, j] / scale
            if not shared:
                of_minus[b, minus[j]] = -(errors[b, j] / scale)
        if shared:
            of_minus[b, minus[0]] = -total / scale
