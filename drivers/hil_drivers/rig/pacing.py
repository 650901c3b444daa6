"""Instruments that run together: how long their clocks keep them together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import LimitError
from hil_drivers.instrument import ChannelCapabilities

#: Share of its width by which a pulse may begin early or late on another instrument.
APART: Final = 0.1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def drift(channels: Mapping[str, ChannelCapabilities]) -> float:
    """Return by which share of the time two instruments may part: the two largest clock errors.

    ``channels`` are those of a run, as ``instrument.channel``; 0 when they are of one instrument.

    Raises:
        LimitError: within a single pulse already they may part by more than ``APART`` of it.
    """
    of: dict[str, float] = {}
    for name, can in channels.items():
        instrument = name.partition(".")[0]
        of[instrument] = max(can.clock_error, of.get(instrument, 0.0))
    if len(of) < 2:
        return 0.0
    worst = sorted(of, key=lambda name: -of[name])[:2]
    share = sum(of[name] for name in worst)
    if share > APART:
        raise LimitError(
            "clock errors", share, APART, "", where=" and ".join(sorted(worst)),
            note="they cannot pulse together: neither shorter runs nor a trigger for every pulse "
            "keep a pulse of one within that of the other",
        )  # fmt: skip
    return share


def allowed_s(width_s: Floats, period_s: Floats) -> Floats:
    """Return by how many seconds pulses of two instruments may begin apart.

    A tenth of their width, and no more than half of the gap to the next pulse where there is one.
    """
    gap = period_s - width_s
    half = np.where(gap > 1e-9 * period_s, gap / 2, np.inf)
    return np.asarray(np.minimum(APART * width_s, half), dtype=np.float64)


def together(share: float, period_s: Floats, repeat: Ints, apart_s: Floats) -> bool:
    """Return whether all pulses of a run begin within ``apart_s`` (per step) of each other."""
    if share == 0.0 or not repeat.size:
        return True
    before_last_s = float((repeat * period_s).sum() - period_s[-1])
    return before_last_s * share <= float(apart_s.min())


def cut(
    share: float, period_s: Floats, first: Ints, repeat: Ints, apart_s: Floats
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield (position, first pulse, pulses) of the fewest runs that each stay together.

    ``first`` are the ordinals of the first pulses of the (n,) steps given.
    """
    rows: list[tuple[int, int, int]] = []
    elapsed_s, least_s = 0.0, np.inf
    for k, period in enumerate(period_s.tolist()):
        left, done = int(repeat[k]), int(first[k])
        while left:
            bound_s = min(least_s, float(apart_s[k]))
            room = int((bound_s / share - elapsed_s) / period * (1 + 1e-9)) + 1
            if rows and (room < 1 or elapsed_s * share > bound_s):
                yield triple(rows)
                rows, elapsed_s, least_s = [], 0.0, np.inf
                continue
            take = min(left, room)
            rows.append((k, done, take))
            elapsed_s, least_s = elapsed_s + take * period, bound_s
            left, done = left - take, done + take
    if rows:
        yield triple(rows)


def same_period(period_s: Floats) -> Iterator[slice]:
    """Yield the longest stretches of steps that have one period."""
    new = ~np.isclose(period_s[1:], period_s[:-1], rtol=1e-9, atol=0.0)
    edges = [0, *(np.flatnonzero(new) + 1).tolist(), period_s.size]
    for start, stop in itertools.pairwise(edges):
        yield slice(start, stop)


def triple(rows: list[tuple[int, int, int]]) -> tuple[Ints, Ints, Ints]:
    """Return the columns of rows of three integers."""
    a, b, c = np.array(rows, dtype=np.int64).T
    return a, b, c
