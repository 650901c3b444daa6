"""``hil runs`` and ``hil seal``: the runs of a folder, and their last form on the disk."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output

if TYPE_CHECKING:
    from hil.record.summary import RunSummary

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_BYTES: Final = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Folder of runs.")] = Path(
        "runs"
    ),
    name: Annotated[
        str | None, typer.Option("--name", help="Part of the name, or a pattern with * and ?.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="done, interrupted, failed, running, crashed, damaged …"),
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="run, train or demo.")] = None,
    station: Annotated[str | None, typer.Option("--station", help="Name of the station.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", help="A day or time, such as 2026-11-21, or how long ago: 12h, 7d."
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort", help="started, name, status, kind, station, seconds, rows or bytes."
        ),
    ] = "started",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most so many.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the catalogue anew from the run folders.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the runs of a folder, newest first."""
    from hil.record.catalogue import ORDERS, Wanted, open_catalogue

    output = Output(as_json)
    if sort not in ORDERS:
        raise typer.BadParameter(f"{sort!r}; runs are sorted by {', '.join(ORDERS)}")
    wanted = Wanted(name, status, kind, station, None if since is None else time_of(since))
    with open_catalogue(folder, rebuild=rebuild) as catalogue:
        for note in catalogue.notes:
            output.note(note)
        found = catalogue.runs(wanted, sort, reverse=reverse)
    shown = found[:limit]
    if shown:
        head = ("started", "status", "kind", "name", "station", "rows", "size", "time", "folder")
        output.table(head, (_row(run) for run in shown))
    more = "" if len(shown) == len(found) else f", {len(shown)} shown"
    output.say(f"{len(found)} run{'s' * (len(found) != 1)} in {folder}{more}")
    output.result({"folder": folder, "runs": [asdict(run) for run in shown], "found": len(found)})


def seal(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    as_json: AsJson = False,
) -> None:
    """Turn the segments of finished runs into Parquet."""
    from hil.errors import StoreError
    from hil.record.sealing import seal_run

    output = Output(as_json)
    sealed, kept = {}, {}
    for folder in folders:
        report = seal_run(folder)
        before = sum(note.of_bytes for note in report.sealed)
        after = sum(note.bytes for note in report.sealed)
        sealed[str(folder)] = [note.part for note in report.sealed]
        kept[str(folder)] = list(report.kept)
        output.say(f"{folder}: {len(report.sealed)} segments sealed, "
                   f"{size_text(before)} became {size_text(after)}")  # fmt: skip
        for line in report.kept:
            output.say(f"kept: {line}")
    output.result({"sealed": sealed, "kept": kept})
    if any(kept.values()):
        raise typer.Exit(StoreError.exit_code)


def time_of(text: str, now: datetime | None = None) -> datetime:
    """Return the time that ``--since`` means: a date or time (local without an offset), or an age.

    Raises:
        typer.BadParameter: it is neither.
    """
    age = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
    try:
        if age is not None:
            span = timedelta(**{_UNITS[age[2]]: float(age[1])})
            return (now or datetime.now(UTC)) - span
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"--since {text!r} is no date such as 2026-11-21 and no age such as 12h"
        ) from None


def size_text(n_bytes: int) -> str:
    """Return a size in bytes as people write it."""
    for unit, size in _BYTES:
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} B"


def _row(run: RunSummary) -> tuple[object, ...]:
    started = "" if run.started is None else run.started.replace("T", " ").removesuffix("+00:00")
    seconds = "" if run.seconds is None else f"{run.seconds:.3g} s"
    rows = "" if run.rows is None else run.rows
    return (
        started, run.status, _printable(run.kind), _printable(run.name), _printable(run.station),
        rows, size_text(run.bytes), seconds, _printable(run.folder),
    )  # fmt: skip


def _printable(text: str | None) -> str:
    """Return a text without what would move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text or "")
