"""``hil device``: device files to and from other simulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hil.cli.options import AsJson, quantity_of
from hil.cli.output import Output

_FORMATS = "aihwkit, neurosim, crosssim or crosssim-ramps"
Target = Annotated[Path, typer.Option("--output", "-o", help="File; of CrossSim a folder.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def export(
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="Device file, or the name of a preset.")
    ],
    to: Annotated[str, typer.Option("--to", help=f"Format: {_FORMATS}.")],
    path: Target,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="aihwkit: device class [default: the simplest that has the device's steps].",
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a device for another simulator.

    aihwkit gets an rpu_config as Python text, or as JSON where the file's name ends in .json, and
    loads it first where it is installed. NeuroSim gets its values, CrossSim its look-up tables, or
    set.csv and reset.csv. What the format cannot hold is printed and stands in the file's
    comment."""
    from hil.interchange.converting import checked, export_device, write_files

    output = Output(as_json)
    made = export_device(
        device, to, class_name=class_name, as_json=to == "aihwkit" and path.suffix == ".json"
    )
    loaded_by = checked(made, to)
    written = write_files(made, path, force=force)
    output.say(f"device: {device}, as {to}: {made.kind}")
    for file in written:
        output.say(f"written: {file}")
    if loaded_by is not None:
        output.say(f"checked: {loaded_by} loads it")
    _say(output, {"not held": made.not_held, "approximate": made.approximate})
    output.result(
        {
            "device": device, "format": to, "kind": made.kind, "files": written,
            "not_held": list(made.not_held), "approximate": list(made.approximate),
            "checked": loaded_by,
        }
    )  # fmt: skip


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File; of CrossSim the folder of its two files.")
    ],
    source: Annotated[str, typer.Option("--from", help=f"Format: {_FORMATS}.")],
    like: Annotated[
        str,
        typer.Option(
            "--like", help="Device file or preset that gives what the format does not hold."
        ),
    ],
    path: Annotated[Path, typer.Option("--output", "-o", help="Device file.")],
    read_voltage: Annotated[
        str | None,
        typer.Option(
            "--read-voltage",
            metavar="V",
            help="crosssim-ramps: voltage of the read currents, 1 V where they are conductances "
            "[default: that of --like].",
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a device file of another simulator's file.

    Nothing in the file is executed. What a device file cannot hold, and what was taken from
    --like, is printed and stands in the device file's comment."""
    from hil.interchange.converting import import_device, refuse

    output = Output(as_json)
    made = import_device(file, source, like, read_v=quantity_of(read_voltage, "voltage"))
    refuse(path, force)
    path.write_text(made.text(), encoding="utf-8", newline="\n")
    output.say(f"device: {made.device.name}, {made.device.model} model, from {made.kind}")
    output.say(f"written: {path}")
    _say(
        output,
        {"not held": made.not_held, "approximate": made.approximate, "assumed": made.assumed},
    )
    output.result(
        {
            "device": made.device.name, "model": made.device.model, "kind": made.kind,
            "file": path, "not_held": list(made.not_held),
            "approximate": list(made.approximate), "assumed": list(made.assumed),
        }
    )  # fmt: skip


def _say(output: Output, lines: dict[str, Sequence[str]]) -> None:
    for what, said in lines.items():
        for line in said:
            output.say(f"{what}: {line}")


#: Commands of the group.
DEVICE: Final[dict[str, Callable[..., Any]]] = {"export": export, "import": import_}
