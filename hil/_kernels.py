"""Compiled loops of the limit check and of templates, and one that all packages use.

Loaded on the first run only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FLOAT, GROUND, DRIVE = 0, 1, 2

# What a violation is about; `hil.limits` turns (code, step, a, b, value, limit) into words.
OK, LEVEL_LO, LEVEL_HI, SLEW, WIDTH_LO, WIDTH_HI, WIDTH_GRID = 0, 1, 2, 3, 4, 5, 6
COMPLIANCE, ENERGY, PORT_LO, PORT_HI, HALF_SELECT = 7, 8, 9, 10, 11
STATE_FLOAT, PER_LINE_WIDTH, RISE = 12, 13, 14


@njit(cache=True)
def check_lines(
    state: Any, lo_v: Any, hi_v: Any, width_s: Any, rise_s: Any, fall_s: Any, compliance_a: Any,
    repeat: Any, level_min_v: Any, level_max_v: Any, slew_max: float, width_min: float,
    width_max: float, width_grid: float, compliance_max: float, energy_max: float,
    rise_min: float, rise_max: float, can_float: bool, per_line_width: bool,
) -> tuple[int, int, int, float, float]:  # fmt: skip
    """Check every driven line of every step; return (code, step, line, value, limit)."""
    n_steps, n_lines = state.shape
    wide = width_s.shape[1] > 1
    for s in range(n_steps):
        if repeat[s] == 0:
            continue
        edge = min(rise_s[s], fall_s[s])
        widest = 0.0
        narrowest = np.inf
        for k in range(n_lines):
            st = state[s, k]
            if st == FLOAT and not can_float:
                return STATE_FLOAT, s, k, 0.0, 0.0
            if st != DRIVE:
                continue
            lo, hi = lo_v[s, k], hi_v[s, k]
            if lo < level_min_v[k]:
                return LEVEL_LO, s, k, lo, level_min_v[k]
            if hi > level_max_v[k]:
                return LEVEL_HI, s, k, hi, level_max_v[k]
            peak = max(-lo, hi)
            if peak == 0.0:
                continue
            w = width_s[s, k] if wide else width_s[s, 0]
            if w == 0.0 and wide:
                continue
            widest = max(widest, w)
            narrowest = min(narrowest, w)
            if peak > slew_max * edge:
                return SLEW, s, k, (np.inf if edge == 0.0 else peak / edge), slew_max
            if w < width_min:
                return WIDTH_LO, s, k, w, width_min
            if w > width_max:
                return WIDTH_HI, s, k, w, width_max
            if width_grid > 0.0:
                ticks = w / width_grid
                if abs(ticks - np.rint(ticks)) > 1e-6 * max(ticks, 1.0):
                    return WIDTH_GRID, s, k, w, width_grid
            if compliance_a[k] > compliance_max:
                return COMPLIANCE, s, k, compliance_a[k], compliance_max
            if energy_max < np.inf:
                bound = min(compliance_a[k], compliance_max) * peak * w
                if bound > energy_max:
                    return ENERGY, s, k, bound, energy_max
            if rise_s[s] < rise_min or rise_s[s] > rise_max:
                return RISE, s, k, rise_s[s], (rise_min if rise_s[s] < rise_min else rise_max)
        if wide and not per_line_width and widest > narrowest:
            return PER_LINE_WIDTH, s, -1, narrowest, widest
    return OK, 0, 0, 0.0, 0.0


@njit(cache=True)
def _extremes(
    state: Any, lo_v: Any, hi_v: Any, selected: Any, lines: Any, gates: Any, s: int,
    float_lo: float, float_hi: float, zero: bool, out: Any, at: Any,
) -> None:  # fmt: skip
    """Fill out[sel, lo|hi] with the extreme potentials of selected / unselected ``lines``."""
    for c in range(2):
        out[c, 0], out[c, 1] = np.inf, -np.inf
        at[c, 0] = at[c, 1] = -1
    for n in range(lines.size):
        k = lines[n]
        if gates.size and (state[s, gates[n]] != DRIVE or hi_v[s, gates[n]] <= 0.0):
            continue  # the select transistor is off: the device sees nothing
        st = state[s, k]
        lo = hi = 0.0
        if st == DRIVE:
            lo, hi = lo_v[s, k], hi_v[s, k]
            if zero:
                lo, hi = min(lo, 0.0), max(hi, 0.0)
        elif st == FLOAT:
            lo, hi = float_lo, float_hi
        c = 1 if selected[s, k] else 0
        if lo < out[c, 0]:
            out[c, 0], at[c, 0] = lo, n
        if hi > out[c, 1]:
            out[c, 1], at[c, 1] = hi, n


@njit(cache=True)
def check_port(
    state: Any, lo_v: Any, hi_v: Any, selected: Any, repeat: Any, plus: Any, minus: Any,
    gates: Any, conducting: Any, same_axis: bool, zero: bool, port_min: float, port_max: float,
    half_max: float,
) -> tuple[int, int, int, int, float, float]:  # fmt: skip
    """Check the voltage of every device's port; return (code, step, i_plus, i_minus, value, limit).

    A floating line is taken at the worst potential its neighbours can give it: anything between
    the lowest and the highest level driven on a ``conducting`` line in the step (0 V included).
    ``zero`` widens driven levels to 0 V, for widths that differ between lines. Two lines that
    cross always share a device, so the extremes of both sides are a device's; with ``same_axis``
    (both terminals of the port along rows) pairs are taken index by index.
    """
    n_steps = state.shape[0]
    p = np.empty((2, 2))
    m = np.empty((2, 2))
    p_at = np.empty((2, 2), np.int64)
    m_at = np.empty((2, 2), np.int64)
    for s in range(n_steps):
        if repeat[s] == 0:
            continue
        float_lo = float_hi = 0.0
        for n in range(conducting.size):
            k = conducting[n]
            if state[s, k] == DRIVE:
                float_lo = min(float_lo, lo_v[s, k])
                float_hi = max(float_hi, hi_v[s, k])
        if same_axis:
            for n in range(plus.size):
                a, b = plus[n], minus[n]
                a_lo = a_hi = b_lo = b_hi = 0.0
                if state[s, a] == DRIVE:
                    a_lo, a_hi = lo_v[s, a], hi_v[s, a]
                elif state[s, a] == FLOAT:
                    a_lo, a_hi = float_lo, float_hi
                if state[s, b] == DRIVE:
                    b_lo, b_hi = lo_v[s, b], hi_v[s, b]
                elif state[s, b] == FLOAT:
                    b_lo, b_hi = float_lo, float_hi
                if a_lo - b_hi < port_min:
                    return PORT_LO, s, n, n, a_lo - b_hi, port_min
                if a_hi - b_lo > port_max:
                    return PORT_HI, s, n, n, a_hi - b_lo, port_max
            continue
        _extremes(state, lo_v, hi_v, selected, plus, gates, s, float_lo, float_hi, zero, p, p_at)
        _extremes(
            state, lo_v, hi_v, selected, minus, gates[:0], s, float_lo, float_hi, zero, m, m_at
        )
        for cp in range(2):
            for cm in range(2):
                if p_at[cp, 0] < 0 or m_at[cm, 0] < 0:
                    continue
                low = p[cp, 0] - m[cm, 1]
                high = p[cp, 1] - m[cm, 0]
                if low < port_min:
                    return PORT_LO, s, p_at[cp, 0], m_at[cm, 1], low, port_min
                if high > port_max:
                    return PORT_HI, s, p_at[cp, 1], m_at[cm, 0], high, port_max
                if cp + cm < 2 and half_max < np.inf:
                    if -low > half_max:
                        return HALF_SELECT, s, p_at[cp, 0], m_at[cm, 1], low, half_max
                    if high > half_max:
                        return HALF_SELECT, s, p_at[cp, 1], m_at[cm, 0], high, half_max
    return OK, 0, 0, 0, 0.0, 0.0


@njit(cache=True, nogil=True)
def within(values: Any, low: Any, high: Any) -> bool:
    """Return whether every value of a 2-D array is between its bounds (NaN is not)."""
    for s in range(values.shape[0]):
        for k in range(values.shape[1]):
            if not low[s, k] <= values[s, k] <= high[s, k]:
                return False
    return True


@njit(cache=True, nogil=True)
def largest_of(values: Any) -> float:
    """Return the largest of 1-D values, 0 where none is above it."""
    a = b = c = d = 0.0  # four at a time: one comparison need not wait for the other
    n = values.size - values.size % 4
    for k in range(0, n, 4):
        a = values[k] if values[k] > a else a
        b = values[k + 1] if values[k + 1] > b else b
        c = values[k + 2] if values[k + 2] > c else c
        d = values[k + 3] if values[k + 3] > d else d
    for k in range(n, values.size):
        a = values[k] if values[k] > a else a
    return max(max(a, b), max(c, d))


@njit(cache=True, nogil=True)
def within_widths(width_s: Any, longest_s: Any) -> bool:
    """Return whether every width of a 2-D array is between 0 and its longest (NaN is not)."""
    wrong = 0  # counted, not left at once: so the loop vectorises
    for s in range(width_s.shape[0]):
        for k in range(width_s.shape[1]):
            wrong += not 0.0 <= width_s[s, k] <= longest_s[s, k]
    return wrong == 0


@njit(cache=True, nogil=True)
def switch_lines(
    on: Any, state: Any, level_v: Any, off_state: int, state_out: Any, level_out: Any
) -> None:
    """Write the states and levels of lines that are on, ``off_state`` and 0 V for the others."""
    for s in range(on.shape[0]):
        bits, states, levels = on[s], state[s], level_v[s]
        for k in range(bits.size):
            state_out[s, k] = states[k] if bits[k] else off_state
            level_out[s, k] = levels[k] if bits[k] else 0.0
