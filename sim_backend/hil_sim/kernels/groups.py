"""What the lines of a step deliver, and groups of lines that do the same.

A factor that depends on level and width alone is then computed once per pair of groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FLOAT, DRIVE = 0, 2
_MOST_GROUPS = 32


@njit(cache=True)
def delivered(
    state: Any, level_v: Any, width_s: Any, s: int, line_v: Any, line_s: Any
) -> tuple[float, bool]:
    """Fill (level, width) that each line delivers in step ``s``, (0, 0) where it stays at 0 V.

    Returns the step's width in seconds (the longest of all lines) and whether any line floats.
    Written without branches, so that it vectorises.
    """
    states, levels = state[s], level_v[s]
    step_s, n_float = width_s[s, 0], 0
    if width_s.shape[1] > 1:
        widths = width_s[s]
        for k in range(states.size):
            w = widths[k]
            on = (states[k] == DRIVE) & (w > 0.0) & (levels[k] != 0.0)
            line_v[k] = levels[k] if on else 0.0
            line_s[k] = w if on else 0.0
            step_s = max(step_s, w)
    else:
        for k in range(states.size):
            on = (states[k] == DRIVE) & (step_s > 0.0) & (levels[k] != 0.0)
            line_v[k] = levels[k] if on else 0.0
            line_s[k] = step_s if on else 0.0
    for k in range(states.size):
        n_float += states[k] == FLOAT
    return step_s, n_float > 0


@njit(cache=True)
def in_a_row(lines: Any) -> bool:
    """Return whether line numbers follow one another."""
    wrong = 0
    for n in range(lines.size):
        wrong += lines[n] != lines[0] + n
    return wrong == 0


@njit(cache=True)
def extremes(lines: Any, together: bool, line_v: Any) -> tuple[float, float]:
    """Return the lowest and highest level of ``lines``, 0 V included.

    ``together``: the lines follow one another; they are looked at 64 at once, mostly zeros.
    """
    low = high = 0.0
    if together:
        levels = line_v[lines[0] : lines[0] + lines.size]
        for start in range(0, levels.size, 64):
            part = levels[start : start + 64]
            some = 0
            for n in range(part.size):
                some += part[n] != 0.0
            if some:
                for n in range(part.size):
                    low, high = min(low, part[n]), max(high, part[n])
        return low, high
    for n in range(lines.size):
        v = line_v[lines[n]]
        low, high = min(low, v), max(high, v)
    return low, high


@njit(cache=True)
def _not_zero(values: Any, which: Any) -> int:
    """List which values are not 0; return how many. Mostly zeros, they are looked at 64 at once."""
    count = 0
    for start in range(0, values.size, 64):
        part = values[start : start + 64]
        some = 0
        for n in range(part.size):
            some += part[n] != 0.0
        if some:
            for n in range(part.size):
                which[count] = start + n
                count += part[n] != 0.0
    return count


@njit(cache=True)
def driven_alike(lines: Any, together: bool, line_v: Any, line_s: Any, driven: Any) -> int:
    """List which of ``lines`` are not at 0 V; return how many, −1 where they differ in drive.

    ``together``: the lines follow one another, which is quicker.
    """
    count = 0
    if together:
        count = _not_zero(line_v[lines[0] : lines[0] + lines.size], driven)
    else:
        for n in range(lines.size):
            driven[count] = n
            count += line_v[lines[n]] != 0.0
    if count == 0:
        return 0
    level, width = line_v[lines[driven[0]]], line_s[lines[driven[0]]]
    different = 0
    for q in range(count):
        k = lines[driven[q]]
        different += (line_v[k] != level) | (line_s[k] != width)
    return -1 if different else count


@njit(cache=True)
def group_lines(
    lines: Any, gates: Any, line_v: Any, line_s: Any, gate_v_t: float, gid: Any, levels: Any,
    widths: Any, gate_s: Any,
) -> int:  # fmt: skip
    """Sort ``lines`` into groups of equal (level, width, time the gate conducts); return how many.

    The three last arrays get these per group. ``gates`` is empty without select transistors (the
    time is then infinite). With more than 32 distinct drives every line becomes its own group.
    """
    count = 0
    last = 0
    for i in range(lines.size):
        level, width = line_v[lines[i]], line_s[lines[i]]
        on_s = np.inf
        if gates.size > 0:
            on_s = line_s[gates[i]] if line_v[gates[i]] > gate_v_t else 0.0
        if not (count and levels[last] == level and widths[last] == width and gate_s[last] == on_s):
            last = 0
            while last < count and not (
                levels[last] == level and widths[last] == width and gate_s[last] == on_s
            ):
                last += 1
        if last == _MOST_GROUPS:
            return _each_its_own(
                lines, gates, line_v, line_s, gate_v_t, gid, levels, widths, gate_s
            )
        if last == count:
            levels[count], widths[count], gate_s[count] = level, width, on_s
            count += 1
        gid[i] = last
    return count


@njit(cache=True)
def _each_its_own(
    lines: Any, gates: Any, line_v: Any, line_s: Any, gate_v_t: float, gid: Any, levels: Any,
    widths: Any, gate_s: Any,
) -> int:  # fmt: skip
    for i in range(lines.size):
        gid[i] = i
        levels[i], widths[i], gate_s[i] = line_v[lines[i]], line_s[lines[i]], np.inf
        if gates.size > 0:
            gate_s[i] = line_s[gates[i]] if line_v[gates[i]] > gate_v_t else 0.0
    return int(lines.size)


@njit(cache=True)
def intervals(
    plus_v: float, plus_s: float, minus_v: float, minus_s: float, on_s: float
) -> tuple[float, float, float, float]:
    """Return (v1, t1, v2, t2): the device sees v1 until t1, then v2 until t2, then 0 V.

    Both lines are left-aligned in the step; ``on_s`` cuts the time of a gated cell.
    """
    t1 = min(plus_s, minus_s)
    t2 = max(plus_s, minus_s)
    v2 = plus_v if plus_s > minus_s else -minus_v
    return plus_v - minus_v, min(t1, on_s), v2, min(t2, on_s)


@njit(cache=True)
def sort_by_group(gid: Any, n_groups: int, order: Any, starts: Any) -> None:
    """Write line indices grouped (in rising order inside a group) and where each group starts."""
    for q in range(n_groups + 1):
        starts[q] = 0
    for i in range(gid.size):
        starts[gid[i] + 1] += 1
    for q in range(n_groups):
        starts[q + 1] += starts[q]
    for i in range(gid.size):
        q = gid[i]
        order[starts[q]] = i
        starts[q] += 1
    for q in range(n_groups, 0, -1):
        starts[q] = starts[q - 1]
    starts[0] = 0
