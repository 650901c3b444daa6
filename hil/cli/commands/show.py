"""``hil show``: what a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output

_BARS: Final = 32  #: characters; with name and text a line fits 80 columns


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its checksum.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a recorded run holds.

    Also while it is being written, or after a crash."""
    from hil.cli.terminal import columns, legible, wrapped
    from hil.errors import StoreError
    from hil.record import open_run
    from hil.report.sparkline import trends
    from hil.report.spread import conductance_spreads

    output = Output(as_json)

    def say(text: str) -> None:
        output.say(legible(wrapped(text)))

    opened = open_run(run)
    manifest = opened.manifest
    tables = {
        name: sum(batch.num_rows for batch in opened.batches(name))
        for name in ("ops", "pulses", "reads")
    }
    problems = opened.verify() if verify else opened.problems
    say(f"backend: {manifest['backend']}" + (" (simulated)" * manifest["simulated"]))
    say(f"run: {manifest['name']} ({manifest['kind']}), {opened.status}")
    say(f"started: {manifest['utc_epoch']}, id {manifest['id']}")
    software = manifest["software"]
    say("software: " + ", ".join(f"{k} {v}" for k, v in software.items()))
    levels = manifest["levels"]
    distinct = sorted(set(levels.values()))
    say(
        "recorded at level " + (distinct[0] if len(distinct) == 1 else
                                ", ".join(f"{k} {v}" for k, v in levels.items()))
    )  # fmt: skip
    for name in manifest["config"]:
        say(f"config: {name}")
    for name, rows in tables.items():
        say(f"{name}: {rows} rows")
    shown = [*conductance_spreads(opened, _BARS), *trends(opened, _BARS)]
    wide = max((len(trend.name) for trend in shown), default=0)
    for trend in shown:
        line = f"{trend.name:<{wide}}  {trend.line:<{_BARS}}  {trend.text}"
        if len(line) > columns():  # not through the bars
            line = f"{trend.name}  {trend.text}\n{'':<{wide}}  {trend.line}"
        output.say(legible(line))
    kinds = [event["kind"] for event in opened.events]
    say("events: " + ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds)))
    for event in opened.events:
        if event["kind"] in ("fault", "alarm", "limit"):
            say(f"{event['kind']}: {event.get('error') or event.get('what')}")
    for problem in problems:
        say(f"problem: {problem}")
    output.result(
        {
            "run": run, "status": opened.status, "manifest": manifest, "stop": opened.stop,
            "rows": tables, "events": len(kinds), "problems": list(problems),
        }
    )  # fmt: skip
    if problems and verify:
        raise typer.Exit(StoreError.exit_code)
