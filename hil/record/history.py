"""The history of one device, from the ``pulses`` table of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.record.parts import TableReader, part_numbers

_COLUMNS: Final = ("t_ns", "op", "phase", "v", "width", "count", "g0", "g1", "status")
_PLACE: Final = ("layer", "row", "col")


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The pulse trains that one device received, oldest first; all arrays have one length.

    Attributes:
        row, col: the device.
        seq: number of the row in ``pulses``.
        t_ns: when, in ns on the run's clock.
        op, phase, layer: operation, phase and layer of the train.
        v, width_s, count: volts, seconds, and pulses delivered.
        before_siemens, after_siemens: conductance read before and after the train, NaN = not read.
        status: bits, see the manifest.
    """

    row: int
    col: int
    seq: NDArray[np.int64]
    t_ns: NDArray[np.int64]
    op: NDArray[np.int64]
    phase: NDArray[np.uint8]
    layer: NDArray[np.uint16]
    v: NDArray[np.float32]
    width_s: NDArray[np.float32]
    count: NDArray[np.uint32]
    before_siemens: NDArray[np.float32]
    after_siemens: NDArray[np.float32]
    status: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def pulses(self) -> NDArray[np.int64]:
        """Pulses received in the run up to and including each train."""
        total: NDArray[np.int64] = np.cumsum(self.count, dtype=np.int64)
        return total


def device_history(
    folder: Path, row: int, col: int, layer: int | None
) -> tuple[History, list[str]]:
    """Return the history of one device and the problems met on the way; parts in parallel."""
    numbers, foreign = part_numbers(folder / "pulses")
    problems = [f"pulses/{name}: a foreign file" for name in foreign]

    def look(number: int) -> tuple[list[dict[str, NDArray[Any]]], list[str]]:
        reader = TableReader(folder, "pulses", (*_PLACE, *_COLUMNS))
        return list(_matching(reader, number, row, col, layer)), reader.problems

    found: list[dict[str, NDArray[Any]]] = []
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for part, complaints in pool.map(look, numbers):
            found += part
            # Every reader begins in the middle of the table; what is missing before is no damage.
            problems += [line for line in complaints if "are missing before it" not in line]
    return _history(row, col, found), problems


def _matching(
    reader: TableReader, number: int, row: int, col: int, layer: int | None
) -> Iterator[dict[str, NDArray[Any]]]:
    for batch in reader.part(number):
        rows = batch.rows
        here = (rows["col"].to_numpy() == col) & (rows["row"].to_numpy() == row)
        if layer is not None:
            here &= rows["layer"].to_numpy() == layer
        if here.any():
            at = np.flatnonzero(here)
            taken = {name: _taken(rows[name], at) for name in (*_COLUMNS, "layer")}
            yield {**taken, "seq": batch.first + at}  # `seq` numbers the rows of the table


def _taken(column: Any, at: NDArray[np.int64]) -> NDArray[Any]:
    taken = column.take(_indices(at))
    values: NDArray[Any] = taken.to_numpy(zero_copy_only=False)  # null becomes NaN
    return values


def _indices(at: NDArray[np.int64]) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(at), [None, pa.py_buffer(at.data)])


def _history(row: int, col: int, found: list[dict[str, NDArray[Any]]]) -> History:
    from hil.record.schema import TABLES

    types = {c.name: c.dtype for c in TABLES["pulses"]}
    whole = {
        name: np.concatenate([part[name] for part in found] or [np.empty(0)]).astype(types[name])
        for name in (*_COLUMNS, "layer", "seq")
    }
    order = np.argsort(whole["seq"], kind="stable")
    whole = {name: values[order] for name, values in whole.items()}
    return History(
        row, col, whole["seq"], whole["t_ns"], whole["op"], whole["phase"], whole["layer"],
        whole["v"], whole["width"], whole["count"], whole["g0"], whole["g1"], whole["status"],
    )  # fmt: skip
