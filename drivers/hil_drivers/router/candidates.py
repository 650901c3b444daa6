"""Which channel serves which demand of one step: all ways, or the first so many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

MAX_CANDIDATES = 24
_MAX_TRIED = 2000  # ways that are looked at before the best of them are kept


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


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose each channel is, and who can start together.

    Attributes:
        of: instrument of every channel, −1 = the 0 V rail, which is the highest channel.
        synced: instruments that share a trigger line.
    """

    of: tuple[int, ...]
    synced: frozenset[int] = frozenset()

    @property
    def all_synced(self) -> bool:
        """Any instruments can take part together."""
        used = set(self.of) - {-1}
        return len(used) < 2 or used <= self.synced

    def count(self, channels: Iterable[int]) -> int | None:
        """Return how many instruments take part (at least 1), None when they cannot together."""
        used = {self.of[c] for c in channels} - {-1}
        if len(used) > 1 and not used <= self.synced:
            return None
        return max(len(used), 1)


def candidates(key: StepKey, owners: Owners, limit: int = MAX_CANDIDATES) -> list[Candidate]:
    """Return up to ``limit`` ways to serve ``key`` with disjoint channels; empty if there is none.

    Only the ways with the fewest instruments are returned (one needs no common start); those that
    ground on the 0 V rail come first.
    """
    out: list[tuple[int, Candidate]] = []
    order = sorted(range(len(key.slots)), key=lambda k: min(m.bit_count() for m in key.slots[k]))
    tried = 0

    def fill(at: int, free: int, chosen: dict[int, tuple[int, ...]]) -> None:
        nonlocal tried
        if at == len(order):
            for ground in covers(key.ground, free):
                tried += 1
                candidate = (*(chosen[k] for k in range(len(key.slots))), ground)
                count = owners.count(c for channels in candidate for c in channels)
                if count is not None:
                    out.append((count, candidate))
                if tried >= _MAX_TRIED:
                    return
            return
        slot = order[at]
        for channels in sorted(covers(key.slots[slot], free), key=lambda c: (len(c), c)):
            if owners.count([*(c for s in chosen.values() for c in s), *channels]) is None:
                continue
            taken = sum(1 << b for b in channels)
            fill(at + 1, free & ~taken, {**chosen, slot: channels})
            if tried >= _MAX_TRIED:
                return

    fill(0, (1 << len(owners.of)) - 1, {})
    fewest = min((n for n, _ in out), default=0)
    return [c for n, c in out if n == fewest][:limit]
