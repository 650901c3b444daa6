"""Demands of each step sorted into slots: what shares a channel and what stands alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hil_drivers.router.demand import Demands


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Entries of the switched lines, one row each, and the signature of every live step.

    Attributes:
        n_rows: live steps.
        row: live step of the entry.
        position: position of its line among the switched lines.
        slot: ordinal of its slot within the step.
        mask: bits of the channels that can serve it.
        entry: its index in the demands.
        signatures: of every live step, for each slot the sorted distinct masks of its lines.
    """

    n_rows: int
    row: NDArray[np.int64]
    position: NDArray[np.int64]
    slot: NDArray[np.int64]
    mask: NDArray[np.int64]
    entry: NDArray[np.int64]
    signatures: list[tuple[tuple[int, ...], ...]]


def slots_of(
    demands: Demands, masks: NDArray[np.int64], lines: NDArray[np.int64],
    live: NDArray[np.int64], n_steps: int,
) -> Slots:  # fmt: skip
    """Return the slots: entries that are not alone share one when level and width are equal."""
    row_of_step = np.full(n_steps, -1, dtype=np.int64)
    row_of_step[live] = np.arange(live.size)
    n_lines = 1 + max(int(demands.line.max(initial=0)), int(lines.max(initial=0)))
    at = np.full(n_lines, -1, dtype=np.int64)
    at[lines] = np.arange(lines.size)
    entry = np.flatnonzero(at[demands.line] >= 0)
    alone, line = demands.alone[entry], demands.line[entry]
    level = np.where(alone, 0.0, demands.level_v[entry])
    width = np.where(alone, 0.0, demands.width_s[entry])
    who = np.where(alone, line, -1)
    step = demands.step[entry]
    order = np.lexsort((line, who, width, level, alone, step))
    entry, step = entry[order], step[order]
    columns = (step, alone[order], level[order], width[order], who[order])
    new = np.zeros(entry.size, dtype=np.bool_)
    new[:1] = True
    first = np.zeros(entry.size, dtype=np.bool_)
    first[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    first[1:] = step[1:] != step[:-1]
    ordinal = np.cumsum(new) - 1
    base = np.maximum.accumulate(np.where(first, ordinal, 0)) if entry.size else ordinal
    slot = ordinal - base
    mask = masks[entry]
    row = row_of_step[step]
    signatures = _signatures(live.size, row, ordinal, new, mask)
    return Slots(live.size, row, at[demands.line[entry]], slot, mask, entry, signatures)


def _signatures(
    n_rows: int, row: NDArray[np.int64], ordinal: NDArray[np.int64], new: NDArray[np.bool_],
    mask: NDArray[np.int64],
) -> list[tuple[tuple[int, ...], ...]]:  # fmt: skip
    if not row.size:
        return [()] * n_rows
    begins = np.flatnonzero(new)
    same = np.minimum.reduceat(mask, begins) == np.maximum.reduceat(mask, begins)
    ends = np.append(begins[1:], row.size)
    of_slot: list[tuple[int, ...]] = [(m,) for m in mask[begins].tolist()]
    for k in np.flatnonzero(~same):
        of_slot[k] = tuple(sorted(set(mask[begins[k] : ends[k]].tolist())))
    counts = np.bincount(row[begins], minlength=n_rows)
    edges = np.concatenate([[0], np.cumsum(counts)]).tolist()
    return [tuple(of_slot[a:b]) for a, b in pairwise(edges)]
