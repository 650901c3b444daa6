"""Rows of simulated devices that were put back to a checkpoint: what they tell never happened.

A run that goes on from a checkpoint leaves the rows after it as they are, and notes by an event
``undone`` which rows of each table these were. Readers leave them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hil.record.history import History

Ranges = list[tuple[int, int]]


def undone_rows(events: Iterable[Mapping[str, Any]], table: str) -> Ranges:
    """Return the rows of ``table`` that were undone, as first and last (exclusive)."""
    noted = (e["rows"].get(table) for e in events if e.get("kind") == "undone" and "rows" in e)
    return [(int(first), int(last)) for first, last in (r for r in noted if r)]


def stands(first: int, n: int, undone: Ranges) -> NDArray[np.bool_]:
    """Return which of ``n`` rows were not undone; ``first`` numbers them."""
    keep = np.ones(n, np.bool_)
    for begin, end in undone:
        keep[max(begin - first, 0) : max(end - first, 0)] = False
    return keep


def standing(rows: Any, first: int, undone: Ranges) -> Iterator[Any]:
    """Yield the pieces of a record batch that were not undone; ``first`` numbers its rows."""
    keep = stands(first, rows.num_rows, undone)
    if keep.all():
        yield rows
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.view(np.int8), [0]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield rows.slice(begin, end - begin)


def standing_history(history: History, undone: Ranges) -> History:
    """Return a device's history without what was undone."""
    if not undone:
        return history
    keep = np.ones(len(history), np.bool_)
    for begin, end in undone:
        keep &= (history.seq < begin) | (history.seq >= end)
    arrays = {f.name: getattr(history, f.name) for f in fields(history)}
    kept: dict[str, Any] = {n: a[keep] for n, a in arrays.items() if isinstance(a, np.ndarray)}
    return replace(history, **kept)
