"""Mean currents of lines when every device sees its lines' levels (no floating line)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.groups import intervals
from hil_sim.kernels.law import phi
from hil_sim.kernels.philox import READ_NOISE, bits53, normal_of

_REORDER = {"reassoc", "contract", "nsz"}
_SPARSE = 8


@njit(cache=True)
def coefficients(
    n_plus: int, plus_v: Any, plus_s: Any, plus_on: Any, n_minus: int, minus_v: Any, minus_s: Any,
    step_s: float, law: Any, out: Any,
) -> None:  # fmt: skip
    """Fill out[plus group, minus group] with the time mean of φ(v) over the step, in volts."""
    for a in range(n_plus):
        for b in range(n_minus):
            v1, t1, v2, t2 = intervals(plus_v[a], plus_s[a], minus_v[b], minus_s[b], plus_on[a])
            mean = 0.0
            if t1 > 0.0:
                mean += phi(v1, law) * t1
            if t2 > t1:
                mean += phi(v2, law) * (t2 - t1)
            out[a, b] = mean / step_s if step_s > 0.0 else 0.0


@njit(cache=True, fastmath=_REORDER)
def _column_sums(g: Any, c: Any, total: Any, square: Any) -> None:
    """Add Σ_i g c_i and Σ_i (g c_i)² of every column; four rows at a time to spare the sums."""
    n_rows, n_cols = g.shape
    i = 0
    while i < n_rows:
        if c[i] == 0.0:
            i += 1
        elif i + 4 <= n_rows:
            c0, c1, c2, c3 = c[i], c[i + 1], c[i + 2], c[i + 3]
            for j in range(n_cols):
                x0, x1 = g[i, j] * c0, g[i + 1, j] * c1
                x2, x3 = g[i + 2, j] * c2, g[i + 3, j] * c3
                total[j] += (x0 + x1) + (x2 + x3)
                square[j] += (x0 * x0 + x1 * x1) + (x2 * x2 + x3 * x3)
            i += 4
        else:
            ci = c[i]
            for j in range(n_cols):
                x = g[i, j] * ci
                total[j] += x
                square[j] += x * x
            i += 1


@njit(cache=True, fastmath=_REORDER)
def _one_row(
    g: Any, i: int, c: Any, want_cols: bool, total: Any, square: Any
) -> tuple[float, float]:
    """Add row i to the column sums where wanted; return its own sums of g c and (g c)²."""
    row = row2 = 0.0
    if want_cols:
        for j in range(c.size):
            x = g[i, j] * c[j]
            total[j] += x
            square[j] += x * x
    for j in range(c.size):
        x = g[i, j] * c[j]
        row += x
        row2 += x * x
    return row, row2


@njit(cache=True)
def line_currents(
    g: Any, coeff: Any, row_gid: Any, col_gid: Any, n_col_groups: int, row_line: Any, col_line: Any,
    sense: Any, s: int, law: Any, current: Any, variance: Any,
) -> None:  # fmt: skip
    """Write mean current (into the array) and its read-noise variance of every sensed line.

    ``Var = Σ (σ_rel g φ)² + Σ (σ_abs φ)²``, which is what independent noise of every device's
    conductance gives.
    """
    n_rows, n_cols = g.shape
    rel2, abs2 = law.read_rel**2, law.read_abs**2
    n_sensed_cols = n_sensed_rows = 0
    for j in range(n_cols):
        n_sensed_cols += sense[s, col_line[j]]
    for i in range(n_rows):
        n_sensed_rows += sense[s, row_line[i]]
    if n_sensed_cols and n_sensed_cols * _SPARSE < n_cols:
        for j in range(n_cols):
            k = col_line[j]
            if not sense[s, k]:
                continue
            total = square = volts2 = 0.0
            for i in range(n_rows):
                c = coeff[row_gid[i], col_gid[j]]
                x = g[i, j] * c
                total += x
                square += x * x
                volts2 += c * c
            current[k], variance[k] = -total, rel2 * square + abs2 * volts2
        n_sensed_cols = 0
    sums, squares = np.zeros(n_cols), np.zeros(n_cols)
    if n_sensed_cols and n_col_groups == 1:
        c_rows = np.empty(n_rows)
        volts2 = 0.0
        for i in range(n_rows):
            c_rows[i] = coeff[row_gid[i], 0]
            volts2 += c_rows[i] * c_rows[i]
        _column_sums(g, c_rows, sums, squares)
        for j in range(n_cols):
            k = col_line[j]
            if sense[s, k]:
                current[k], variance[k] = -sums[j], rel2 * squares[j] + abs2 * volts2
        n_sensed_cols = 0
    if not (n_sensed_cols or n_sensed_rows):
        return
    c_row, volts = np.zeros(n_cols), np.zeros(n_cols)
    last = -1
    for i in range(n_rows):
        want_row = sense[s, row_line[i]]
        if not (want_row or n_sensed_cols):
            continue
        if row_gid[i] != last:
            last = row_gid[i]
            for j in range(n_cols):
                c_row[j] = coeff[last, col_gid[j]]
        total, square = _one_row(g, i, c_row, n_sensed_cols > 0, sums, squares)
        row_volts2 = 0.0
        if abs2 > 0.0:
            for j in range(n_cols):
                row_volts2 += c_row[j] * c_row[j]
                volts[j] += c_row[j] * c_row[j]
        if want_row:
            current[row_line[i]] = total
            variance[row_line[i]] = rel2 * square + abs2 * row_volts2
    if n_sensed_cols:
        for j in range(n_cols):
            k = col_line[j]
            if sense[s, k]:
                current[k], variance[k] = -sums[j], rel2 * squares[j] + abs2 * volts[j]


@njit(cache=True)
def read_deviate(key: Any, line: int, ordinal: Any) -> float:
    """Return the normal deviate of reading number ``ordinal`` of a line."""
    n = np.uint64(ordinal)
    low = n & np.uint64(0xFFFFFFFF)
    word = np.uint64(READ_NOISE) | ((n >> np.uint64(32)) << np.uint64(8))
    return normal_of(bits53(key, line, np.uint64(0xFFFFFFFF), low, word))


@njit(cache=True)
def emit(
    s: int, pulse: int, repeat: int, t_ns: int, step_s: float, sense: Any, level: Any,
    current: Any, variance: Any, status: Any, reads: Any, key: Any, at: int, out: Any,
) -> int:  # fmt: skip
    """Append the readings of one pulse to the columns ``out`` from row ``at``; return the next row.

    ``level``, ``current``, ``variance`` and ``status`` are per line; ``out`` is (step, line, pulse,
    t_ns, level_v, width_s, current_a, executed, status).
    """
    for k in range(level.size):
        if not sense[s, k]:
            continue
        value = current[k]
        if variance[k] > 0.0:
            value += math.sqrt(variance[k]) * read_deviate(key, k, reads[k])
        reads[k] += np.uint64(1)
        out[0][at] = s
        out[1][at] = k
        out[2][at] = pulse
        out[3][at] = t_ns
        out[4][at] = level[k]
        out[5][at] = step_s
        out[6][at] = value
        out[7][at] = repeat
        out[8][at] = status[k]
        at += 1
    return at
