"""Fields of a study's files that name other files; a path is relative to the file that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hil.config.toml_file import is_file_name
from hil.study.fields import Files


def make_absolute(files: Files, folder: Path) -> None:
    """Make the relative paths in ``files`` absolute, in place; they are relative to ``folder``."""
    for training in files.get("training", []):
        dataset = training.get("dataset")
        for name in ("folder", "file"):
            _absolute(dataset, name, folder)
    for station in files.get("station", []):
        _absolute(station, "calibration", folder)
        for table in _tables(station.get("array")):
            if is_file_name(table.get("device")):
                _absolute(table, "device", folder)


def _tables(value: Any) -> list[dict[str, Any]]:
    return [t for t in value if isinstance(t, dict)] if isinstance(value, list) else []


def _absolute(table: Any, name: str, folder: Path) -> None:
    if isinstance(table, dict) and isinstance(table.get(name), str):
        table[name] = str((folder / table[name]).resolve())
