"""``hil check``: are these files what they should be, and do the lines have contact?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from hil.cli.options import ArrayName, AsJson, quantity_of
from hil.cli.output import Output

Kind = Literal["station", "protocol", "device", "training", "study", "suite"]

#: Exit code when a line has no contact: the rig is there, but not as it should be.
NO_CONTACT: Final = 5

#: Top-level keys that only files of that kind have; what has none of them is a protocol.
_MARKS: Final[dict[Kind, frozenset[str]]] = {
    "station": frozenset({"array", "wiring", "instrument", "limits", "twin"}),
    "training": frozenset({"dataset", "network", "rule", "schedule", "characterise"}),
    "device": frozenset({"model", "range"}),
    "study": frozenset({"grid", "case", "tune", "seeds", "set"}),
    "suite": frozenset({"part", "stop"}),
}


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Files to check.")],
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Kind of the files [default: by content].")
    ] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Also drive a station's lines at a low voltage: contact?"),
    ] = False,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="With --probe: on a virtual bench.")
    ] = False,
    array: ArrayName = None,
    volts: Annotated[
        str | None,
        typer.Option(
            "--volts",
            metavar="V",
            help="With --probe: the voltage, at most the read voltage [default: 50 mV, or half the "
            "read voltage where that is lower].",
        ),
    ] = None,
    open_below: Annotated[
        str | None,
        typer.Option(
            "--open-below",
            metavar="S",
            help="With --probe: conductance of a line below which it has no contact [default: a "
            "tenth of its devices' at g_min].",
        ),
    ] = None,
    short_above: Annotated[
        str | None,
        typer.Option(
            "--short-above",
            metavar="S",
            help="With --probe: conductance above which it is a short [default: ten times its "
            "devices' at g_max].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check files; with --probe also whether a rig's lines have contact.

    Station, protocol, device and training files are told apart by their content. Only with --probe
    is anything driven: every line of one station's array at a low voltage, with a current limit,
    the lines of the other side at 0 V. A line without contact gives exit code 5.
    """
    from hil.cli.failures import details_of
    from hil.errors import HilError

    output = Output(as_json)
    if probe:
        if len(files) != 1:
            raise typer.BadParameter("--probe takes one station file")
        _probe(output, files[0], array, virtual, volts, open_below, short_above)
        return
    given = {"--virtual": virtual, "--array": array, "--volts": volts,
             "--open-below": open_below, "--short-above": short_above}  # fmt: skip
    for name, value in given.items():
        if value:
            raise typer.BadParameter(f"{name} belongs to --probe; without it nothing is driven")
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


def _probe(
    output: Output, path: Path, array: str | None, virtual: bool, volts: str | None,
    open_below: str | None, short_above: str | None,
) -> None:  # fmt: skip
    """Drive every line of an array at a low voltage and show what it passes."""
    from hil.cli.stopping import StopGuard
    from hil.config.station import load_station
    from hil.control.calibrating import open_rig

    loaded = load_station(path)
    wish = {
        "level_v": quantity_of(volts, "voltage"),
        "open_below_siemens": quantity_of(open_below, "conductance"),
        "short_above_siemens": quantity_of(short_above, "conductance"),
    }
    with (
        StopGuard() as guard,
        open_rig(loaded, array, virtual=virtual, calibrated=False) as rig,
    ):
        guard.watch([rig.backend])
        output.backend(rig.backend.name, rig.backend.identify())
        check = rig.factory.contacts(rig.backend, rig.op, **wish)
        for line in check.lines():
            output.say(line)
        found = list(check.run())
    output.table(
        ["line", "channel", "current", "conductance", ""],
        [
            [c.line, c.channel, _measured(c.current_a, "A"),
             _measured(c.conductance_siemens, "S"), c.verdict]
            for c in found
        ],
    )  # fmt: skip
    bad = [c for c in found if c.bad]
    result: dict[str, Any] = {
        "ok": not bad, "backend": rig.backend.name, "level_v": check.level_v,
        "lines": [
            {"line": c.line, "channel": c.channel, "current_a": c.current_a,
             "conductance_siemens": c.conductance_siemens, "verdict": c.verdict}
            for c in found
        ],
    }  # fmt: skip
    if bad:
        named = ", ".join(f"{c.line} ({c.verdict})" for c in bad)
        text = f"{len(bad)} of {len(found)} lines are not as they should be: {named}"
        output.note(f"hil: {text}")
        result["error"] = {"type": "NoContact", "message": text, "exit_code": NO_CONTACT}
    output.result(result)
    if bad:
        raise typer.Exit(NO_CONTACT)


def _measured(value: float, unit: str) -> str:
    from hil.units import format_quantity

    return format_quantity(value, unit) if math.isfinite(value) else "-"


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
    if training.rule.rule is not None:
        from hil.control.learners.making import load_own_rule

        load_own_rule(training)
    return f"{training.name}, {training.dataset.kind}, {training.rule.method}"


def _study(path: Path) -> str:
    from hil.study.file import load_study
    from hil.study.points import Planner

    study = load_study(path)
    Planner(study).check()
    return f"{study.name}, {study.n_points} runs"


def _suite(path: Path) -> str:
    from hil.characterise.parts import check_parts
    from hil.characterise.suite import load_suite

    suite = load_suite(path)
    check_parts(suite)
    return f"{suite.name}, {len(suite.part)} parts"


_CHECKS: Final[dict[Kind, Callable[[Path], str]]] = {
    "station": _station,
    "protocol": _protocol,
    "device": _device,
    "training": _training,
    "study": _study,
    "suite": _suite,
}
