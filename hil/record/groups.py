"""Rows on their way to the disk: staged or handed over, then closed into groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.record.deferred import Entry, RowSource
from hil.record.schema import TableName, columns_to_fill
from hil.record.segments import Rows

#: Rows of several groups are written as one batch up to this size.
MERGED_ROWS: Final = 1 << 16
#: A batch of this size is not worth copying for a larger one.
_LARGE_ROWS: Final = 1 << 13


class Staging:
    """Preallocated columns of one table in the open group."""

    __slots__ = ("columns", "nulls", "rows")

    def __init__(self, table: TableName, capacity: int) -> None:
        layout = columns_to_fill(table)
        self.columns: list[NDArray[Any]] = [np.empty(capacity, c.dtype) for c in layout]
        self.nulls = {i: np.empty(capacity, np.bool_) for i, c in enumerate(layout) if c.nullable}
        self.rows = 0

    def add_row(self, values: Sequence[Any]) -> None:
        """Add one row; a value that does not fit leaves none."""
        n = self.rows
        for column, value in zip(self.columns, values, strict=True):
            column[n] = value
        self.rows = n + 1

    def add(
        self,
        columns: Sequence[NDArray[Any] | Any],
        n: int,
        nulls: Mapping[int, NDArray[np.bool_] | bool] | None,
    ) -> None:
        """Add ``n`` rows; a value that does not fit leaves none."""
        start, stop = self.rows, self.rows + n
        for column, values in zip(self.columns, columns, strict=True):
            column[start:stop] = values
        for position, null in (nulls or {}).items():
            self.nulls[position][start:stop] = null
        self.rows = stop

    def finished(self) -> Rows:
        """Return the rows as views, with zero in the place of nulls."""
        n = self.rows
        columns = [column[:n] for column in self.columns]
        nulls = {position: null[:n] for position, null in self.nulls.items()}
        for position, null in nulls.items():
            columns[position][null] = 0
        return Rows(columns, nulls, n)


@dataclass(slots=True)
class OpenGroup:
    """The group that rows are added to: staged values, or entries handed over, never both."""

    opened_s: float = 0.0
    staged: dict[TableName, Staging] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    n_rows: int = 0  #: of the entries
    n_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.staged or self.entries)

    def takes(self, table: TableName, n: int) -> bool:
        """Return whether ``n`` rows of ``table`` fit without closing the group."""
        staging = self.staged.get(table)
        return not self.entries and (staging is None or staging.rows + n <= len(staging.columns[0]))

    def closed(self, ticket: int) -> Group | None:
        """Return the finished group, None when there is no row (an append failed half way)."""
        parts = [(table, s.finished()) for table, s in self.staged.items() if s.rows]
        if not (parts or self.entries):
            return None
        n_bytes = self.n_bytes + sum(c.nbytes for _, rows in parts for c in rows.columns)
        return Group(parts, self.entries, ticket, self.opened_s, n_bytes)


@dataclass(slots=True)
class Group:
    """Rows that are acknowledged together; ``ticket`` is the number of the last of them.

    It holds rows as they are, or entries that become rows in the writer thread.
    """

    parts: Sequence[tuple[TableName, Rows]]
    entries: Sequence[Entry]
    ticket: int
    opened_s: float
    n_bytes: int


def batches(
    groups: Iterable[Group], flushed: Iterable[RowSource]
) -> Iterator[tuple[TableName, Rows]]:
    """Yield the rows of ``groups`` as few batches per table, each table's in order.

    Then follow the rows that still wait in the sources ``flushed``. Encoding costs about the same
    for one row as for thousands, so a writer that has fallen behind catches up.
    """
    waiting: dict[TableName, list[Rows]] = {}
    for table, rows in _pieces(groups, flushed):
        parts = waiting.setdefault(table, [])
        if parts and (sum(p.n for p in parts) + rows.n > MERGED_ROWS or rows.n >= _LARGE_ROWS):
            yield table, _merge(parts)
            parts.clear()
        if rows.n >= _LARGE_ROWS:
            yield table, rows
        else:
            parts.append(rows)
    for table, parts in waiting.items():
        if parts:
            yield table, _merge(parts)


def _pieces(
    groups: Iterable[Group], flushed: Iterable[RowSource]
) -> Iterator[tuple[TableName, Rows]]:
    run: list[Entry] = []
    source: RowSource | None = None
    n_rows = 0
    for group in groups:
        if group.parts and source is not None:
            yield from source.rows(run)
            run, source, n_rows = [], None, 0
        yield from group.parts
        for entry in group.entries:
            if entry[0] is not source or n_rows + entry[2] > MERGED_ROWS:
                if source is not None:
                    yield from source.rows(run)
                run, source, n_rows = [], entry[0], 0
            run.append(entry)
            n_rows += entry[2]
    if source is not None:
        yield from source.rows(run)
    for waiting in flushed:
        yield from waiting.flush()


def _merge(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate(pieces) for pieces in zip(*(p.columns for p in parts), strict=True)]
    nulls = {k: np.concatenate([p.nulls[k] for p in parts]) for k in parts[0].nulls}
    return Rows(columns, nulls, sum(part.n for part in parts))
