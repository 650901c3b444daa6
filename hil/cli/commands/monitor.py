"""``hil monitor``: watch a run in the browser while it is recorded."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import AsJson, Out
from hil.cli.output import Output

LATEST = "latest"


def monitor(
    run: Annotated[
        str,
        typer.Argument(
            metavar="[RUN|latest]",
            help="Run folder; `latest` is the newest one, and goes on to newer ones.",
        ),
    ] = LATEST,
    out: Out = Path("runs"),
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="TCP port on this machine; 0 = a free one."),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Watch a run in the browser, while it is recorded or afterwards.

    It only reads the run folder. Ctrl-C ends it; the run does not notice."""
    from hil.errors import StoreError
    from hil.extras import needed_for
    from hil.monitor.newest import newest_run

    output = Output(as_json)
    with needed_for("the monitor", "monitor"):
        from hil.monitor.server import Monitor
    newest = None
    if run == LATEST:
        newest = partial(newest_run, out)
        folder = newest_run(out)
        if folder is None:
            raise StoreError(f"{out}: no run in it yet; start one, or name a run folder")
    else:
        folder = Path(run) if Path(run).exists() else out / run
    served = Monitor(folder, newest, port)
    output.say(f"run: {folder}")
    output.say(f"monitor: {served.url}")
    output.note("Ctrl-C ends the monitor; the run does not notice")
    output.result({"url": served.url, "run": folder, "pid": os.getpid()})
    served.run()
