"""Compiled loops of the device log; imported when a run is recorded in full.

They run in the recorder's writer thread and give up the interpreter lock meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hil.control.devicelog import ERASE, FORGET, READ, WRITE
from hil.measurement import Status

DRIVE = 2
COUNT_UNKNOWN = np.uint32(Status.COUNT_UNKNOWN)  # of a row's own pulses, never of a reading's
_MAX_COUNT = 2**32 - 1
WRITES = -2  # in place of a row that is read


@njit(cache=True, nogil=True)
def survey(
    kinds: Any, firsts: Any, state: Any, level_v: Any, selected: Any, repeat: Any, read_plus: Any,
    read_v: float, write_plus: Any, write_minus: Any, erase_plus: Any, n_cols: int,
    row_of_step: Any, most_rows: Any,
) -> bool:  # fmt: skip
    """Look at distinct blocks, block ``b`` being steps ``firsts[b]`` to ``firsts[b + 1]``.

    Writes the row that each step of a reading block, and each step of a writing block that selects
    nothing, reads at ``read_v``, or −1 when it is not exactly one; WRITES for the steps that write;
    and for each block how many device rows it gives at most. Returns False when a repeat is more
    than a row's count can hold.
    """
    for b in range(kinds.size):
        most_rows[b] = 0
        for s in range(firsts[b], firsts[b + 1]):
            if kinds[b] == READ:
                row_of_step[s] = _single_row(state, level_v, s, read_plus, read_v)
                continue
            row_of_step[s] = WRITES
            if repeat[s] == 0:
                continue
            if repeat[s] > _MAX_COUNT:
                return False
            if kinds[b] == ERASE:
                for i in range(erase_plus.size):
                    most_rows[b] += n_cols * selected[s, erase_plus[i]]
                continue
            n_rows_hit = n_cols_hit = 0
            for i in range(write_plus.size):
                n_rows_hit += selected[s, write_plus[i]]
            for j in range(write_minus.size):
                n_cols_hit += selected[s, write_minus[j]]
            most_rows[b] += n_rows_hit * n_cols_hit
            if n_rows_hit + n_cols_hit == 0:
                row_of_step[s] = _single_row(state, level_v, s, read_plus, read_v)
    return True


@njit(cache=True, nogil=True)
def _single_row(state: Any, level_v: Any, s: int, plus: Any, read_v: float) -> int:
    row = -1
    for i in range(plus.size):
        k = plus[i]
        if state[s, k] == DRIVE and level_v[s, k] != 0.0:
            if row >= 0:
                return -1
            row = i
    if row >= 0 and abs(level_v[s, plus[row]] - read_v) > 1e-6 * abs(read_v):
        return -1
    return row


@njit(cache=True, nogil=True)
def derive(
    entries: Any, firsts: Any, steps: Any, row_of_step: Any, lines: Any, read_v: float,
    readings: Any, known: Any, n_carried: int, out: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Go through the entries in order and write the device rows; a row is completed by a reading.

    ``out`` holds ``n_carried`` rows that still wait. Returns how many rows there are now, the first
    of them that waits, and the entry that gave it (−1: it was carried, or none waits).
    """
    kinds, blocks, t_ns, ops, phases, layers, read_first, read_stop, ends, flags = entries
    r_step = readings[0]
    g_siemens, owner = known
    row, col = out[4], out[5]
    n, waits, newest = n_carried, 0, -1
    for k in range(n):
        owner[row[k], col[k]] = k
    for e in range(kinds.size):
        kind = kinds[e]
        base, m = firsts[blocks[e]], read_first[e]
        if kind == READ:
            while m < read_stop[e]:
                _complete(row_of_step[base + r_step[m]], m, lines, readings, read_v, known, out)
                m += 1
        else:
            _disown(waits, n, row, col, owner)
            waits, newest = n, -1
        if kind == FORGET:
            g_siemens[:] = np.nan
        elif kind in (WRITE, ERASE):
            stop = firsts[blocks[e] + 1]
            at, passed_ns = base, 0.0
            while at < stop:
                while m < read_stop[e] and row_of_step[base + r_step[m]] == WRITES:
                    m += 1
                until = base + r_step[m] if m < read_stop[e] else stop
                if until > at:
                    _disown(waits, n, row, col, owner)
                    waits, newest = n, -1
                    n, passed_ns = _selected(
                        kind == ERASE, t_ns[e], passed_ns, ops[e], phases[e], layers[e], at, until,
                        steps, lines, n, out,
                    )  # fmt: skip
                    _take_over(waits, n, flags[e], g_siemens, owner, out)
                    if n > waits:
                        newest = e
                    at = until
                while m < read_stop[e] and base + r_step[m] == at:
                    _complete(row_of_step[at], m, lines, readings, read_v, known, out)
                    m += 1
                if at < stop and row_of_step[at] != WRITES:
                    passed_ns += _lasts_s(at, steps) * 1e9
                    at += 1
        if ends[e]:
            _disown(waits, n, row, col, owner)
            waits, newest = n, -1
    _disown(waits, n, row, col, owner)
    return n, waits, newest


@njit(cache=True, nogil=True)
def _complete(
    i: int, m: int, lines: Any, readings: Any, read_v: float, known: Any, out: Any
) -> None:
    """Take reading ``m`` of row ``i`` as its device's conductance and complete the row it owns."""
    _, r_line, r_current_a, r_status = readings
    g_siemens, owner = known
    i_read_a, g1, g1_null, status = out[9], out[12], out[13], out[14]
    j = lines[4][r_line[m]]
    if i < 0 or j < 0:
        return
    g = -r_current_a[m] / read_v
    g_siemens[i, j] = g
    k = owner[i, j]
    if k >= 0:
        g1_null[k] = np.isnan(g)
        g1[k] = 0.0 if np.isnan(g) else g
        i_read_a[k] = r_current_a[m]
        status[k] |= r_status[m] & ~COUNT_UNKNOWN


@njit(cache=True, nogil=True)
def _lasts_s(s: int, steps: Any) -> float:
    """Return how long step ``s`` takes with its repeats, in seconds."""
    _, _, width_s, edge_s, _, repeat = steps
    step_s = width_s[s, 0]
    for k in range(1, width_s.shape[1]):
        step_s = max(step_s, width_s[s, k])
    return float((step_s + edge_s[s]) * repeat[s])


@njit(cache=True, nogil=True)
def _disown(first: int, n: int, row: Any, col: Any, owner: Any) -> None:
    """Forget which rows, ``first`` to ``n``, devices own."""
    for k in range(first, n):
        owner[row[k], col[k]] = -1


@njit(cache=True, nogil=True)
def _selected(
    erase: bool, t_ns: int, passed_ns: float, op: int, phase: int, layer: int, first: int,
    stop: int, steps: Any, lines: Any, n: int, out: Any,
) -> tuple[int, float]:  # fmt: skip
    """Append a row for every selected device of every step.

    Returns the number of rows now and the nanoseconds that have passed since ``t_ns``.
    """
    state, level_v, width_s, _, selected, repeat = steps
    write_plus, write_minus, erase_plus, erase_minus, _ = lines
    out_t, out_op, out_phase, out_layer, row, col, out_v, out_width, count = out[:9]
    plus = erase_plus if erase else write_plus
    wide = width_s.shape[1] > 1
    n_cols = write_minus.size
    for s in range(first, stop):
        start_ns = t_ns + np.int64(passed_ns)
        passed_ns += _lasts_s(s, steps) * 1e9
        if repeat[s] == 0:
            continue
        for i in range(plus.size):
            kp = plus[i]
            if not selected[s, kp]:
                continue
            vp = level_v[s, kp] if state[s, kp] == DRIVE else 0.0
            width = width_s[s, kp] if wide else width_s[s, 0]
            for j in range(n_cols):
                km = erase_minus[i] if erase else write_minus[j]
                if not selected[s, km]:
                    continue
                vm = level_v[s, km] if state[s, km] == DRIVE else 0.0
                if vp == vm:
                    continue
                out_t[n], out_op[n], out_phase[n], out_layer[n] = start_ns, op, phase, layer
                row[n], col[n], out_v[n], out_width[n] = i, j, vp - vm, width
                count[n] = repeat[s]
                n += 1
    return n, passed_ns


@njit(cache=True, nogil=True)
def _take_over(first: int, n: int, flag: int, g_siemens: Any, owner: Any, out: Any) -> None:
    """Note the conductance before each new row and make the row its device's latest."""
    row, col = out[4], out[5]
    i_read_a, g0, g0_null, g1, g1_null, status = out[9:]
    for k in range(first, n):
        g = g_siemens[row[k], col[k]]
        g0_null[k] = np.isnan(g)
        g0[k] = 0.0 if np.isnan(g) else g
        g1[k], g1_null[k] = 0.0, True
        i_read_a[k] = np.nan
        status[k] = flag
    for k in range(first, n):
        owner[row[k], col[k]] = k
        g_siemens[row[k], col[k]] = np.nan
