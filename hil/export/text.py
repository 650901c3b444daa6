"""CSV files with the unit in the head of each column, and a file beside them that says the rest.

That file is metadata after the W3C's "Metadata Vocabulary for Tabular Data" (CSVW), under the name
that such readers look for: ``<file>-metadata.json``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from hil.export.rows import Check, pieces
from hil.record.jsonable import to_json
from hil.record.labelled import run_attributes
from hil.record.reader import Run
from hil.record.schema import TABLES, TableName, arrow_schema

_PIECE_ROWS: Final = 1 << 17
#: NumPy kind and size -> name of the type in CSVW.
_TYPES: Final = {
    "i8": "long", "i4": "int", "i2": "short", "u8": "unsignedLong", "u4": "unsignedInt",
    "u2": "unsignedShort", "u1": "unsignedByte", "f4": "float", "f8": "double",
}  # fmt: skip


def write_csv(path: Path, run: Run, table: TableName, check: Check) -> int:
    """Write a table below one head row such as ``v [V]``; return the number of rows.

    Null is empty; a number that is none is ``nan``.
    """
    heads = [f"{c.name} [{c.unit}]" if c.unit else c.name for c in TABLES[table]]
    return write_rows(path, [heads], arrow_schema(table), pieces(run, table, _PIECE_ROWS, check))


def write_rows(
    path: Path, heads: Sequence[Sequence[str]], schema: Any, parts: Iterable[Any]
) -> int:
    """Write rows of head cells, then the rows of pyarrow Tables; return how many those are."""
    from pyarrow import csv as arrow_csv

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(heads)
    options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
    n_rows = 0
    with path.open("wb") as file:
        file.write(text.getvalue().encode())
        with arrow_csv.CSVWriter(file, schema, write_options=options) as writer:
            for part in parts:
                writer.write_table(part)
                n_rows += part.num_rows
    return n_rows


def describe_csv(path: Path, run: Run, table: TableName) -> bytes:
    """Return the metadata of the CSV file ``path``: types, units, meanings, the run's manifest."""
    columns = [
        {
            "name": c.name,
            "titles": f"{c.name} [{c.unit}]" if c.unit else c.name,
            "datatype": _TYPES[c.dtype.str[1:]],
            "required": not c.nullable,
            "schema:unitText": c.unit or "1",
            "dc:description": c.meaning,
        }
        for c in TABLES[table]
    ]
    return describe(path, run, {"tableSchema": {"columns": columns}})


def describe(path: Path, run: Run, more: dict[str, Any]) -> bytes:
    """Return CSVW metadata with what is known of the run, as JSON."""
    said = run_attributes(run)
    return to_json(
        {
            "@context": "http://www.w3.org/ns/csvw",
            "url": path.name,
            "dc:title": said["title"],
            **more,
            "notes": [
                {
                    **said,
                    "problems": list(run.problems_so_far),
                    "stop": run.stop,
                    "manifest": run.manifest,
                }
            ],
        },
        indent=2,
    )
