"""The suite file: which protocols, with which changes, on which cells; and when a device is out."""

from __future__ import annotations

import difflib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from hil.config.quantities import Count, FileTable, Table
from hil.config.toml_file import read_text, validate_text
from hil.errors import ConfigError

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class StopTable(Table):
    """When a device is left out of the later parts.

    ``stuck``: over a part of kind ``ltp-ltd`` its conductance (10 % to 90 % point of what was
    read) moves by less than this share of the window; 0 = never. ``compliance``: so many
    pulses or reads of one part at the current limit. ``range_factor``: more than half of its
    readings are below ``g_min`` / factor or above ``g_max`` · factor. ``unread``: more than this
    share of its readings gave no number.
    """

    stuck: Share = 0.05
    compliance: Count = 3
    range_factor: Annotated[float, Field(gt=1.0)] = 3.0
    unread: Share = 0.5


class PartTable(Table):
    """One part: a protocol, shipped or a file beside the suite, and what differs from it.

    ``cells``: ``all`` that are left, or the ``neighbours`` of one of them, which becomes the
    aggressor of a ``half-select-disturb``. ``sample``: this many of those left, by the seed.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    protocol: str
    set: dict[str, Any] = Field(default_factory=dict)
    cells: Literal["all", "neighbours"] = "all"
    sample: Count | None = None
    optional: bool = False  #: left out, with the reason, where the station cannot do it

    @model_validator(mode="after")
    def _cells_are_ours(self) -> PartTable:
        for name in ("cells", "sample", "kind", "schema"):
            if name in self.set:
                raise ValueError(f"set: {name!r} is not for `set`; a part has `cells` and `sample`")
        if self.cells == "neighbours" and self.sample is not None:
            raise ValueError('sample: the neighbours of one cell are all taken; use cells = "all"')
        return self


class Suite(FileTable):
    """A suite file; the parts are run in its order."""

    KIND: ClassVar[str] = "suite"

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=_NAME)]
    description: str = ""
    stop: StopTable = StopTable()
    part: Annotated[tuple[PartTable, ...], Field(min_length=1)]
    text: Annotated[str, Field(exclude=True)] = ""

    @model_validator(mode="after")
    def _names_differ(self) -> Suite:
        names = [part.name for part in self.part]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two parts are called {name!r}")
        return self


def shipped() -> dict[str, str]:
    """Return the shipped suites: name -> text of the file."""
    folder = resources.files("hil.characterise") / "library"
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def load_suite(name: str | Path) -> Suite:
    """Return a suite: a file, or a shipped one by its name.

    Raises:
        ConfigError: with file, line and field; or there is none of that name.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.parent != Path() or path.is_file():
        text, origin = read_text(path), path
        suite = validate_text(text, Suite, path)
        return suite.model_copy(update={"path": origin, "text": text})
    texts = shipped()
    if str(name) not in texts:
        near = difflib.get_close_matches(str(name), texts, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"shipped: {', '.join(texts)}"
        raise ConfigError(f"no shipped suite is called {str(name)!r}; {hint}", field="--suite")
    text = texts[str(name)]
    return validate_text(text, Suite, f"{name}.toml").model_copy(update={"text": text})


def toml_of(values: dict[str, Any]) -> str:
    """Return a flat TOML file of ``values``; lists and tables are written in one line each."""
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in values.items())


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "_").isidentifier() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
