"""Load a TOML file into a strict model; every error says file, line, field and what is wrong."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hil.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
Loc = tuple[int | str, ...]

MAX_FILE_BYTES = 1_000_000
_NAMED_FIELD = re.compile(r"(\w+(?:\[\d+\]|\.\w+)+): ")
_FIELD_PART = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]")
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_NAME = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEY = re.compile(rf"^\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.\s"']+))\s*""")


def _parts(dotted: str) -> list[str]:
    return [
        a or b or c
        for a, b, c in re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([^.\s"']+))\s*""", dotted)
    ]


def key_lines(text: str) -> dict[Loc, int]:
    """Return the line (from 1) of every table header and key of a TOML text, by location."""
    lines: dict[Loc, int] = {}
    counts: dict[Loc, int] = {}
    prefix: Loc = ()
    in_string = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if in_string:
            if in_string in line:
                in_string = ""
            continue
        header = _HEADER.match(line)
        if header:
            prefix = ()
            parts = _parts(header.group(2))
            for depth, part in enumerate(parts):
                prefix = (*prefix, part)
                last = depth == len(parts) - 1
                if last and header.group(1) == "[[":
                    counts[prefix] = counts.get(prefix, -1) + 1
                if prefix in counts:
                    prefix = (*prefix, counts[prefix])
            lines.setdefault(prefix, number)
            continue
        key = _KEY.match(line)
        if key:
            lines.setdefault((*prefix, *_parts(key.group(1))), number)
            for quote in ('"""', "'''"):
                if line.count(quote) == 1:
                    in_string = quote
    return lines


def line_of(lines: dict[Loc, int], loc: Loc) -> int | None:
    """Return the line of ``loc``, or of the nearest table or key above it; None when unknown."""
    while loc:
        if loc in lines:
            return lines[loc]
        loc = loc[:-1]
    return None


def field_name(loc: Loc) -> str:
    """Return a location as people write it: ``array[0].rows``."""
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else str(part))
    return out


def _known_fields(model: type[BaseModel], loc: Loc) -> list[str]:
    current: Any = model
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", None)
        if fields is None or part not in fields:
            continue  # a union's tag in the location is no field
        current = fields[part].annotation
        while get_args(current):
            inner = [
                a for a in get_args(current) if isinstance(a, type) and issubclass(a, BaseModel)
            ]
            if not inner:
                return []
            current = inner[0]
    fields = getattr(current, "model_fields", None)
    return (
        [] if fields is None else [f.alias or name for name, f in fields.items() if not f.exclude]
    )


def _message(model: type[BaseModel], error: Any) -> str:
    loc, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        known = _known_fields(model, loc)
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        allowed = f" (known: {', '.join(sorted(known))})" if known and not near else ""
        return f"unknown field{hint}{allowed}"
    if kind == "missing":
        return "required field is missing"
    text = str(error["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    value = error.get("input")
    if isinstance(value, str | int | float | bool) and repr(value) not in text:
        text += f", got {value!r}"
    return text


def validate(
    values: Any, model: type[Model], *, path: str | Path | None, text: str = "",
    error: type[ConfigError] = ConfigError,
) -> Model:  # fmt: skip
    """Return ``model`` made of ``values``; raise ``error`` with file, line and field otherwise."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        first, *rest = exc.errors()
        lines = key_lines(text)
        loc: Loc = tuple(first["loc"])
        message = _message(model, first)
        named = _NAMED_FIELD.match(message)
        if named:  # a check across tables names its field itself, e.g. "wiring[1].line: ..."
            loc = tuple(int(i) if i else n for n, i in _FIELD_PART.findall(named.group(1)))
            message = message[named.end() :]
        if rest:
            message += f" (and {len(rest)} more)"
        # Tags that pydantic puts in: of a validator, and of the key of a table.
        shown = tuple(
            p
            for p in loc
            if not (isinstance(p, str) and (p.startswith("function-") or p == "[key]"))
        )
        raise error(
            message, path=path, line=line_of(lines, shown), field=field_name(shown)
        ) from exc


def validate_text(
    text: str, model: type[Model], path: str | Path | None = None,
    error: type[ConfigError] = ConfigError,
) -> Model:  # fmt: skip
    """Parse a TOML text into ``model``; raise ``error`` with file, line and field otherwise."""
    return validate(parse_text(text, path, error), model, path=path, text=text, error=error)


def is_file_name(name: object) -> bool:
    """Return whether a text names a file: one that does not is the name of something shipped."""
    return isinstance(name, str) and (name.endswith(".toml") or "/" in name or "\\" in name)


def load_file(path: str | Path, model: type[Model]) -> Model:
    """Load a TOML file into a model that keeps where it came from in its field ``path``.

    Raises:
        ConfigError: with file, line and field.
    """
    path = Path(path)
    return validate_text(read_text(path), model, path).model_copy(update={"path": path})


def parse_text(
    text: str, path: str | Path | None = None, error: type[ConfigError] = ConfigError
) -> dict[str, Any]:
    """Parse a TOML text; raise ``error`` with the line of a syntax error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        match = re.search(r"\(at line (\d+), column \d+\)", str(exc))
        line = int(match.group(1)) if match else None
        message = re.sub(r"\s*\(at .*\)$", "", str(exc))
        raise error(f"not valid TOML: {message}", path=path, line=line) from exc
    except RecursionError as exc:
        raise error("not valid TOML: nested too deeply", path=path) from exc


def read_text(path: str | Path, error: type[ConfigError] = ConfigError) -> str:
    """Return a file's text; raise ``error`` when it is missing, too large or not UTF-8."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise error(f"larger than {MAX_FILE_BYTES} bytes", path=path)
        return path.read_bytes().decode("utf-8")
    except OSError as exc:
        raise error(f"cannot be read: {exc.strerror or exc}", path=path) from exc
    except UnicodeDecodeError as exc:
        raise error("is not UTF-8 text", path=path) from exc


def load_model(
    path: str | Path, model: type[Model], error: type[ConfigError] = ConfigError
) -> Model:
    """Load a TOML file into ``model``; raise ``error`` with file, line and field otherwise."""
    return validate_text(read_text(path, error), model, path, error)
