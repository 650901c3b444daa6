"""Compiled loops of the device log; imported when a run is recorded in full."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

DRIVE = 2


@njit(cache=True)
def single_row_steps(state: Any, level_v: Any, plus: Any, read_v: float, row_of_step: Any) -> None:
    """Write the row that each step reads at ``read_v``, or −1 when it is not exactly one."""
    for s in range(state.shape[0]):
        found, row = 0, -1
        for i in range(plus.size):
            k = plus[i]
            if state[s, k] == DRIVE and level_v[s, k] != 0.0:
                found += 1
                row = i
        if found != 1 or abs(level_v[s, plus[row]] - read_v) > 1e-6 * abs(read_v):
            row = -1
        row_of_step[s] = row


@njit(cache=True)
def decode_devices(
    step: Any, line: Any, current_a: Any, status: Any, row_of_step: Any, col_of_line: Any,
    read_v: float, g_siemens: Any, owner: Any, g1: Any, i_read_a: Any, row_status: Any,
) -> None:  # fmt: skip
    """Set the conductance of every device read alone, and complete the pulse rows it owns."""
    for n in range(step.size):
        row = row_of_step[step[n]]
        col = col_of_line[line[n]]
        if row < 0 or col < 0:
            continue
        g = -current_a[n] / read_v
        g_siemens[row, col] = g
        at = owner[row, col]
        if at >= 0:
            g1[at] = g
            i_read_a[at] = current_a[n]
            row_status[at] |= status[n]


@njit(cache=True)
def count_selected(
    state: Any, level_v: Any, selected: Any, repeat: Any, plus: Any, minus: Any, erase: bool
) -> int:
    """Return the number of (step, device) pairs that see a write voltage while selected."""
    total = 0
    for s in range(state.shape[0]):
        if repeat[s] == 0:
            continue
        if erase:
            for i in range(plus.size):
                if selected[s, plus[i]]:
                    total += 1
            continue
        n_rows = n_cols = 0
        for i in range(plus.size):
            if selected[s, plus[i]]:
                n_rows += 1
        for j in range(minus.size):
            if selected[s, minus[j]]:
                n_cols += 1
        total += n_rows * n_cols
    return total


@njit(cache=True)
def list_selected(
    state: Any, level_v: Any, width_s: Any, selected: Any, repeat: Any, plus: Any, minus: Any,
    erase: bool, n_cols: int, steps: Any, rows: Any, cols: Any, volts: Any, widths: Any,
) -> int:  # fmt: skip
    """Fill the columns with every selected device of every step; return how many there are."""
    wide = width_s.shape[1] > 1
    at = 0
    for s in range(state.shape[0]):
        if repeat[s] == 0:
            continue
        for i in range(plus.size):
            kp = plus[i]
            if not selected[s, kp]:
                continue
            vp = level_v[s, kp] if state[s, kp] == DRIVE else 0.0
            w = width_s[s, kp] if wide else width_s[s, 0]
            for j in range(n_cols):
                km = minus[i] if erase else minus[j]
                if not selected[s, km]:
                    continue
                vm = level_v[s, km] if state[s, km] == DRIVE else 0.0
                if vp == vm:
                    continue
                steps[at], rows[at], cols[at] = s, i, j
                volts[at] = vp - vm
                widths[at] = w
                at += 1
    return at


@njit(cache=True)
def take_over(rows: Any, cols: Any, first: int, g_siemens: Any, g0: Any, owner: Any) -> None:
    """Note the conductance before each new row and make the row its device's latest."""
    for n in range(rows.size):
        i, j = rows[n], cols[n]
        g0[n] = g_siemens[i, j]
    for n in range(rows.size):
        owner[rows[n], cols[n]] = first + n
        g_siemens[rows[n], cols[n]] = np.nan


@njit(cache=True)
def disown(rows: Any, cols: Any, owner: Any) -> None:
    """Forget which rows the devices own."""
    for n in range(rows.size):
        owner[rows[n], cols[n]] = -1
