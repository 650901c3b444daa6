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
    texts = study_files() if studies else starter_files(rig, board)
    if kind or array:
        texts["station.toml"] = rig_station(kind or "a", array or ["4x4"])
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
