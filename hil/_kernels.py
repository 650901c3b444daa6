"""Compiled loops of the limit check and the ledger; loaded on the first run only."""

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


@njit(cache=True)
def count_all_reads(
    state: Any, level_v: Any, width_s: Any, repeat: Any, plus: Any, minus: Any, plus_reads: Any,
    plus_v2t: Any, minus_reads: Any, minus_v2t: Any,
) -> None:  # fmt: skip
    """Add a block that only reads to the lines of both sides."""
    _count_reads(state, level_v, width_s, repeat, plus, plus_reads, plus_v2t)
    _count_reads(state, level_v, width_s, repeat, minus, minus_reads, minus_v2t)


@njit(cache=True)
def _count_reads(
    state: Any, level_v: Any, width_s: Any, repeat: Any, lines: Any, reads: Any, v2t: Any
) -> None:
    """Add a block that only reads to the lines of one side."""
    wide = width_s.shape[1] > 1
    for s in range(state.shape[0]):
        r, w = repeat[s], width_s[s, 0]
        for n in range(lines.size):
            k = lines[n]
            if state[s, k] != DRIVE or level_v[s, k] == 0.0:
                continue
            if wide:
                w = width_s[s, k]
            if w > 0.0:
                v2t[n] += level_v[s, k] * level_v[s, k] * w * r
                reads[n] += r


@njit(cache=True)
def _count_lines(
    state: Any, level_v: Any, width_s: Any, selected: Any, s: int, r: int, lines: Any,
    pulses: Any, v2t: Any, time_s: Any, chosen: Any,
) -> int:  # fmt: skip
    """Count one writing step on the lines of one side; fill ``chosen`` with the selected ones."""
    wide = width_s.shape[1] > 1
    n_chosen = 0
    for n in range(lines.size):
        k = lines[n]
        driven = state[s, k] == DRIVE and level_v[s, k] != 0.0
        if driven or selected[s, k]:
            w = width_s[s, k] if wide else width_s[s, 0]
            if driven:
                v2t[n] += level_v[s, k] * level_v[s, k] * w * r
            if selected[s, k]:
                pulses[n] += r
                if driven:
                    time_s[n] += w * r
                chosen[n_chosen] = n
                n_chosen += 1
    return n_chosen


@njit(cache=True)
def short(x: float) -> float:
    """Return ``x`` with 32 binary digits (Veltkamp's splitting).

    Sums of a million such numbers are exact, so that they do not depend on what was summed when.
    """
    c = x * 2097153.0
    return c - (c - x)


@njit(cache=True)
def count_pulses(
    state: Any, level_v: Any, width_s: Any, selected: Any, repeat: Any, plus: Any, minus: Any,
    erasing: bool, sel_pos: Any, sel_neg: Any, sel_v2t: Any, sel_s: Any,
    sel_lines_s: Any, plus_pulses: Any, minus_pulses: Any,
    plus_v2t: Any, minus_v2t: Any, plus_s: Any, minus_s: Any, rows: Any, cols: Any,
) -> int:  # fmt: skip
    """Add a block that writes to the ledger; return the device pulses on selected devices.

    ``plus`` lines run along rows, ``minus`` lines along columns. ``rows`` and ``cols`` are scratch.
    """
    wide = width_s.shape[1] > 1
    total = 0
    for s in range(state.shape[0]):
        r = repeat[s]
        if r == 0:
            continue
        n_rows = _count_lines(state, level_v, width_s, selected, s, r, plus,
                              plus_pulses, plus_v2t, plus_s, rows)  # fmt: skip
        n_cols = _count_lines(state, level_v, width_s, selected, s, r, minus,
                              minus_pulses, minus_v2t, minus_s, cols)  # fmt: skip
        for a in range(n_rows):
            i = rows[a]
            kp = plus[i]
            vp = level_v[s, kp] if state[s, kp] == DRIVE else 0.0
            wp = width_s[s, kp] if wide else width_s[s, 0]
            for b in range(n_cols):
                j = cols[b]
                km = minus[j]
                vm = level_v[s, km] if state[s, km] == DRIVE else 0.0
                v = vp - vm
                if wide:
                    wm = width_s[s, km]
                    w = min(wp, wm) if (vp != 0.0 and vm != 0.0) else (wp if vp != 0.0 else wm)
                else:
                    w = wp
                if v == 0.0 or w == 0.0:
                    continue
                if v > 0.0 and not erasing:
                    sel_pos[i, j] += r
                else:
                    sel_neg[i, j] += r
                sel_v2t[i, j] += short(v * v * w) * r
                sel_s[i, j] += short(w) * r
                if vp != 0.0:
                    sel_lines_s[i, j] += short(wp) * r
                if vm != 0.0:
                    sel_lines_s[i, j] += short(width_s[s, km] if wide else width_s[s, 0]) * r
                total += r
    return total


@njit(cache=True)
def _count_switched(
    selected: Any, s: int, lines: Any, each: Any, pulses: Any, v2t: Any, time_s: Any, chosen: Any
) -> int:
    """Count a step of alike pulses on the lines of one side; ``chosen`` gets those that are on.

    ``each`` is (on V²·s, off V²·s, on s) of one pulse.
    """
    on_v2t, off_v2t, on_s = each
    n_chosen = 0
    for n in range(lines.size):
        on = selected[s, lines[n]]
        v2t[n] += on_v2t if on else off_v2t
        pulses[n] += on
        time_s[n] += on_s if on else 0.0
        chosen[n_chosen] = n
        n_chosen += on
    return n_chosen


@njit(cache=True)
def count_crossings(
    selected: Any, plus: Any, minus: Any, of_plus: Any, of_minus: Any, counts: Any,
    plus_pulses: Any, minus_pulses: Any, plus_v2t: Any, minus_v2t: Any, plus_s: Any, minus_s: Any,
    rows: Any, cols: Any,
) -> int:  # fmt: skip
    """Count alike pulses where selected lines cross; return how many there are."""
    total = 0
    for s in range(selected.shape[0]):
        n_rows = _count_switched(selected, s, plus, of_plus, plus_pulses, plus_v2t, plus_s, rows)
        n_cols = _count_switched(selected, s, minus, of_minus, minus_pulses, minus_v2t, minus_s,
                                 cols)  # fmt: skip
        for a in range(n_rows):
            row = counts[rows[a]]
            for b in range(n_cols):
                row[cols[b]] += np.uint32(1)
        total += n_rows * n_cols
    return total


@njit(cache=True)
def rows_alone(state: Any, level_v: Any, plus: Any, read_v: float) -> Any:
    """Return which ``plus`` line each step drives alone, at ``read_v``; −1 for none."""
    rows = np.empty(state.shape[0], np.int64)
    for s in range(rows.size):
        rows[s] = _single_line(state, level_v, s, plus, read_v)
    return rows


@njit(cache=True)
def note_conductances(
    rows: Any, step: Any, line: Any, current_a: Any, status: Any, unusable: int,
    col_of_line: Any, read_v: float, sel_v2t: Any, alike: Any, alike_v2t: Any, plus_v2t: Any,
    minus_v2t: Any, g: Any, joule: Any, joule_v2t: Any,
) -> None:  # fmt: skip
    """Take over the conductances that readings give, and settle the energy up to now with them.

    A reading gives one where its step has a row in ``rows``, see :func:`rows_alone`, and its status
    has no bit of ``unusable``. The energy since a device's last reading is that of the mean of both
    conductances.
    """
    m = 0
    while m < step.size:
        if not (0 <= step[m] < rows.size and 0 <= line[m] < col_of_line.size):
            m += 1
            continue  # what an implementation writes by mistake must not reach the memory
        row, j = rows[step[m]], col_of_line[line[m]]
        if row < 0 or j < 0 or status[m] & unusable or np.isnan(current_a[m]):
            m += 1
            continue
        stop = _run_of(m, step, line, status, unusable, current_a, col_of_line)
        n = stop - m
        _note_run(
            current_a[m:stop], read_v, sel_v2t[row, j : j + n], alike[:, row, j : j + n], alike_v2t,
            plus_v2t[row], minus_v2t[j : j + n], g[row, j : j + n], joule[row, j : j + n],
            joule_v2t[row, j : j + n],
        )  # fmt: skip
        m = stop


@njit(cache=True)
def _run_of(
    m: int, step: Any, line: Any, status: Any, unusable: int, current_a: Any, col_of_line: Any
) -> int:  # fmt: skip
    """Return the end of the usable readings of one step, from ``m`` on, of columns in a row."""
    at, first, col = step[m], line[m], col_of_line[line[m]]
    stop = m + 1
    while (
        stop < step.size and step[stop] == at and line[stop] - first == stop - m
        and line[stop] < col_of_line.size and col_of_line[line[stop]] - col == stop - m
        and not status[stop] & unusable and not np.isnan(current_a[stop])
    ):  # fmt: skip
        stop += 1
    return stop


@njit(cache=True)
def _note_run(
    current_a: Any, read_v: float, sel_v2t: Any, alike: Any, alike_v2t: Any, plus_v2t: float,
    minus_v2t: Any, g: Any, joule: Any, joule_v2t: Any,
) -> None:  # fmt: skip
    """Settle the energy of devices of one row in adjoining columns."""
    for n in range(current_a.size):
        now = -current_a[n] / read_v
        before = now if np.isnan(g[n]) else g[n]
        selected = sel_v2t[n]
        for k in range(alike_v2t.size):
            selected += alike[k, n] * alike_v2t[k]
        v2t = selected + max(plus_v2t + minus_v2t[n] - selected / 2, 0.0)
        joule[n] += (v2t - joule_v2t[n]) * (before + now) / 2
        joule_v2t[n] = v2t
        g[n] = now


@njit(cache=True)
def _single_line(state: Any, level_v: Any, s: int, lines: Any, read_v: float) -> int:
    """Return which line alone is driven in step ``s``, at ``read_v``; −1 for none."""
    found = -1
    for n in range(lines.size):
        k = lines[n]
        if state[s, k] == DRIVE and level_v[s, k] != 0.0:
            if found >= 0 or abs(level_v[s, k] - read_v) > 1e-6 * abs(read_v):
                return -1
            found = n
    return found


@njit(cache=True, nogil=True)
def within(values: Any, low: Any, high: Any) -> bool:
    """Return whether every value of a 2-D array is between its bounds (NaN is not)."""
    for s in range(values.shape[0]):
        for k in range(values.shape[1]):
            if not low[s, k] <= values[s, k] <= high[s, k]:
                return False
    return True


@njit(cache=True, nogil=True)
def within_widths(width_s: Any, longest_s: Any) -> bool:
    """Return whether every width of a 2-D array is between 0 and its longest (NaN is not)."""
    for s in range(width_s.shape[0]):
        for k in range(width_s.shape[1]):
            if not 0.0 <= width_s[s, k] <= longest_s[s, k]:
                return False
    return True


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
