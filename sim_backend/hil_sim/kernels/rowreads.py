"""Readings of rows that are driven one at a time while all columns stay at 0 V, in a row of steps.

Such a block, filled from one template again and again, is looked at once; then a step costs the
noise of its readings and little else. Every reading is that of ``steps.run_steps``, bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.groups import DRIVE, FLOAT, delivered
from hil_sim.kernels.law import phi, tau_of
from hil_sim.kernels.philox import BATCH, READ_NOISE, draw_normals
from hil_sim.kernels.steps import READ, pulse_period_ns
from hil_sim.kernels.writes import may_write

_NO_ROW = np.uint64(0xFFFFFFFF)
_LOW, _HIGH, _EIGHT = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(8)


@njit(cache=True)
def survey(
    state: Any, level_v: Any, width_s: Any, rise_s: Any, fall_s: Any, gap_s: Any, overhead_s: float,
    repeat: Any, sense: Any, compliance_a: Any, rows: Any, cols: Any, laws: Any, line_v: Any,
    line_s: Any, row_of_step: Any, volts: Any, period_ns: Any,
) -> float:  # fmt: skip
    """Look at a block; return the highest voltage along the device's polarity, or NaN.

    NaN: it is not made of rows read alone at levels that write nothing and cannot be limited. Else
    the three last arrays get each step's row, time mean of φ over it in volts, and period.
    """
    law, read_rows = laws[0], rows[READ]
    highest = -np.inf
    for s in range(state.shape[0]):
        if repeat[s] != 1:
            return np.nan
        step_s, floats = delivered(state, level_v, width_s, s, line_v, line_s)
        if floats:
            return np.nan
        row = -1
        for i in range(read_rows.size):
            if line_v[read_rows[i]] != 0.0:
                if row >= 0:
                    return np.nan
                row = i
            if sense[s, read_rows[i]]:
                return np.nan
        if row < 0:
            return np.nan
        line = read_rows[row]
        for k in range(state.shape[1]):
            if k != line and (line_v[k] != 0.0 or state[s, k] == FLOAT):
                return np.nan
        v = line_v[line]
        volt = phi(v, law)
        top = law.g_top * abs(volt)
        if compliance_a[line] < top * cols.size:
            return np.nan
        for j in range(cols.size):
            if sense[s, cols[j]] != sense[0, cols[j]]:
                return np.nan
            if state[s, cols[j]] == DRIVE and compliance_a[cols[j]] < top * read_rows.size:
                return np.nan
        if may_write(max(v, 0.0), min(v, 0.0), tau_of(0.0, step_s, law), law):
            return np.nan
        highest = max(highest, v * law.polarity)
        row_of_step[s], volts[s] = row, volt * line_s[line] / step_s
        period_ns[s] = pulse_period_ns(step_s, rise_s[s], fall_s[s], gap_s[s], overhead_s)
    return highest


@njit(cache=True, nogil=True)
def read_rows_alone(
    row_of_step: Any, volts: Any, period_ns: Any, cols: Any, lines: Any, g: Any, laws: Any,
    reads: Any, key: Any, clock_ns: int, draws: Any, t_ns: Any, current_a: Any,
) -> int:  # fmt: skip
    """Read columns ``cols`` on ``lines`` at every step; fill the two last arrays, return the clock.

    ``draws`` is scratch of ``philox.new_draws``.
    """
    law = laws[0]
    rel2, abs2 = law.read_rel**2, law.read_abs**2
    noisy = rel2 > 0.0 or abs2 > 0.0
    counters, z = draws[0], draws[2]
    n = cols.size
    together = cols[n - 1] - cols[0] == n - 1
    before = np.empty(n, np.uint64)
    for j in range(n):
        before[j] = reads[lines[j]]
    at = 0
    for s in range(row_of_step.size):
        row, c = g[row_of_step[s]], volts[s]
        abs_noise = abs2 * (c * c)
        t_ns[at : at + n] = clock_ns
        clock_ns += period_ns[s]
        current = current_a[at : at + n]
        if together:
            part = row[cols[0] : cols[0] + n]
            for j in range(n):
                current[j] = -(part[j] * c)
        else:
            for j in range(n):
                current[j] = -(row[cols[j]] * c)
        for start in range(0, n if noisy else 0, BATCH):
            count = min(n - start, BATCH)
            for k in range(count):
                ordinal = before[start + k] + np.uint64(s)
                counters[0, k] = np.uint64(lines[start + k])
                counters[1, k] = _NO_ROW
                counters[2, k] = ordinal & _LOW
                counters[3, k] = np.uint64(READ_NOISE) | ((ordinal >> _HIGH) << _EIGHT)
            draw_normals(key, count, draws)
            for k in range(count):
                x = current[start + k]
                current[start + k] = x + math.sqrt(rel2 * (x * x) + abs_noise) * z[k]
        at += n
    for j in range(n):
        reads[lines[j]] = before[j] + np.uint64(row_of_step.size)
    return clock_ns
