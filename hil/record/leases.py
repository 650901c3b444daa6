"""The records of write-ahead intents: how they stand in ``intents.arrows``, and which are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.record import segments
from hil.record.streams import Damaged, batches_of, one_line

OPEN, RENEW, CLOSE = range(3)
#: How ``rows`` and ``cols`` name devices: none given, every row with every column, or one by one.
WHOLE, LINES, DEVICES = range(3)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: a lease is opened, renewed (with all it holds from now on) or closed.

    ``written`` is (n_rows, n_cols); times are on the run's clock.
    """

    t_ns: int
    lease: int
    kind: int
    until_ns: int
    array: str
    written: NDArray[np.bool_]
    pulses: int


@dataclass(frozen=True, slots=True)
class OpenLease:
    """A lease that nothing closed: ``written`` (n_rows, n_cols) devices of ``array`` are unknown.

    ``pulses`` bounds what all of them received together under it.
    """

    number: int
    array: str
    written: NDArray[np.bool_]
    pulses: int


@cache
def schema() -> Any:
    """Return the pyarrow schema of ``intents.arrows``."""
    import pyarrow as pa

    index = pa.list_(pa.field("item", pa.uint16(), nullable=False))
    columns = (
        ("t_ns", pa.int64(), "ns", "time since the run's start"),
        ("lease", pa.int64(), "", "number of the lease"),
        ("kind", pa.uint8(), "", "0 opened, 1 renewed, 2 closed"),
        ("until_ns", pa.int64(), "ns", "until when it holds without being renewed"),
        ("array", pa.utf8(), "", "name of the array"),
        ("n_rows", pa.int64(), "", "rows of the array"),
        ("n_cols", pa.int64(), "", "columns of the array"),
        ("scope", pa.uint8(), "", "0 the whole array, 1 rows x cols, 2 devices (rows, cols)"),
        ("rows", index, "", "rows, see scope"),
        ("cols", index, "", "columns, see scope"),
        ("pulses", pa.int64(), "", "device pulses that it allows in all"),
    )
    return pa.schema(
        [
            pa.field(name, kind, nullable=False, metadata={"unit": unit, "meaning": meaning})
            for name, kind, unit, meaning in columns
        ]
    )


@cache
def prologue() -> bytes:
    """Return how a file of intents begins."""
    return segments.prologue(schema())


def encode(record: Record, first: int) -> tuple[bytes, memoryview]:
    """Return a record as one Arrow message; ``first`` counts the records before it."""
    import pyarrow as pa

    scope, rows, cols = _named(record.written)
    n_rows, n_cols = record.written.shape
    values = (
        record.t_ns, record.lease, record.kind, record.until_ns, record.array, n_rows, n_cols,
        scope, rows, cols, record.pulses,
    )  # fmt: skip
    arrays = [_column(field.type, value) for field, value in zip(schema(), values, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema())
    return segments.message(batch, first, prologue())


def _column(kind: Any, value: Any) -> Any:
    """Return a column of one value; from buffers, because pa.array() may import pandas."""
    import pyarrow as pa

    if isinstance(value, str | np.ndarray):
        content = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else value
        ends = pa.py_buffer(np.array([0, len(content)], np.int32).data)
        inner = pa.py_buffer(np.ascontiguousarray(content).data)
        if isinstance(value, str):
            return pa.Array.from_buffers(kind, 1, [None, ends, inner])
        items = pa.Array.from_buffers(kind.value_type, len(content), [None, inner])
        return pa.Array.from_buffers(kind, 1, [None, ends], children=[items])
    return pa.Array.from_buffers(
        kind, 1, [None, pa.py_buffer(np.array([value], kind.to_pandas_dtype()).data)]
    )


def _named(written: NDArray[np.bool_]) -> tuple[int, NDArray[np.uint16], NDArray[np.uint16]]:
    """Return (scope, rows, columns) that name the devices in the shortest way."""
    none = np.empty(0, np.uint16)
    if written.all():
        return WHOLE, none, none
    rows, cols = np.asarray(written.any(axis=1)), np.asarray(written.any(axis=0))
    if (written == np.logical_and.outer(rows, cols)).all():
        row, col = np.flatnonzero(rows), np.flatnonzero(cols)
        return LINES, row.astype(np.uint16), col.astype(np.uint16)
    row, col = np.nonzero(written)
    return DEVICES, row.astype(np.uint16), col.astype(np.uint16)


def _written(row: dict[str, Any]) -> NDArray[np.bool_]:
    written = np.full((row["n_rows"], row["n_cols"]), row["scope"] == WHOLE)
    if row["scope"] == LINES:
        written[np.ix_(row["rows"], row["cols"])] = True
    elif row["scope"] == DEVICES:
        written[row["rows"], row["cols"]] = True
    return written


def files(folder: Path) -> list[Path]:
    """Return a run's files of intents, one per session that wrote it, oldest first."""
    return [
        *(p for p in (folder / "intents.arrows",) if p.exists()),
        *sorted(folder.glob("intents-[0-9]*.arrows")),
    ]


def new_file(folder: Path) -> Path:
    """Return the path of this session's file of intents; earlier ones are never touched."""
    n = len(files(folder))
    return folder / ("intents.arrows" if n == 0 else f"intents-{n:06d}.arrows")


def open_leases(folder: Path) -> tuple[list[OpenLease], int, list[str]]:
    """Return the leases that nothing closed, the number of the last lease, and problems.

    Where a file is damaged or cut off it is not known what was closed: every array that it names is
    then unknown as a whole.
    """
    found: dict[int, OpenLease] = {}
    arrays: dict[str, tuple[int, int]] = {}
    last, problems = 0, []
    for path in files(folder):
        try:
            for batch in batches_of(path.read_bytes(), schema()):
                for row in batch.rows.to_pylist():
                    last = max(last, row["lease"])
                    if row["kind"] == CLOSE:
                        found.pop(row["lease"], None)
                        continue
                    arrays[row["array"]] = (row["n_rows"], row["n_cols"])
                    found[row["lease"]] = OpenLease(
                        row["lease"], row["array"], _written(row), row["pulses"]
                    )
        except (Damaged, OSError) as exc:
            problems.append(f"{path.name}: cannot be read on: {one_line(exc)}")
            found |= _all_of(arrays, last)
            last += len(arrays)
    return list(found.values()), last, problems


def _all_of(arrays: dict[str, tuple[int, int]], last: int) -> dict[int, OpenLease]:
    """Return leases, numbered after ``last``, on the whole of every array."""
    return {
        last + k: OpenLease(last + k, name, np.ones(shape, np.bool_), 0)
        for k, (name, shape) in enumerate(arrays.items(), 1)
    }


def unknown_devices(leases: Sequence[OpenLease]) -> dict[str, NDArray[np.int64]]:
    """Return for every array with open leases its unknown devices as (n, 2) rows and columns."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for lease in leases:
        before = masks.get(lease.array)
        masks[lease.array] = lease.written if before is None else before | lease.written
    return {name: np.argwhere(mask) for name, mask in masks.items()}
