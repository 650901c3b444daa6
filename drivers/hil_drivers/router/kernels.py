"""The two shortest-path loops of the router, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAR = 1 << 60
MOVE = 1 << 20


@njit(cache=True)
def choose(
    maps: NDArray[np.int8], counts: NDArray[np.int64], start: NDArray[np.int8]
) -> NDArray[np.int64]:
    """Return which candidate map of every step gives the fewest relay moves over all steps.

    Args:
        maps: (n_steps, n_candidates, n_lines) channel of each line, −1 = open.
        counts: (n_steps,) candidates of each step.
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
    out = np.zeros(n_steps, dtype=np.int64)
    for c in range(1, counts[n_steps - 1]):
        if best[n_steps - 1, c] < best[n_steps - 1, out[n_steps - 1]]:
            out[n_steps - 1] = c
    for s in range(n_steps - 1, 0, -1):
        out[s - 1] = came[s, out[s]]
    return out


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
