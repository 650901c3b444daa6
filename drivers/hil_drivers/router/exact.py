"""The router's exact search, for blocks so small that all maps of all steps can be written out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil_drivers.router.candidates import Owners

MAX_TRIES = 100_000  # combinations of channels that are looked at, over all steps
MAX_COMPARISONS = 30_000_000  # of lines, over all pairs of maps of neighbouring steps


def best_map(
    slot: NDArray[np.int16], mask: NDArray[np.int64], of: NDArray[np.int64],
    start: NDArray[np.int8], owners: Owners,
) -> NDArray[np.int8] | None:  # fmt: skip
    """Return the (n_steps, n_lines) map with the fewest relay moves, None when it is too large.

    Args:
        slot: (n_kinds, n_lines) lines with equal slots may share a channel; −1 = open.
        mask: (n_kinds, n_lines) channel bits that can serve the line.
        of: (n_steps,) the kind of each step.
        start: (n_lines,) channel before, −1 = open.
        owners: whose each channel is.
    """
    from hil_drivers.router.kernels import shortest

    n_steps, n_lines = of.size, slot.shape[1]
    n_channels = len(owners.of)
    if len(slot) * n_channels * n_lines > MAX_TRIES:
        return None
    ways = np.zeros(slot.shape)
    for bit in range(n_channels):
        ways += mask >> bit & 1
    with np.errstate(over="ignore"):  # hundreds of lines: more than a float can count are too many
        tries = np.where(slot < 0, 1.0, ways).prod(axis=1)
        if tries.sum() > MAX_TRIES:
            return None
    known: dict[bytes, NDArray[np.int8]] = {}
    found = []
    for s in range(len(slot)):
        key = slot[s].tobytes() + mask[s].tobytes()
        if key not in known:
            known[key] = _fewest(_all_maps(slot[s], mask[s], owners), owners)
        found.append(known[key])
    counts = np.array([len(f) for f in found], dtype=np.int64)[of]
    if (counts == 0).any() or (counts[1:] * counts[:-1]).sum() * n_lines > MAX_COMPARISONS:
        return None
    maps = np.full((n_steps, int(counts.max()), n_lines), -1, dtype=np.int8)
    for s, kind in enumerate(of.tolist()):
        maps[s, : counts[s]] = found[kind]
    picked = shortest(maps, counts, start)
    return np.asarray(maps[np.arange(n_steps), picked])


def _all_maps(slot: NDArray[np.int16], mask: NDArray[np.int64], owners: Owners) -> NDArray[np.int8]:
    """Return every (n_maps, n_lines) map of one step in which no channel serves two slots."""
    lines = [n for n in range(len(slot)) if slot[n] >= 0]
    n_channels = len(owners.of)
    # Among equals the first map wins: the 0 V rail (the highest channel), then the order of wiring.
    order = sorted(range(n_channels), key=lambda c: owners.of[c] != -1)
    options = [[b for b in order if mask[n] >> b & 1] for n in lines]
    out: list[list[int]] = []
    now = [-1] * len(slot)
    serves: dict[int, list[int]] = {}

    def fill(at: int) -> None:
        if at == len(lines):
            out.append(now.copy())
            return
        line = lines[at]
        for channel in options[at]:
            users = serves.setdefault(channel, [])
            if users and users[-1] != slot[line]:
                continue
            users.append(int(slot[line]))
            now[line] = channel
            fill(at + 1)
            users.pop()
        now[line] = -1

    fill(0)
    return np.array(out, dtype=np.int8).reshape(-1, len(slot))


def _fewest(maps: NDArray[np.int8], owners: Owners) -> NDArray[np.int8]:
    """Return the maps that use the fewest instruments, of those that can take part together."""
    channels = [np.unique(m[m >= 0]).tolist() for m in maps]
    counts = [owners.count(used) for used in channels]
    fewest = min((c for c in counts if c is not None), default=0)
    return maps[[c == fewest for c in counts]]
