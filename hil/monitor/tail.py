"""New rows and lines of a run folder while it grows, each read once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hil.record.parts import TableReader, sealed_name, segment_name
from hil.record.schema import TableName, arrow_schema
from hil.record.segments import END_OF_STREAM
from hil.record.streams import Damaged, batches_of
from hil.record.undone import Ranges, stands, undone_rows

#: Bytes read at once; doubled for a batch that is larger.
CHUNK_BYTES: Final = 8 << 20


class TableTail:
    """Follows one table over its live segments and sealed parts.

    Whether the next segment exists is asked before the one at hand is read: asked afterwards, rows
    written in between would be skipped.

    Args:
        folder: the run folder.
        table: name of the table.
        columns: the columns wanted, in any order.

    Attributes:
        rows: number of the row that is expected next.
        bytes_read, problems: bytes of parts read; what was damaged, one line each.
    """

    def __init__(self, folder: Path, table: TableName, columns: Sequence[str]) -> None:
        self.table: TableName = table
        self.rows = 0
        self.bytes_read = 0
        self.problems: list[str] = []
        self._run, self._columns = folder, columns
        self._schema = arrow_schema(table)
        self._undone: Ranges = []
        self._number = 0
        self._start_part()

    def _start_part(self) -> None:
        self._prologue = b""  # schema message of the segment at hand
        self._offset = 0
        self._chunk = CHUNK_BYTES
        self._first = self.rows  # number of the part's first row
        self._finished = False  # read to its end, or given up

    def read(self, *, ended: bool = False) -> Iterator[Any]:
        """Yield the record batches that have come since the last call, oldest first.

        ``ended``: the run is over, so that a batch cut short is damage and not one on its way.
        """
        while True:
            follows = self._exists(self._number + 1)
            if not self._finished:
                yield from self._read_part(final=ended or follows)
            if not follows:
                return
            self._number += 1
            self._start_part()

    def leave_out(self, event: Mapping[str, Any]) -> bool:
        """Leave out the rows that an event notes as undone; return whether one was read before."""
        ranges = undone_rows([event], self.table)
        self._undone += ranges
        return any(first < self.rows for first, _ in ranges)

    def _path(self, name: str) -> Path:
        return self._run / self.table / name

    def _exists(self, number: int) -> bool:
        return any(self._path(name(number)).exists() for name in (segment_name, sealed_name))

    def _read_part(self, *, final: bool) -> Iterator[Any]:
        """Yield what is new in the part at hand."""
        try:
            yield from self._read_segment(self._path(segment_name(self._number)), final=final)
        except FileNotFoundError:  # not begun yet, or sealed in the meantime
            if self._path(sealed_name(self._number)).exists():
                yield from self._read_sealed()

    def _read_segment(self, file: Path, *, final: bool) -> Iterator[Any]:
        while not self._finished:
            with file.open("rb") as source:
                source.seek(self._offset)
                content = source.read(self._chunk)
            if not content:
                return
            whole = self._prologue + content
            begin, head = self._offset, len(self._prologue)
            problem = ""
            try:
                for batch in batches_of(whole, self._schema, self._columns):
                    # All is noted before the rows go out: who takes them may stop here.
                    self._prologue = self._prologue or _schema_message(whole)
                    self.bytes_read += begin + batch.end - head - self._offset
                    self._offset = begin + batch.end - head
                    self.rows = batch.first + batch.rows.num_rows
                    yield from self._standing(batch.first, batch.rows)
                left = whole[head + self._offset - begin :]
                self._finished = left.endswith(END_OF_STREAM)
            except Damaged as exc:
                problem = str(exc)
            if self._offset > begin:
                self._chunk = CHUNK_BYTES
            elif problem and len(content) == self._chunk:
                self._chunk *= 2
            else:
                # Mostly a batch that is still being written; `final` tells when it is not.
                if problem and final:
                    self._give_up(file.name, problem)
                return

    def _read_sealed(self) -> Iterator[Any]:
        """Yield the rows of a sealed part that were not read while it was a live segment."""
        reader = TableReader(self._run, self.table, self._columns, self._first)
        read = 0
        for batch in reader.part(self._number):
            first = max(self.rows, batch.first)
            new = batch.rows.slice(first - batch.first)
            if new.num_rows:
                self.rows = batch.first + batch.rows.num_rows
                self.bytes_read += batch.end - read
                read = batch.end
                yield from self._standing(first, new)
        self.problems += reader.problems
        self._finished = True

    def _standing(self, first: int, rows: Any) -> Iterator[Any]:
        """Yield what was not undone as one batch, as who takes it may stop after each."""
        keep = stands(first, rows.num_rows, self._undone)
        if keep.all():
            yield rows
        elif keep.any():
            import pyarrow as pa

            yield rows.filter(pa.array(keep))

    def _give_up(self, name: str, problem: str) -> None:
        """Note damage; the rest of the segment is left out, as every reader of the run does."""
        self._finished = True
        self.problems.append(f"{self.table}/{name}: stops at row {self.rows}: {problem}")


def _schema_message(stream: bytes) -> bytes:
    """Return the schema message that an Arrow stream begins with."""
    import pyarrow as pa

    source = pa.BufferReader(stream)
    pa.ipc.read_message(source)
    return stream[: source.tell()]


class EventTail:
    """Follows ``events.jsonl``; a line counts once its line end is there."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self._path = folder / "events.jsonl"
        self._offset = 0
        self._line = 0

    def read(self) -> list[dict[str, Any]]:
        """Return the events that have come since the last call, oldest first."""
        try:
            with self._path.open("rb") as source:
                source.seek(self._offset)
                content = source.read()
        except OSError:
            return []
        whole, mark, _ = content.rpartition(b"\n")
        if not mark:
            return []
        self._offset += len(whole) + 1
        events = []
        for text in whole.split(b"\n"):
            self._line += 1
            try:
                event = json.loads(text)
            except ValueError:
                event = None
            if isinstance(event, dict):
                events.append(event)
            elif text.strip():
                self.problems.append(f"events.jsonl:{self._line}: damaged line")
        return events
