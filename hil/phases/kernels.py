"""Compiled loops of the learning phases; loaded on the first product or update only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

OK, TOO_LARGE, NEGATIVE = 0, 1, 2


@njit(cache=True, nogil=True)
def code_widths(
    inputs: Any, signed: bool, drive: Any, read_s: float, shortest_s: float, width_s: Any
) -> tuple[int, float]:
    """Fill the widths of driven lines from inputs in 0 … 1; return (code, offending value).

    A signed input fills two steps, its positive and its negative part. A width below half of the
    shortest possible one becomes 0, one between becomes the shortest.
    """
    least = -1.0 if signed else 0.0
    for b in range(inputs.shape[0]):
        wrong = 0
        for k in range(inputs.shape[1]):
            wrong += not least <= inputs[b, k] <= 1.0
        for k in range(inputs.shape[1] if wrong else 0):
            u = inputs[b, k]
            if not abs(u) <= 1.0:
                return TOO_LARGE, u
            if not signed and u < 0.0:
                return NEGATIVE, u
        for k in range(inputs.shape[1]):
            u = inputs[b, k]
            w = abs(u) * read_s
            short = 0.0 if w < 0.5 * shortest_s else shortest_s
            s = 2 * b + (u < 0.0) if signed else b
            width_s[s, drive[k]] = short if w < shortest_s else w
    return OK, 0.0


@njit(cache=True, nogil=True)
def spread_bits(
    rows: Any, cols: Any, row_lines: Any, gate_lines: Any, col_lines: Any, on: Any, used: Any
) -> int:
    """Set the lines of every slot whose bit is 1; ``used`` says where a row meets a column.

    Returns in how many slots one does.
    """
    count = 0
    for s in range(rows.shape[0]):
        any_row = any_col = False
        for i in range(rows.shape[1]):
            if rows[s, i]:
                on[s, row_lines[i]] = True
                if gate_lines.size:
                    on[s, gate_lines[i]] = True
                any_row = True
        for j in range(cols.shape[1]):
            if cols[s, j]:
                on[s, col_lines[j]] = True
                any_col = True
        used[s] = used[s] or (any_row and any_col)
        count += used[s]
    return count


@njit(cache=True, nogil=True)
def charge_products(current_a: Any, width_s: Any, scale: float, signed: bool, out: Any) -> None:
    """Write the charges of readings in order, times ``scale``, to (batch, n_sense).

    Signed inputs take two steps each: the charges of the second are taken from those of the first.
    """
    n = out.shape[1]
    for b in range(out.shape[0]):
        at = (2 * b if signed else b) * n
        for j in range(n):
            k = at + j
            charge = current_a[k] * np.float64(width_s[k])
            if signed:
                charge -= current_a[k + n] * np.float64(width_s[k + n])
            out[b, j] = charge * scale


@njit(cache=True, nogil=True)
def fill_lines(
    chosen: Any, first_line: int, v: Any, on: float, off: float, state_on: int, state_off: int,
    state: Any, level_v: Any, selected: Any,
) -> None:  # fmt: skip
    """Fill state, level and selection of adjoining lines, on at ``v · on`` or off at ``v · off``.

    ``v`` is the write voltage of every step.
    """
    n_lines = chosen.shape[1]
    end = first_line + n_lines
    for s in range(chosen.shape[0]):
        bits = chosen[s]
        levels, states = level_v[s, first_line:end], state[s, first_line:end]
        on_v, off_v = v[s] * on, v[s] * off
        for n in range(n_lines):
            levels[n] = on_v if bits[n] else off_v
        for n in range(n_lines):
            states[n] = state_on if bits[n] else state_off
        selected[s, first_line:end] = bits


@njit(cache=True, nogil=True)
def mark_crossings(starts: Any, line: Any, other: Any, chosen: Any) -> None:
    """Choose the lines that cross step s's: those listed from ``starts[s]`` to its line's end."""
    for s in range(starts.size):
        at = starts[s]
        while at < line.size and line[at] == line[starts[s]]:
            chosen[s, other[at]] = True
            at += 1
