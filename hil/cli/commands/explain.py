"""``hil explain``: what a protocol does, event by event, and its waveforms as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import ArrayName, AsJson, ProtocolFile, Sim, StationFile
from hil.cli.output import Output


def explain(
    protocol: ProtocolFile,
    station: StationFile,
    sim: Sim = False,
    array: ArrayName = None,
    cell: Annotated[
        str | None, typer.Option("--cell", metavar="R,C", help="Only what this cell sees.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Write the line waveforms.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a protocol does; --plot draws it."""
    Output(as_json)
