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
        layers: name of the array of every matrix of a training, empty where the run does not say.
    """

    station: str | None
    arrays: Mapping[str, ArrayPlace]
    only: str | None
    layers: tuple[str, ...] = ()

    def array_of_layer(self, layer: int) -> str:
        """Return the name of the array that rows of ``layer`` are on.

        A pair of arrays goes by the name of the first.
        """
        if self.only is not None:
            return self.only
        return self.layers[layer] if layer < len(self.layers) else f"layer {layer}"


def place_of(run: Path, manifest: Mapping[str, Any]) -> Place:
    """Return where a run took place."""
    station = _toml(run / "config" / "station.toml")
    arrays = {}
    for table in _tables(station.get("array")):
        name = str(table.get("name", "main"))
        rows, cols = table.get("rows"), table.get("cols")
        if not (isinstance(rows, int) and isinstance(cols, int) and rows > 0 and cols > 0):
            continue
        dead = [tuple(cell) for cell in table.get("dead", ()) if len(cell) == 2]
        arrays[name] = ArrayPlace(name, (rows, cols), tuple(dead))
    meta = manifest.get("meta") or {}
    only = meta.get("array")
    layers = tuple(str(names[0]) for names in meta.get("layers") or () if names)
    title = str(station.get("name", "station")) if station else None
    return Place(title, arrays, None if only is None else str(only), layers)


def epochs_of(run: Path) -> int | None:
    """Return how many epochs the training file of a run asks for, None without one."""
    epochs = (_toml(run / "config" / "training.toml").get("schedule") or {}).get("epochs")
    return epochs if isinstance(epochs, int) else None


def _tables(value: object) -> list[dict[str, Any]]:
    return [t for t in value if isinstance(t, dict)] if isinstance(value, list) else []


def _toml(file: Path) -> dict[str, Any]:
    """Return a file of the run's configuration, empty where there is none that can be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
