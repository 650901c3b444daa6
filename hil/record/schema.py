"""The tables of a run folder: columns with types, units and meanings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import numpy as np

from hil.measurement import COLUMNS, Status
from hil.program import Phase

TableName = Literal["reads", "pulses", "ops"]

#: Version of the folder's layout; a reader refuses newer ones.
FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its NumPy type, unit ("" = none) and meaning."""

    name: str
    dtype: np.dtype[Any]
    unit: str
    meaning: str
    nullable: bool = False


def _column(name: str, dtype: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name, np.dtype(dtype), unit, meaning, nullable)


_OP: Final = _column("op", "i8", "", "operation id given by the controller")
_SEQ: Final = _column("seq", "i8", "", "row number in the run, without gaps")
_TIME: Final = _column("t_ns", "i8", "ns", "time since the run's start on the run's clock")
_PHASE: Final = _column("phase", "u1", "", "phase of the pulse block, see manifest phases")
_LAYER: Final = _column("layer", "u2", "", "layer of the network, 0 where there is none")

#: name -> columns. A leading ``seq`` is filled in by the recorder, never by a caller.
TABLES: Final[dict[TableName, tuple[Column, ...]]] = {
    "reads": (
        _OP,
        _column("block", "i4", "", "ordinal of the pulse block within the operation"),
        *(
            Column(name, np.dtype(dtype), unit, meaning)
            for name, (dtype, unit, meaning) in COLUMNS.items()
        ),
    ),
    "pulses": (
        _SEQ,
        _TIME,
        _OP,
        _PHASE,
        _LAYER,
        _column("row", "u2", "", "physical row of the device"),
        _column("col", "u2", "", "physical column of the device"),
        _column("v", "f4", "V", "device voltage delivered, quantised to the instrument's grid"),
        _column("width", "f4", "s", "pulse width delivered, quantised to the instrument's grid"),
        _column("count", "u4", "", "pulses delivered: commanded and quantised"),
        _column("executed", "u4", "", "pulses known to have run; null = unknown", nullable=True),
        _column("i_read", "f8", "A", "current read; status tells its state, NaN does not"),
        _column("g0", "f4", "S", "conductance before; null = not read", nullable=True),
        _column("g1", "f4", "S", "conductance after; null = not read", nullable=True),
        _column("temperature", "f4", "K", "temperature; null = no sensor", nullable=True),
        _column("status", "u4", "bits", "Status bits, see manifest status_bits"),
    ),
    "ops": (
        _SEQ,
        _TIME,
        _OP,
        _PHASE,
        _LAYER,
        _column("n_steps", "i8", "", "steps driven"),
        _column("n_pulses", "i8", "", "device pulses: selected devices x pulses"),
        _column("n_readings", "i8", "", "readings taken"),
        _column("duration_s", "f8", "s", "duration on the run's clock"),
        _column("energy_joule", "f8", "J", "upper bound of the energy; NaN = not computed"),
    ),
}


def columns_to_fill(table: TableName) -> tuple[Column, ...]:
    """Return the columns that a caller fills: all but ``seq``."""
    return tuple(column for column in TABLES[table] if column.name != "seq")


@cache
def arrow_schema(table: TableName) -> Any:
    """Return the pyarrow schema of ``table`` with unit and meaning in each field's metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(
                c.name,
                pa.from_numpy_dtype(c.dtype),
                nullable=c.nullable,
                metadata={"unit": c.unit, "meaning": c.meaning},
            )
            for c in TABLES[table]
        ],
        metadata={"table": table, "format": str(FORMAT_VERSION)},
    )


def describe_tables() -> dict[str, list[dict[str, Any]]]:
    """Return all tables as plain values for the manifest."""
    return {
        table: [
            {
                "name": c.name,
                "type": c.dtype.name,
                "unit": c.unit,
                "meaning": c.meaning,
                "nullable": c.nullable,
            }
            for c in columns
        ]
        for table, columns in TABLES.items()
    }


def describe_codes() -> dict[str, dict[str, int]]:
    """Return the numbers behind ``phase`` and ``status`` for the manifest."""
    return {
        "phases": {phase.name: int(phase) for phase in Phase},
        "status_bits": {str(bit.name): int(bit) for bit in Status},
    }
