"""Mean currents of lines when every device sees its lines' levels (no floating line)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.groups import intervals
from hil_sim.kernels.law import phi
from hil_sim.kernels.philox import BATCH, READ_NOISE, draw_normals

_REORDER = {"reassoc", "contract", "nsz"}
_SPARSE = 8
_NO_ROW = np.uint64(0xFFFFFFFF)


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


@njit(cache=True)
def driven_alone(
    lines: Any, gates: Any, line_v: Any, line_s: Any, gate_v_t: float, sign: float, step_s: float,
    law: Any, active: Any, coeff: Any,
) -> int:  # fmt: skip
    """List the ``lines`` that drive devices whose other line stays at 0 V; return how many.

    ``coeff`` gets the time mean of φ(v) over the step of each listed line, in volts; ``sign`` is
    that of the device voltage to the line's level.
    """
    count = 0
    for n in range(lines.size):
        k = lines[n]
        if line_v[k] == 0.0:
            continue
        on_s = line_s[k]
        if gates.size > 0:
            gate = gates[n]
            on_s = min(on_s, line_s[gate]) if line_v[gate] > gate_v_t else 0.0
        if on_s > 0.0:
            active[count] = n
            coeff[count] = phi(sign * line_v[k], law) * on_s / step_s
            count += 1
    return count


@njit(cache=True, fastmath=_REORDER)
def _column_sums(g: Any, active: Any, c: Any, count: int, total: Any, square: Any) -> None:
    """Add Σ g c and Σ (g c)² of every column; four active rows at a time to spare the sums."""
    n_cols = g.shape[1]
    k = 0
    while k + 4 <= count:
        r0, r1, r2, r3 = g[active[k]], g[active[k + 1]], g[active[k + 2]], g[active[k + 3]]
        c0, c1, c2, c3 = c[k], c[k + 1], c[k + 2], c[k + 3]
        for j in range(n_cols):
            x0, x1, x2, x3 = r0[j] * c0, r1[j] * c1, r2[j] * c2, r3[j] * c3
            total[j] += (x0 + x1) + (x2 + x3)
            square[j] += (x0 * x0 + x1 * x1) + (x2 * x2 + x3 * x3)
        k += 4
    while k < count:
        row, ck = g[active[k]], c[k]
        for j in range(n_cols):
            x = row[j] * ck
            total[j] += x
            square[j] += x * x
        k += 1


@njit(cache=True)
def currents_of_columns(
    g: Any, active: Any, c: Any, count: int, col_line: Any, sense: Any, s: int, law: Any,
    current: Any, variance: Any, total: Any, square: Any,
) -> None:  # fmt: skip
    """Write mean currents of sensed columns at 0 V, as :func:`line_currents` does."""
    n_cols = g.shape[1]
    rel2, volts2 = law.read_rel**2, 0.0
    for k in range(count):
        volts2 += c[k] * c[k]
    abs2 = law.read_abs**2 * volts2
    n_sensed = 0
    for j in range(n_cols):
        n_sensed += sense[s, col_line[j]]
    if n_sensed * _SPARSE >= n_cols:
        total[:n_cols] = 0.0
        square[:n_cols] = 0.0
        _column_sums(g, active, c, count, total, square)
        for j in range(n_cols):
            line = col_line[j]
            current[line], variance[line] = -total[j], rel2 * square[j] + abs2
        return
    for j in range(n_cols):
        line = col_line[j]
        if not sense[s, line]:
            continue
        sum1 = sum2 = 0.0
        for k in range(count):
            x = g[active[k], j] * c[k]
            sum1 += x
            sum2 += x * x
        current[line], variance[line] = -sum1, rel2 * sum2 + abs2


@njit(cache=True, fastmath=_REORDER)
def _row_sums(row: Any, active: Any, c: Any, count: int) -> tuple[float, float]:
    total = square = 0.0
    for k in range(count):
        x = row[active[k]] * c[k]
        total += x
        square += x * x
    return total, square


@njit(cache=True)
def currents_of_rows(
    g: Any, active: Any, c: Any, count: int, row_line: Any, sense: Any, s: int, law: Any,
    current: Any, variance: Any,
) -> None:  # fmt: skip
    """Write mean currents of sensed rows at 0 V, as :func:`line_currents` does."""
    rel2, volts2 = law.read_rel**2, 0.0
    for k in range(count):
        volts2 += c[k] * c[k]
    abs2 = law.read_abs**2 * volts2
    for i in range(g.shape[0]):
        line = row_line[i]
        if sense[s, line]:
            total, square = _row_sums(g[i], active, c, count)
            current[line], variance[line] = total, rel2 * square + abs2


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
    g: Any, coeff: Any, row_gid: Any, col_gid: Any, row_line: Any, col_line: Any, sense: Any,
    s: int, law: Any, current: Any, variance: Any,
) -> None:  # fmt: skip
    """Write mean current (into the array) and its read-noise variance of every sensed line.

    ``Var = Σ (σ_rel g φ)² + Σ (σ_abs φ)²``, which is what independent noise of every device's
    conductance gives.
    """
    n_rows, n_cols = g.shape
    rel2, abs2 = law.read_rel**2, law.read_abs**2
    n_sensed_cols = 0
    for j in range(n_cols):
        n_sensed_cols += sense[s, col_line[j]]
    sums, squares = np.zeros(n_cols), np.zeros(n_cols)
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
def sensed_lines(sense: Any, s: int, lines: Any) -> int:
    """List the lines that step ``s`` senses, ascending; return how many they are."""
    count = 0
    for k in range(sense.shape[1]):
        lines[count] = k
        count += sense[s, k]
    return count


@njit(cache=True)
def _draw_for_readings(
    key: Any, lines: Any, start: int, count: int, reads: Any, draws: Any
) -> None:
    """Draw the deviates of the next reading, number ``reads``, of ``count`` ≤ BATCH lines."""
    counters = draws[0]
    for n in range(count):
        line = lines[start + n]
        ordinal = reads[line]
        counters[0, n], counters[1, n] = np.uint64(line), _NO_ROW
        counters[2, n] = ordinal & np.uint64(0xFFFFFFFF)
        counters[3, n] = np.uint64(READ_NOISE) | ((ordinal >> np.uint64(32)) << np.uint64(8))
    draw_normals(key, count, draws)


@njit(cache=True)
def emit(
    s: int, pulse: int, repeat: int, t_ns: int, step_s: float, lines: Any, n_lines: int,
    level: Any, current: Any, variance: Any, status: Any, reads: Any, key: Any, at: int, out: Any,
    draws: Any,
) -> int:  # fmt: skip
    """Append the readings of one pulse to the columns ``out`` from row ``at``; return the next row.

    ``lines[:n_lines]`` are sensed. ``level``, ``current``, ``variance`` and ``status`` are per
    line; ``out`` is (step, line, pulse, t_ns, level_v, width_s, current_a, executed, status).
    """
    step, line, pulses, times, level_v, width_s, current_a, executed, marks = out
    stop = at + n_lines
    step[at:stop] = s
    line[at:stop] = lines[:n_lines]
    pulses[at:stop] = pulse
    times[at:stop] = t_ns
    width_s[at:stop] = step_s
    executed[at:stop] = repeat
    noisy = False
    for n in range(n_lines):
        k = lines[n]
        level_v[at + n] = level[k]
        current_a[at + n] = current[k]
        marks[at + n] = status[k]
        noisy = noisy or variance[k] > 0.0
    for start in range(0, n_lines if noisy else 0, BATCH):
        count = min(n_lines - start, BATCH)
        _draw_for_readings(key, lines, start, count, reads, draws)
        z = draws[2]
        for n in range(count):
            current_a[at + start + n] += math.sqrt(variance[lines[start + n]]) * z[n]
    for n in range(n_lines):
        reads[lines[n]] += np.uint64(1)
    return stop
