"""Sealed parts: a segment's rows as Parquet, and the notes that say what must be in the file.

The rows stay in their order; floating-point columns are stored byte by byte (byte-stream split),
times and numbers as differences, all under zstd. ``seals.jsonl`` notes every sealed part with
a CRC32 per row group and one of the footer, so that a reader need not look at the whole file.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from io import RawIOBase
from pathlib import Path
from typing import Any, Final

from hil.record import durable
from hil.record.jsonable import to_json
from hil.record.schema import TableName, arrow_schema
from hil.record.streams import Batch, Damaged, one_line

#: The log of sealed parts in a run folder.
NOTES: Final = "seals.jsonl"
#: Rows of a row group; a damaged byte costs a reader at most these.
GROUP_ROWS: Final = 1 << 18
_PIECE_BYTES: Final = 1 << 20


def sealed_name(number: int) -> str:
    """Return the file name of a sealed part."""
    return f"{number:06d}.parquet"


@dataclass(frozen=True, slots=True)
class SealNote:
    """What a sealed part must be.

    Attributes:
        part: its path in the run folder.
        rows, first: number of rows, and number of the first one in the run.
        bytes, sha256: of the file.
        groups: (rows, first byte, end, CRC32) of every row group.
        footer: (first byte, CRC32) of what follows the last row group.
        of, of_bytes, of_sha256: the segment it was made from.
    """

    part: str
    rows: int
    first: int
    bytes: int
    sha256: str
    groups: tuple[tuple[int, int, int, int], ...]
    footer: tuple[int, int]
    of: str
    of_bytes: int
    of_sha256: str

    def as_part(self) -> dict[str, Any]:
        """Return it as the stop record lists parts."""
        return {"rows": self.rows, "bytes": self.bytes, "sha256": self.sha256}


@cache
def _encoding(table: TableName) -> dict[str, Any]:
    """Return how each column is stored: floats split by bytes, int64 as differences, others once.

    Few distinct values (voltages, widths, lines, states) are stored once each, in a dictionary.
    """
    import pyarrow as pa

    schema = arrow_schema(table)
    measured = {"i_read", "g0", "g1", "temperature", "current_a", "duration_s", "energy_joule"}
    plain = {f.name for f in schema if f.type == pa.int64() and f.name != "op"} | measured
    return {
        "use_dictionary": [f.name for f in schema if f.name not in plain],
        "column_encoding": {
            f.name: "BYTE_STREAM_SPLIT" if f.name in measured else "DELTA_BINARY_PACKED"
            for f in schema
            if f.name in plain
        },
    }


def groups_of(batches: Iterable[Batch]) -> Iterator[Any]:
    """Yield the rows of ``batches`` as Arrow tables of :data:`GROUP_ROWS` rows, the last smaller.

    Raises:
        Damaged: rows are missing between two batches, or see the batches' source.
    """
    import pyarrow as pa

    waiting: list[Any] = []
    n, expected = 0, -1
    for batch in batches:
        if expected not in (-1, batch.first):
            raise Damaged(batch.end, f"rows {expected} to {batch.first} are missing")
        expected = batch.first + batch.rows.num_rows
        waiting.append(batch.rows)
        n += batch.rows.num_rows
        while n >= GROUP_ROWS:
            whole = pa.Table.from_batches(waiting)
            yield whole.slice(0, GROUP_ROWS)
            waiting, n = whole.slice(GROUP_ROWS).to_batches(), n - GROUP_ROWS
    if n:
        yield pa.Table.from_batches(waiting)


def encode(table: TableName, groups: Iterable[Any]) -> Any:
    """Return ``groups`` as the content of a Parquet file (an Arrow buffer), a row group each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, arrow_schema(table), compression="zstd", compression_level=1,
        write_page_checksum=True, write_statistics=True, **_encoding(table),
    ) as writer:  # fmt: skip
        for group in groups:
            writer.write_table(group, row_group_size=GROUP_ROWS)
    return sink.getvalue()


def describe(
    content: memoryview, part: str, first: int, of: str, of_content: memoryview
) -> SealNote:
    """Return the note for the Parquet file ``content`` made from the segment ``of_content``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
    groups, begin = [], 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(k) for k in range(group.num_columns)]
        end = max(_start_of(column) + column.total_compressed_size for column in columns)
        groups.append((group.num_rows, begin, end, zlib.crc32(content[begin:end])))
        begin = end
    return SealNote(
        part, metadata.num_rows, first, len(content), hashlib.sha256(content).hexdigest(),
        tuple(groups), (begin, zlib.crc32(content[begin:])),
        of, len(of_content), hashlib.sha256(of_content).hexdigest(),
    )  # fmt: skip


def _start_of(column: Any) -> int:
    start = column.data_page_offset
    if column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    return int(start)


def sealed_batches(
    path: Path, table: TableName, note: SealNote, columns: Sequence[str] | None
) -> Iterator[Batch]:
    """Yield the row groups of a sealed part, ``columns`` only where they are given.

    Raises:
        Damaged: a row group or the footer is not what was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(table)
    if columns is not None:
        wanted = [field for field in schema if field.name in columns]
        schema = pa.schema(wanted, metadata=schema.metadata)
    first, begin = note.first, note.footer[0]
    try:
        with path.open("rb", buffering=0) as raw, pa.OSFile(str(path), "rb") as source:
            if source.size() != note.bytes or _crc32(raw, begin, note.bytes) != note.footer[1]:
                raise Damaged(0, f"it is not the file that {NOTES} notes")
            file = pq.ParquetFile(source)
            for number, (rows, begin, end, crc) in enumerate(note.groups):
                if _crc32(raw, begin, end) != crc:
                    raise Damaged(begin, "the row group's CRC32 is wrong")
                group = file.read_row_group(number, columns=schema.names, use_threads=True)
                plain = pa.Table.from_arrays(group.columns, schema=schema)
                for batch in plain.combine_chunks().to_batches():
                    yield Batch(batch, first, end)
                first += rows
    except (pa.ArrowException, OSError, ValueError, MemoryError) as exc:
        raise Damaged(begin, one_line(exc)) from exc


def _crc32(file: RawIOBase, begin: int, end: int) -> int:
    """Return the CRC32 of a stretch of a file; in pieces, which costs less memory than it reads."""
    file.seek(begin)
    piece, crc = memoryview(bytearray(_PIECE_BYTES)), 0
    while begin < end:
        n = file.readinto(piece[: min(end - begin, _PIECE_BYTES)])
        if not n:
            raise OSError("the file ends too early")
        crc = zlib.crc32(piece[:n], crc)
        begin += n
    return crc


def equal_bits(one: Any, other: Any) -> bool:
    """Return whether two Arrow tables hold the same values, NaN equal to NaN of the same bits."""
    return one.num_rows == other.num_rows and all(
        _bits(a).equals(_bits(b)) for a, b in zip(one.columns, other.columns, strict=True)
    )


def _bits(column: Any) -> Any:
    import pyarrow as pa

    whole = column.combine_chunks()
    if not pa.types.is_floating(whole.type):
        return whole
    return whole.view(pa.int64() if whole.type == pa.float64() else pa.int32())


def append_note(folder: Path, note: SealNote) -> None:
    """Append ``note`` to the run's log of sealed parts; it is on the disk when this returns.

    A line that an earlier crash cut off is ended first.

    Raises:
        OSError: it could not be written.
    """
    path = folder / NOTES
    is_new = not path.exists()
    fd = durable.create(path) if is_new else durable.open_to_append(path)
    try:
        size = os.fstat(fd).st_size
        line = to_json(asdict(note))
        if size and not path.read_bytes().endswith(b"\n"):
            line = b"\n" + line
        durable.append(fd, size, line)
        durable.sync(fd)
    finally:
        os.close(fd)
    if is_new:
        durable.sync_folder(folder)


def read_notes(folder: Path) -> tuple[dict[str, SealNote], list[str]]:
    """Return the newest note of every sealed part of a run, and what is damaged in the log."""
    notes: dict[str, SealNote] = {}
    problems = []
    try:
        lines = (folder / NOTES).read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}, []
    except OSError as exc:
        return {}, [f"{NOTES}: cannot be read: {exc.strerror or exc}"]
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            note = SealNote(**json.loads(line))
            notes[note.part] = note
        except (ValueError, TypeError) as exc:
            problems.append(f"{NOTES}:{number}: damaged line: {one_line(exc)}")
    return notes, problems
