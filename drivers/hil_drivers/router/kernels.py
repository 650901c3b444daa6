"""The loops of the router, compiled: steps that are alike, and the shortest paths."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAR = 1 << 60
MOVE = 1 << 20


@njit(cache=True)
def highest(bits: np.int64) -> int:
    """Return the highest bit that is set, −1 for none."""
    out = -1
    while bits:
        bits >>= 1
        out += 1
    return out


@njit(cache=True)
def alike(
    live: NDArray[np.int64], state: NDArray[np.uint64], level_v: NDArray[np.uint64],
    width_s: NDArray[np.uint64], sense: NDArray[np.uint64], selected: NDArray[np.uint64],
    most: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Return (which different step each of ``live`` is, the first of each), exact.

    Args:
        live: (n_live,) steps to compare.
        state, level_v, width_s, sense, selected: a row of words for each step.
        most: different steps that are looked for; with more of them the first array is empty.
    """
    of = np.empty(live.size, dtype=np.int64)
    first = np.empty(most, dtype=np.int64)
    n = 0
    for k in range(live.size):
        s = live[k]
        found = -1
        for tried in range(-2, n):
            # Trains alternate: the kind of the step before the last is tried first, then all.
            if tried < 0 and k + tried < 0:
                continue
            c = of[k - 2] if tried == -2 else of[k - 1] if tried == -1 else tried
            r = live[first[c]]
            if (
                _equal(width_s, s, r)
                and _equal(state, s, r)
                and _equal(level_v, s, r)
                and _equal(sense, s, r)
                and _equal(selected, s, r)
            ):
                found = c
                break
        if found < 0:
            if n == most:
                return np.empty(0, dtype=np.int64), first
            first[n] = k
            found = n
            n += 1
        of[k] = found
    return of, first[:n]


@njit(cache=True)
def _equal(rows: NDArray[np.uint64], s: int, r: int) -> bool:
    n = 0
    while n < rows.shape[1] and rows[s, n] == rows[r, n]:
        n += 1
    return bool(n == rows.shape[1])


@njit(cache=True)
def shortest(
    maps: NDArray[np.int8], counts: NDArray[np.int64], start: NDArray[np.int8]
) -> NDArray[np.int64]:
    """Return which map of every step gives the fewest relay moves over all steps; exact.

    Args:
        maps: (n_steps, n_maps, n_lines) channel of each line, −1 = open.
        counts: (n_steps,) maps of each step.
        start: (n_lines,) the map before the first step.
    """
    n_steps, n_max, n_lines = maps.shape
    best = np.full((n_steps, n_max), FAR, dtype=np.int64)
    came = np.zeros((n_steps, n_max), dtype=np.int64)
    for s in range(n_steps):
        for c in range(counts[s]):
            for p in range(1 if s == 0 else counts[s - 1]):
                before = start if s == 0 else maps[s - 1, p]
                moves = np.int64(0) if s == 0 else best[s - 1, p]
                for n in range(n_lines):
                    if before[n] != maps[s, c, n]:
                        moves += (before[n] >= 0) + (maps[s, c, n] >= 0)
                if moves < best[s, c]:
                    best[s, c] = moves
                    came[s, c] = p
    return _walk_back(best, came, counts)


@njit(cache=True)
def _walk_back(
    best: NDArray[np.int64], came: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    last = len(best) - 1
    out = np.zeros(last + 1, dtype=np.int64)
    for c in range(1, counts[last]):
        if best[last, c] < best[last, out[last]]:
            out[last] = c
    for s in range(last, 0, -1):
        out[s - 1] = came[s, out[s]]
    return out


@njit(cache=True)
def choose(
    key_of: NDArray[np.int64], counts: NDArray[np.int64], own: NDArray[np.int64],
    wide: NDArray[np.int64], slot: NDArray[np.int16], mask: NDArray[np.int64],
    start: NDArray[np.int8],
) -> NDArray[np.int64]:  # fmt: skip
    """Return which candidate of every step gives few relay moves when lines stay where they can.

    Args:
        key_of: (n_steps,) key of each step.
        counts: (n_steps,) candidates of each step.
        own: (n_keys, n_candidates, n_slots) channel bits of each slot; the ground is the last slot.
        wide: the same with the spare channels added to the ground.
        slot: (n_steps, n_lines) slot of each line, −1 = open.
        mask: (n_steps, n_lines) channel bits that can serve the line.
        start: (n_lines,) channel before the first step, −1 = open.
    """
    n_steps, n_lines = slot.shape
    n_max = own.shape[1]
    best = np.full((n_steps, n_max), FAR, dtype=np.int64)
    came = np.zeros((n_steps, n_max), dtype=np.int64)
    before = np.empty((n_max, n_lines), dtype=np.int8)
    after = np.empty((n_max, n_lines), dtype=np.int8)
    before[0] = start
    for s in range(n_steps):
        k = key_of[s]
        for c in range(counts[s]):
            for p in range(1 if s == 0 else counts[s - 1]):
                moves = np.int64(0) if s == 0 else best[s - 1, p]
                for n in range(n_lines):
                    at = before[p, n]
                    if slot[s, n] < 0:
                        moves += at >= 0
                    elif at < 0:
                        moves += 1
                    elif not (wide[k, c, slot[s, n]] & mask[s, n]) >> at & 1:
                        moves += 2
                    if moves >= best[s, c]:
                        break
                if moves < best[s, c]:
                    best[s, c] = moves
                    came[s, c] = p
            p = came[s, c]
            for n in range(n_lines):
                at = before[p, n]
                if slot[s, n] < 0:
                    after[c, n] = -1
                elif at >= 0 and (wide[k, c, slot[s, n]] & mask[s, n]) >> at & 1:
                    after[c, n] = at
                else:
                    after[c, n] = highest(own[k, c, slot[s, n]] & mask[s, n])
        before, after = after, before
    return _walk_back(best, came, counts)


@njit(cache=True)
def settle_lines(
    allowed: NDArray[np.int64], start: NDArray[np.int8], n_channels: int, picked: NDArray[np.int8]
) -> None:
    """Move every line as rarely as its allowed channels permit; changes ``picked`` in place.

    Args:
        allowed: (n_steps, n_lines) bit k = channel k may hold the line; 0 = the line is open.
        start: (n_lines,) channel before the first step, −1 = open.
        n_channels: number of channels.
        picked: (n_steps, n_lines) the map so far; wins where moves are equal.
    """
    n_steps, n_lines = allowed.shape
    size = n_channels + 1  # the last state is "open"
    cost = np.empty((n_steps, size), dtype=np.int64)
    came = np.empty((n_steps, size), dtype=np.int64)
    for n in range(n_lines):
        for s in range(n_steps):
            bits = allowed[s, n]
            for c in range(size):
                cost[s, c] = FAR
                if (c < n_channels and not (bits >> c) & 1) or (c == n_channels and bits != 0):
                    continue
                # The tie-break stays below one move (2**20) for a million steps.
                own = 0 if (c == picked[s, n] or c == n_channels) else 1
                if s == 0:
                    p = start[n] if start[n] >= 0 else n_channels
                    moves = 0 if p == c else ((p < n_channels) + (c < n_channels)) * MOVE
                    cost[s, c] = moves + own
                    came[s, c] = p
                    continue
                for p in range(size):
                    if cost[s - 1, p] >= FAR:
                        continue
                    moves = 0 if p == c else ((p < n_channels) + (c < n_channels)) * MOVE
                    total = cost[s - 1, p] + moves + own
                    if total < cost[s, c]:
                        cost[s, c] = total
                        came[s, c] = p
        c = 0
        for k in range(1, size):
            if cost[n_steps - 1, k] < cost[n_steps - 1, c]:
                c = k
        for s in range(n_steps - 1, -1, -1):
            picked[s, n] = c if c < n_channels else -1
            c = came[s, c]


@njit(cache=True)
def place(
    key_of: NDArray[np.int64], picked: NDArray[np.int64], own: NDArray[np.int64],
    slot: NDArray[np.int16], mask: NDArray[np.int64],
) -> NDArray[np.int8]:  # fmt: skip
    """Return the (n_steps, n_lines) map of the picked candidates; see :func:`choose`."""
    n_steps, n_lines = slot.shape
    out = np.empty((n_steps, n_lines), dtype=np.int8)
    for s in range(n_steps):
        for n in range(n_lines):
            at = slot[s, n]
            bits = own[key_of[s], picked[s], at] & mask[s, n]
            out[s, n] = -1 if at < 0 else highest(bits)
    return out
