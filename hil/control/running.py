"""Runs of a session: a protocol or a training, driven and recorded in one folder.

The same functions begin a run and go on with one (:mod:`hil.control.resume`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.backend import Backend
from hil.config.training import Training, load_training
from hil.control.array import load_protocol
from hil.control.checkpointing import (
    ProtocolCheckpoints,
    StateFiles,
    TrainingCheckpoints,
    restorable,
)
from hil.control.course import note_plan, noting_progress
from hil.control.dryrun import Exposure, check_and_count
from hil.control.recorder import Recorder
from hil.control.reports import RunReport, TrainReport
from hil.control.rig_clock import ClockedRecorder, RigClock
from hil.control.roles import ExchangingArray
from hil.control.runfiles import (
    Prepared,
    ledgers_kept,
    noting,
    protocol_files,
    store_result,
    store_training,
)
from hil.errors import RunInterrupted
from hil.ledger import Ledger
from hil.procedure import Procedure
from hil.program import PulseBlock

if TYPE_CHECKING:
    from hil.control.array import SynapseArray
    from hil.control.session import Session
    from hil.control.states import State
    from hil.control.trainer import OnEvent, OnProgress
    from hil.datasets.dataset import Dataset
    from hil.record.folder import RunFolder

#: What a training records by default: per operation where there are millions of pulses.
TRAINING_LEVELS: Final = dict.fromkeys(
    ("forward", "backward", "update", "refresh", "read"), "operation"
)


@dataclass
class Begin:
    """Where a run begins.

    Attributes:
        first_op: id of its first operation.
        number: of its first checkpoint.
        state: of the training, None from its beginning.
        before: drives what comes before, with the run's recorder.
        starts: ledgers of the arrays as they were before the run.
        fresh: whether the devices were new when the run began.
    """

    first_op: int = 1
    number: int = 0
    state: State | None = None
    before: Callable[[RunFolder, Recorder], None] | None = None
    starts: dict[str, Ledger] = field(default_factory=dict)
    fresh: bool = True

    @classmethod
    def now(cls, backends: Mapping[str, Backend]) -> Begin:
        """Return the beginning of a new run."""
        starts = {name: backend.ledger.copy() for name, backend in backends.items()}
        used = any(start.device_pulses or start.row_reads.any() for start in starts.values())
        return cls(starts=starts, fresh=not used)

    def recorder(
        self, session: Session, folder: RunFolder, clock: RigClock | None = None
    ) -> Recorder:
        """Return the run's recorder, after everything that comes before; blocks go to ``clock``."""
        if clock is None:
            recorder = Recorder(folder, session.names, self.first_op)
        else:
            recorder = ClockedRecorder(folder, session.names, self.first_op)
            recorder.clock = clock
        if self.before is not None:
            self.before(folder, recorder)
        return recorder

    def files(self, folder: RunFolder, backends: Mapping[str, Backend]) -> StateFiles:
        """Return the run's checkpoints; devices that are not as new make the first of them."""
        files = StateFiles(folder, backends, self.starts, self.number, self.fresh)
        if self.before is None and not self.fresh and restorable(backends):
            files.write("begin", {})
        return files


def run_protocol(
    session: Session, protocol: Procedure | str | Path, *, array: str | None,
    level: Mapping[str, str] | str, progress: Callable[[PulseBlock], None] | None,
    checking: Callable[[Exposure], None] | None,
    started: Callable[[Path, float | None], None] | None,
) -> RunReport:  # fmt: skip
    """Run a protocol into a new folder, see :meth:`hil.control.session.Session.run_protocol`."""
    procedure = load_protocol(protocol) if isinstance(protocol, str | Path) else protocol
    name = session.table(array).name
    context, backend = session.context(name), session.backends[name]
    seconds, estimate = None, 0
    if procedure.adaptive:
        backend.check_endurance()
    else:
        exposure = check_and_count(procedure, context, backend, checking)
        seconds, estimate = exposure.numbers()["seconds"], exposure.bytes
    prepared = Prepared(procedure, context)
    folder = session.new_run(
        procedure.name, "run", config=protocol_files(protocol), level=level,
        estimate_bytes=estimate if level == "full" else 0,
        meta={"protocol": procedure.name, "kind": procedure.kind, "array": name},
    )  # fmt: skip

    def begun(path: Path) -> None:
        note_plan(folder, seconds, procedure.targets_siemens(context))
        if started is not None:
            started(path, seconds)

    return drive_protocol(
        session, folder, prepared, name, Begin.now({name: backend}), static=not procedure.adaptive,
        progress=progress, started=begun,
    )  # fmt: skip


def drive_protocol(
    session: Session, folder: RunFolder, prepared: Prepared, name: str, begin: Begin, *,
    static: bool, progress: Callable[[PulseBlock], None] | None = None,
    started: Callable[[Path], None] | None = None,
) -> RunReport:  # fmt: skip
    """Drive a protocol from its first block on that was not driven, into a folder.

    On instruments the rows of a block that writes are on the disk before the next one is driven, so
    that after a crash it is known of all blocks but one whether they ran.

    Raises:
        RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
    """
    backend, first = session.backends[name], prepared.first_block
    with (
        folder, noting(folder.path),
        ledgers_kept(folder, {"ledger": backend}, {"ledger": begin.starts[name]}),
    ):  # fmt: skip
        if started is not None:
            started(folder.path)
        recorder = begin.recorder(session, folder)
        files = begin.files(folder, {name: backend})
        keeper = ProtocolCheckpoints(files, first)
        if static and folder.intents is not None:
            prepared.before_write = folder.barrier
        folder.event(
            "op", what="protocol", protocol=prepared.name, array=name, op=recorder.upcoming_op,
            block=first,
        )  # fmt: skip

        def block_done(block: PulseBlock) -> None:
            keeper.block_done()
            if progress is not None:
                progress(block)

        result = session.array(name, recorder=recorder).run(prepared, block_done)
        if result.interrupted:
            raise RunInterrupted("stopped on request, in the safe state")
        result.n_blocks += first
        result.n_device_pulses = backend.ledger.device_pulses - begin.starts[name].device_pulses
        result.n_readings += prepared.n_past
        store_result(folder, result)
        files.drop()
    return RunReport(folder.path, session.backend_name, session.identity, session.simulated, result)


@dataclass(frozen=True)
class Observers:
    """Who is told what a training does; see :func:`hil.control.training.train`."""

    on_progress: OnProgress | None = None
    on_event: OnEvent | None = None
    on_stage: Callable[[str], None] | None = None
    started: Callable[[Path], None] | None = None


def run_training(
    session: Session, training: Training | str | Path, level: Mapping[str, str] | str | None,
    observers: Observers,
) -> TrainReport:  # fmt: skip
    """Train into a new folder, see :meth:`hil.control.session.Session.train`."""
    from hil.control.placement import build_network
    from hil.datasets.sources import load_dataset

    loaded = training if isinstance(training, Training) else load_training(training)
    dataset = load_dataset(loaded)
    network = build_network(loaded, dataset, session.sites())  # it fits, before there is a run
    for backend in dict.fromkeys(b for layer in network.matrices for b in layer.backends):
        backend.check_endurance()
    folder = session.new_run(
        loaded.name, "train", level=TRAINING_LEVELS if level is None else level,
        config={} if loaded.path is None else {"training.toml": loaded.path},
        seeds={"training": loaded.seed, "split": loaded.dataset.split_seed},
        meta={
            "training": loaded.name, "dataset": loaded.dataset.kind,
            "checkpoint": loaded.checkpoint,
            "layers": [[session.names[b] for b in m.backends] for m in network.matrices],
        },
    )  # fmt: skip
    return drive_training(session, folder, loaded, dataset, Begin.now(session.backends), observers)


def drive_training(
    session: Session, folder: RunFolder, training: Training, dataset: Dataset, begin: Begin,
    observers: Observers,
) -> TrainReport:  # fmt: skip
    """Train from the sample on that ``begin`` says, into a folder.

    Raises:
        RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
    """
    from hil.control.placement import build_network
    from hil.control.training import train

    simulated = restorable(session.backends)
    ledgers = {f"ledger-{name}": backend for name, backend in session.backends.items()}
    starts = {f"ledger-{name}": ledger for name, ledger in begin.starts.items()}

    def event(kind: str, fields: dict[str, Any]) -> None:
        folder.event(kind, **fields)
        if observers.on_event is not None:
            observers.on_event(kind, fields)

    with folder, noting(folder.path), ledgers_kept(folder, ledgers, starts):
        if observers.started is not None:
            observers.started(folder.path)
        clock = RigClock.of(session) if begin.state is None else None
        recorder = begin.recorder(session, folder, clock)
        network = build_network(training, dataset, session.sites(), recorder)
        if not simulated:
            _note_exchanges(network.layers, folder)
        files = begin.files(folder, session.backends)
        result = train(
            training, dataset, network, on_event=event,
            on_progress=noting_progress(folder, observers.on_progress, "samples"),
            on_stage=observers.on_stage, resume=begin.state, reread=not simulated,
            checkpoints=TrainingCheckpoints(files, training.checkpoint, dataset),
        )  # fmt: skip
        rig = None if clock is None else clock.time()
        store_training(folder, list(network.layers), result, rig)
        files.drop()
    return TrainReport(
        folder.path, session.backend_name, session.identity, session.simulated, result, rig
    )


def _note_exchanges(layers: tuple[SynapseArray, ...], folder: RunFolder) -> None:
    """Note every exchange of roles before it is driven: real devices do not go back with a state.

    One that was cut short counts as done: its pairs were reset, and are what they are.
    """
    for number, layer in enumerate(layers):
        if isinstance(layer, ExchangingArray):
            layer.on_exchange = lambda outputs, number=number: folder.event(
                "exchange", layer=number, outputs=outputs.tolist()
            )
