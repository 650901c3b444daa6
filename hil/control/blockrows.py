"""The rows that driven blocks give in all tables of a run; made in the recorder's writer thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hil.control.devicelog import DeviceLog, Driven, Readings
from hil.measurement import COLUMNS
from hil.record.deferred import Entry
from hil.record.joining import constant, joined
from hil.record.schema import TableName, columns_to_fill
from hil.record.segments import Rows

_READING_COLUMNS = [(name, np.dtype(dtype)) for name, (dtype, _, _) in COLUMNS.items()]
_ORDINAL, _REAL = np.dtype(np.int32), np.dtype(np.float64)
_OPS = columns_to_fill("ops")


class BlockRows:
    """A :class:`~hil.record.deferred.RowSource` of :class:`Driven` entries.

    Rows of one array keep the order of its blocks.
    """

    def __init__(self) -> None:
        self._logs: list[DeviceLog] = []

    def add(self, log: DeviceLog) -> None:
        """Take the rows of ``log``, too, when they are flushed."""
        self._logs.append(log)

    @property
    def waiting_since(self) -> int | None:
        """Ticket of the oldest entry whose rows still wait for a reading."""
        tickets = [log.waiting_since for log in self._logs if log.waiting_since is not None]
        return min(tickets, default=None)

    def rows(self, run: Sequence[Entry]) -> Iterator[tuple[TableName, Rows]]:
        """Yield the rows of entries that follow one another.

        Raises:
            StoreError: a value is larger than its column can hold.
        """
        entries: list[Driven] = [content for _, _, _, content in run]
        if not any(entry.log is not None or entry.n_read for entry in entries):
            yield from self._summaries(entries)  # all there is at level operation
            return
        read = [entry for entry in entries if entry.n_read and entry.readings is not None]
        n_read = np.array([entry.n_read for entry in entries], dtype=np.int64)
        first = np.cumsum(n_read) - n_read
        by_column = zip(*(entry.readings or () for entry in read), strict=True)
        pieces = list(by_column) or [()] * len(_READING_COLUMNS)
        columns = {
            name: joined(arrays, dtype)
            for (name, dtype), arrays in zip(_READING_COLUMNS, pieces, strict=True)
        }
        if read:
            counts = [entry.n_read for entry in read]
            op = np.repeat(np.array([entry.op for entry in read], dtype=np.int64), counts)
            ordinal = np.repeat(np.array([entry.ordinal for entry in read], _ORDINAL), counts)
            yield "reads", Rows([op, ordinal, *columns.values()], {}, len(op))
        readings = Readings(
            columns["step"], columns["line"], columns["current_a"], columns["status"]
        )
        yield from self._pulses(entries, run, readings, first)
        yield from self._summaries(entries)

    def _summaries(self, entries: list[Driven]) -> Iterator[tuple[TableName, Rows]]:
        done = [entry for entry in entries if entry.phase >= 0]
        if done:
            _, _, _, _, _, _, ops, _, phases, layers, t_ns, *counted, _ = zip(*done, strict=True)
            given = (t_ns, ops, phases, layers, *counted)
            values = [np.array(v, dtype=c.dtype) for v, c in zip(given, _OPS, strict=False)]
            energy_joule = constant(float("nan"), _REAL, len(done))
            yield "ops", Rows([*values, energy_joule], {}, len(done))

    def _pulses(
        self, entries: list[Driven], run: Sequence[Entry], readings: Readings, first: np.ndarray
    ) -> Iterator[tuple[TableName, Rows]]:
        logs = {entry.log: None for entry in entries}
        logs.pop(None, None)
        tickets = [ticket for _, ticket, _, _ in run]
        for log in logs:
            if log is None:
                continue
            if len(logs) == 1 and all(entry.log is log for entry in entries):
                rows = log.rows(entries, tickets, readings, first)
            else:
                at = [k for k, entry in enumerate(entries) if entry.log is log]
                rows = log.rows(
                    [entries[k] for k in at], [tickets[k] for k in at], readings, first[at]
                )
            if rows is not None:
                yield "pulses", rows

    def flush(self) -> Iterator[tuple[TableName, Rows]]:
        """Yield the rows that wait for a reading as they are."""
        for log in self._logs:
            rows = log.flush()
            if rows is not None:
                yield "pulses", rows
