"""What TSP firmware (Lua 5.0) does not understand; searched for outside strings and comments."""

from __future__ import annotations

import re

_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
#: construct -> pattern; all came with Lua 5.1 or later.
TOO_NEW = {
    "length operator #": re.compile(r"#"),
    "modulo operator %": re.compile(r"%"),
    "integer division //": re.compile(r"//"),
    "bitwise operators": re.compile(r"[&|]|<<|>>|~(?!=)"),
    "goto": re.compile(r"\bgoto\b|::"),
    "string.match or gmatch": re.compile(r"\bstring\.g?match\b"),
    "table.unpack or select": re.compile(r"\btable\.unpack\b|\bselect\s*\("),
    "math.fmod spelling or math.huge": re.compile(r"\bmath\.(huge|fmod|modf|tointeger)\b"),
    "vararg expression": re.compile(r"[=,(]\s*\.\.\."),
    "long string with level": re.compile(r"\[=+\["),
}


def too_new(text: str) -> list[str]:
    """Return the constructs in ``text`` that Lua 5.0 does not have."""
    code = "\n".join(_STRINGS.sub('""', line).split("--")[0] for line in text.splitlines())
    return [name for name, pattern in TOO_NEW.items() if pattern.search(code)]
