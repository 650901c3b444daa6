"""``hil schema``: JSON schemas for editors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from hil.cli.options import AsJson
from hil.cli.output import print_json

FileKind = Literal["protocol", "station", "device", "training"]


def schema(
    kind: Annotated[FileKind, typer.Argument(help="Which files.")],
    as_json: AsJson = False,
) -> None:
    """Print the JSON schema of a kind of file, for editors."""
    print_json(schema_of(kind), indent=2)


def schema_of(kind: FileKind) -> dict[str, Any]:
    """Return the JSON schema of a kind of file."""
    if kind == "station":
        from hil.config.station import Station

        found = Station.model_json_schema()
    elif kind == "training":
        from hil.config.training import Training

        found = Training.model_json_schema()
    elif kind == "protocol":
        from hil.registry import PROTOCOLS, load

        found = load(PROTOCOLS, "library")().schema()
    else:
        from hil.registry import backend_factory

        found = dict(backend_factory("sim").schemas()["device"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"synapse-hil {kind} file",
        **{k: v for k, v in found.items() if k != "title"},
    }
