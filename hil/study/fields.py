"""Set and remove single fields of parsed TOML files, by their dotted paths."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hil.errors import ConfigError

#: Parsed files by name: ``station``, ``device``, ``training`` or ``protocol``. Every device file of
#: the station is in the list of ``device``.
Files = dict[str, list[dict[str, Any]]]


def with_fields(files: Files, values: Mapping[str, Any], remove: tuple[str, ...] = ()) -> Files:
    """Return a copy of ``files`` with fields such as ``training.schedule.eta`` set or removed.

    Several fields with a comma between them get the same value. Tables on the way are made; a whole
    number in a path is a position in a list. A field that is to be removed may be missing.

    Raises:
        ConfigError: a path leads through something that is no table, or past the end of a list.
    """
    out = copy.deepcopy(files)
    for name in remove:
        _change(out, name, None, remove=True)
    for names, value in values.items():
        for name in fields_of(names):
            _change(out, name, copy.deepcopy(value), remove=False)
    return out


def fields_of(names: str) -> list[str]:
    """Return the fields of a text such as ``device.potentiation.nu, device.depression.nu``."""
    return [name.strip() for name in names.split(",")]


def _change(files: Files, name: str, value: Any, *, remove: bool) -> None:
    file, *path = name.split(".")
    if not files.get(file):
        raise ConfigError(f"the study has no {file} file", field=name)
    for table in files[file]:
        here: Any = table
        for part in path[:-1]:
            here = _inside(here, part, name, make=not remove)
            if here is None:
                break
        else:
            _put(here, path[-1], value, name, remove)


def _inside(here: Any, part: str, name: str, *, make: bool) -> Any:
    if isinstance(here, list):
        return here[_position(here, part, name)]
    if not isinstance(here, dict):
        raise ConfigError(f"{part!r} is looked for in a value that is no table", field=name)
    if part not in here:
        if not make:
            return None
        here[part] = {}
    return here[part]


def _put(here: Any, part: str, value: Any, name: str, remove: bool) -> None:
    if isinstance(here, list):
        at = _position(here, part, name)
        if remove:
            del here[at]
        else:
            here[at] = value
    elif not isinstance(here, dict):
        raise ConfigError(f"{part!r} is looked for in a value that is no table", field=name)
    elif remove:
        here.pop(part, None)
    else:
        here[part] = value


def _position(here: list[Any], part: str, name: str) -> int:
    if not part.isdigit() or int(part) >= len(here):
        raise ConfigError(
            f"{part!r} is no position in a list of {len(here)} (0 is the first)", field=name
        )
    return int(part)
