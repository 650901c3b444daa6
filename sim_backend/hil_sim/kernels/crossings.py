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
    pulses_of,
)
from hil_sim.kernels.noise import (
    AT,
    ORDINAL,
    PULSES,
    Z,
    draw_adjoining,
    draw_listed,
    draw_rows,
    list_device,
)
from hil_sim.kernels.pulse import affine_step, bounded

# A table: change = T_A − T_B · (way gone from the end), and the range. T_MAX < T_MIN: no pulse is
# strong enough for this device.
T_A, T_B, T_MIN, T_MAX = 0, 1, 2, 3


def new_table(n_rows: int, n_cols: int, noisy: bool) -> tuple[np.ndarray[Any, Any], ...]:
    """Return room for the table of one pulse, an array per column."""
    step = np.float32 if noisy else np.float64
    return tuple(np.empty((n_rows, n_cols), t) for t in (step, step, np.float64, np.float64))


@njit(cache=True)
def pulse_table(v: float, tau: float, up: bool, laws: Any, params: Any, table: Any) -> None:
    """Fill the table of one pulse of voltage ``v`` (device polarity) for all devices."""
    law = laws[0]
    of_a, of_b, of_h = (P_A_UP, P_B_UP, P_H_UP) if up else (P_A_DOWN, P_B_DOWN, P_H_DOWN)
    n = pulses_of(v, tau, law.h_min_p if up else law.h_min_d, up, law)
    for i in range(params.shape[0]):
        for j in range(params.shape[1]):
            p = params[i, j]
            low, high, a, b = p[P_MIN], p[P_MAX], 0.0, 0.0
            if law.per_device_law:
                n = pulses_of(v, tau, p[of_h], up, law)
            if n <= 0.0:
                low, high = 1.0, 0.0
            elif high > low:
                a, b = affine_step(p[of_a], p[of_b], high - low, n, law)
            else:
                high = low
            table[T_A][i, j], table[T_B][i, j] = a, b
            table[T_MIN][i, j], table[T_MAX][i, j] = low, high


@njit(cache=True, nogil=True)
def pulse_crossings(
    selected: Any, row_lines: Any, col_lines: Any, up: bool, table: Any, all_pulsed: bool,
    one_range: bool, laws: Any, g: Any, ordinal: Any, key: Any, places: Any, ints: Any,
    noise: Any,
) -> None:  # fmt: skip
    """Pulse every device whose row and column are selected, step after step.

    ``all_pulsed``: the pulse is strong enough for every device of ``table``, ``one_range``: they
    all have the same range. ``places`` are ``noise.places_of_rows``; ``ints`` and ``noise`` are
    scratch, of ``steps.workspace`` and ``noise.new_noise``.
    """
    law = laws[0]
    n_cols = g.shape[1]
    a, b = table[T_A].reshape(g.size), table[T_B].reshape(g.size)
    low, high = table[T_MIN].reshape(g.size), table[T_MAX].reshape(g.size)
    flat = a, b, low, high
    flat_g, flat_ordinal = g.reshape(g.size), ordinal.reshape(g.size)
    spread = law.step_c2c if law.noisy else 0.0
    at, z = noise[AT], noise[Z]
    # Batches of whole rows where they are short: each row has counters of its own.
    by_rows = places.size > 0
    most = places.size if by_rows else PULSES
    rows, cols = ints[1], ints[2]
    if not law.noisy:
        z[:] = 0.0
    for s in range(selected.shape[0]):
        n_on_rows = n_on_cols = 0
        for i in range(row_lines.size):
            rows[n_on_rows] = i
            n_on_rows += selected[s, row_lines[i]]
        for j in range(col_lines.size):
            cols[n_on_cols] = j
            n_on_cols += selected[s, col_lines[j]]
        if all_pulsed and n_on_cols == n_cols:
            first = 0
            while first < n_on_rows:
                last = first + 1
                while last < n_on_rows and rows[last] == rows[last - 1] + 1:
                    last += 1
                begin, stop = rows[first] * n_cols, (rows[last - 1] + 1) * n_cols
                n_batches = (stop - begin + most - 1) // most
                # Every other pulse from the end: what the last one left in the cache comes first.
                backwards = flat_ordinal[begin] & np.uint32(1)
                for n in range(n_batches):
                    start = begin + (n_batches - 1 - n if backwards else n) * most
                    end = min(start + most, stop)
                    if law.noisy and by_rows:
                        draw_rows(key, start, end, n_cols, places, flat_ordinal, noise)
                    elif law.noisy:
                        draw_adjoining(key, start, n_cols, flat_ordinal[start:end], noise)
                    else:
                        flat_ordinal[start:end] += np.uint32(1)
                    if one_range:
                        _pulse_alike(a, b, low[0], high[0], flat_g, start, end, up, spread, z)
                    else:
                        _pulse_row(flat, flat_g, start, end, up, spread, z)
                first = last
            continue
        count = 0
        for k_row in range(n_on_rows):
            begin = rows[k_row] * n_cols
            for k_col in range(n_on_cols):
                k = begin + cols[k_col]
                if not all_pulsed and high[k] < low[k]:
                    continue
                at[count] = k
                list_device(key, count, rows[k_row], cols[k_col], flat_ordinal[k], noise)
                count += 1
                if count == PULSES:
                    _pulse(count, up, one_range, spread, law.noisy, flat, flat_g, flat_ordinal,
                           noise)  # fmt: skip
                    count = 0
        _pulse(count, up, one_range, spread, law.noisy, flat, flat_g, flat_ordinal, noise)


@njit(cache=True)
def _pulse(
    count: int, up: bool, one_range: bool, spread: float, noisy: bool, table: Any, g: Any,
    ordinal: Any, noise: Any,
) -> None:  # fmt: skip
    """Pulse the listed devices."""
    at, number, z = noise[AT], noise[ORDINAL], noise[Z]
    if noisy and count:
        draw_listed(count, noise)
    for n in range(count):
        k = at[n]
        own = 0 if one_range else k  # half the memory
        low, high, here = table[T_MIN][own], table[T_MAX][own], g[k]
        ordinal[k] = number[n] + np.uint32(1)
        change = table[T_A][k] - table[T_B][k] * (here - low if up else high - here)
        change *= 1.0 + spread * z[n]
        g[k] = bounded(here + change if up else here - change, here, low, high)


@njit(cache=True)
def _pulse_row(
    table: Any, every_g: Any, start: int, stop: int, up: bool, spread: float, z: Any
) -> None:
    """Pulse adjoining devices; the same numbers as :func:`_pulse`, without a list."""
    a, b, g = table[T_A][start:stop], table[T_B][start:stop], every_g[start:stop]
    lows, highs = table[T_MIN][start:stop], table[T_MAX][start:stop]
    for n in range(g.size):
        low, high, here = lows[n], highs[n], g[n]
        change = a[n] - b[n] * (here - low if up else high - here)
        change *= 1.0 + spread * z[n]
        value = here + change if up else here - change
        least, most = (here if here < low else low), (here if here > high else high)
        value = least if value < least else value
        g[n] = most if value > most else value


@njit(cache=True)
def _pulse_alike(
    of_a: Any, of_b: Any, low: float, high: float, every_g: Any, start: int, stop: int, up: bool,
    spread: float, z: Any,
) -> None:  # fmt: skip
    """Pulse adjoining devices of one range; half the memory of :func:`_pulse_row`."""
    a, b, g = of_a[start:stop], of_b[start:stop], every_g[start:stop]
    for n in range(g.size):
        here = g[n]
        change = a[n] - b[n] * (here - low if up else high - here)
        change *= 1.0 + spread * z[n]
        value = here + change if up else here - change
        least, most = (here if here < low else low), (here if here > high else high)
        value = least if value < least else value
        g[n] = most if value > most else value
