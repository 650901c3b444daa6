"""Loads protocol files: the kind first, then its strict table; errors say file and line."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Final

from hil.config.toml_file import key_lines, parse_text, read_text, validate
from hil.errors import ProtocolError
from hil_protocols.base import FileProcedure, ProtocolTable, Source
from hil_protocols.cycling import Endurance, LtpLtd, PulseMap
from hil_protocols.learning import Refresh, Update
from hil_protocols.products import Backward, Forward
from hil_protocols.reading import IvSweep, ReadMap
from hil_protocols.stress import HalfSelectDisturb, ReadDisturb, Retention
from hil_protocols.writing import FormingFile, PairInit, WriteVerifyFile

KINDS: Final[dict[str, type[ProtocolTable]]] = {
    "read-map": ReadMap,
    "iv-sweep": IvSweep,
    "ltp-ltd": LtpLtd,
    "pulse-map": PulseMap,
    "endurance": Endurance,
    "write-verify": WriteVerifyFile,
    "forming": FormingFile,
    "pair-init": PairInit,
    "retention": Retention,
    "half-select-disturb": HalfSelectDisturb,
    "read-disturb": ReadDisturb,
    "forward": Forward,
    "backward": Backward,
    "update": Update,
    "refresh": Refresh,
}
_OWN_FIELD = re.compile(r"([a-z_]+): (.*)", re.DOTALL)


def parse(text: str, path: str | Path | None = None) -> FileProcedure:
    """Return the procedure of a protocol file's text.

    Raises:
        ProtocolError: ``file:line: field: what is wrong, value, allowed``.
    """
    values = parse_text(text, path, ProtocolError)
    lines = key_lines(text)
    kind = values.get("kind")
    if kind is None:
        raise ProtocolError(
            f"required field is missing (known: {', '.join(KINDS)})", path=path, field="kind"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KINDS)}"
        raise ProtocolError(
            f"no such kind {kind!r}; {hint}", path=path, line=lines.get(("kind",)), field="kind"
        )
    try:
        table = validate(values, KINDS[kind], path=path, text=text, error=ProtocolError)
    except ProtocolError as exc:
        # A check across fields names the field that it is about, but its location is the table.
        named = _OWN_FIELD.fullmatch(exc.message)
        if exc.field or named is None or named.group(1) not in KINDS[kind].model_fields:
            raise
        raise ProtocolError(
            named.group(2), path=path, line=lines.get((named.group(1),)), field=named.group(1)
        ) from exc
    return FileProcedure(table, Source.of(text, path))


def load(path: str | Path) -> FileProcedure:
    """Return the procedure of a protocol file; ProtocolError with file, line and field."""
    return parse(read_text(path, ProtocolError), path)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of protocol files, one alternative per kind."""
    definitions: dict[str, Any] = {}
    branches: list[dict[str, Any]] = []
    for kind, table in KINDS.items():
        schema = table.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {}) | {kind: schema}
        branches.append(
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{kind}"},
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "synapse-hil pulse protocol",
        "type": "object",
        "required": ["schema", "kind"],
        "properties": {"schema": {"const": 1}, "kind": {"enum": list(KINDS)}},
        "allOf": branches,
        "$defs": definitions,
    }
