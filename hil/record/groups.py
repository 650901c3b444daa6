"""Rows on their way to the disk: staged by the control thread, then closed into groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.record.schema import TableName, columns_to_fill
from hil.record.segments import Rows


class Staging:
    """Preallocated columns of one table in the open group."""

    __slots__ = ("columns", "nulls", "rows")

    def __init__(self, table: TableName, capacity: int) -> None:
        layout = columns_to_fill(table)
        self.columns: list[NDArray[Any]] = [np.empty(capacity, c.dtype) for c in layout]
        self.nulls = {i: np.empty(capacity, np.bool_) for i, c in enumerate(layout) if c.nullable}
        self.rows = 0


#: Rows of several groups are written as one batch up to this size.
MERGED_ROWS: Final = 1 << 16


@dataclass(slots=True)
class Group:
    """Rows that are acknowledged together; ``ticket`` is the number of the last of them."""

    parts: list[tuple[TableName, Rows]]
    ticket: int
    opened_s: float
    n_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_bytes = sum(c.nbytes for _, rows in self.parts for c in rows.columns)


def batches(groups: Iterable[Group]) -> Iterator[tuple[TableName, Rows]]:
    """Yield the rows of ``groups`` as few batches per table, each table's in order.

    Encoding costs about the same for one row as for thousands, so a writer that has fallen behind
    catches up.
    """
    waiting: dict[TableName, list[Rows]] = {}
    for group in groups:
        for table, rows in group.parts:
            parts = waiting.setdefault(table, [])
            if parts and sum(part.n for part in parts) + rows.n > MERGED_ROWS:
                yield table, _merge(parts)
                parts.clear()
            parts.append(rows)
    for table, parts in waiting.items():
        yield table, _merge(parts)


def _merge(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate(pieces) for pieces in zip(*(p.columns for p in parts), strict=True)]
    nulls = {k: np.concatenate([p.nulls[k] for p in parts]) for k in parts[0].nulls}
    return Rows(columns, nulls, sum(part.n for part in parts))
