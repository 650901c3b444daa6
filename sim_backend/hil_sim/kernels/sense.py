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
    n_plus: int, plus: Any, n_minus: int, minus: Any, step_s: float, law: Any, out: Any
) -> None:
    """Fill out[plus group, minus group] with the time mean of φ(v) over the step, in volts."""
    for a in range(n_plus):
        for b in range(n_minus):
            v1, t1, v2, t2 = intervals(plus[0][a], plus[1][a], minus[0][b], minus[1][b], plus[2][a])
            mean = 0.0
            if t1 > 0.0:
                mean += phi(v1, law) * t1
            if t2 > t1:
                mean += phi(v2, law) * (t2 - t1)
            out[a, b] = mean / step_s if step_s > 0.0 else 0.0


@njit(cache=True, fastmath=_REORDER)
def _add_row(g_row: Any, c: float, acc: Any, square: Any, noisy: bool) -> None:
    if noisy:
        for j in range(g_row.size):
            x = g_row[j] * c
            acc[j] += x
            square[j] += x * x
    else:
        for j in range(g_row.size):
            acc[j] += g_row[j] * c


@njit(cache=True, fastmath=_REORDER)
def _add_row_by_column(g_row: Any, c: Any, acc: Any, square: Any) -> None:
    for j in range(g_row.size):
        x = g_row[j] * c[j]
        acc[j] += x
        square[j] += x * x


@njit(cache=True, fastmath=_REORDER)
def _row_sums(g_row: Any, c: Any) -> tuple[float, float]:
    total = square = 0.0
    for j in range(g_row.size):
        x = g_row[j] * c[j]
        total += x
        square += x * x
    return total, square


@njit(cache=True)
def line_currents(
    g: Any, coeff: Any, row_gid: Any, col_gid: Any, n_col_groups: int, row_line: Any, col_line: Any,
    sensed: Any, law: Any, current: Any, variance: Any,
) -> None:  # fmt: skip
    """Write mean current (into the array) and its read-noise variance of every sensed line.

    ``Var = Σ (σ_rel g φ)² + Σ (σ_abs φ)²``, which is what independent noise of every device's
    conductance gives; ``sensed`` is a row of the block's sense mask.
    """
    n_rows, n_cols = g.shape
    rel2, abs2 = law.read_rel**2, law.read_abs**2
    n_sensed_cols = 0
    for j in range(n_cols):
        n_sensed_cols += sensed[col_line[j]]
    acc, square, volts2 = np.zeros(n_cols), np.zeros(n_cols), np.zeros(n_cols)
    c_row = np.zeros(n_cols)
    last = -1
    sparse = n_sensed_cols * _SPARSE < n_cols
    for i in range(n_rows):
        want_row = sensed[row_line[i]]
        if not want_row and n_sensed_cols == 0:
            continue
        q = row_gid[i]
        one = n_col_groups == 1
        c = coeff[q, 0]
        if one and c == 0.0 and not want_row:
            continue
        if n_sensed_cols and sparse:
            for j in range(n_cols):
                if sensed[col_line[j]]:
                    cj = coeff[q, col_gid[j]]
                    x = g[i, j] * cj
                    acc[j] += x
                    square[j] += x * x
                    volts2[j] += cj * cj
        elif n_sensed_cols and one:
            _add_row(g[i], c, acc, square, rel2 > 0.0)
            if abs2 > 0.0:
                for j in range(n_cols):
                    volts2[j] += c * c
        if want_row or (n_sensed_cols and not sparse and not one):
            if q != last:
                for j in range(n_cols):
                    c_row[j] = coeff[q, col_gid[j]]
                last = q
            if n_sensed_cols and not sparse and not one:
                _add_row_by_column(g[i], c_row, acc, square)
                if abs2 > 0.0:
                    for j in range(n_cols):
                        volts2[j] += c_row[j] * c_row[j]
            if want_row:
                total, sq = _row_sums(g[i], c_row)
                k = row_line[i]
                current[k] = total
                variance[k] = rel2 * sq
                if abs2 > 0.0:
                    for j in range(n_cols):
                        variance[k] += abs2 * c_row[j] * c_row[j]
    for j in range(n_cols):
        k = col_line[j]
        if sensed[k]:
            current[k] = -acc[j]
            variance[k] = rel2 * square[j] + abs2 * volts2[j]


@njit(cache=True)
def read_deviate(key: Any, line: int, ordinal: Any) -> float:
    """Return the normal deviate of reading number ``ordinal`` of a line."""
    n = np.uint64(ordinal)
    low = n & np.uint64(0xFFFFFFFF)
    word = np.uint64(READ_NOISE) | ((n >> np.uint64(32)) << np.uint64(8))
    return normal_of(bits53(key, line, np.uint64(0xFFFFFFFF), low, word))


@njit(cache=True)
def emit(
    s: int, pulse: int, repeat: int, t_ns: int, step_s: float, sensed: Any, level: Any,
    current: Any, variance: Any, status: Any, reads: Any, key: Any, at: int, out: Any,
) -> int:  # fmt: skip
    """Append the readings of one pulse to the columns ``out`` from row ``at``; return the next row.

    ``level``, ``current``, ``variance`` and ``status`` are per line; ``out`` is (step, line, pulse,
    t_ns, level_v, width_s, current_a, executed, status).
    """
    for k in range(sensed.size):
        if not sensed[k]:
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
