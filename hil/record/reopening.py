"""What a run folder holds when another session goes on writing it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from hil.errors import StoreError
from hil.record import durable, surroundings
from hil.record.checkpoints import noted_checkpoints
from hil.record.leases import OpenLease, open_leases
from hil.record.parts import TableReader, part_numbers
from hil.record.schema import TableName
from hil.record.sealed import read_notes, sealed_name
from hil.record.segments import segment_name


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier sessions left of a run.

    Attributes:
        begin: per table, number of the next segment and of the next row.
        parts: what the stop record says of the files that are there: path -> bytes, sha256, rows.
        leases, last_lease: intents that nothing closed, and number of the last one.
        epoch_ns: monotonic time that is zero on the run's clock, in this boot of the system.
    """

    begin: dict[TableName, tuple[int, int]]
    parts: dict[str, dict[str, Any]]
    leases: tuple[OpenLease, ...]
    last_lease: int
    epoch_ns: int

    @classmethod
    def nothing(cls, manifest: dict[str, Any]) -> Before:
        """Return what a new run begins with."""
        return cls({}, {}, (), 0, manifest["monotonic_epoch_ns"])


def look_back(folder: Path, manifest: dict[str, Any]) -> Before:
    """Return what is there; rows after damage at the end of a segment are not counted.

    Raises:
        StoreError: the run is done, or a file cannot be read.
    """
    begin: dict[TableName, tuple[int, int]] = {}
    parts: dict[str, dict[str, Any]] = {}
    events = _events(folder)
    try:
        stop = _json(folder / "stop.json") or {}
        if stop.get("status") == "done":
            raise StoreError(f"{folder}: the run is done, nothing can be added to it")
        noted = stop.get("parts", {})
        for table in get_args(TableName):
            numbers, _ = part_numbers(folder / table)
            if not numbers:
                continue
            reader = TableReader(folder, table)
            for number in numbers:
                before = reader.rows
                for _ in reader.part(number):
                    pass
                parts |= _part_of(folder, table, number, noted, reader.rows - before)
            begin[table] = numbers[-1] + 1, reader.rows
    except OSError as exc:
        raise durable.store_error("go on with the run in", folder, exc) from exc
    for checkpoint in noted_checkpoints(folder, events):
        name = f"checkpoints/{checkpoint.path.name}"
        parts[name] = {"bytes": checkpoint.bytes, "sha256": checkpoint.sha256}
    leases, last, _ = open_leases(folder)
    latest_ns = max((e["t_ns"] for e in events if isinstance(e.get("t_ns"), int)), default=0)
    return Before(begin, parts, tuple(leases), last, _epoch_ns(manifest, latest_ns))


def put_stop_aside(folder: Path) -> None:
    """Give the stop record of an earlier session another name, for the run goes on.

    Raises:
        StoreError: it cannot be renamed.
    """
    number = 1 + sum(1 for _ in folder.glob("stop-[0-9]*.json"))
    with contextlib.suppress(FileNotFoundError):
        try:
            (folder / "stop.json").rename(folder / f"stop-{number:06d}.json")
            durable.sync_folder(folder)
        except PermissionError as exc:  # a reader holds it, on Windows
            raise durable.store_error("put aside", folder / "stop.json", exc) from exc


def _part_of(
    folder: Path, table: TableName, number: int, noted: dict[str, Any], rows: int
) -> dict[str, dict[str, Any]]:
    segment = f"{table}/{segment_name(number)}"
    if segment in noted:
        return {segment: noted[segment]}
    sealed = f"{table}/{sealed_name(number)}"
    notes, _ = read_notes(folder)
    if not (folder / segment).exists():
        return {sealed: notes[sealed].as_part()} if sealed in notes else {}
    content = (folder / segment).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {segment: {"rows": rows, "bytes": len(content), "sha256": digest}}


def _epoch_ns(manifest: dict[str, Any], latest_ns: int) -> int:
    """Return the zero of the run's clock on this boot's monotonic clock.

    After a reboot it follows from UTC; the run's clock never goes back behind ``latest_ns``.
    """
    now_ns = time.monotonic_ns()
    t_ns: int
    if manifest["boot_id"] is not None and manifest["boot_id"] == surroundings.boot_id():
        t_ns = now_ns - manifest["monotonic_epoch_ns"]
    else:
        t_ns = time.time_ns() - manifest["utc_epoch_ns"]
    return now_ns - max(t_ns, latest_ns)


def _events(folder: Path) -> list[dict[str, Any]]:
    found = []
    try:
        lines = (folder / "events.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise durable.store_error("read", folder / "events.jsonl", exc) from exc
    for line in lines:
        with contextlib.suppress(ValueError):  # the reader reports damaged lines
            event = json.loads(line)
            if isinstance(event, dict):
                found.append(event)
    return found


def _json(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else None
    return None
