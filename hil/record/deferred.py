"""What the control thread hands over as it is, to become rows in the writer thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from hil.record.schema import TableName
from hil.record.segments import Rows


class RowSource(Protocol):
    """Makes rows from what was handed over; used by the writer thread alone."""

    @property
    def waiting_since(self) -> int | None:
        """Ticket of the oldest entry that has rows which are not complete yet; None = no entry."""

    def rows(self, run: Sequence[Entry]) -> Iterable[tuple[TableName, Rows]]:
        """Return the rows of entries that follow one another, as far as they are complete.

        Raises:
            StoreError: an entry does not fit the tables.
        """

    def flush(self) -> Iterable[tuple[TableName, Rows]]:
        """Return the rows that were not complete, as they are."""


#: Something handed over: its source, its ticket, about how many rows it gives, and itself. A plain
#: tuple, because the control loop makes one per block.
Entry = tuple[RowSource, int, int, Any]
