"""``hil init``: commented starter files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder; made when missing.")],
    rig: Annotated[
        bool,
        typer.Option("--rig", help="A station of instruments and wiring, ready for --virtual."),
    ] = False,
    board: Annotated[
        bool,
        typer.Option("--board", help="A station of a board on a serial port, for --virtual."),
    ] = False,
    studies: Annotated[
        bool,
        typer.Option("--studies", help="The studies of the docs on MNIST, with all they need."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write commented starter files into a folder.

    A station, a device, a protocol and a training file; or, with --studies, study files.
    Files that exist are never overwritten: then nothing is written at all.
    """
    from hil.errors import ConfigError

    output = Output(as_json)
    if rig + board + studies > 1:
        raise typer.BadParameter("--rig, --board and --studies exclude one another")
    texts = study_files() if studies else starter_files(rig, board)
    files = {folder / name: text for name, text in texts.items()}
    for path in files:
        if path.exists():
            raise ConfigError("exists already; nothing was written", path=path)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        output.say(f"wrote {path}")
    if studies:
        output.say(f"next: put MNIST's four files into {folder / 'mnist'}, then "
                   f"hil study {folder / 'nonlinearity.toml'} --plan")  # fmt: skip
        output.result({"files": list(files)})
        return
    station = folder / "station.toml"
    how = "--virtual" if rig or board else "--sim"
    output.say(f"next: hil run {folder / 'protocol.toml'} --station {station} {how}")
    output.result({"files": list(files)})


def starter_files(rig: bool = False, board: bool = False) -> dict[str, str]:
    """Return the starter files: name -> text; the station is one of instruments or of a board."""
    from hil.config.training import STARTER
    from hil.registry import backend_factory

    folder = resources.files("hil.cli") / "templates"
    texts = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in ("station.toml", "protocol.toml")
    }
    if rig or board:
        name = "rig-station.toml" if rig else "board-station.toml"
        texts["station.toml"] = backend_factory("rig").templates()[name]
    return {**texts, **backend_factory("sim").templates(), "training.toml": STARTER}


def study_files() -> dict[str, str]:
    """Return the shipped studies and the files that they name: name -> text."""
    folder = resources.files("hil.study") / "shipped"
    return {
        file.name: file.read_text(encoding="utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }
