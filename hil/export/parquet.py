"""Parquet files: types, null, units and meanings as in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hil.export.rows import Check, pieces
from hil.record.jsonable import to_json
from hil.record.labelled import run_attributes
from hil.record.reader import Run
from hil.record.schema import TABLES, TableName, arrow_schema

_GROUP_ROWS: Final = 1 << 20


def write_parquet(path: Path, run: Run, table: TableName, check: Check) -> int:
    """Write a table as Parquet and return the number of rows.

    Unit and meaning are in each field's metadata, the manifest and the stop record, as JSON, in the
    file's.
    """
    import pyarrow.parquet as pq

    floats = [c.name for c in TABLES[table] if c.dtype.kind == "f"]
    options: dict[str, Any] = {
        "compression": "zstd",
        "use_byte_stream_split": floats,
        "use_dictionary": [c.name for c in TABLES[table] if c.name not in floats],
    }
    n_rows = 0
    with pq.ParquetWriter(path, arrow_schema(table), **options) as writer:
        for part in pieces(run, table, _GROUP_ROWS, check):
            writer.write_table(part, row_group_size=_GROUP_ROWS)
            n_rows += part.num_rows
        # At the end, when it is known what could not be read.
        said = {"manifest": to_json(run.manifest).decode(), "stop": to_json(run.stop).decode()}
        writer.add_key_value_metadata(run_attributes(run) | said)
    return n_rows
