"""Which devices a block is about to write, said to the run's write-ahead intents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from hil.backend import Backend
from hil.geometry import ArrayGeometry
from hil.program import READING_PHASES, Phase, PulseBlock

if TYPE_CHECKING:
    from hil.record.intents import IntentLog

#: Multiplications that finding the exact devices may cost; above, whole rows and columns are named.
_MOST_WORK: Final = 200_000_000


def written_devices(geometry: ArrayGeometry, block: PulseBlock) -> NDArray[np.bool_]:
    """Return (n_rows, n_cols) devices that a writing block selects; it may name more, never less.

    A device is selected in a step in which both its lines are; a block erase selects rows.
    """
    selected = block.selected[block.repeat > 0]
    erase = geometry.erase_lines
    if block.phase is Phase.ERASE and erase is not None:
        rows = np.asarray(selected[:, erase.plus].any(axis=0))
        return np.repeat(rows[:, None], geometry.n_cols, axis=1)
    rows, cols = selected[:, geometry.write_lines.plus], selected[:, geometry.write_lines.minus]
    if len(selected) * geometry.n_rows * geometry.n_cols > _MOST_WORK:
        return np.logical_and.outer(rows.any(axis=0), cols.any(axis=0))
    found: NDArray[np.bool_] = rows.T.astype(np.float32) @ cols.astype(np.float32) > 0
    return found


def device_pulses(geometry: ArrayGeometry, block: PulseBlock) -> int:
    """Return how many pulses a writing block gives to selected devices, all together."""
    erase = geometry.erase_lines
    if block.phase is Phase.ERASE and erase is not None:
        per_step = block.selected[:, erase.plus].sum(axis=1) * geometry.n_cols
    else:
        lines = geometry.write_lines
        rows, cols = (block.selected[:, k].sum(axis=1) for k in (lines.plus, lines.minus))
        per_step = rows * cols
    return int((per_step * block.repeat).sum())


class Intentions:
    """Opens a lease before every block that writes, and says when the block is recorded.

    Args:
        log: the run's intents.
        names: of the arrays; one that has none is called by its number.
    """

    def __init__(self, log: IntentLog, names: Mapping[Backend, str]) -> None:
        self._log = log
        self._names = dict(names)

    def before(self, backend: Backend, block: PulseBlock) -> None:
        """Return when it is on the disk that ``block`` is about to write; nothing for a read.

        Raises:
            StoreError: it could not be written; the block must not be driven.
        """
        if block.phase in READING_PHASES or block.phase is Phase.IDLE:
            return
        pulses = device_pulses(backend.geometry, block)
        if pulses:
            written = written_devices(backend.geometry, block)
            self._log.cover(self._name(backend), written, pulses)

    def recorded(self, backend: Backend, ticket: int) -> None:
        """Note that the block at hand has ended and is recorded up to ``ticket``."""
        self._log.completed(self._name(backend), ticket)

    def unknown(self, backend: Backend) -> None:
        """Leave the lease open: nobody knows what the block at hand did."""
        self._log.abandon(self._name(backend))

    def _name(self, backend: Backend) -> str:
        return self._names.setdefault(backend, str(len(self._names)))
