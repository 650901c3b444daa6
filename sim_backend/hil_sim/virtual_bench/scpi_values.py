"""Parameters of SCPI commands: numbers with units, booleans, keywords, lists, binary blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ScpiError(Exception):
    """An entry for the error queue, with its standard code (SCPI-1999, volume 2, chapter 21)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)")
_PREFIX = {"M": 1e-3, "U": 1e-6, "N": 1e-9, "P": 1e-12, "F": 1e-15, "K": 1e3, "MA": 1e6, "G": 1e9,
           "": 1.0}  # fmt: skip
_UNIT = re.compile(r"(V|A|S|HZ|OHM|W|PCT)$")
Parse = Callable[[str], Any]


def split_parameters(text: str) -> list[str]:
    """Split at commas outside quotes and brackets."""
    if not text:
        return []
    if '"' not in text and "'" not in text and "(" not in text:
        return [part.strip() for part in text.split(",")]
    parts, depth, quote, start = [], 0, "", 0
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return parts


def number(text: str) -> float:
    """Return a decimal number, with an SI suffix if there is one.

    Raises:
        ScpiError: -104 when it is no number, -123 when it is too large, -131 when the suffix is
            none.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ScpiError(-104, "Data type error")
    value, suffix = float(match.group(1)), match.group(2).upper()
    if math.isinf(value):
        raise ScpiError(-123, "Exponent too large")
    if not suffix:
        return value
    prefix = _UNIT.sub("", suffix)
    if prefix not in _PREFIX:
        raise ScpiError(-131, "Invalid suffix")
    # MHZ and MOHM are mega by IEEE 488.2, every other M is milli.
    if prefix == "M" and suffix in ("MHZ", "MOHM"):
        return value * 1e6
    return value * _PREFIX[prefix]


def real(low: float, high: float, default: float | None = None) -> Parse:
    """Return a parser of a number between ``low`` and ``high``; MIN, MAX, DEF, INF are known."""

    def parse(text: str) -> float:
        word = text.upper()
        if word in ("MIN", "MINIMUM"):
            return low
        if word in ("MAX", "MAXIMUM", "INF", "INFINITY"):
            return high
        if word in ("DEF", "DEFAULT") and default is not None:
            return default
        value = number(text)
        if not low <= value <= high:
            raise ScpiError(-222, "Data out of range")
        return value

    return parse


def integer(low: int, high: int) -> Parse:
    """Return a parser of a whole number."""
    inner = real(low, high)

    def parse(text: str) -> int:
        return round(float(inner(text)))

    return parse


def boolean(text: str) -> bool:
    """Return ON, OFF, 1 or 0 as a boolean."""
    word = text.upper()
    if word in ("ON", "OFF"):
        return word == "ON"
    return number(text) != 0.0


def keyword(*choices: str) -> Parse:
    """Return a parser of ``LONGform`` keywords; it gives the short form."""
    known: dict[str, str] = {}
    for choice in choices:
        short = re.sub(r"[a-z]", "", choice)
        known[choice.upper()] = known[short] = short

    def parse(text: str) -> str:
        word = text.strip("\"'").upper()
        if word not in known:
            raise ScpiError(-224, "Illegal parameter value")
        return known[word]

    return parse


def text(value: str) -> str:
    """Return a quoted string, or bare program data, without its quotes."""
    if value[:1] in ("'", '"'):
        if len(value) < 2 or value[-1] != value[0]:
            raise ScpiError(-151, "Invalid string data")
        return value[1:-1]
    return value


def numbers(low: float, high: float, at_most: int) -> Callable[[list[str]], NDArray[np.float64]]:
    """Return a parser of a list of numbers."""

    def parse(values: list[str]) -> NDArray[np.float64]:
        if len(values) > at_most:
            raise ScpiError(-223, "Too much data")
        try:
            out = np.array(values, dtype=np.float64)
        except ValueError:
            out = np.array([number(v) for v in values])
        if not ((out >= low) & (out <= high)).all():
            raise ScpiError(-222, "Data out of range")
        return out

    return parse


def channel_list(value: str) -> list[str]:
    """Return the entries of ``(@101,102:104)``; spans are given as written."""
    match = re.fullmatch(r"\(@\s*([^)]*)\)", value.strip())
    if match is None:
        raise ScpiError(-104, "Data type error")
    return [part.strip() for part in match.group(1).split(",") if part.strip()]


def definite_block(payload: bytes) -> bytes:
    """Return an IEEE 488.2 definite-length block."""
    size = str(len(payload)).encode()
    return b"#" + str(len(size)).encode() + size + payload


def block_payload(value: bytes) -> bytes:
    """Return the payload of a definite-length block.

    Raises:
        ScpiError: -161 when it is none.
    """
    if len(value) < 3 or value[:1] != b"#" or not value[1:2].isdigit():
        raise ScpiError(-161, "Invalid block data")
    digits = int(value[1:2])
    size = value[2 : 2 + digits]
    payload = value[2 + digits :]
    if not size.isdigit() or len(payload) < int(size):
        raise ScpiError(-161, "Invalid block data")
    return payload[: int(size)]
