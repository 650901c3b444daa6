"""Values of the project as strict JSON: what a manifest, an event and a stop record are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """Return ``value`` in JSON types; non-finite floats become "nan", "inf", "-inf".

    Enums become their names (text enums their values), dataclasses and pydantic models mappings.

    Raises:
        TypeError: a value that has no such form.
    """
    if isinstance(value, Enum):
        return value.value if isinstance(value, str) else value.name
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if value is None or isinstance(value, (bool, int, str, float)):
        return value
    if isinstance(value, Mapping):
        return {_key(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return jsonable(value.tolist())
    if isinstance(value, (PurePath, date)):
        return str(value)
    if is_dataclass(value):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return jsonable(dump())
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _key(key: Any) -> str:
    return str(jsonable(key))


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return ``value`` as UTF-8 JSON with a final line end."""
    text = json.dumps(jsonable(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
