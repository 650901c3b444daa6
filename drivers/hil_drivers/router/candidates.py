"""Which channel serves which demand of one step: all ways, or the first so many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

MAX_CANDIDATES = 24


@dataclass(frozen=True, slots=True)
class StepKey:
    """A step's demands without the line numbers; steps with equal keys have equal candidates.

    Attributes:
        slots: for each demand, the sets of channels (bit masks) that its lines can use; a demand
            with several masks is shared by lines that reach different channels.
        ground: masks of the grounded lines.
    """

    slots: tuple[tuple[int, ...], ...]
    ground: tuple[int, ...]


Candidate = tuple[tuple[int, ...], ...]  #: channels of every slot, then those of the ground


def covers(masks: tuple[int, ...], free: int) -> Iterator[tuple[int, ...]]:
    """Yield the smallest sets of free channels that reach every mask, highest channel first."""
    if not masks:
        yield ()
        return
    bits = [b for b in range(free.bit_length() - 1, -1, -1) if free >> b & 1]
    found: list[int] = []
    for size in range(1, len(masks) + 1):
        for chosen in combinations(bits, size):
            union = sum(1 << b for b in chosen)
            if any(f & union == f for f in found):
                continue
            if all(mask & union for mask in masks):
                found.append(union)
                yield chosen


def candidates(key: StepKey, n_channels: int, limit: int = MAX_CANDIDATES) -> list[Candidate]:
    """Return up to ``limit`` ways to serve ``key`` with disjoint channels; empty if there is none.

    The 0 V rail is the highest channel, so ways that ground on it come first.
    """
    out: list[Candidate] = []
    order = sorted(range(len(key.slots)), key=lambda k: min(m.bit_count() for m in key.slots[k]))

    def fill(at: int, free: int, chosen: dict[int, tuple[int, ...]]) -> None:
        if at == len(order):
            for ground in covers(key.ground, free):
                out.append((*(chosen[k] for k in range(len(key.slots))), ground))
                if len(out) >= limit:
                    return
            return
        slot = order[at]
        for channels in sorted(covers(key.slots[slot], free), key=lambda c: (len(c), c)):
            taken = sum(1 << b for b in channels)
            fill(at + 1, free & ~taken, {**chosen, slot: channels})
            if len(out) >= limit:
                return

    fill(0, (1 << n_channels) - 1, {})
    return out
