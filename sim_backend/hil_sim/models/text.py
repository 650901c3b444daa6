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
        if value and isinstance(value[0], list | str) and not _short(value):
            return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
        body = textwrap.wrap(", ".join(items), _WIDTH - 4, break_long_words=False)
        return "[\n" + "".join(f"    {line}\n" for line in body) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _short(values: list[Any]) -> bool:
    """Return whether the items are quantities, which may stand on one line."""
    return all(isinstance(value, str) and len(value) < 25 for value in values)
