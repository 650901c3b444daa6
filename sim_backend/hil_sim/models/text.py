"""A device as the text of its file: units in, defaults left out, a note behind a value."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from hil_sim.models.device import Device

_WIDTH = 100
_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def device_toml(
    device: Device, comments: Iterable[str] = (), notes: Mapping[str, str] | None = None
) -> str:
    """Return the device file of ``device``.

    Args:
        device: fields at their default are left out.
        comments: paragraphs at the top.
        notes: dotted field -> comment behind its value.
    """
    values = device.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    lines = [line for text in comments for line in _comment(text)]
    lines += _table(values, "", notes or {})
    return "\n".join(lines) + "\n"


def _table(values: Mapping[str, Any], name: str, notes: Mapping[str, str]) -> list[str]:
    """Return the lines of a table's own values, then those of the tables in it."""
    lines: list[str] = []
    inner: list[str] = []
    for key, value in values.items():
        path = f"{name}.{key}" if name else key
        header = f"{name}.{_key(key)}" if name else _key(key)
        if isinstance(value, Mapping):
            own = _table(value, header, notes)
            holds_values = any(not isinstance(v, Mapping) for v in value.values()) or not value
            inner += ["", f"[{header}]", *own] if holds_values else own
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for item in value:
                inner += ["", f"[[{header}]]", *_table(item, header, notes)]
        else:
            note = f"  # {notes[path]}" if path in notes else ""
            lines.append(f"{_key(key)} = {_value(value)}{note}")
    return lines + inner


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ") or ["#"]


def _key(key: str) -> str:
    return key if _BARE.match(key) else json.dumps(key, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, list):
        items = [_value(item) for item in value]
        text = f"[{', '.join(items)}]"
        if len(text) <= _WIDTH - 20:
            return text
        rows = [f"    {item}," for item in items]
        if not any(isinstance(item, list) for item in value):
            rows = _filled(items)
        return "\n".join(["[", *rows, "]"])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _filled(items: list[str]) -> list[str]:
    """Return items on lines of the usual width; an item is never broken."""
    rows, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > _WIDTH and line.strip():
            rows.append(line)
            line = "   "
        line += f" {item},"
    return [*rows, line]
