"""Reading segments: every batch of a stream against its CRC32 and its row count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hil.record.segments import checksum, split_message, unmarked


class Damaged(Exception):
    """A part of a run that cannot be read on; ``offset`` is the end of what was good."""

    def __init__(self, offset: int, reason: str) -> None:
        self.offset = offset
        super().__init__(reason)


class Batch(NamedTuple):
    """Rows of a stream: an Arrow record batch, the number of its first row, and where it ends."""

    rows: Any
    first: int
    end: int


def batches_of(
    content: bytes | memoryview, schema: Any, columns: Sequence[str] | None = None
) -> Iterator[Batch]:
    """Yield the batches of the stream ``content``, ``columns`` only where they are given.

    It ends at the end marker, or where the file ends between two batches, as that of a run that is
    being written does.

    Raises:
        Damaged: another schema, a batch that is cut off or not what was written, or bytes after the
            end marker.
    """
    import pyarrow as pa

    offset = 0
    try:
        source = pa.BufferReader(content)
        stream = pa.ipc.open_stream(source, options=_read_options(schema, columns))
        if not _same(stream.schema, schema, columns):
            raise Damaged(0, "its columns are not those of this format")
        offset = source.tell()
        while True:
            try:
                batch, marks = stream.read_next_batch_with_custom_metadata()
            except StopIteration:
                break
            message = memoryview(content)[offset : source.tell()]
            first = _check_batch(batch, dict(marks or {}), message)
            offset = source.tell()
            yield Batch(batch, first, offset)
        left = source.size() - source.tell()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as exc:
        raise Damaged(offset, one_line(exc)) from exc
    if left:
        raise Damaged(source.tell(), f"{left} bytes after the end")


def _read_options(schema: Any, columns: Sequence[str] | None) -> Any:
    import pyarrow as pa

    fields = None if columns is None else [schema.get_field_index(name) for name in columns]
    return pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)


def _same(found: Any, schema: Any, columns: Sequence[str] | None) -> bool:
    import pyarrow as pa

    if columns is not None:
        wanted = [field for field in schema if field.name in columns]
        schema = pa.schema(wanted, metadata=schema.metadata)
    return bool(found.equals(schema, check_metadata=True))


def _check_batch(batch: Any, marks: dict[bytes, bytes], message: memoryview) -> int:
    """Return the number of the batch's first row; ValueError when it is not what was written."""
    try:
        mark, n, first = marks[b"crc32"], int(marks[b"rows"]), int(marks[b"first"])
        head, body = split_message(message)
    except (KeyError, ValueError):
        raise ValueError("the batch has no checksum") from None
    if checksum(unmarked(head, mark), body) != mark:
        raise ValueError("the batch's CRC32 is wrong")
    if n != batch.num_rows:
        raise ValueError(f"the batch has {batch.num_rows} rows, {n} were written")
    return first


def one_line(exc: BaseException) -> str:
    """Return the first line of an error."""
    return (str(exc) or type(exc).__name__).splitlines()[0]
