"""HDF5 files that are netCDF-4 files as well: a group per table, a column per variable.

Attributes follow the CF conventions: ``units``, ``long_name``, flags, ``_FillValue`` for null. What
is known of the run as a whole is in the group ``run``, what its protocol gave in ``outcome``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.export.files import PatientFile
from hil.export.outcome import unit_of
from hil.export.rows import Check, pieces
from hil.extras import needed_for
from hil.record.jsonable import to_json
from hil.record.labelled import (
    DIMENSIONS,
    UNKNOWN,
    column_attributes,
    run_attributes,
    stored_dtype,
    stored_values,
)
from hil.record.reader import Run
from hil.record.schema import TABLES, TableName

_CHUNK_ROWS: Final = 1 << 16
_PACKED: Final = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def write_hdf5(
    path: Path,
    run: Run,
    tables: Sequence[TableName],
    outcome: Mapping[str, NDArray[Any]],
    check: Check,
    *,
    flat: bool = False,
    netcdf: bool = False,
) -> dict[TableName, int]:
    """Write tables, outcome and manifest; return the number of rows per table.

    ``flat`` puts the columns of the one table at the root instead of into a group, for readers that
    do not look into groups; ``netcdf`` marks the file as netCDF-4.

    Raises:
        BackendUnavailable: h5py is not installed.
        OSError: the file cannot be written.
    """
    with needed_for("an export to HDF5", "export"):
        import h5py
    with PatientFile(path, "w+") as disk:

        def check_all() -> None:
            disk.check()
            check()

        try:
            with h5py.File(disk, "w", track_order=True) as file:
                if netcdf:
                    versions = f"h5py={h5py.__version__},hdf5={h5py.version.hdf5_version}"
                    file.attrs["_NCProperties"] = f"version=2,{versions}"
                return _write_all(file, run, tables, outcome, flat, check_all)
        finally:
            disk.check()


def _write_all(
    file: Any,
    run: Run,
    tables: Sequence[TableName],
    outcome: Mapping[str, NDArray[Any]],
    flat: bool,
    check: Check,
) -> dict[TableName, int]:
    rows = {}
    for table in tables:
        # In the order of the table, not of the alphabet.
        group = file if flat else file.create_group(table, track_order=True)
        rows[table] = _write_table(group, run, table, check)
    if outcome:
        _write_outcome(file.create_group("outcome", track_order=True), outcome)
    _write_run(file.create_group("run", track_order=True), run)
    for name, value in run_attributes(run).items():
        file.attrs[name] = value
    return rows


def _write_table(group: Any, run: Run, table: TableName, check: Check) -> int:
    columns = TABLES[table]
    variables = [
        group.create_dataset(
            c.name, (0,), stored_dtype(c), maxshape=(None,), chunks=(_CHUNK_ROWS,), **_PACKED
        )
        for c in columns
    ]
    for column, variable in zip(columns, variables, strict=True):
        for name, value in column_attributes(column, run.manifest).items():
            variable.attrs[name] = value
        if column.nullable:
            missing = UNKNOWN if variable.dtype.kind == "i" else np.nan
            variable.attrs["_FillValue"] = variable.dtype.type(missing)
    n_rows = 0
    for part in pieces(run, table, _CHUNK_ROWS, check):
        last = n_rows + part.num_rows
        for column, variable in zip(columns, variables, strict=True):
            variable.resize((last,))
            variable[n_rows:last] = stored_values(column, part[column.name])
        n_rows = last
    dimension = DIMENSIONS[table]
    named = dict(zip((c.name for c in columns), variables, strict=True))
    scale = named.pop(dimension, None)
    if scale is None:
        scale = _dimension(group, dimension, n_rows)
    else:
        scale.make_scale(dimension)
    for variable in named.values():
        variable.dims[0].attach_scale(scale)
    return n_rows


def _dimension(group: Any, name: str, size: int) -> Any:
    """Return a netCDF dimension without values; it takes no space in the file."""
    scale = group.create_dataset(name, (size,), ">f4", maxshape=(None,), chunks=(_CHUNK_ROWS,))
    # The netCDF-4 format's own words, see "Variables" in its specification of HDF5 files.
    scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{size:10d}")
    return scale


def _write_run(group: Any, run: Run) -> None:
    import h5py

    text = h5py.string_dtype()
    group.create_dataset("manifest", data=to_json(run.manifest).decode(), dtype=text)
    group.create_dataset("stop", data=to_json(run.stop).decode(), dtype=text)
    for name, dimension, lines in (
        ("events", "event", [to_json(event).decode().rstrip() for event in run.events]),
        ("problems", "problem", list(run.problems_so_far)),
    ):
        variable = group.create_dataset(name, (len(lines),), text, maxshape=(None,), chunks=(1024,))
        variable[:] = lines
        variable.dims[0].attach_scale(_dimension(group, dimension, len(lines)))


def _write_outcome(group: Any, outcome: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays with dimensions shared by their sizes, as netCDF needs every one named."""
    import h5py

    dimensions: dict[int, Any] = {}
    for name, values in outcome.items():
        if values.dtype.kind == "U":
            variable = group.create_dataset(
                name, values.shape, h5py.string_dtype(), data=values.astype(object)
            )
        else:
            stored = values.astype(np.uint8) if values.dtype.kind == "b" else values
            variable = group.create_dataset(name, data=stored)
            variable.attrs["units"] = unit_of(name) or "1"
        used: list[int] = []
        for axis, size in enumerate(values.shape):
            # A variable cannot have one dimension twice, as a square map would.
            key = size * 64 + used.count(size)
            used.append(size)
            if key not in dimensions:
                label = f"size_{size}" + "_again" * (key % 64)
                dimensions[key] = _dimension(group, label, size)
            variable.dims[axis].attach_scale(dimensions[key])
