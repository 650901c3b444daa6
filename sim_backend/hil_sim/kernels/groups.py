"""Group the lines of a step by what they do, so that a factor is computed once per group pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

DRIVE = 2
_MOST_GROUPS = 32


@njit(cache=True, inline="always")
def drive_of(state: Any, level_v: Any, width_s: Any, s: int, k: int) -> tuple[float, float]:
    """Return (level, width) that line ``k`` delivers in step ``s``; (0, 0) when it stays at 0 V."""
    if k < 0 or state[s, k] != DRIVE:
        return 0.0, 0.0
    level = level_v[s, k]
    width = width_s[s, k] if width_s.shape[1] > 1 else width_s[s, 0]
    if level == 0.0 or width == 0.0:
        return 0.0, 0.0
    return level, width


@njit(cache=True)
def group_lines(
    lines: Any, gates: Any, state: Any, level_v: Any, width_s: Any, s: int, gate_v_t: float,
    gid: Any, drives: Any,
) -> int:  # fmt: skip
    """Sort ``lines`` into groups of equal (level, width, time the gate conducts); return how many.

    ``drives`` gets them as three arrays. ``gates`` is empty without select transistors (the time is then infinite). With more than 32
    distinct drives every line becomes its own group.
    """
    levels, widths, gate_s = drives
    count = 0
    gated = gates.size > 0
    for i in range(lines.size):
        level, width = drive_of(state, level_v, width_s, s, lines[i])
        on_s = np.inf
        if gated:
            gate_level, on_s = drive_of(state, level_v, width_s, s, gates[i])
            if gate_level <= gate_v_t:
                on_s = 0.0
        found = -1
        if i > 0:
            q = gid[i - 1]
            if levels[q] == level and widths[q] == width and gate_s[q] == on_s:
                found = q
        if found < 0:
            for q in range(count):
                if levels[q] == level and widths[q] == width and gate_s[q] == on_s:
                    found = q
                    break
        if found < 0:
            if count == _MOST_GROUPS:
                break
            found = count
            levels[count], widths[count], gate_s[count] = level, width, on_s
            count += 1
        gid[i] = found
    else:
        return count
    for i in range(lines.size):
        gid[i] = i
        levels[i], widths[i] = drive_of(state, level_v, width_s, s, lines[i])
        gate_s[i] = np.inf
        if gated:
            gate_level, on_s = drive_of(state, level_v, width_s, s, gates[i])
            gate_s[i] = on_s if gate_level > gate_v_t else 0.0
    return int(lines.size)


@njit(cache=True, inline="always")
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
    at = starts[:n_groups].copy()
    for i in range(gid.size):
        q = gid[i]
        order[at[q]] = i
        at[q] += 1
