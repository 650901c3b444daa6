"""Compiled loops of the ledger; loaded on the first run only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

DRIVE = 2


@njit(cache=True)
def count_all_reads(
    state: Any, level_v: Any, width_s: Any, repeat: Any, plus: Any, minus: Any, plus_reads: Any,
    plus_v2t: Any, minus_reads: Any, minus_v2t: Any,
) -> None:  # fmt: skip
    """Add a block that only reads to the lines of both sides."""
    _count_reads(state, level_v, width_s, repeat, plus, plus_reads, plus_v2t)
    _count_reads(state, level_v, width_s, repeat, minus, minus_reads, minus_v2t)


@njit(cache=True)
def driven_lines(state: Any, level_v: Any, lines: Any) -> Any:
    """Return the places in ``lines`` that are driven, the same in every step; −1 if they differ."""
    places = np.empty(lines.size, np.int64)
    count = 0
    for n in range(lines.size):
        k = lines[n]
        on = state[0, k] == DRIVE and level_v[0, k] != 0.0
        for s in range(1, state.shape[0]):
            if (state[s, k] == DRIVE and level_v[s, k] != 0.0) != on:
                return np.full(1, -1)
        places[count] = n
        count += on
    return places[:count]


@njit(cache=True)
def count_driven_reads(
    level_v: Any, width_s: Any, repeat: Any, places: Any, lines: Any, reads: Any, v2t: Any
) -> None:
    """Add a block that only reads to the driven ``places`` of ``lines``, see above."""
    for s in range(width_s.shape[0]):
        r = repeat[s]
        for m in range(places.size):
            n = places[m]
            k = lines[n]
            w = width_s[s, k]
            if w > 0.0:
                v2t[n] += level_v[s, k] * level_v[s, k] * w * r
                reads[n] += r


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
    selected: Any, plus: Any, minus: Any, of_plus: Any, of_minus: Any, counts: Any, whole: Any,
    plus_pulses: Any, minus_pulses: Any, plus_v2t: Any, minus_v2t: Any, plus_s: Any, minus_s: Any,
    rows: Any, cols: Any,
) -> int:  # fmt: skip
    """Count alike pulses where selected lines cross; return how many there are.

    A row with all its columns is counted once, in ``whole``.
    """
    total = 0
    for s in range(selected.shape[0]):
        n_rows = _count_switched(selected, s, plus, of_plus, plus_pulses, plus_v2t, plus_s, rows)
        n_cols = _count_switched(selected, s, minus, of_minus, minus_pulses, minus_v2t, minus_s,
                                 cols)  # fmt: skip
        for a in range(n_rows):
            row = counts[rows[a]]
            if n_cols == row.size:
                whole[rows[a]] += np.uint32(1)
                continue
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
