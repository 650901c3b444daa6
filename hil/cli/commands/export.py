"""``hil export``: a run as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    to: Annotated[str, typer.Option("--to", help="Format: csv, parquet, hdf5, netcdf or mat.")],
    path: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File, or folder for it [default: the run's name]."),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            help="One table only: reads, pulses, ops; or origin, a row per pulse [default: all].",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export a recorded run for other programs.

    Also while it is being written, or after a crash; the files say so."""
    from hil.cli.stopping import interruptible
    from hil.export import export_run
    from hil.record import open_run

    output = Output(as_json)
    opened = open_run(run)
    output.say(f"run: {opened.manifest['name']}, {opened.status}")
    with interruptible("no file is half written") as check:
        done = export_run(opened, to, path, table=table, force=force, check=check)
    for name, rows in done.rows.items():
        output.say(f"{name}: {rows} rows")
    sizes = {file: file.stat().st_size for file in done.files}
    for file, n_bytes in sizes.items():
        output.say(f"written: {file}, {n_bytes} bytes")
    for line in done.left_out:
        output.say(f"not exported: {line}")
    for problem in done.problems:
        output.say(f"problem: {problem}")
    output.result(
        {
            "run": run, "status": opened.status, "format": to, "rows": done.rows,
            "files": [{"path": file, "bytes": n_bytes} for file, n_bytes in sizes.items()],
            "not_exported": done.left_out, "problems": done.problems,
        }
    )  # fmt: skip
