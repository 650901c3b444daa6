"""From a part of a suite to the protocol file that is run, with the devices in force."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.characterise.cells import Cell, drawn, neighbours
from hil.characterise.suite import PartTable, Suite, toml_of
from hil.config.toml_file import parse_text, read_text
from hil.errors import ConfigError, ProtocolError
from hil.geometry import ArrayGeometry
from hil.registry import PROTOCOLS, load

_DISTURB = "half-select-disturb"


@dataclass(frozen=True)
class Protocol:
    """A protocol file for some devices: its text, its kind, and the devices."""

    part: str
    kind: str
    text: str
    cells: list[Cell]

    def file_name(self, number: int) -> str:
        """Return the name of the file in the characterisation's folder."""
        return f"{number:02d}-{self.part}.toml"


def protocol_of(
    suite: Suite, part: PartTable, left: Sequence[Cell], geometry: ArrayGeometry, seed: int,
    out: set[Cell],
) -> Protocol:  # fmt: skip
    """Return the protocol file of ``part`` for the devices that are ``left``.

    Args:
        suite: protocols that are files are looked for beside its own.
        part: one of its parts.
        left: at least one device.
        geometry: the array.
        seed: of the draw, where the part takes a sample. Fewer are taken where fewer are left.
        out: devices that were left out.

    Raises:
        ProtocolError: there is no such protocol.
    """
    base = _base(suite, part)
    kind = str(base.get("kind", ""))
    cells = list(left)
    changes: dict[str, Any] = dict(part.set)
    if part.cells == "neighbours":
        first = changes.get("aggressor")
        own = [tuple(first)] if isinstance(first, list | tuple) else drawn(cells, 1, seed, "cells")
        cells = neighbours([(int(r), int(c)) for r, c in own], geometry, out)
        if kind == _DISTURB:
            changes["aggressor"] = [int(v) for v in own[0]]
    elif part.sample is not None:
        cells = drawn(cells, min(part.sample, len(cells)), seed, "sample")
    if part.cells == "all" and kind == _DISTURB and "aggressor" not in changes:
        changes["aggressor"] = list(cells[0])
    base.pop("sample", None)
    whole = len(cells) == int((~geometry.dead_mask).sum())
    named: object = "all" if whole else [list(cell) for cell in cells]
    values = {**base, **changes, "name": part.name, "cells": named}
    return Protocol(part.name, kind, toml_of(values), cells)


def check_parts(suite: Suite) -> None:
    """Check the protocol of every part, for no array in particular.

    Raises:
        ProtocolError: with part and field.
    """
    for part in suite.part:
        text = toml_of({**_base(suite, part), **part.set})
        load(PROTOCOLS, "library")().parse(text, f"{part.name}.toml")


def _base(suite: Suite, part: PartTable) -> dict[str, Any]:
    name = part.protocol
    beside = Path(name)
    if suite.path is not None and not beside.is_absolute():
        beside = suite.path.parent / name
    if Path(name).suffix == ".toml" or beside.is_file():
        return parse_text(read_text(beside, ProtocolError), beside, ProtocolError)
    try:
        return tomllib.loads(load(PROTOCOLS, "library")().text(name))
    except ConfigError as exc:
        raise ProtocolError(
            f"part {part.name!r}: {exc.message}", path=suite.path, field="protocol"
        ) from exc
