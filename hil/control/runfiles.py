"""What goes into a run folder beside the rows: the files used, the outcome, the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from hil.backend import Backend
from hil.config.station import Station
from hil.config.toml_file import is_file_name
from hil.control.array import SynapseArray
from hil.control.runner import ProcedureResult
from hil.errors import EnduranceError, StoreError
from hil.ledger import Ledger
from hil.measurement import MeasurementBlock
from hil.procedure import ArrayContext, Outcome, Procedure, Steps
from hil.program import READING_PHASES, Phase, PulseBlock
from hil.registry import PROTOCOLS, backend_factory, load

if TYPE_CHECKING:
    from hil.control.rig_clock import RigTime
    from hil.control.training import TrainingResult
    from hil.record.folder import RunFolder


@runtime_checkable
class DeviceTexts(Protocol):
    """A backend factory that can show the file of a device it ships."""

    def device_text(self, name: str) -> str:
        """Return the device file of a shipped preset."""


class Prepared(Procedure):
    """A procedure whose first block is compiled and, if it is static, that was checked whole.

    A protocol that does not fit the array is refused here, before there is a run folder. Its blocks
    are still held against the limits one by one as they are driven.

    Args:
        procedure: what is to be run.
        context: the array.
        past: readings of the blocks that an earlier session drove; none of them is driven again.

    Attributes:
        before_write: called before every block that writes.
        n_past: readings given.

    Raises:
        ProtocolError: it does not fit the array.
        StoreError: the readings are not those of its blocks.
    """

    adaptive = True  # to the runner: check block by block, and do not compile it all once more

    def __init__(
        self, procedure: Procedure, context: ArrayContext, past: Sequence[MeasurementBlock] = ()
    ) -> None:
        self.name, self.kind, self.first_block = procedure.name, procedure.kind, len(past)
        self.n_past = sum(len(readings) for readings in past)
        self.before_write: Callable[[], object] | None = None
        self._steps = procedure.steps(context)
        self._outcome: Outcome = {}
        self.first: PulseBlock | None = None
        try:
            self.first = next(self._steps)
            for number, readings in enumerate(past):
                if len(readings) != self.first.n_readings:
                    raise StoreError(
                        f"block {number} of {self.name} promises {self.first.n_readings} readings, "
                        f"{len(readings)} are recorded"
                    )
                self.first = self._steps.send(readings)
        except StopIteration as stop:
            self._outcome, self.first = stop.value or {}, None

    def steps(self, context: ArrayContext) -> Steps:
        """Return the rest of the procedure's own generator; for one run only."""
        block = self.first
        while block is not None:
            if self.before_write is not None and writes(block):
                self.before_write()
            readings = yield block
            try:
                block = self._steps.send(readings)
            except StopIteration as stop:
                self._outcome, block = stop.value or {}, None
        return self._outcome


def writes(block: PulseBlock) -> bool:
    """Return whether a block may change a device."""
    return block.phase not in READING_PHASES and block.phase is not Phase.IDLE


def station_files(station: Station, arrays: set[str], backend: str) -> dict[str, bytes | Path]:
    """Return the station file and the device files of ``arrays``, by their names in the run."""
    files: dict[str, bytes | Path] = {}
    if station.path is not None:
        files["station.toml"] = station.path
    devices = [t.device for t in station.array if t.name in arrays and t.device]
    for number, device in enumerate(dict.fromkeys(devices)):
        name = "device.toml" if number == 0 else f"device-{number}.toml"
        if is_file_name(device):
            files[name] = station.beside(device)
            continue
        factory = backend_factory(backend)
        if isinstance(factory, DeviceTexts):
            files[name] = factory.device_text(device).encode()
    return files


def protocol_files(protocol: Procedure | str | Path) -> dict[str, bytes | Path]:
    """Return the protocol's file for the run folder; nothing for a procedure made in memory."""
    if isinstance(protocol, Procedure):
        return {}
    if Path(protocol).is_file():
        return {"protocol.toml": Path(protocol)}
    return {"protocol.toml": load(PROTOCOLS, "library")().text(str(protocol)).encode()}


def store_result(folder: RunFolder, result: ProcedureResult) -> None:
    """Write the outcome of a protocol as a checkpoint, and its numbers as an event."""
    arrays = {k: v for k, v in result.outcome.items() if isinstance(v, np.ndarray)}
    numbers = {k: v for k, v in result.outcome.items() if k not in arrays}
    if arrays:
        folder.checkpoint("outcome", anew=True, **arrays)
    folder.event(
        "result", outcome=numbers, blocks=result.n_blocks, device_pulses=result.n_device_pulses,
        readings=result.n_readings, duration_s=result.duration_s,
    )  # fmt: skip


@contextmanager
def ledgers_kept(
    folder: RunFolder, backends: Mapping[str, Backend], starts: Mapping[str, Ledger]
) -> Iterator[None]:
    """Write the ledgers of a run when the ``with`` block ends, whichever way.

    Args:
        folder: of the run.
        backends: by the names of their checkpoints.
        starts: ledgers as they were before the run, by the same names.

    Raises:
        StoreError: they could not be written, and nothing else went wrong before.
    """

    def keep() -> None:
        for name, backend in backends.items():
            own = backend.ledger.since(starts[name])
            folder.checkpoint(name, anew=True, **own.tables(), **own.classes())

    try:
        yield
    except EnduranceError as exc:
        with contextlib.suppress(StoreError):  # the first error is the one to report
            folder.event("limit", what="endurance", error=str(exc))
            keep()
        raise
    except BaseException:
        with contextlib.suppress(StoreError):
            keep()
        raise
    keep()


@contextmanager
def noting(run: Path) -> Iterator[None]:
    """Add the run's folder to an error that leaves the ``with`` block, so that it can be named."""
    try:
        yield
    except BaseException as exc:
        exc.add_note(f"run: {run}")
        raise


def store_training(
    folder: RunFolder, layers: list[SynapseArray], result: TrainingResult,
    rig: RigTime | None = None,
) -> None:  # fmt: skip
    """Write final weights and predictions as checkpoints, the accuracy and ``rig`` as an event."""
    weights = {f"layer_{k}": layer.weights() for k, layer in enumerate(layers)}
    folder.checkpoint("weights", anew=True, **weights)
    if result.history.predictions:
        folder.checkpoint("predictions", anew=True, **result.history.predictions)
    history = result.history
    folder.event(
        "result", test_accuracy=history.test_accuracy,
        float_accuracy=result.float_accuracy[-1] if result.float_accuracy else None,
        write_pulses=history.total("write_pulses"),
        refresh_pulses=history.total("refresh_pulses"), seconds=result.seconds,
        **({} if rig is None else {"rig_seconds": rig.seconds, "rig_by_phase": dict(rig.by_phase),
                                   "rig_note": rig.why}),
    )  # fmt: skip
