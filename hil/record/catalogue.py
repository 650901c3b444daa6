"""The catalogue of a folder of runs: an index in SQLite that can always be made again.

Everything it says is in the run folders. It is brought up to date when it is asked, so recording
never waits for it, and one that is damaged is thrown away and rebuilt.
"""

from __future__ import annotations

import fnmatch
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from hil.errors import StoreError
from hil.record.durable import store_error
from hil.record.summary import RunSummary, looks_like_a_run, stamp, summarise

FILE: Final = "catalogue.sqlite"
_VERSION: Final = 1
_NAMES: Final = [f.name for f in fields(RunSummary)]
_BUSY_S: Final = 10.0
#: What runs can be sorted by -> whether the largest comes first.
ORDERS: Final = {
    "started": True, "name": False, "status": False, "kind": False, "station": False,
    "seconds": True, "rows": True, "bytes": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are asked for; None = all. Texts may hold ``*``, ``?``, and are whole otherwise.

    A ``name`` without ``*`` and ``?`` need only be part of the run's.
    """

    name: str | None = None
    status: str | None = None
    kind: str | None = None
    station: str | None = None
    since: datetime | None = None

    def fits(self, run: RunSummary) -> bool:
        """Return whether ``run`` is one of those asked for."""
        name = self.name
        if name is not None and not set(name) & set("*?["):
            name = f"*{name}*"
        pairs = ((name, run.name or run.folder), (self.status, run.status),
                 (self.kind, run.kind), (self.station, run.station))  # fmt: skip
        if not all(p is None or fnmatch.fnmatchcase(found or "", p) for p, found in pairs):
            return False
        if self.since is None:
            return True
        return run.started is not None and datetime.fromisoformat(run.started) >= self.since


class Catalogue:
    """The runs of one folder, up to date when it was opened; see :func:`open_catalogue`.

    Attributes:
        notes: what was wrong with the index, for people; empty mostly.
    """

    def __init__(self, root: Path, base: sqlite3.Connection, notes: list[str]) -> None:
        self.root, self._base, self.notes = root, base, notes

    def runs(
        self, wanted: Wanted | None = None, order: str = "started", *, reverse: bool = False
    ) -> list[RunSummary]:
        """Return the runs asked for, sorted by one of :data:`ORDERS`; unknown values come last."""
        rows = self._base.execute(f"SELECT {', '.join(_NAMES)} FROM runs")
        found = [_summary_of(row) for row in rows]
        found = [run for run in found if wanted is None or wanted.fits(run)]
        known = [run for run in found if getattr(run, order) is not None]
        known.sort(key=lambda run: (getattr(run, order), run.folder))
        if ORDERS[order] != reverse:
            known.reverse()
        return known + [run for run in found if getattr(run, order) is None]

    def refresh(self) -> None:
        """Take in new runs, look again at those that had not ended, and drop those that are gone.

        Raises:
            StoreError: the folder or the index cannot be read.
        """
        try:
            folders = {p.name: p for p in self.root.iterdir() if p.is_dir()}
        except OSError as exc:
            raise store_error("list the runs in", self.root, exc) from exc
        names = ", ".join(_NAMES)
        known = {row[0]: row for row in self._base.execute(f"SELECT {names}, stamp FROM runs")}
        with self._base:
            for name in known.keys() - folders.keys():
                self._base.execute("DELETE FROM runs WHERE folder = ?", (name,))
            for name, folder in folders.items():
                mark, before = stamp(folder), known.get(name)
                if before is not None and mark is not None and before[-1] == mark:
                    continue
                values = (*astuple(summarise(folder)), mark) if looks_like_a_run(folder) else None
                if values is not None and values != before:
                    places = ", ".join("?" * len(values))
                    self._base.execute(f"INSERT OR REPLACE INTO runs VALUES ({places})", values)

    def close(self) -> None:
        """Close the index."""
        self._base.close()


def _summary_of(row: tuple[Any, ...]) -> RunSummary:
    values = dict(zip(_NAMES, row, strict=True))
    simulated = values["simulated"]  # SQLite knows no truth values
    return RunSummary(**values | {"simulated": None if simulated is None else bool(simulated)})


@contextmanager
def open_catalogue(root: str | Path, *, rebuild: bool = False) -> Iterator[Catalogue]:
    """Open the catalogue of the runs in ``root``, up to date; make it where it is missing.

    One that is damaged or of another version is rebuilt. Where none can be written (a read-only
    disk) it is made in memory. It belongs on a local disk, as every SQLite file with a log does.

    Args:
        root: folder of runs.
        rebuild: throw the index away and scan all run folders.

    Raises:
        StoreError: there is no such folder, or another process blocks the catalogue.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder")
    catalogue = _opened(folder, rebuild)
    try:
        yield catalogue
    finally:
        catalogue.close()


def _opened(folder: Path, rebuild: bool) -> Catalogue:
    notes: list[str] = []
    file = folder / FILE
    if rebuild:
        _remove(file)
    try:
        return _patiently(folder, file, notes)
    except sqlite3.DatabaseError as exc:
        if _is_busy(exc):
            raise StoreError(f"{file}: another process is using it: {exc}") from exc
        if isinstance(exc, sqlite3.OperationalError) and not _is_damaged(exc):
            notes.append(f"{file} cannot be written ({exc}); made in memory")
            return _up_to_date(folder, None, notes)
        notes.append(f"{file} was damaged ({exc}); rebuilt from the run folders")
    _remove(file)
    try:
        return _up_to_date(folder, file, notes)
    except sqlite3.DatabaseError as exc:
        raise StoreError(f"{file}: cannot be rebuilt: {exc}") from exc


def _patiently(folder: Path, file: Path, notes: list[str]) -> Catalogue:
    """Return the catalogue; SQLite waits for no other process while it turns to its log."""
    end = time.monotonic() + _BUSY_S
    while True:
        try:
            return _up_to_date(folder, file, notes)
        except sqlite3.DatabaseError as exc:
            if not _is_busy(exc) or time.monotonic() > end:
                raise
        time.sleep(0.05)


def _up_to_date(folder: Path, file: Path | None, notes: list[str]) -> Catalogue:
    base = sqlite3.connect(":memory:" if file is None else file, timeout=_BUSY_S)
    try:
        # Write-ahead log: who reads never waits for who writes; FULL: what is written stays.
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version} instead of {_VERSION}")
        columns = ", ".join(_NAMES)
        base.execute(f"CREATE TABLE IF NOT EXISTS runs ({columns}, stamp, PRIMARY KEY (folder))")
        base.execute(f"PRAGMA user_version={_VERSION}")
        catalogue = Catalogue(folder, base, notes)
        catalogue.refresh()
        catalogue.runs()
    except BaseException:
        base.close()
        raise
    return catalogue


def _is_busy(exc: sqlite3.DatabaseError) -> bool:
    return _code(exc) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_damaged(exc: sqlite3.DatabaseError) -> bool:
    """Return whether the index itself is wrong, or its table has not the columns it should have."""
    return _code(exc) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _code(exc: sqlite3.DatabaseError) -> int:
    """Return SQLite's primary result code; what this module raises itself means damage."""
    return int(getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF


def _remove(file: Path) -> None:
    for path in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise store_error("remove the catalogue", path, exc) from exc
