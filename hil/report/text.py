"""How values of a run are written for people: units with prefixes, ranges, times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from hil.units import format_quantity

#: Ends of names of quantities -> units; the longest that fits counts.
_UNITS: Final = {
    "_v_per_s": "V/s", "_v2s": "V²·s", "_v": "V", "_a": "A", "_s": "s", "_ohm": "Ω",
    "_siemens": "S", "_joule": "J", "_kelvin": "K",
}  # fmt: skip
#: What a quantity is called whose name is only what it belongs to: ``read_v``, ``read_s``.
_KINDS: Final = {"V": "voltage", "A": "current", "s": "time", "V/s": "rate", "J": "energy"}
_NOT_LIMITED: Final = "not limited"


def number(value: object) -> float:
    """Return a number of a manifest or event; NaN for what is none (non-finite ones are text)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def mapping(value: object) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping, an empty one otherwise (files may be damaged)."""
    return value if isinstance(value, Mapping) else {}


def quantity(value: float, unit: str, digits: int = 4) -> str:
    """Return ``value`` in ``unit`` with a prefix, as it is printed: ``12.5 µs``."""
    if not unit:
        return count(value)
    text = format_quantity(value, unit, digits)
    text = text.replace(f" u{unit}", f" µ{unit}")
    return text.replace("-", "−") if "e" not in text else text


def count(value: float) -> str:
    """Return a number without a unit, whole ones with a thin space between thousands."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f").replace("-", "−")
    return f"{value:.4g}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 in percent, "–" for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f} %"


def name_and_unit(key: str) -> tuple[str, str]:
    """Return a field's name in words, and its unit ("" = none)."""
    for end, unit in _UNITS.items():
        if key.endswith(end):
            name = key.removesuffix(end).replace("_", " ")
            kind = _KINDS.get(unit, "")
            whole = not kind or name.endswith((kind, "width"))
            return name if whole else f"{name} {kind}", unit
    return key.replace("_", " "), ""


def described(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return (name, text) of every field of a settings mapping, ranges as one text.

    What is infinite is not limited. Mappings within are written out as ``name: field``.
    """
    rows: list[tuple[str, str]] = []
    for key, value in fields.items():
        name, unit = name_and_unit(str(key))
        name = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if {"min", "max"} <= set(value):
                rows.append((name, span(number(value["min"]), number(value["max"]), unit)))
                grid = number(value.get("resolution", 0.0))
                if grid > 0.0:
                    rows[-1] = (name, f"{rows[-1][1]}, in steps of {quantity(grid, unit)}")
            else:
                suffix = next((end for end, u in _UNITS.items() if u == unit), "")
                rows += described({f"{k}{suffix}": v for k, v in value.items()}, f"{name}: ")
        elif value is not None:
            rows.append((name, _plain(value, unit)))
    return rows


def span(low: float, high: float, unit: str) -> str:
    """Return a range as text."""
    if math.isinf(low) and math.isinf(high):
        return _NOT_LIMITED
    if math.isinf(low):
        return f"at most {quantity(high, unit)}"
    if math.isinf(high):
        return f"at least {quantity(low, unit)}"
    return f"{quantity(low, unit)} … {quantity(high, unit)}"


def moment(text: object) -> str:
    """Return an ISO time in UTC to the second; the text itself when it is none."""
    try:
        return f"{datetime.fromisoformat(str(text)):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return str(text)


def _plain(value: object, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    as_number = number(value)
    if isinstance(value, str) and not math.isinf(as_number):
        return value
    if math.isinf(as_number):
        return _NOT_LIMITED
    if math.isnan(as_number):
        return str(value)
    return quantity(as_number, unit)
