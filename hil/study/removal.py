"""Whether a field can be in a file at all, by the file's JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hil.config.station import Station
from hil.config.training import Training
from hil.registry import PROTOCOLS, BackendFactory, load


def schema_of(file: str, factory: BackendFactory) -> Mapping[str, Any] | None:
    """Return the JSON schema of a kind of file, None where the backend tells none."""
    if file == "station":
        return Station.model_json_schema()
    if file == "training":
        return Training.model_json_schema()
    if file == "protocol":
        schema: Mapping[str, Any] = load(PROTOCOLS, "library")().schema()
        return schema
    return factory.schemas().get("device")


def can_hold(schema: Any, path: Sequence[str], root: Mapping[str, Any] | None = None) -> bool:
    """Return whether a file with this schema may have a field at ``path``."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return schema is not False
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        return can_hold(target, path, root)
    if not path:
        return True
    inner = [s for key in ("anyOf", "oneOf", "allOf") for s in schema.get(key, ())]
    if any(can_hold(one, path, root) for one in inner):
        return True
    first, *rest = path
    if first in schema.get("properties", {}):
        return can_hold(schema["properties"][first], rest, root)
    if first.isdigit() and schema.get("type") == "array":
        items = [schema.get("items", not schema.get("prefixItems")),
                 *schema.get("prefixItems", ())]  # fmt: skip
        return any(can_hold(item, rest, root) for item in items)
    if schema.get("type", "object") != "object" or inner:
        return False
    free = [*schema.get("patternProperties", {}).values(),
            schema.get("additionalProperties", "properties" not in schema)]  # fmt: skip
    return any(can_hold(one, rest, root) for one in free)
