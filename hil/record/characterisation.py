"""The index of a characterisation: which runs are its parts, and which devices were left out.

The parts are ordinary runs; whether one is done is said by its own stop record, never here.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from hil.errors import StoreError
from hil.record.durable import replace_file
from hil.record.jsonable import to_json

#: Name of the index in the folder of a characterisation.
INDEX: Final = "characterisation.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A device that tripped a stop rule: its place, the part it did so in, the rule and why."""

    row: int
    col: int
    part: str
    rule: str
    reason: str


@dataclass(slots=True)
class PartRuns:
    """A part of a characterisation: every attempt at it, the last one last.

    Attributes:
        name, kind: of the part and of its protocol.
        runs: run folders, also of attempts that were cut short.
        skipped: why it was not run at all, None otherwise.
    """

    name: str
    kind: str
    runs: list[Path] = field(default_factory=list)
    skipped: str | None = None

    @property
    def run(self) -> Path | None:
        """The last attempt that is done, None while there is none."""
        from hil.record.reader import open_run

        for path in reversed(self.runs):
            if path.is_dir() and open_run(path).status == "done":
                return path
        return None


@dataclass
class Characterisation:
    """What a characterisation folder says.

    Attributes:
        path: the folder.
        about: station, array, backend and so on, as they were at the beginning.
        cells: (row, col) of the devices asked for.
        parts: in order.
        left_out: devices that a stop rule has taken out of the later parts.
    """

    path: Path
    about: dict[str, Any]
    cells: list[tuple[int, int]]
    parts: list[PartRuns] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def remaining(self) -> list[tuple[int, int]]:
        """The devices that no rule has taken out."""
        gone = {(found.row, found.col) for found in self.left_out}
        return [cell for cell in self.cells if cell not in gone]

    def write(self) -> None:
        """Write the index: all of it or, if that fails, what was there before.

        Raises:
            StoreError: it cannot be written.
        """
        parts = [
            {"name": p.name, "kind": p.kind, "skipped": p.skipped,
             "runs": [_relative(run, self.path) for run in p.runs]}
            for p in self.parts
        ]  # fmt: skip
        content = to_json(
            {"format": FORMAT, **self.about, "cells": self.cells, "parts": parts,
             "left_out": [asdict(found) for found in self.left_out]}, indent=1,
        )  # fmt: skip
        replace_file(self.path / INDEX, content)


def is_characterisation(path: str | Path) -> bool:
    """Return whether ``path`` is the folder of a characterisation."""
    return (Path(path) / INDEX).is_file()


def open_characterisation(path: str | Path) -> Characterisation:
    """Read the index of the characterisation in the folder ``path``.

    Raises:
        StoreError: there is none, it is damaged, or it was written by a newer version.
    """
    folder = Path(path)
    file = folder / INDEX
    try:
        found = json.loads(file.read_bytes())
        number = found.pop("format")
        if number > FORMAT:
            raise StoreError(f"{file}: format {number} is newer than {FORMAT}; update synapse-hil")
        parts = [
            PartRuns(p["name"], p["kind"], [(folder / run).resolve() for run in p["runs"]],
                     p["skipped"])
            for p in found.pop("parts")
        ]  # fmt: skip
        left_out = [LeftOut(**entry) for entry in found.pop("left_out")]
        cells = [(int(row), int(col)) for row, col in found.pop("cells")]
    except FileNotFoundError:
        raise StoreError(f"{folder}: is no characterisation, it has no {INDEX}") from None
    except OSError as exc:
        raise StoreError(f"cannot read {file}: {exc.strerror or exc}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StoreError(f"{file}: damaged: {exc}") from exc
    return Characterisation(folder, found, cells, parts, left_out)


def _relative(run: Path, folder: Path) -> str:
    """Return the way from ``folder`` to ``run``, so that both may be moved together."""
    return Path(os.path.relpath(run.resolve(), folder.resolve())).as_posix()
