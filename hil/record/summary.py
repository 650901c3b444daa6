"""One line about a run folder, whatever state it is in: what the catalogue holds."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from hil.errors import StoreError
from hil.record.reader import Run, open_run
from hil.record.schema import TableName


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What is known of a run without reading its rows.

    Attributes:
        folder: name of its folder.
        status: ``done``, ``interrupted``, ``failed``, …; without a stop record ``running`` while
            a process has its lock, else ``crashed``; ``damaged`` where it cannot be opened.
        started: UTC, ISO 8601.
        seconds: of wall time, None while it is not known.
        rows: of all tables, by the stop record; None without one.
        bytes: of the tables' files.
        problem: why it cannot be opened, or the error that ended it.
    """

    folder: str
    id: str | None
    name: str | None
    kind: str | None
    station: str | None
    backend: str | None
    simulated: bool | None
    status: str
    started: str | None
    seconds: float | None
    rows: int | None
    bytes: int
    operator: str | None
    sample: str | None
    problem: str | None


def looks_like_a_run(folder: Path) -> bool:
    """Return whether a folder is, or was, one of a run."""
    return (folder / "manifest.json").exists() or (folder / "events.jsonl").exists()


def summarise(folder: Path) -> RunSummary:
    """Return what is known of the run in ``folder``; never raises for what is in there."""
    size = _bytes_of(folder)
    try:
        run = open_run(folder)
        return _summary(run, size)
    except (StoreError, KeyError, TypeError, ValueError, AttributeError) as exc:
        problem = str(exc) if isinstance(exc, StoreError) else f"manifest.json: damaged: {exc!r}"
        return RunSummary(
            folder.name, None, None, None, None, None, None, "damaged", None, None, None, size,
            None, None, problem,
        )  # fmt: skip


def _summary(run: Run, size: int) -> RunSummary:
    manifest, stop = run.manifest, run.stop
    without_stop = "running" if run.is_running else "crashed"
    status = without_stop if stop is None else run.status
    started = datetime.fromisoformat(manifest["utc_epoch"]).astimezone(UTC)
    ended = _time(None if stop is None else stop.get("utc"))
    noted = {} if stop is None else stop.get("rows") or {}
    problem = (stop or {}).get("error") or next(iter(run.problems_so_far), None)
    return RunSummary(
        run.path.name, str(manifest["id"]), str(manifest["name"]), str(manifest["kind"]),
        _station_name(run.path), str(manifest["backend"]), bool(manifest["simulated"]), status,
        started.isoformat(timespec="seconds"),
        None if ended is None else (ended - started).total_seconds(),
        None if stop is None else sum(int(n) for n in noted.values()), size,
        _text(manifest.get("operator")), _text(manifest.get("sample")), _text(problem),
    )  # fmt: skip


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _station_name(folder: Path) -> str | None:
    try:
        station = tomllib.loads((folder / "config" / "station.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _text(station.get("name"))


def _bytes_of(folder: Path) -> int:
    total = 0
    for table in get_args(TableName):
        try:
            total += sum(file.stat().st_size for file in (folder / table).iterdir())
        except OSError:
            continue  # no such table, or a part that was sealed meanwhile
    return total


def stamp(folder: Path) -> str | None:
    """Return what changes with the summary of a run that has ended, None for one that has not."""
    stop = _stat(folder / "stop.json")
    if stop is None:
        return None
    files: Iterable[str] = ("manifest.json", "seals.jsonl")
    return json.dumps([stop, *(_stat(folder / name) for name in files)])


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
