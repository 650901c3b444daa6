"""``hil init``: commented starter files."""

from __future__ import annotations

import tomllib
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
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="a|b|c|d", help="With --rig: one of the four kinds of rig."),
    ] = None,
    array: Annotated[
        list[str] | None,
        typer.Option("--array", metavar="ROWSxCOLS", help="With --kind: an array; repeatable."),
    ] = None,
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
    if (kind or array) and not rig:
        raise typer.BadParameter("--kind and --array need --rig")
    if studies:
        texts = study_files()
    else:
        station = rig_station(kind or "a", array or ["4x4"]) if kind or array else None
        texts = starter_files(rig, board, station)
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
    how = "--virtual" if rig or board else "--sim"
    output.say(f"next: hil run {folder / 'protocol.toml'} "
               f"--station {folder / 'station.toml'} {how}")  # fmt: skip
    output.result({"files": list(files)})


def starter_files(
    rig: bool = False, board: bool = False, station: str | None = None
) -> dict[str, str]:
    """Return the starter files: name -> text; the station is one of instruments or of a board.

    With instruments or a board, the device is one for the pulses that the station gives.
    ``station`` takes the place of the starter station.
    """
    from hil.config.training import STARTER
    from hil.registry import backend_factory

    folder = resources.files("hil.cli") / "templates"
    texts = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in ("station.toml", "protocol.toml")
    }
    texts |= {**backend_factory("sim").templates(), "training.toml": STARTER}
    if rig or board:
        name = "rig-station.toml" if rig else "board-station.toml"
        texts["station.toml"] = station or backend_factory("rig").templates()[name]
        texts["device.toml"] = device_for(texts["device.toml"], texts["station.toml"])
    return texts


def device_for(device: str, station: str) -> str:
    """Return the text of a device file with the pulses and reads of a station's ``[drive]``."""
    drive = tomllib.loads(station)["drive"]
    given = {
        "pulse": {**drive, "width": drive["write_width"]},
        "current": drive,
        "drive": drive,
    }
    table, lines = "", []
    for line in device.splitlines():
        key, equals, _ = line.partition(" = ")
        if line.startswith("["):
            table = line.strip("[]")
        elif equals and key in given.get(table, {}):
            line = f'{key} = "{given[table][key]}"'
        lines.append(line)
    return "\n".join(lines) + "\n"


def rig_station(kind: str, arrays: list[str]) -> str:
    """Return the station of a kind of rig; its devices are those of ``device.toml`` beside it.

    Raises:
        ConfigError: no such kind, or a size that is not rows x columns.
        BackendUnavailable: the drivers are not installed.
    """
    from hil.errors import BackendUnavailable, ConfigError
    from hil.registry import backend_factory

    sizes = []
    for text in arrays:
        rows, _, cols = text.lower().partition("x")
        if not (rows.isdecimal() and cols.isdecimal()):
            raise ConfigError(f"{text!r} is not rows x columns, as 65x64", field="--array")
        sizes.append((int(rows), int(cols)))
    station = getattr(backend_factory("rig"), "station_text", None)
    if station is None:
        raise BackendUnavailable("the installed rig backend writes no stations")
    return str(station(kind, sizes, "device.toml"))


def study_files() -> dict[str, str]:
    """Return the shipped studies and the files that they name: name -> text."""
    folder = resources.files("hil.study") / "shipped"
    return {
        file.name: file.read_text(encoding="utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }
