"""Coincidence pulses: every device where a chosen row crosses a chosen column gets one pulse.

For a template's own voltage and width, what a pulse does to a device of an affine law is looked at
once, in a table; a block filled from it then costs the noise of its pulses and little else. Every
pulse is that of ``steps.run_steps``, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.law import (
    P_A_DOWN,
    P_A_UP,
    P_B_DOWN,
    P_B_UP,
    P_H_DOWN,
    P_H_UP,
    P_MAX,
    P_MIN,
    mean_pulse,
    pulses_of,
)
from hil_sim.kernels.philox import BATCH, C2C, draw_normals
from hil_sim.kernels.pulse import bounded

# Columns of a table: change = T_A − T_B · (way gone from the end), and the range. T_MAX < T_MIN: no
# pulse is strong enough for this device.
T_A, T_B, T_MIN, T_MAX = 0, 1, 2, 3


@njit(cache=True)
def pulse_table(v: float, tau: float, up: bool, laws: Any, params: Any, table: Any) -> None:
    """Fill the table of one pulse of voltage ``v`` (device polarity) for all devices."""
    law = laws[0]
    of_a, of_b, of_h = (P_A_UP, P_B_UP, P_H_UP) if up else (P_A_DOWN, P_B_DOWN, P_H_DOWN)
    n = pulses_of(v, tau, law.h_min_p if up else law.h_min_d, up, law)
    for i in range(params.shape[0]):
        for j in range(params.shape[1]):
            p, entry = params[i, j], table[i, j]
            low, high = p[P_MIN], p[P_MAX]
            if law.per_device_law:
                n = pulses_of(v, tau, p[of_h], up, law)
            entry[T_MIN], entry[T_MAX], entry[T_A], entry[T_B] = low, high, 0.0, 0.0
            if n <= 0.0:
                entry[T_MIN], entry[T_MAX] = 1.0, 0.0
            elif high > low:
                gain = mean_pulse(p[of_b], n)
                entry[T_A], entry[T_B] = p[of_a] * (high - low) * gain, p[of_b] * gain
            else:
                entry[T_MAX] = low


@njit(cache=True, nogil=True)
def pulse_crossings(
    selected: Any, row_lines: Any, col_lines: Any, up: bool, table: Any, all_pulsed: bool,
    laws: Any, g: Any, ordinal: Any, key: Any, ints: Any, draws: Any,
) -> None:  # fmt: skip
    """Pulse every device whose row and column are selected, step after step.

    ``all_pulsed``: the pulse is strong enough for every device of ``table``. ``ints`` and ``draws``
    are scratch, of ``steps.workspace`` and ``philox.new_draws``.
    """
    law = laws[0]
    n_cols = g.shape[1]
    flat_g, flat_ordinal = g.reshape(g.size), ordinal.reshape(g.size)
    flat_table = table.reshape((g.size, 4))
    spread = law.step_c2c if law.noisy else 0.0
    counters, z, at = draws[0], draws[2], ints[0]
    rows, cols = ints[1], ints[2]
    counters[3, :] = np.uint64(C2C)
    if not law.noisy:
        z[:] = 0.0
    most = min(BATCH, at.size)
    for s in range(selected.shape[0]):
        n_on_rows = n_on_cols = 0
        for i in range(row_lines.size):
            rows[n_on_rows] = i
            n_on_rows += selected[s, row_lines[i]]
        for j in range(col_lines.size):
            cols[n_on_cols] = j
            n_on_cols += selected[s, col_lines[j]]
        if all_pulsed and n_on_cols == n_cols:
            for a in range(n_on_rows):
                row = rows[a]
                for start in range(0, n_cols, BATCH):
                    part = slice(start, min(start + BATCH, n_cols))
                    _pulse_row(row, start, table[row, part], g[row, part], ordinal[row, part], up,
                               spread, law.noisy, key, draws)  # fmt: skip
            continue
        count = 0
        for a in range(n_on_rows):
            row = rows[a]
            first = row * n_cols
            for b in range(n_on_cols):
                k = first + cols[b]
                if not all_pulsed and flat_table[k, T_MAX] < flat_table[k, T_MIN]:
                    continue
                at[count] = k
                counters[0, count], counters[1, count] = np.uint64(cols[b]), np.uint64(row)
                counters[2, count] = np.uint64(flat_ordinal[k])
                count += 1
                if count == most:
                    _pulse(at, count, up, spread, law.noisy, flat_table, flat_g, flat_ordinal, key,
                           draws)  # fmt: skip
                    count = 0
        _pulse(at, count, up, spread, law.noisy, flat_table, flat_g, flat_ordinal, key, draws)


@njit(cache=True)
def _pulse(
    at: Any, count: int, up: bool, spread: float, noisy: bool, table: Any, g: Any, ordinal: Any,
    key: Any, draws: Any,
) -> None:  # fmt: skip
    z = draws[2]
    if noisy and count:
        draw_normals(key, count, draws)
    for n in range(count):
        k = at[n]
        low, high, here = table[k, T_MIN], table[k, T_MAX], g[k]
        ordinal[k] += np.uint32(1)
        change = table[k, T_A] - table[k, T_B] * (here - low if up else high - here)
        change *= 1.0 + spread * z[n]
        g[k] = bounded(here + change if up else here - change, here, low, high)


@njit(cache=True)
def _pulse_row(
    row: int, first: int, table: Any, g: Any, ordinal: Any, up: bool, spread: float, noisy: bool,
    key: Any, draws: Any,
) -> None:  # fmt: skip
    """Pulse adjoining devices of a row; the same numbers as :func:`_pulse`, without a list."""
    counters, z, count = draws[0], draws[2][: g.size], g.size
    if noisy:
        col, of_row, of_ordinal = counters[0, :count], counters[1, :count], counters[2, :count]
        for n in range(count):
            col[n], of_row[n] = np.uint64(first + n), np.uint64(row)
        for n in range(count):
            of_ordinal[n] = np.uint64(ordinal[n])
        draw_normals(key, count, draws)
    for n in range(count):
        ordinal[n] += np.uint32(1)
    for n in range(count):
        low, high, here = table[n, T_MIN], table[n, T_MAX], g[n]
        change = table[n, T_A] - table[n, T_B] * (here - low if up else high - here)
        change *= 1.0 + spread * z[n]
        value = here + change if up else here - change
        least, most = (here if here < low else low), (here if here > high else high)
        value = least if value < least else value
        g[n] = most if value > most else value
