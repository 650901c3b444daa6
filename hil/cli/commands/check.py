"""``hil check``: are these files what they should be?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output

Kind = Literal["station", "protocol", "device", "training"]

#: Top-level keys that only files of that kind have; what has none of them is a protocol.
_MARKS: Final[dict[Kind, frozenset[str]]] = {
    "station": frozenset({"array", "wiring", "instrument", "limits", "twin"}),
    "training": frozenset({"dataset", "network", "rule", "schedule", "characterise"}),
    "device": frozenset({"model", "range"}),
}


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Files to check.")],
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Kind of the files [default: by content].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check station, protocol, device and training files."""
    from hil.cli.failures import details_of
    from hil.errors import HilError

    output = Output(as_json)
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for file in files:
        row: dict[str, Any] = {"file": file}
        rows.append(row)
        try:
            row["kind"] = kind or kind_of(file)
            row["says"] = _CHECKS[row["kind"]](file)
            row["ok"] = True
            output.say(f"{file}: {row['kind']} file: {row['says']}")
        except HilError as exc:
            row["ok"] = False
            row["error"] = {
                "type": type(exc).__name__, "message": str(exc), "exit_code": exc.exit_code,
                **details_of(exc),
            }  # fmt: skip
            first = first or row["error"]
            output.note(f"hil: {exc}")
    output.result({"ok": not first, "files": rows, **({"error": first} if first else {})})
    if first:
        raise typer.Exit(first["exit_code"])


def kind_of(path: Path) -> Kind:
    """Return which kind of file it is, by its top-level keys.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    from hil.config.toml_file import parse_text, read_text

    keys: Mapping[str, Any] = parse_text(read_text(path), path)
    scores = {kind: len(marks & keys.keys()) for kind, marks in _MARKS.items()}
    best = max(scores, key=lambda kind: scores[kind])
    return best if scores[best] else "protocol"


def _station(path: Path) -> str:
    from hil.config.station import load_station

    station = load_station(path)
    arrays = ", ".join(f"{a.name} {a.rows} x {a.cols} {a.cell}" for a in station.array)
    return f"{station.name}, {arrays}, backend {station.backend}"


def _protocol(path: Path) -> str:
    from hil.registry import PROTOCOLS, load

    procedure = load(PROTOCOLS, "library")().load(path)
    how = "adaptive" if procedure.adaptive else "static"
    return f"{procedure.name}, {procedure.kind}, {how}"


def _device(path: Path) -> str:
    from hil.registry import backend_factory

    backend, _ = backend_factory("sim").open_device(path, 1, 1, seed=0)
    return backend.identify().split(",")[0].removeprefix("sim: ")


def _training(path: Path) -> str:
    from hil.config.training import load_training

    training = load_training(path)
    return f"{training.name}, {training.dataset.kind}, {training.rule.method}"


_CHECKS: Final[dict[Kind, Callable[[Path], str]]] = {
    "station": _station,
    "protocol": _protocol,
    "device": _device,
    "training": _training,
}
