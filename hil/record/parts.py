"""The parts of a table in a run folder: segments, sealed or not, in the order of their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hil.record.schema import TableName, arrow_schema
from hil.record.sealed import SealNote, read_notes, sealed_batches
from hil.record.sealed import sealed_name as sealed_name
from hil.record.segments import segment_name as segment_name
from hil.record.streams import Batch, Damaged, batches_of

_PART: Final = re.compile(r"(\d{6,})\.(arrows|parquet)")


def part_numbers(folder: Path) -> tuple[list[int], list[str]]:
    """Return the numbers of a table's parts, and the names of files that pretend to be parts.

    Temporary files of a crash and files of other kinds are nobody's parts and not named.
    """
    numbers: set[int] = set()
    foreign = []
    try:
        names = sorted(file.name for file in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    for name in names:
        found = _PART.fullmatch(name)
        if found is not None and name in (segment_name(int(found[1])), sealed_name(int(found[1]))):
            numbers.add(int(found[1]))
        elif name.endswith((".arrows", ".parquet")):
            foreign.append(name)
    return sorted(numbers), foreign


@dataclass
class TableReader:
    """Reads the parts of one table, and keeps what is wrong with them in ``problems``.

    Attributes:
        folder: of the run.
        table: its name.
        columns: to be read, None = all.
        rows: number of the row that is expected next.
    """

    folder: Path
    table: TableName
    columns: Sequence[str] | None = None
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    _notes: dict[str, SealNote] = field(default_factory=dict)

    def batches(self) -> Iterator[Batch]:
        """Yield all good batches in order."""
        numbers, foreign = part_numbers(self.folder / self.table)
        self.problems += [f"{self.table}/{name}: a foreign file" for name in foreign]
        for number in range(numbers[-1] + 1 if numbers else 0):
            yield from self.part(number)

    def part(self, number: int) -> Iterator[Batch]:
        """Yield the good batches of one part, nothing where it is missing.

        A segment that is sealed meanwhile is gone only when its sealed part is there, so the
        segment is tried first.
        """
        segment = f"{self.table}/{segment_name(number)}"
        try:
            content = (self.folder / segment).read_bytes()
        except FileNotFoundError:
            yield from self._sealed(number)
            return
        except OSError as exc:
            self.problems.append(f"{segment}: cannot be read: {exc.strerror or exc}")
            return
        yield from self._checked(
            segment, batches_of(content, arrow_schema(self.table), self.columns)
        )

    def _sealed(self, number: int) -> Iterator[Batch]:
        name = f"{self.table}/{sealed_name(number)}"
        path = self.folder / name
        if not path.exists():
            return  # a gap in the row numbers tells of it
        note = self._note(name)
        if note is None:
            self.problems.append(f"{name}: a foreign file, nothing notes that it was sealed")
            return
        yield from self._checked(name, sealed_batches(path, self.table, note, self.columns))

    def _note(self, name: str) -> SealNote | None:
        if name not in self._notes:
            self._notes, problems = read_notes(self.folder)
            self.problems += [line for line in problems if line not in self.problems]
        return self._notes.get(name)

    def _checked(self, name: str, batches: Iterator[Batch]) -> Iterator[Batch]:
        try:
            for batch in batches:
                if batch.first != self.rows:
                    self.problems.append(
                        f"{name}: rows {self.rows} to {batch.first} are missing before it"
                    )
                self.rows = batch.first + batch.rows.num_rows
                yield batch
        except Damaged as exc:
            self.problems.append(f"{name}: stops at byte {exc.offset}, row {self.rows}: {exc}")
