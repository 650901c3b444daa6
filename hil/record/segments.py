"""Segment files of one table: Arrow IPC streams, zstd, with a CRC32 and the rows in each batch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.record import durable
from hil.record.schema import TABLES, Column, TableName, arrow_schema

#: End-of-stream marker of the Arrow IPC stream format.
END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(slots=True)
class Rows:
    """``n`` rows to be written: the columns but ``seq``, and where nullable ones are null.

    The value of a null is zero.
    """

    columns: Sequence[NDArray[Any]]
    nulls: dict[int, NDArray[np.bool_]]
    n: int


#: Stands where a message's CRC32 goes while that is computed.
_NO_CRC: Final = b"crc32:00000000"


def checksum(head: bytes, body: memoryview) -> bytes:
    """Return the mark with the CRC32 of a message whose own mark is :data:`_NO_CRC`."""
    return b"crc32:%08x" % zlib.crc32(body, zlib.crc32(head))


def split_message(message: memoryview) -> tuple[bytes, memoryview]:
    """Return the metadata of an encapsulated Arrow message, prefix included, and its body."""
    end = 8 + int.from_bytes(message[4:8], "little")
    return bytes(message[:end]), message[end:]


def unmarked(head: bytes, mark: bytes) -> bytes:
    """Return a message's metadata as it was before ``mark`` went into it."""
    return head.replace(mark, _NO_CRC)


@cache
def _write_options() -> Any:
    import pyarrow as pa

    # One thread: the other core belongs to the control loop. Level -4 instead of 1 takes 0.6 of the
    # time for 11 to 29 % more bytes; sealing compresses again.
    codec = pa.Codec("zstd", compression_level=-4)
    return pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)


def prologue(schema: Any) -> bytes:
    """Return how a stream of ``schema`` begins: what comes before its first batch."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_write_options()):
        pass
    whole: bytes = sink.getvalue().to_pybytes()
    return whole.removesuffix(END_OF_STREAM)


@cache
def _prologue(table: TableName) -> bytes:
    return prologue(arrow_schema(table))


def _valid(null: NDArray[np.bool_] | None) -> Any:
    """Return Arrow's validity bitmap, None where every value is valid."""
    import pyarrow as pa

    return None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little").data)


def warm_up() -> None:
    """Load what writing needs, so that the first pulse of a run does not wait for an import."""
    for table in TABLES:
        _prologue(table)


def encode(table: TableName, rows: Rows, first: int) -> tuple[bytes, memoryview]:
    """Return ``rows`` as one Arrow message: its metadata and its body.

    ``first`` is the number of the first row in the run. The CRC32 in the metadata covers all of the
    message, with :data:`_NO_CRC` in its own place.
    """
    import pyarrow as pa

    layout: tuple[Column, ...] = TABLES[table]
    columns, given = list(rows.columns), rows.nulls
    nulls: list[NDArray[np.bool_] | None] = [given.get(i) for i in range(len(columns))]
    if layout[0].name == "seq":
        columns.insert(0, np.arange(first, first + rows.n, dtype=np.int64))
        nulls.insert(0, None)
    # From buffers, because pa.array() imports pandas where it is installed, in mid-run.
    arrays = [
        pa.Array.from_buffers(field.type, rows.n, [_valid(null), pa.py_buffer(values.data)])
        for field, values, null in zip(arrow_schema(table), columns, nulls, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(table))
    return message(batch, first, _prologue(table))


def message(batch: Any, first: int, begin: bytes) -> tuple[bytes, memoryview]:
    """Return a record batch as one Arrow message with its checksum, see :func:`encode`.

    ``begin`` is the prologue of the batch's schema.
    """
    import pyarrow as pa

    marks = {b"crc32": _NO_CRC, b"rows": b"%d" % batch.num_rows, b"first": b"%d" % first}
    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(sink, batch.schema, options=_write_options())
    writer.write_batch(batch, custom_metadata=marks)
    # A stream is its schema message, then batch messages: a batch of a fresh stream can be
    # appended to any stream of the same schema, with one plain write that can be checked.
    head, body = split_message(memoryview(sink.getvalue())[len(begin) :])
    return head.replace(_NO_CRC, checksum(head, body)), body


def segment_name(number: int) -> str:
    """Return the file name of a segment."""
    return f"{number:06d}.arrows"


class SegmentWriter:
    """Appends batches of one table to ``<folder>/<table>/NNNNNN.arrows`` and rotates them.

    Args:
        folder: of the run.
        table: the table.
        max_bytes, max_age_s: a segment ends at this size or age.
        begin: number of the first segment, and number of its first row.
        on_rotated: called with table and number of a segment that ended and has a successor.
    """

    def __init__(
        self,
        folder: Path,
        table: TableName,
        max_bytes: int,
        max_age_s: float,
        begin: tuple[int, int] = (0, 0),
        on_rotated: Callable[[TableName, int], None] | None = None,
    ) -> None:
        self.table: TableName = table
        self._number, self.rows = begin  #: rows: written so far, over all segments
        self.parts: dict[str, dict[str, Any]] = {}  #: relative path -> rows, bytes, sha256
        self._folder = folder / table
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._on_rotated = on_rotated
        self._fd = -1
        self._bytes = 0
        self._segment_rows = 0
        self._opened_s = 0.0
        self._hash = hashlib.sha256()
        self._dirty = False
        self._prologue = _prologue(table)

    @property
    def path(self) -> Path:
        """Path of the segment at hand, or of the next one."""
        return self._folder / segment_name(self._number)

    def write(self, rows: Rows) -> int:
        """Append one batch and return its size in bytes; it is durable after :meth:`sync`.

        On OSError the unfinished batch is cut off again, so that the segment stays readable.
        """
        if self._fd >= 0 and (
            self._bytes >= self._max_bytes or time.monotonic() - self._opened_s >= self._max_age_s
        ):
            self.finish_segment()
            if self._on_rotated is not None:
                self._on_rotated(self.table, self._number - 1)
        if self._fd < 0:
            self._start_segment()
        head, body = encode(self.table, rows, self.rows)
        self._append(head, body)
        self.rows += rows.n
        self._segment_rows += rows.n
        return len(head) + len(body)

    def sync(self) -> None:
        """Make everything written so far durable."""
        if self._dirty:
            durable.sync(self._fd)
            self._dirty = False

    def finish_segment(self) -> None:
        """End, sync and close the segment at hand, if any."""
        if self._fd < 0:
            return
        self._append(END_OF_STREAM)
        self.sync()
        self.abandon_segment()

    def abandon_segment(self) -> None:
        """Close the segment at hand as it is (after a failure it has no end marker)."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # a failed sync has been reported already
            os.close(self._fd)
        self.parts[f"{self.table}/{self.path.name}"] = {
            "rows": self._segment_rows,
            "bytes": self._bytes,
            "sha256": self._hash.hexdigest(),
        }
        self._fd = -1
        self._number += 1

    def _start_segment(self) -> None:
        if not self._folder.exists():
            self._folder.mkdir()
            durable.sync_folder(self._folder.parent)
        # Its name appears together with its first bytes, so that a killed run leaves no empty file.
        durable.write_new(self.path, self._prologue)
        self._fd = durable.open_to_append(self.path)
        self._bytes = len(self._prologue)
        self._segment_rows = 0
        self._hash = hashlib.sha256(self._prologue)
        self._opened_s = time.monotonic()

    def _append(self, *content: bytes | memoryview) -> None:
        size = self._bytes + sum(len(part) for part in content)
        durable.append(self._fd, self._bytes, *content)
        self._dirty = True
        self._bytes = size
        for part in content:
            self._hash.update(part)
