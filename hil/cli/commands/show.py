"""``hil show``: what a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its checksum.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a recorded run holds.

    Also while it is being written, or after a crash."""
    from hil.errors import StoreError
    from hil.record import open_run
    from hil.report.sparkline import trends

    output = Output(as_json)
    opened = open_run(run)
    problems = opened.verify() if verify else opened.problems
    manifest = opened.manifest
    tables = {name: getattr(opened, name).num_rows for name in ("ops", "pulses", "reads")}
    output.say(f"backend: {manifest['backend']}" + (" (simulated)" * manifest["simulated"]))
    output.say(f"run: {manifest['name']} ({manifest['kind']}), {opened.status}")
    output.say(f"started: {manifest['utc_epoch']}, id {manifest['id']}")
    software = manifest["software"]
    output.say("software: " + ", ".join(f"{k} {v}" for k, v in software.items()))
    levels = manifest["levels"]
    distinct = sorted(set(levels.values()))
    output.say(
        "recorded at level " + (distinct[0] if len(distinct) == 1 else
                                ", ".join(f"{k} {v}" for k, v in levels.items()))
    )  # fmt: skip
    for name in manifest["config"]:
        output.say(f"config: {name}")
    for name, rows in tables.items():
        output.say(f"{name}: {rows} rows")
    shown = trends(opened)
    wide = max((len(trend.name) for trend in shown), default=0)
    for trend in shown:
        output.say(f"{trend.name:<{wide}}  {trend.line}  {trend.text}")
    kinds = [event["kind"] for event in opened.events]
    output.say("events: " + ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds)))
    for event in opened.events:
        if event["kind"] in ("fault", "alarm", "limit"):
            output.say(f"{event['kind']}: {event.get('error') or event.get('what')}")
    for problem in problems:
        output.say(f"problem: {problem}")
    output.result(
        {
            "run": run, "status": opened.status, "manifest": manifest, "stop": opened.stop,
            "rows": tables, "events": len(kinds), "problems": list(problems),
        }
    )  # fmt: skip
    if problems and verify:
        raise typer.Exit(StoreError.exit_code)
