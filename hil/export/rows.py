"""Rows of a run, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hil.record.reader import Run
from hil.record.schema import TableName, arrow_schema

#: Called between pieces of rows; raises to end an export.
Check = Callable[[], None]


def pieces(run: Run, table: TableName, n_rows: int, check: Check) -> Iterator[Any]:
    """Yield a table as pyarrow Tables of ``n_rows`` rows each, the last with what is left.

    A few pieces and one part of the run are in memory at a time.
    """
    import pyarrow as pa

    waiting: list[Any] = []
    n_waiting = 0
    for batch in run.batches(table):
        waiting.append(batch)
        n_waiting += batch.num_rows
        if n_waiting < n_rows:
            continue
        rows = pa.Table.from_batches(waiting, schema=arrow_schema(table))
        whole = n_waiting - n_waiting % n_rows
        for first in range(0, whole, n_rows):
            yield rows.slice(first, n_rows)
            check()
        waiting = rows.slice(whole).to_batches()
        n_waiting -= whole
    if n_waiting:
        yield pa.Table.from_batches(waiting, schema=arrow_schema(table))
