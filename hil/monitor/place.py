"""Which arrays a run is on: names and sizes from the files that lie in its folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ArrayPlace:
    """An array of the station: its name, rows and columns, and its dead cells."""

    name: str
    shape: tuple[int, int]
    dead: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """The station of a run, as far as its folder tells.

    Attributes:
        station: its name, None where no station file lies in the run.
        arrays: by name, in the station's order.
        only: name of the array that a protocol ran on, None for a training.
        n_layers: matrices of a training that need an array each, 0 where unknown.
    """

    station: str | None
    arrays: Mapping[str, ArrayPlace]
    only: str | None
    n_layers: int = 0

    def array_of_layer(self, layer: int) -> str:
        """Return the name of the array that rows of ``layer`` are on.

        Layers have arrays of their own where there are enough; else they are tiles of the first.
        """
        if self.only is not None:
            return self.only
        names = list(self.arrays)
        if self.n_layers and len(names) >= self.n_layers and layer < len(names):
            return names[layer]
        if self.n_layers and names:
            return names[0]
        return f"layer {layer}"


def place_of(run: Path, manifest: Mapping[str, Any]) -> Place:
    """Return where a run took place."""
    station = _toml(run / "config" / "station.toml")
    training = _toml(run / "config" / "training.toml")
    arrays = {}
    partners: set[str] = set()
    for table in _tables(station.get("array")):
        name = str(table.get("name", "main"))
        rows, cols = table.get("rows"), table.get("cols")
        if not (isinstance(rows, int) and isinstance(cols, int) and rows > 0 and cols > 0):
            continue
        if table.get("pairs") == "two-arrays":  # the second of the two belongs to the first
            if partners:
                continue
            partners.add(name)
        dead = [tuple(cell) for cell in table.get("dead", ()) if len(cell) == 2]
        arrays[name] = ArrayPlace(name, (rows, cols), tuple(dead))
    meta = manifest.get("meta") or {}
    only = meta.get("array")
    title = str(station.get("name", "station")) if station else None
    return Place(
        title, arrays, None if only is None else str(only),
        _n_layers(training) if manifest.get("kind") == "train" else 0,
    )  # fmt: skip


def epochs_of(run: Path) -> int | None:
    """Return how many epochs the training file of a run asks for, None without one."""
    epochs = (_toml(run / "config" / "training.toml").get("schedule") or {}).get("epochs")
    return epochs if isinstance(epochs, int) else None


def _n_layers(training: Mapping[str, Any]) -> int:
    if not training:
        return 0
    hidden = (training.get("network") or {}).get("hidden", ())
    twice = (training.get("rule") or {}).get("method") == "tiki-taka"
    return (len(hidden) + 1) * (2 if twice else 1)


def _tables(value: object) -> list[dict[str, Any]]:
    return [t for t in value if isinstance(t, dict)] if isinstance(value, list) else []


def _toml(file: Path) -> dict[str, Any]:
    """Return a file of the run's configuration, empty where there is none that can be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
