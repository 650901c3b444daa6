"""The state that `hil resume` goes on from: two files in turn, each whole and with its sha256.

A checkpoint holds the position, everything that the method remembers, the ledgers, how many rows
were recorded, and, of simulated arrays only, the devices (:class:`hil.backend.Restorable`). Nothing
else in the control loop touches a snapshot.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hil.backend import Backend, Restorable
from hil.config.training import CheckpointTable
from hil.control.states import State, pack, unpack
from hil.datasets.dataset import Dataset
from hil.errors import StoreError
from hil.ledger import Ledger

if TYPE_CHECKING:
    from hil.record.checkpoints import Checkpoint
    from hil.record.folder import RunFolder
    from hil.record.reader import Run

#: Version of what a checkpoint of this kind holds.
FORMAT: Final = 1
NAMES: Final = ("state-0", "state-1")
#: Epochs shorter than this do not get a checkpoint each, unless a number of samples is asked for.
SHORTEST_S: Final = 1.0
#: Writing checkpoints takes at most about one part in so many of the time.
SHARE: Final = 20


class StateFiles:
    """Writes ``checkpoints/state-0.npz`` and ``state-1.npz`` of a run, the older one each time.

    Args:
        folder: of the run.
        backends: by name; their ledgers and, where possible, their devices are kept.
        starts: ledgers as they were before the run.
        number: of the first checkpoint to write.
        fresh: whether the devices were new when the run began.

    Attributes:
        took_s: how long the last checkpoint took to write.
    """

    def __init__(
        self, folder: RunFolder, backends: Mapping[str, Backend], starts: Mapping[str, Ledger],
        number: int = 0, fresh: bool = True,
    ) -> None:  # fmt: skip
        self._folder, self._backends, self._starts = folder, backends, starts
        self._number = number
        self._fresh = fresh
        self.took_s = 0.0

    def write(self, kind: str, state: State) -> None:
        """Write a state of a kind, see :attr:`Kept.kind`.

        Raises:
            StoreError: it could not be written.
        """
        begin = time.monotonic()
        self._folder.barrier()
        whole = {
            "format": FORMAT, "kind": kind, "number": self._number, "fresh": self._fresh,
            "rows": self._folder.rows,
            "ledgers": {
                name: backend.ledger.since(self._starts[name]).tables()
                for name, backend in self._backends.items()
            },
            "devices": {
                name: backend.snapshot()
                for name, backend in self._backends.items() if isinstance(backend, Restorable)
            },
            "state": state,
        }  # fmt: skip
        name = NAMES[self._number % len(NAMES)]
        self._folder.checkpoint(name, anew=True, **pack(whole))
        self._number += 1
        self.took_s = time.monotonic() - begin

    def drop(self) -> None:
        """Remove them: the run is done and nothing will go on from them."""
        self._folder.drop_checkpoints(NAMES)


class TrainingCheckpoints:
    """Decides when the state of a training is kept; see :class:`hil.control.trainer.Checkpoints`.

    Args:
        files: where to.
        table: how often.
        dataset: its digest is kept, too.
    """

    def __init__(self, files: StateFiles, table: CheckpointTable, dataset: Dataset) -> None:
        self._files, self._table = files, table
        self._digest = digest_of(dataset)
        self._beside: Callable[[], State] = dict
        self._samples = 0
        self._last_s = time.monotonic()

    def beside(self, state: Callable[[], State]) -> None:
        """Keep these values with every state from now on."""
        self._beside = state

    def begun(self, state: Callable[[], State]) -> None:
        """Take the state before the first sample: what led to it took pulses."""
        self._take(state)

    def sample_done(self, state: Callable[[], State]) -> None:
        """Take the state when enough samples, or enough time, have passed."""
        self._samples += 1
        every = self._table.every
        if self._samples >= every if every else self._passed(self._table.interval):
            self._take(state)

    def epoch_done(self, state: Callable[[], State]) -> None:
        """Take the state after an epoch."""
        if self._table.every or self._passed(SHORTEST_S):
            self._take(state)

    def _passed(self, seconds: float) -> bool:
        return time.monotonic() - self._last_s >= max(seconds, SHARE * self._files.took_s)

    def _take(self, state: Callable[[], State]) -> None:
        whole = {**self._beside(), "dataset": self._digest, "trainer": state()}
        self._files.write("training", whole)
        self._samples, self._last_s = 0, time.monotonic()


class ProtocolCheckpoints:
    """Keeps how many blocks of a static protocol were driven, now and then.

    Args:
        files: where to.
        done: blocks driven before.
        interval_s: between two checkpoints, in seconds.
    """

    def __init__(self, files: StateFiles, done: int = 0, interval_s: float = 20.0) -> None:
        self._files, self._done, self._interval_s = files, done, interval_s
        self._last_s = time.monotonic()

    def block_done(self) -> None:
        """Count a block and take the state when it is time."""
        self._done += 1
        since_s = time.monotonic() - self._last_s
        if since_s >= max(self._interval_s, SHARE * self._files.took_s):
            self._files.write("protocol", {"blocks": self._done})
            self._last_s = time.monotonic()


@dataclass(frozen=True)
class Kept:
    """The last good checkpoint of a run.

    Attributes:
        checkpoint: the file; None when there is none that is good.
        whole: what it holds.
        damaged: names of newer ones that are not what was written.
    """

    checkpoint: Checkpoint | None
    whole: State
    damaged: tuple[str, ...]

    @property
    def state(self) -> State | None:
        """The state proper, None without a checkpoint."""
        return None if self.checkpoint is None else self.whole["state"]

    @property
    def kind(self) -> str:
        """``training``, ``protocol``, ``begin`` (used devices before their run) or ``none``."""
        return "none" if self.checkpoint is None else str(self.whole["kind"])

    @property
    def number(self) -> int:
        """Number of the next checkpoint, whose file is not the one of this."""
        return 0 if self.checkpoint is None else int(self.whole["number"]) + 1

    @property
    def rows(self) -> dict[str, int]:
        """Rows per table that had been recorded then."""
        return dict(self.whole.get("rows", {}))


def last_state(run: Run) -> Kept:
    """Return the last good checkpoint of a run; a damaged one makes way for the one before.

    Raises:
        StoreError: it was written by a newer version.
    """
    damaged: list[str] = []
    for checkpoint in reversed(run.checkpoints):
        if checkpoint.name not in NAMES:
            continue
        try:
            whole = unpack(checkpoint.load())
        except StoreError:
            damaged.append(checkpoint.name)
            continue
        if whole.get("format", FORMAT + 1) > FORMAT:
            raise StoreError(
                f"{checkpoint.path}: was written by a newer version; update synapse-hil"
            )
        return Kept(checkpoint, whole, tuple(damaged))
    return Kept(None, {}, tuple(damaged))


def put_back(kept: Kept, backends: Mapping[str, Backend]) -> None:
    """Give the backends their ledgers back and, where they can, their devices.

    Raises:
        ConfigError: the checkpoint is that of other arrays.
    """
    for name, backend in backends.items():
        if name in kept.whole.get("ledgers", {}):
            backend.ledger.restore(kept.whole["ledgers"][name])
        if isinstance(backend, Restorable) and name in kept.whole.get("devices", {}):
            backend.restore(kept.whole["devices"][name])


def restorable(backends: Mapping[str, Backend]) -> bool:
    """Return whether all devices can be put back: they are simulated in this process."""
    return all(isinstance(backend, Restorable) for backend in backends.values())


def digest_of(dataset: Dataset) -> str:
    """Return the sha256 of a data set's samples and classes."""
    digest = hashlib.sha256()
    arrays: list[Any] = [dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test]
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
