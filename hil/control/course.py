"""What a run notes of its course for those who watch it: plan, targets, progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from hil.program import FloatArray

if TYPE_CHECKING:
    from hil.control.trainer import OnProgress
    from hil.record.folder import RunFolder

#: Seconds between two events of progress; each is a synced line.
EVERY_S: Final = 5.0


def note_plan(folder: RunFolder, seconds: float | None, targets: FloatArray | None) -> None:
    """Note before the first pulse how long a protocol takes and what it aims at, where known.

    Args:
        folder: of the run.
        seconds: predicted, on the run's clock.
        targets: (n_rows, n_cols) siemens, NaN where a device has none.
    """
    if seconds is not None:
        folder.event("plan", seconds=seconds)
    if targets is not None:
        folder.checkpoint("targets", target_siemens=targets)


def noting_progress(folder: RunFolder, then: OnProgress | None, unit: str) -> OnProgress:
    """Return an observer that notes progress now and then, and passes it on to ``then``."""
    noted_s = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal noted_s
        if time.monotonic() - noted_s >= EVERY_S:
            folder.event("progress", done=done, total=total, unit=unit)
            noted_s = time.monotonic()
        if then is not None:
            then(done, total)

    return progress
