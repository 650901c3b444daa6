"""MAT-files (version 5, read by MATLAB, Octave and SciPy): a struct of column vectors per table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import StoreError
from hil.export.outcome import unit_of
from hil.export.rows import Check
from hil.record.jsonable import to_json
from hil.record.labelled import UNKNOWN, run_attributes, stored_dtype, stored_values
from hil.record.reader import Run
from hil.record.schema import TABLES, TableName

#: A variable of a MAT-file of version 5 ends here, in bytes; with room for names and padding.
_LARGEST: Final = 2**31 - 2**16


def write_mat(
    path: Path,
    run: Run,
    tables: Sequence[TableName],
    outcome: Mapping[str, NDArray[Any]],
    check: Check,
) -> dict[TableName, int]:
    """Write tables, outcome and manifest as structs; return the number of rows per table.

    ``units`` and ``meanings`` are structs of texts with the same fields. Null is NaN; a column of
    whole numbers that may be null is one of doubles, which hold all of them exactly.

    Raises:
        StoreError: a table is larger than such a file can hold.
        OSError: the file cannot be written.
    """
    from scipy.io import savemat

    structs: dict[str, Any] = {table: _columns(run, table, check) for table in tables}
    rows = {table: next(iter(structs[table].values())).size for table in tables}
    structs["units"] = {t: {c.name: c.unit or "1" for c in TABLES[t]} for t in tables}
    structs["meanings"] = {t: {c.name: c.meaning for c in TABLES[t]} for t in tables}
    if outcome:
        structs["outcome"] = {
            name: values.astype(object) if values.dtype.kind == "U" else values
            for name, values in outcome.items()
        }
        structs["units"]["outcome"] = {
            name: unit_of(name) or "1" for name, values in outcome.items()
        }
    said = run_attributes(run)
    structs["run"] = {
        **{name: said[name] for name in said if name != "Conventions"},
        "manifest": to_json(run.manifest).decode(),
        "stop": to_json(run.stop).decode(),
        "events": np.array([to_json(e).decode().rstrip() for e in run.events], dtype=object),
        "problems": np.array(run.problems_so_far, dtype=object),
        "phases": run.manifest["phases"],
        "status_bits": run.manifest["status_bits"],
    }
    # A file's name would get .mat appended, and here it is a temporary one.
    savemat(
        str(path), structs, appendmat=False, long_field_names=True, oned_as="column",
        do_compression=True,
    )  # fmt: skip
    return rows


def _columns(run: Run, table: TableName, check: Check) -> dict[str, NDArray[Any]]:
    layout = TABLES[table]
    per_row = sum(stored_dtype(c).itemsize for c in layout)
    parts: list[list[NDArray[Any]]] = [[] for _ in layout]
    n_rows = 0
    for batch in run.batches(table):
        check()
        n_rows += batch.num_rows
        if n_rows * per_row > _LARGEST:
            raise StoreError(
                f"{table}: more than {_LARGEST // per_row} rows do not fit into a MAT-file, which "
                "holds 2 GiB per variable; MATLAB reads --to hdf5 (h5read) and --to netcdf (ncread)"
            )
        for column, part in zip(layout, parts, strict=True):
            part.append(stored_values(column, batch[column.name]))
    columns = {}
    for column, part in zip(layout, parts, strict=True):
        dtype = stored_dtype(column)
        values = np.concatenate([np.empty(0, dtype), *part])
        part.clear()
        if column.nullable and dtype.kind == "i":
            values = np.where(values == UNKNOWN, np.nan, values)
        columns[column.name] = values
    return columns
