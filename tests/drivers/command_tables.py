"""Checks emitted messages against ``commands.toml``."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "and break do else elseif end false for function if in local nil not or repeat return "
        "then true until while",
    )
)


@cache
def manuals() -> dict[str, dict[str, Any]]:
    """Return manual and rows by place, by driver."""
    text = (Path(__file__).parent / "commands.toml").read_text(encoding="ascii")
    return tomllib.loads(text)


@cache
def tables() -> dict[str, dict[str, list[str]]]:
    """Return the rows by driver and language, wherever the manual has them."""
    return {
        driver: {
            language: [row for rows in places.values() for row in rows]
            for language, places in table.items()
            if language != "manual"
        }
        for driver, table in manuals().items()
    }


def unknown(driver: str, message: str) -> list[str]:
    """Return what of a message is not in the driver's table, in its language."""
    check = unknown_tsp if "tsp" in tables()[driver] else unknown_scpi
    return check(driver, message)


def scpi_pattern(entry: str) -> str:
    """Return the regular expression of one entry in the manuals' notation."""
    header, _, parameters = entry.partition(" ")
    query = header.endswith("?")
    out = ""
    for token in re.findall(r"<n>|[A-Za-z]+|.", header.rstrip("?")):
        if token == "<n>":
            out += r"\d*"
        elif token == "[":
            out += "(?:"
        elif token == "]":
            out += ")?"
        elif token.isalpha():
            short = "".join(c for c in token if c.isupper())
            out += f"(?:{short}|{token.upper()})"
        else:
            out += re.escape(token)
    out += r"\?" if query else ""
    if parameters:
        out += " " + ",".join(_parameter(p) for p in _split(parameters))
    return out


def _split(parameters: str) -> list[str]:
    """Words such as ``REAL,64`` between bars hold commas of their own."""
    words = "|" in parameters and not any(x in parameters for x in ("{", '"', "#block", "TRIG,"))
    return [parameters] if words else parameters.split(",")


def _parameter(text: str) -> str:
    alternatives = []
    for word in text.split("|"):
        if word == "{num}":
            alternatives.append(_NUMBER)
        elif word == "{nums}":
            alternatives.append(rf"{_NUMBER}(?:,{_NUMBER})*")
        elif word == "(@list)":
            alternatives.append(r"\(@\d+(?:,\d+)*\)")
        elif word == "#block":
            alternatives.append("#block")
        else:
            alternatives.append(re.escape(word).replace("<n>", r"\d+"))
    return "(?:" + "|".join(alternatives) + ")"


@cache
def _scpi_patterns(driver: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(scpi_pattern(e)) for e in tables()[driver]["scpi"])


def unknown_scpi(driver: str, message: str) -> list[str]:
    """Return the commands of a chained message that are not in the driver's table."""
    commands = re.split(r";(?=[:*])", message)
    return [c for c in commands if not any(p.fullmatch(c) for p in _scpi_patterns(driver))]


def unknown_tsp(driver: str, message: str) -> list[str]:
    """Return the names in TSP statements that are neither in the table nor our own."""
    allowed = set(tables()[driver]["tsp"])
    tails = {tail for name in allowed for tail in _tails(name)}
    own = set(re.findall(r"\b(?:local|function)\s+([\w., ]+?)\s*(?:\(|=|$)", message, re.M))
    own = {n.strip() for names in own for n in names.split(",")} | {"hil_version"}
    own |= set(re.findall(r"\bfor\s+(\w+)", message)) | set(
        re.findall(r",\s*(\w+)\s+in\b", message)
    )
    for arguments in re.findall(r"function\s+\w*\(([^)]*)\)", message):
        own |= {a.strip() for a in arguments.split(",")}
    fields = _own_fields(message, own)
    bad = []
    for line in message.splitlines():
        code = re.sub(r'"[^"]*"', '""', line).strip()
        if code in allowed:
            continue
        for name in re.findall(r"(?<![\w.\]])[A-Za-z_][\w.]*(?:\[[^\]]*\])?(?:\.[\w.]+)?", code):
            plain = re.sub(r"\[[^\]]*\]", "[N]", name)
            plain = re.sub(r"^smu[ab]\b", "smuX", plain)
            root, _, rest = plain.partition(".")
            root = root.removesuffix("[N]")
            if plain in allowed or plain in _KEYWORDS or re.fullmatch(r"e\d+", plain):
                continue
            if root.startswith("hil_") or plain in ("smuX",):
                ok = not rest or rest in tails
            elif root in own:
                ok = not rest or rest in tails or rest in fields
            else:
                ok = plain in fields
            if not ok:
                bad.append(name)
    return bad


def _own_fields(message: str, own: set[str]) -> set[str]:
    """Return the fields that a script gives its own tables, with and without an index."""
    fields = set(re.findall(r"[{,]\s*(\w+)\s*=", message))
    fields |= {f for root, f in re.findall(r"\b(\w+)\.(\w+)\s*=[^=]", message) if root in own}
    return fields | {f"{f}[N]" for f in fields}


def _tails(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[k:]) for k in range(1, len(parts))]
