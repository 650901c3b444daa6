"""What a run's protocol or training gave: the arrays it left beside the rows."""

from __future__ import annotations

import zipfile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.record.reader import Run

_UNITS: Final = {
    "v": "V", "a": "A", "s": "s", "ohm": "ohm", "siemens": "S", "joule": "J", "hz": "Hz",
}  # fmt: skip


def unit_of(name: str) -> str:
    """Return the unit that a name such as ``g_siemens`` ends in, "" for none."""
    return _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""


def outcome_of(run: Run) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the numbers and texts of ``checkpoints/outcome.npz``, and why some are not there."""
    path = run.path / "checkpoints" / "outcome.npz"
    if not path.exists():
        return {}, []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            outcome = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as exc:
        return {}, [f"outcome: checkpoints/outcome.npz cannot be read: {exc}"]
    kept = {name: a for name, a in outcome.items() if a.dtype.kind in "biufU"}
    return kept, [
        f"outcome.{name}: values of type {outcome[name].dtype}" for name in outcome.keys() - kept
    ]
