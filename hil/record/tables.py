"""The segments of all tables of a run, as the writer thread sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hil.record import durable
from hil.record.policy import CommitPolicy
from hil.record.schema import TableName
from hil.record.segments import Rows, SegmentWriter


class Tables:
    """Writes batches; a table's first segment is made with its first row.

    On a full disk ``make_room`` is called with the error and the file, and when it has made some
    the write is done once more. Other failures are raised as OSError.
    """

    def __init__(
        self,
        folder: Path,
        policy: CommitPolicy,
        make_room: Callable[[OSError, Path], bool],
        begin: Mapping[TableName, tuple[int, int]],
        on_rotated: Callable[[TableName, int], None] | None,
    ) -> None:
        """Begin every table with the segment and row that ``begin`` names, else with the first."""
        self._folder, self._policy, self._make_room = folder, policy, make_room
        self._begin, self._on_rotated = begin, on_rotated
        self._segments: dict[TableName, SegmentWriter] = {}

    @property
    def rows(self) -> dict[str, int]:
        """Rows of the run per table that has some."""
        rows: dict[str, int] = {table: n for table, (_, n) in self._begin.items() if n}
        return rows | {table: segment.rows for table, segment in list(self._segments.items())}

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """Finished segments: relative path -> rows, bytes, sha256."""
        return {path: part for s in self._segments.values() for path, part in s.parts.items()}

    def write(self, batches: Iterable[tuple[TableName, Rows]]) -> None:
        """Write batches and make them durable."""
        policy = self._policy
        for table, rows in batches:
            if table not in self._segments:
                self._segments[table] = SegmentWriter(
                    self._folder, table, policy.segment_bytes, policy.segment_age_s,
                    self._begin.get(table, (0, 0)), self._on_rotated,
                )  # fmt: skip
            segment = self._segments[table]
            self._retry(segment, segment.write, rows)
        for segment in self._segments.values():
            segment.sync()

    def finish(self) -> None:
        """End, sync and close all segments."""
        for segment in self._segments.values():
            self._retry(segment, segment.finish_segment)

    def abandon(self) -> None:
        """Close all segments as they are."""
        for segment in self._segments.values():
            segment.abandon_segment()

    def _retry(self, segment: SegmentWriter, write: Callable[..., object], *args: Any) -> None:
        try:
            write(*args)
        except OSError as exc:
            if not durable.no_space(exc) or not self._make_room(exc, segment.path):
                raise
            write(*args)
