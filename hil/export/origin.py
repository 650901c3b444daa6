"""A table with one row per pulse for Origin: CSV below rows of long names, units and comments.

Origin takes these three as the long names, units and comments of its columns (import: "header
lines" 0, "subheader lines" 3). A train of n pulses becomes n rows, so that the number of the pulse
at its device is an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.export.rows import Check, pieces
from hil.export.text import describe, write_rows
from hil.record.labelled import null_of, numpy_of, run_attributes
from hil.record.reader import Run

_PIECE_ROWS: Final = 1 << 16


class OriginColumn(NamedTuple):
    """Long name, unit and comment of a column, and the type of its values in Arrow."""

    name: str
    unit: str
    comment: str
    type: str


COLUMNS: Final = (
    OriginColumn("Device pulse", "", "number of the pulse at its device in this run", "int64"),
    OriginColumn("Train start", "s", "time since the run's start on the run's clock", "float64"),
    OriginColumn("Phase", "", "what the pulse was for", "string"),
    OriginColumn("Layer", "", "layer of the network, 0 where there is none", "uint16"),
    OriginColumn("Row", "", "physical row of the device", "uint16"),
    OriginColumn("Column", "", "physical column of the device", "uint16"),
    OriginColumn("Voltage", "V", "device voltage delivered", "float32"),
    OriginColumn("Width", "s", "pulse width delivered", "float32"),
    OriginColumn("Train", "", "row of the run's table pulses", "int64"),
    OriginColumn("Pulse in train", "", "from 1", "int64"),
    OriginColumn("Ran", "", "1 = known to have run; 0 = known not to; empty = unknown", "uint8"),
    OriginColumn("Conductance before", "S", "before the train; empty = not read", "float32"),
    OriginColumn("Conductance after", "S", "after the train; empty = not read", "float32"),
    OriginColumn("Current", "A", "current of the read; empty = not read", "float64"),
    OriginColumn("Temperature", "K", "empty = no sensor", "float32"),
    OriginColumn("Status", "", "bits of the status by name, OK = none", "string"),
)


def write_origin(path: Path, run: Run, check: Check) -> int:
    """Write one row per pulse of the run and return how many those are."""
    import pyarrow as pa

    status = "" if run.status == "done" else f"; run {run.status}"
    comments = [c.comment for c in COLUMNS]
    comments[0] += f"; {run.manifest['name']}, {run_attributes(run)['source']}{status}"
    heads = [[c.name for c in COLUMNS], [c.unit for c in COLUMNS], comments]
    types: dict[str, Any] = {c.name: c.type for c in COLUMNS}
    schema = pa.schema(types)
    return write_rows(path, heads, schema, _tables(run, schema, check))


def describe_origin(path: Path, run: Run) -> bytes:
    """Return the CSVW metadata of the file ``path``."""
    columns = [
        {
            "titles": c.name,
            "datatype": {"float32": "float", "float64": "double"}.get(c.type, c.type),
            "schema:unitText": c.unit or "1",
            "dc:description": c.comment,
        }
        for c in COLUMNS
    ]
    more = {"dialect": {"headerRowCount": 3}, "tableSchema": {"columns": columns}}
    return describe(path, run, more)


def _tables(run: Run, schema: Any, check: Check) -> Iterator[Any]:
    phases = {code: name for name, code in run.manifest["phases"].items()}
    bits = {code: name for name, code in run.manifest["status_bits"].items()}
    done = PulseCounts()
    for part in pieces(run, "pulses", _PIECE_ROWS, check):
        train = _Trains(part, done, phases, bits)
        for first in range(0, train.n_pulses, _PIECE_ROWS):
            yield train.rows(first, min(first + _PIECE_ROWS, train.n_pulses), schema)
            check()


class PulseCounts:
    """Counts the pulses that every device has had so far."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._totals = np.empty(0, np.int64)

    def before(self, key: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many pulses the device had before each train, and add the trains.

        ``key`` (n,) names the device, ``count`` (n,) the pulses of each train, in order.
        """
        keys, inverse = np.unique(key, return_inverse=True)
        fresh = np.setdiff1d(keys, self._keys, assume_unique=True)
        where = np.searchsorted(self._keys, fresh)
        self._keys = np.insert(self._keys, where, fresh)
        self._totals = np.insert(self._totals, where, 0)
        places = np.searchsorted(self._keys, keys)
        order = np.argsort(inverse, kind="stable")
        sums = np.cumsum(count[order])
        earlier = sums - count[order]
        first_of = np.searchsorted(inverse[order], np.arange(len(keys)))
        before = np.empty(len(key), np.int64)
        before[order] = earlier - earlier[first_of][inverse[order]]
        before += self._totals[places][inverse]
        self._totals[places] += np.add.reduceat(count[order], first_of)
        return before


class _Trains:
    """Pulse trains of one piece of the table, to be unrolled into pulses."""

    def __init__(
        self, part: Any, done: PulseCounts, phases: dict[int, str], bits: dict[int, str]
    ) -> None:
        def column(name: str, null: float = 0) -> NDArray[Any]:
            return numpy_of(part[name], null)

        self._count = column("count").astype(np.int64)
        self._end = np.cumsum(self._count)
        self.n_pulses = int(self._end[-1])
        layer, row, col = (column(name).astype(np.int64) for name in ("layer", "row", "col"))
        before = done.before((layer << 32) | (row << 16) | col, self._count)
        nan = float("nan")
        self._same = {
            "Train start": column("t_ns") * 1e-9, "Layer": layer, "Row": row, "Column": col,
            "Voltage": column("v"), "Width": column("width"), "Train": column("seq"),
            "Temperature": column("temperature", nan),
        }  # fmt: skip
        self._first = {"Conductance before": column("g0", nan)}
        self._last = {"Conductance after": column("g1", nan), "Current": column("i_read")}
        self._before, self._executed = before, column("executed")
        self._unknown = null_of(part["executed"])
        self._texts = {
            "Phase": _named(column("phase"), lambda code: phases.get(code, str(code))),
            "Status": _named(column("status"), lambda code: status_text(code, bits)),
        }

    def rows(self, first: int, last: int, schema: Any) -> Any:
        """Return the pulses ``first`` to ``last`` as a pyarrow Table; NaN becomes null."""
        import pyarrow as pa

        pulse = np.arange(first, last)
        train = np.searchsorted(self._end, pulse, side="right")
        ordinal = pulse - (self._end - self._count)[train]
        columns = {name: values[train] for name, values in self._same.items()}
        is_first, is_last = ordinal == 0, ordinal + 1 == self._count[train]
        for of_some, at in ((self._first, is_first), (self._last, is_last)):
            columns |= {name: np.where(at, v[train], np.nan) for name, v in of_some.items()}
        columns["Device pulse"] = self._before[train] + ordinal + 1
        columns["Pulse in train"] = ordinal + 1
        columns["Ran"] = ordinal < self._executed[train]
        arrays = []
        for field in schema:
            if field.name in self._texts:
                arrays.append(self._texts[field.name].take(_arrow(train)).cast(field.type))
                continue
            values = columns[field.name].astype(np.dtype(str(field.type)))
            null = self._unknown[train] if field.name == "Ran" else np.isnan(values)
            arrays.append(_arrow(values, null))
        return pa.Table.from_arrays(arrays, schema=schema)


def _named(codes: NDArray[Any], name: Callable[[int], str]) -> Any:
    """Return codes as an Arrow array of texts, each of which is stored once."""
    import pyarrow as pa

    known, which = np.unique(codes, return_inverse=True)
    names = [name(int(code)).encode() for code in known]
    ends = np.cumsum([0, *map(len, names)]).astype(np.int32)
    letters = pa.py_buffer(b"".join(names))
    texts = pa.StringArray.from_buffers(len(names), pa.py_buffer(ends.data), letters)
    return pa.DictionaryArray.from_arrays(_arrow(which.astype(np.int32)), texts)


def _arrow(values: NDArray[Any], null: NDArray[np.bool_] | None = None) -> Any:
    """Return ``values`` as an Arrow array; from buffers, because ``pa.array`` imports pandas."""
    import pyarrow as pa

    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little").data)
    numbers = pa.py_buffer(np.ascontiguousarray(values).data)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, numbers])


def status_text(code: int, bits: dict[int, str]) -> str:
    """Return the names of the bits of a status, joined by ``|``; ``OK`` for none."""
    names = [name for bit, name in bits.items() if code & bit]
    rest = code & ~sum(bits)
    return "|".join(names + ([hex(rest)] if rest else [])) or "OK"
