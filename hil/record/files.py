"""Names of files in a run folder that several modules share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Lock file of a run folder: one process writes.
LOCK: Final = "run.lock"
#: Who only looks whether a run is being written takes the lock for a moment.
LOCK_WAIT_S: Final = 0.2


def lock_name(folder: Path) -> str:
    """Return what the lock of a run folder is called in an error."""
    return f"run {folder.name}"
