"""Opens run folders: finished, interrupted, crashed or still being written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hil.errors import StoreError
from hil.extras import needed_for
from hil.locks import is_held
from hil.record.checkpoints import Checkpoint, noted_checkpoints
from hil.record.files import LOCK
from hil.record.leases import OpenLease, open_leases, unknown_devices
from hil.record.parts import TableReader
from hil.record.schema import FORMAT_VERSION, TABLES, TableName, arrow_schema
from hil.record.undone import standing, standing_history, undone_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from hil.record.history import History

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
        self._read: set[str] = set()  # tables read to their end

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
        """``done``, ``interrupted``, ``failed`` or ``endurance`` as the stop record says.

        Without one ``crashed or running``.
        """
        return RUNNING if self.stop is None else str(self.stop.get("status"))

    @property
    def is_running(self) -> bool:
        """Whether a process is recording into the run now, as far as its lock can tell."""
        return self.stop is None and is_held(self.path / LOCK)

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
                event = json.loads(line)
            except ValueError as exc:
                self._problems.append(f"events.jsonl:{number}: damaged line: {exc}")
                continue
            if isinstance(event, dict):
                events.append(event)
            else:
                self._problems.append(f"events.jsonl:{number}: damaged line: no object")
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

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        """Checkpoints in the order of their writing; they load only with the sha256 noted."""
        return noted_checkpoints(self.path, self.events)

    @cached_property
    def open_leases(self) -> list[OpenLease]:
        """Write-ahead intents that nothing closed: what may have been written when the run ended.

        Damage in a file of intents is one of the problems.
        """
        leases, _, problems = open_leases(self.path)
        self._problems += problems
        return leases

    def unknown_devices(self) -> dict[str, NDArray[np.int64]]:
        """Return for every array with open leases its unknown devices as (n, 2) rows and columns.

        Read them before anything else; what they received is not known. No array = none.
        """
        return unknown_devices(self.open_leases)

    def conductance_history(self, row: int, col: int, layer: int | None = None) -> History:
        """Return what one device received and what was read of it, in siemens, oldest first.

        ``layer`` None = all layers; arrays of a run that share a layer are not told apart. It is
        made of ``pulses``, so of phases recorded at level ``full``.
        """
        from hil.record.history import device_history

        history, problems = device_history(self.path, row, col, layer)
        self._problems += problems
        return standing_history(history, undone_rows(self.events, "pulses"))

    @property
    def problems(self) -> tuple[str, ...]:
        """What is damaged or missing, one line each; reads all of the run.

        Rows after a damaged batch of a segment are left out of the tables. The last batch of a run
        that crashed may be incomplete; its rows were never acknowledged.
        """
        for name in ("stop", "events", "open_leases"):
            getattr(self, name)
        for table in get_args(TableName):
            if table not in self._read:
                for _ in self.batches(table):  # a table may be larger than memory
                    pass
        return self.problems_so_far

    @property
    def problems_so_far(self) -> tuple[str, ...]:
        """What is damaged or missing in what has been read so far, one line each."""
        return tuple(dict.fromkeys(self._problems))  # a part may have been read twice

    def verify(self) -> tuple[str, ...]:
        """Return the problems, after comparing every file with the sha256 noted for it."""
        from hil.record.verifying import differences

        return (*self.problems, *differences(self.path, self.manifest, self.stop))

    def to_pandas(self, table: TableName) -> pd.DataFrame:
        """Return ``reads``, ``pulses`` or ``ops`` as a data frame with ``frame.attrs["units"]``.

        Raises:
            StoreError: no such table.
            BackendUnavailable: pandas is not installed.
        """
        if table not in TABLES:
            raise StoreError(f"no table {table!r}; a run has {', '.join(TABLES)}")
        with needed_for("a data frame", "pandas"):
            import pandas as pd
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

        At most one part of the run is in memory. Rows of simulated devices that were put back to a
        checkpoint before them are left out (an event ``undone`` names them). What is damaged is
        left out and becomes one of the :attr:`problems`, as in the tables.

        Raises:
            StoreError: no such table.
        """
        if table not in TABLES:
            raise StoreError(f"no table {table!r}; a run has {', '.join(TABLES)}")
        reader, readable = TableReader(self.path, table), 0
        undone = undone_rows(self.events, table)
        for batch in reader.batches():
            readable += batch.rows.num_rows
            yield from standing(batch.rows, batch.first, undone)
        self._problems += reader.problems
        noted = (self.stop or {}).get("rows", {}).get(table, 0)
        if self.stop is not None and noted != readable:
            self._problems.append(f"{table}: {readable} rows readable, stop.json notes {noted}")
        self._read.add(table)

    def _table(self, table: TableName) -> Any:
        import pyarrow as pa

        return pa.Table.from_batches(list(self.batches(table)), schema=arrow_schema(table))
