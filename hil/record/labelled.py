"""A run's tables as labelled columns: attributes after the CF conventions, and xarray datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hil.errors import StoreError
from hil.extras import needed_for
from hil.record.schema import TABLES, Column, TableName

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from hil.record.reader import Run

#: Name of each table's dimension; where it is a column, that is the coordinate.
DIMENSIONS: Final[dict[TableName, str]] = {"reads": "reading", "pulses": "seq", "ops": "seq"}
#: Column of codes -> where the manifest names them, and what CF calls such numbers.
_FLAGS: Final = {"phase": ("phases", "flag_values"), "status": ("status_bits", "flag_masks")}
#: Stands for a whole number that is not known, in formats without null.
UNKNOWN: Final = -1


def column_attributes(column: Column, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return unit ("1" = none), meaning and the names of codes as CF-1.8 names them."""
    attributes: dict[str, Any] = {"units": column.unit or "1", "long_name": column.meaning}
    if column.name in _FLAGS:
        codes, kind = _FLAGS[column.name]
        named = manifest[codes]
        attributes[kind] = np.array(list(named.values()), column.dtype)
        attributes["flag_meanings"] = " ".join(named)
    return attributes


def run_attributes(run: Run) -> dict[str, str]:
    """Return what a file says of the run as a whole; it tells an unfinished run from a whole one.

    Of damage it knows what has been found so far.
    """
    manifest = run.manifest
    made = "simulated" if manifest["simulated"] else "measured"
    attributes = {
        "Conventions": "CF-1.8",
        "title": str(manifest["name"]),
        "source": f"synapse-hil, backend {manifest['backend']}, {made}",
        "run_id": str(manifest["id"]),
        "run_started": str(manifest["utc_epoch"]),
        "run_status": run.status,
    }
    remarks = [] if run.status == "done" else [f"the run did not end as planned: {run.status}"]
    if error := (run.stop or {}).get("error"):
        remarks.append(str(error))
    for array, devices in run.unknown_devices().items():
        remarks.append(f"array {array}: what {len(devices)} devices received last is not known")
    remarks += run.problems_so_far
    if remarks:
        attributes["comment"] = "; ".join(remarks)
    return attributes


def stored_dtype(column: Column) -> np.dtype[Any]:
    """Return the type of a column where there is no null: signed, so that -1 says unknown."""
    whole = column.nullable and column.dtype.kind == "u"
    return np.dtype(np.int64) if whole else column.dtype


def stored_values(column: Column, values: Any) -> NDArray[Any]:
    """Return an Arrow column as :func:`stored_dtype`; null is NaN, or -1 for whole numbers."""
    missing = UNKNOWN if column.dtype.kind == "u" else float("nan")
    return numpy_of(values, missing).astype(stored_dtype(column), copy=False)


def numpy_of(values: Any, null: float = 0) -> NDArray[Any]:
    """Return Arrow numbers as NumPy's, with ``null`` in the place of null.

    pyarrow's own ``to_numpy`` and ``fill_null`` import pandas, which takes longer than to export a
    small run.
    """
    import pyarrow as pa

    whole = values.combine_chunks() if hasattr(values, "combine_chunks") else values
    buffers = [None, whole.buffers()[1]]
    numbers = pa.Array.from_buffers(whole.type, len(whole), buffers, offset=whole.offset)
    array: NDArray[Any] = np.from_dlpack(numbers)
    if not whole.null_count:
        return array
    signed = array.astype(np.int64) if array.dtype.kind == "u" and null < 0 else array
    return np.where(null_of(whole), signed.dtype.type(null), signed)


def null_of(values: Any) -> NDArray[np.bool_]:
    """Return where an Arrow column is null."""
    null: NDArray[np.bool_] = numpy_of(values.is_null().cast("uint8")) != 0
    return null


def to_dataset(run: Run, table: TableName) -> xr.Dataset:
    """Return a table as an xarray dataset along one dimension; null is NaN.

    Raises:
        StoreError: no such table.
        BackendUnavailable: xarray is not installed.
    """
    if table not in TABLES:
        raise StoreError(f"no table {table!r}; a run has {', '.join(TABLES)}")
    with needed_for("a labelled table", "export"):
        import xarray as xr
    rows = getattr(run, table).combine_chunks()
    dimension = DIMENSIONS[table]
    variables = {}
    for column in TABLES[table]:
        dtype = stored_dtype(column)
        encoding: dict[str, Any] = {"dtype": dtype}
        if column.nullable:
            encoding["_FillValue"] = dtype.type(UNKNOWN if dtype.kind == "i" else np.nan)
        values = stored_values(column, rows[column.name])
        if column.nullable and dtype.kind == "i":
            values = np.where(values == UNKNOWN, np.nan, values)
        attributes = column_attributes(column, run.manifest)
        variables[column.name] = xr.Variable(dimension, values, attributes, encoding)
    names = [dimension] if dimension in variables else []
    coordinates = {name: variables.pop(name) for name in names}
    return xr.Dataset(variables, coordinates, run_attributes(run))
