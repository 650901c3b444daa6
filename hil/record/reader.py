"""Opens run folders: finished, interrupted, crashed or still being written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hil.errors import StoreError
from hil.record.schema import FORMAT_VERSION, TABLES, TableName, arrow_schema
from hil.record.segments import checksum, split_message, unmarked

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

RUNNING = "crashed or running"


def open_run(path: str | Path) -> Run:
    """Open the run folder at ``path`` for reading.

    Raises:
        StoreError: no such folder, no run folder, or written by a newer version.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder")
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{folder}: not a run folder, it has no manifest.json") from None
    except OSError as exc:
        raise StoreError(f"cannot read {file}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise StoreError(f"{file}: damaged: {exc}") from exc
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(version, int):
        raise StoreError(f"{file}: not a manifest of a run, it has no format version")
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{file}: format {version} is newer than {FORMAT_VERSION}, the newest this version "
            "reads; update synapse-hil"
        )
    return Run(folder, manifest)


class Run:
    """A recorded run. Tables are read on first use and kept; open the run again for newer rows.

    Attributes:
        path: the folder.
        manifest: content of ``manifest.json``.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._problems: list[str] = []

    @cached_property
    def stop(self) -> dict[str, Any] | None:
        """Content of ``stop.json``; None when the run crashed or runs, or the file is damaged."""
        file = self.path / "stop.json"
        try:
            record = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            self._problems.append(f"stop.json: cannot be read: {exc}")
            return None
        return record if isinstance(record, dict) else None

    @property
    def status(self) -> str:
        """``done``, ``interrupted``, ``failed``; without a stop record ``crashed or running``."""
        return RUNNING if self.stop is None else str(self.stop.get("status"))

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """Lines of ``events.jsonl``, oldest first."""
        try:
            lines = (self.path / "events.jsonl").read_bytes().split(b"\n")
        except OSError as exc:
            self._problems.append(f"events.jsonl: cannot be read: {exc.strerror or exc}")
            return []
        events = []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                events.append(json.loads(line))
            except ValueError as exc:
                self._problems.append(f"events.jsonl:{number}: damaged line: {exc}")
        return events

    @cached_property
    def reads(self) -> Any:
        """Raw readings as a pyarrow Table; unit and meaning are in the fields' metadata."""
        return self._table("reads")

    @cached_property
    def pulses(self) -> Any:
        """Device-level pulses as a pyarrow Table; unit and meaning are in the fields' metadata."""
        return self._table("pulses")

    @cached_property
    def ops(self) -> Any:
        """Operations as a pyarrow Table; unit and meaning are in the fields' metadata."""
        return self._table("ops")

    @property
    def problems(self) -> tuple[str, ...]:
        """What is damaged or missing, one line each; reads all of the run.

        Rows after a damaged batch of a segment are left out of the tables. The last batch of a run
        that crashed may be incomplete; its rows were never acknowledged.
        """
        for name in ("stop", "events", *get_args(TableName)):
            getattr(self, name)
        return self.problems_so_far

    @property
    def problems_so_far(self) -> tuple[str, ...]:
        """What is damaged or missing in what has been read so far, one line each."""
        return tuple(dict.fromkeys(self._problems))  # a part may have been read twice

    def verify(self) -> tuple[str, ...]:
        """Return the problems, after comparing every file with the sha256 noted for it."""
        found = list(self.problems)
        expected = {f"config/{n}": c["sha256"] for n, c in self.manifest["config"].items()}
        for name, part in ((self.stop or {}).get("parts") or {}).items():
            expected[name] = part["sha256"]
        for beside in sorted(self.path.glob("*.sha256")):  # files that go on after the stop record
            digest, _, name = beside.read_text(encoding="utf-8").strip().partition("  ")
            expected[name or beside.stem] = digest
        for name, digest in expected.items():
            try:
                content = (self.path / name).read_bytes()
            except OSError as exc:
                found.append(f"{name}: cannot be read: {exc.strerror or exc}")
                continue
            if hashlib.sha256(content).hexdigest() != digest:
                found.append(f"{name}: its sha256 is not the one noted")
        return tuple(found)

    def to_pandas(self, table: TableName) -> pd.DataFrame:
        """Return ``reads``, ``pulses`` or ``ops`` as a data frame with ``frame.attrs["units"]``.

        Raises:
            StoreError: no such table, or pandas is not installed.
        """
        if table not in TABLES:
            raise StoreError(f"no table {table!r}; a run has {', '.join(TABLES)}")
        try:
            import pandas as pd
        except ImportError as exc:
            raise StoreError("pandas is not installed; pip install 'synapse-hil[pandas]'") from exc
        rows = getattr(self, table)
        frame: pd.DataFrame = rows.to_pandas()
        for column in TABLES[table]:
            if column.nullable and column.dtype.kind == "u":
                values, null = rows[column.name].fill_null(0), rows[column.name].is_null()
                frame[column.name] = pd.arrays.IntegerArray(values.to_numpy(), null.to_numpy())
        frame.attrs["units"] = {c.name: c.unit for c in TABLES[table]}
        frame.attrs["meanings"] = {c.name: c.meaning for c in TABLES[table]}
        return frame

    def to_xarray(self, table: TableName = "pulses") -> xr.Dataset:
        """Return ``reads``, ``pulses`` or ``ops`` as an xarray dataset; null is NaN.

        Units, meanings and the names of codes are attributes after the CF conventions.

        Raises:
            StoreError: no such table, or xarray is not installed.
        """
        from hil.record.labelled import to_dataset

        return to_dataset(self, table)

    def batches(self, table: TableName) -> Iterator[Any]:
        """Yield the rows of ``table`` in order as pyarrow record batches.

        At most one part of the run is in memory. What is damaged is left out and becomes one of the
        :attr:`problems`, as in the tables.

        Raises:
            StoreError: no such table.
        """
        if table not in TABLES:
            raise StoreError(f"no table {table!r}; a run has {', '.join(TABLES)}")
        rows = readable = 0
        for file in sorted((self.path / table).glob("*.arrows")):
            found: list[Any] = []
            rows = self._read_segment(table, file, found, rows)
            readable += sum(batch.num_rows for batch in found)
            yield from found
        noted = (self.stop or {}).get("rows", {}).get(table, 0)
        if self.stop is not None and noted != readable:
            self._problems.append(f"{table}: {readable} rows readable, stop.json notes {noted}")

    def _table(self, table: TableName) -> Any:
        import pyarrow as pa

        return pa.Table.from_batches(list(self.batches(table)), schema=arrow_schema(table))

    def _read_segment(self, table: TableName, file: Path, batches: list[Any], rows: int) -> int:
        """Append the good batches of one segment; return the number of the row expected next."""
        import pyarrow as pa

        name = f"{table}/{file.name}"
        offset = 0
        try:
            content = file.read_bytes()
            source = pa.BufferReader(content)
            stream = pa.ipc.open_stream(source)
            if not stream.schema.equals(arrow_schema(table), check_metadata=True):
                self._problems.append(f"{name}: its columns are not those of this format")
                return rows
            offset = source.tell()
            while True:
                try:
                    batch, marks = stream.read_next_batch_with_custom_metadata()
                except StopIteration:
                    break
                message = memoryview(content)[offset : source.tell()]
                first = _check_batch(batch, dict(marks or {}), message)
                if first != rows:
                    self._problems.append(f"{name}: rows {rows} to {first} are missing before it")
                batches.append(batch)
                rows = first + batch.num_rows
                offset = source.tell()
            left = source.size() - source.tell()
            if left:
                self._problems.append(f"{name}: {left} bytes after the end at byte {offset}")
        except (pa.ArrowException, OSError, ValueError, MemoryError) as exc:
            self._problems.append(f"{name}: stops at byte {offset}, row {rows}: {_one_line(exc)}")
        return rows


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


def _one_line(exc: BaseException) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]
