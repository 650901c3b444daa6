"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.output import JSON_FLAG

AsJson = Annotated[bool, typer.Option(JSON_FLAG, help="Print one JSON object on standard output.")]
StationFile = Annotated[Path, typer.Option("--station", "-s", help="Station file.")]
Sim = Annotated[
    bool, typer.Option("--sim", help="Drive the simulated twin instead of the station's backend.")
]
Virtual = Annotated[
    bool,
    typer.Option("--virtual", help="Drive the rig on a virtual bench: its instruments emulated."),
]
WireLog = Annotated[
    bool,
    typer.Option("--wire-log", help="Log every exchange with the instruments in the run folder."),
]
ArrayName = Annotated[
    str | None, typer.Option("--array", help="Array of the station [default: its first].")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed [default: the file's].")]
Out = Annotated[Path, typer.Option("--out", help="Folder of all runs.")]
LevelOption = Annotated[
    str, typer.Option("--level", help="What is recorded: full, operation or off.")
]
ProtocolFile = Annotated[
    str, typer.Argument(metavar="PROTOCOL", help="Protocol file, or the name of a shipped one.")
]


def quantity_of(text: str | None, dimension: str) -> float | None:
    """Return the SI value of an option such as ``"50 mV"`` or ``0.05``, None for none.

    The option's own description names the unit of a bare number.

    Raises:
        UnitError: it is something else.
    """
    from hil.units import DIMENSIONS, parse_quantity

    if text is None:
        return None
    bare = text.strip().replace("_", "")
    if bare and bare[-1] in "0123456789.":
        bare = f"{bare} {DIMENSIONS[dimension][0]}"
    return parse_quantity(bare, dimension)
