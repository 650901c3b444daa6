"""Text quantities with units (``"1.2 V"``, ``"10 us"``, ``"100 uA"``) to SI floats.

Only files and command lines carry text units; everything inside is SI floats with the unit in the
name. The parser is strict: number, optional SI prefix, unit; the dimension is checked.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from hil.errors import UnitError

_PREFIX: Final[dict[str, float]] = {
    "a": 1e-18, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6,
    "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip

#: dimension -> (SI symbol, {accepted unit spelling: factor})
DIMENSIONS: Final[dict[str, tuple[str, dict[str, float]]]] = {
    "voltage": ("V", {"V": 1.0}),
    "current": ("A", {"A": 1.0}),
    "time": ("s", {"s": 1.0}),
    "conductance": ("S", {"S": 1.0}),
    "resistance": ("ohm", {"ohm": 1.0, "\u03a9": 1.0, "\u2126": 1.0}),
    "energy": ("J", {"J": 1.0}),
    "charge": ("C", {"C": 1.0}),
    "slew rate": ("V/s", {"V/s": 1.0, "V/us": 1e6, "V/ms": 1e3, "V/ns": 1e9}),
    "temperature": ("K", {"K": 1.0}),
    "frequency": ("Hz", {"Hz": 1.0}),
}

_UNPREFIXED: Final[dict[str, dict[str, float]]] = {
    "time": {"min": 60.0, "h": 3600.0, "d": 86400.0},
}

_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def _factor(unit: str, dimension: str) -> float | None:
    _, spellings = DIMENSIONS[dimension]
    extra = _UNPREFIXED.get(dimension, {})
    if unit in extra:
        return extra[unit]
    if unit in spellings:
        return spellings[unit]
    for spelling, factor in spellings.items():
        if unit.endswith(spelling):
            prefix = unit[: -len(spelling)]
            if prefix in _PREFIX:
                return _PREFIX[prefix] * factor
    return None


def dimension_of(unit: str) -> str | None:
    """Return the dimension that ``unit`` measures, or None when no dimension knows it."""
    for dimension in DIMENSIONS:
        if _factor(unit, dimension) is not None:
            return dimension
    return None


def parse_quantity(text: object, dimension: str) -> float:
    """Return the SI value of ``text`` such as ``"1.2 V"``.

    Args:
        text: number and unit; a bare number is refused (its unit would be a guess).
        dimension: one of :data:`DIMENSIONS`.

    Raises:
        UnitError: not text, no number, no unit, unknown unit, or a unit of another dimension.
    """
    symbol, _ = DIMENSIONS[dimension]
    if not isinstance(text, str):
        raise UnitError(f'{text!r} has no unit; write a {dimension} as text, e.g. "1 {symbol}"')
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UnitError(f'cannot read {text!r} as a {dimension}; expected e.g. "1 {symbol}"')
    number, unit = match.groups()
    if not unit:
        raise UnitError(f'{text!r} has no unit; expected a {dimension}, e.g. "{number} {symbol}"')
    factor = _factor(unit, dimension)
    if factor is None:
        other = dimension_of(unit)
        if other is not None:
            raise UnitError(f"{text!r} is a {other}; expected a {dimension} ({symbol})")
        raise UnitError(f"unknown unit {unit!r} in {text!r}; expected a {dimension} ({symbol})")
    # Decimal keeps "3 us" equal to 3e-6 to the last bit, which a float product would not.
    value = float(Decimal(number) * Decimal(str(factor)))
    if not math.isfinite(value):
        raise UnitError(f"{text!r} is not a finite {dimension}")
    return value


def format_quantity(value: float, unit: str, digits: int = 4) -> str:
    """Return ``value`` in SI ``unit`` with an engineering prefix, e.g. ``12.5 us``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    exponent = math.floor(math.log10(abs(value)) / 3) * 3
    exponent = min(max(exponent, -18), 12)
    scaled = value / 10.0**exponent
    if f"{abs(scaled):.{digits}g}" in {"1000", "1e+03"} and exponent < 12:
        exponent += 3
        scaled = value / 10.0**exponent
    prefix = {
        -18: "a", -15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G",
        12: "T",
    }[exponent]  # fmt: skip
    return f"{scaled:.{digits}g} {prefix}{unit}"


def format_duration(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 1.0:
        return f"{1e3 * seconds:.0f} ms"
    if seconds < 90.0:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
