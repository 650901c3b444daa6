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
    as_json: AsJson = False,
) -> None:
    """Write commented starter files into a folder.

    A station, a device, a protocol and a training file.
    Files that exist are never overwritten: then nothing is written at all.
    """
    from hil.errors import ConfigError

    output = Output(as_json)
    files = {folder / name: text for name, text in starter_files(rig).items()}
    for path in files:
        if path.exists():
            raise ConfigError("exists already; nothing was written", path=path)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        output.say(f"wrote {path}")
    station = folder / "station.toml"
    how = "--virtual" if rig else "--sim"
    output.say(f"next: hil run {folder / 'protocol.toml'} --station {station} {how}")
    output.result({"files": list(files)})


def starter_files(rig: bool = False) -> dict[str, str]:
    """Return the starter files: name -> text; with ``rig`` the station is one of instruments."""
    from hil.config.training import STARTER
    from hil.registry import backend_factory

    folder = resources.files("hil.cli") / "templates"
    texts = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in ("station.toml", "protocol.toml")
    }
    if rig:
        texts["station.toml"] = backend_factory("rig").templates()["rig-station.toml"]
    return {**texts, **backend_factory("sim").templates(), "training.toml": STARTER}
