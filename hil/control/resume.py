"""Go on with a run that crashed, was killed or was stopped: `hil resume`.

Simulated devices are put back to the last checkpoint, and the run ends like one that was never
interrupted. Real devices are taken as they are: those that may have been written when the run ended
are read first, and no pulse is sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hil.backend import Backend
from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.config.training import CheckpointTable, Training
from hil.control.array import load_protocol
from hil.control.checkpointing import Kept, digest_of, last_state, put_back, restorable
from hil.control.chips import shares_of
from hil.control.past import Past, last_op, unread
from hil.control.reports import RunReport, TrainReport
from hil.control.runfiles import Prepared, writes
from hil.control.running import Begin, Observers, drive_protocol, drive_training
from hil.control.session import Session, open_session
from hil.errors import ConfigError, StoreError
from hil.locks import held
from hil.program import PulseBlock

if TYPE_CHECKING:
    from hil.control.recorder import Recorder
    from hil.record.folder import RunFolder
    from hil.record.reader import Run

#: Lock file of a run that is being resumed.
LOCK = "resume.lock"


@dataclass
class Resumption:
    """A run that can go on, its arrays open. Make it with :func:`open_resumption`.

    Attributes:
        run: its folder.
        session: the station, opened as it was.
        kept: the last good checkpoint.
    """

    run: Run
    session: Session
    kept: Kept

    @property
    def kind(self) -> Literal["run", "train"]:
        """Whether it is a protocol or a training."""
        return "train" if self.run.manifest["kind"] == "train" else "run"

    @property
    def simulated(self) -> bool:
        """Whether the devices are put back."""
        return restorable(self.session.backends)

    def described(self) -> list[str]:
        """Return lines that say from where the run goes on, and with which devices."""
        kept, lines = self.kept, []
        lines += [f"checkpoint {name} is damaged; the one before is used" for name in kept.damaged]
        if kept.kind == "training":
            trainer = kept.whole["state"]["trainer"]
            epoch, samples = len(trainer["epochs"]) + 1, trainer["samples"]
            lines.append(f"going on after sample {samples} of epoch {epoch}")
        elif self.kind == "train":
            lines.append("no checkpoint of the training yet: it begins again")
        if self.simulated:
            lines.append("the simulated devices are put back")
        for array, cells in self.run.unknown_devices().items():
            lines.append(f"{len(cells)} devices of array {array} are unknown and read back first")
        return lines

    def train(self, observers: Observers | None = None) -> TrainReport:
        """Go on with the training.

        Raises:
            ConfigError: training file or data set are not those of the run.
            RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
            StoreError: the run could not be recorded.
        """
        from hil.control.placement import build_network
        from hil.datasets.sources import load_dataset

        training = _training_of(self.run)
        dataset = load_dataset(training)
        build_network(training, dataset, self.session.sites())
        state = self.kept.state if self.kept.kind == "training" else None
        if state is not None and state["dataset"] != digest_of(dataset):
            raise ConfigError(
                f"{self.run.path.name}: the data set is not the one that it was trained with",
                field="dataset",
            )
        begin = self._begin()
        if state is not None:
            begin.state = state if self.simulated else _with_exchanges(state, self.run, self.kept)
        folder = self._reopened({
            "samples": 0 if state is None else state["trainer"]["samples"],
            "epoch": 0 if state is None else len(state["trainer"]["epochs"]),
        })  # fmt: skip
        return drive_training(
            self.session, folder, training, dataset, begin, observers or Observers()
        )

    def protocol(
        self,
        progress: Callable[[PulseBlock], None] | None = None,
        started: Callable[[Path], None] | None = None,
    ) -> RunReport:
        """Go on with the protocol; an adaptive one begins again, by reading.

        Raises:
            ConfigError: what was recorded does not suffice to go on.
            RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
            StoreError: the run could not be recorded.
        """
        procedure, session = _protocol_of(self.run), self.session
        name = str(self.run.manifest["meta"]["array"])
        context = session.context(name)
        skipped: PulseBlock | None = None
        past: Past = Past([])
        if not procedure.adaptive:
            past = Past.of(self.run, self._blocks_kept() if self.simulated else None)
        prepared = Prepared(procedure, context, past.readings)
        if not procedure.adaptive and not self.simulated and self._may_have_run(prepared):
            skipped = prepared.first
            if skipped is not None and writes(skipped):
                past.readings.append(unread(skipped.n_readings, skipped))
                prepared = Prepared(_protocol_of(self.run), context, past.readings)
            else:
                skipped = None
        begin = self._begin()
        folder = self._reopened({"block": prepared.first_block})
        if skipped is not None:
            session.backends[name].ledger.add(skipped)  # what may have run counts
            folder.event(
                "skipped", block=prepared.first_block - 1, readings=skipped.n_readings,
                phase=skipped.phase.name, why="it may have run; no pulse is sent again",
            )  # fmt: skip
        return drive_protocol(
            session, folder, prepared, name, begin, static=not procedure.adaptive,
            progress=progress, started=started,
        )  # fmt: skip

    def _may_have_run(self, prepared: Prepared) -> bool:
        """Return whether the first block that is not recorded may have been driven, or its part."""
        failed = [e["block"] for e in self.run.events if e.get("kind") == "unfinished"]
        return bool(self.run.open_leases) or prepared.first_block in failed[-1:]

    def _blocks_kept(self) -> int:
        return int(self.kept.whole["state"].get("blocks", 0)) if self.kept.checkpoint else 0

    def _begin(self) -> Begin:
        """Return where the run goes on; simulated devices and the ledgers are put back."""
        begin = Begin.now(self.session.backends)
        adaptive = self.kind == "run" and _protocol_of(self.run).adaptive
        fresh = bool(self.kept.whole.get("fresh", True))
        backends = self.session.backends
        if not self.simulated:
            geometries = {name: backend.geometry for name, backend in backends.items()}
            shares, _ = shares_of(self.run, geometries)
            for name, tables in shares.items():
                backends[name].ledger.restore(tables)
        elif not (adaptive and fresh):  # an adaptive one on new devices begins with new ones
            put_back(self.kept, backends)
        return replace(
            begin, first_op=last_op(self.run) + 1, number=self.kept.number, before=self._look,
            fresh=fresh,
        )  # fmt: skip

    def _reopened(self, where: Mapping[str, Any]) -> RunFolder:
        """Go on recording into the folder and note from where."""
        from hil.record.folder import RunFolder

        folder = RunFolder.reopen(self.run.path)
        kept = self.kept.checkpoint
        folder.event(
            "resumed", checkpoint=None if kept is None else kept.name,
            damaged=list(self.kept.damaged), devices="put back" if self.simulated else "as found",
            **where,
        )  # fmt: skip
        if self.simulated:
            before = self.kept.rows
            undone = {t: [before.get(t, 0), n] for t, n in folder.rows.items()
                      if n > before.get(t, 0)}  # fmt: skip
            if undone:
                folder.event("undone", rows=undone)
        return folder

    def _look(self, folder: RunFolder, recorder: Recorder) -> None:
        """Read back the devices of open leases, before anything else is driven."""
        for array, cells in self.run.unknown_devices().items():
            if array not in self.session.backends:
                raise ConfigError(
                    f"devices of array {array!r} are unknown, and it is not open", field="array"
                )
            g = self.session.array(array, recorder=recorder).read(cells[:, 0], cells[:, 1])
            number = sum(c.name.startswith("readback") for c in self.run.checkpoints)
            folder.checkpoint(f"readback-{array}-{number}", g_siemens=g, cells=cells)
            folder.event("readback", array=array, devices=len(cells), cells=cells[:64].tolist())
        folder.barrier()
        folder.devices_are_known()


@contextmanager
def open_resumption(
    path: str | Path, opened: Callable[[Mapping[str, Backend]], None] | None = None
) -> Iterator[Resumption]:
    """Open a run that did not end and its station; the safe state follows on every way out.

    Args:
        path: the run's folder.
        opened: called with the arrays once they are open, before anything else.

    Raises:
        ConfigError: it cannot be resumed; says why.
        LockedError: another process records or resumes it.
        StoreError: it is no run folder, or its checkpoints are of a newer version.
    """
    from hil.record.files import LOCK as RUN_LOCK
    from hil.record.files import LOCK_WAIT_S, lock_name
    from hil.record.reader import open_run

    run = open_run(path)
    _refuse_done(run)
    with held(run.path / LOCK, f"resuming {lock_name(run.path)}"):
        with held(run.path / RUN_LOCK, lock_name(run.path), wait_s=LOCK_WAIT_S):
            run = open_run(path)  # now that nobody writes it
            _refuse_done(run)
        station, manifest = _station_of(run), run.manifest
        whole = manifest["limits"].keys() == station.arrays.keys()
        with open_session(
            station, sim=manifest["backend"] == "sim",
            array=None if whole else manifest["meta"].get("array"),
            seed=manifest["seeds"]["devices"], out=run.path.parent, resumes=str(manifest["id"]),
        ) as session:  # fmt: skip
            if opened is not None:
                opened(session.backends)
            _compare(run, session.files())
            yield Resumption(run, session, last_state(run))


def _refuse_done(run: Run) -> None:
    name, meta = run.path.name, run.manifest["meta"]
    if run.status == "done":
        raise ConfigError(f"{name} is done; there is nothing to resume", field="run")
    if run.manifest["kind"] not in ("run", "train"):
        raise ConfigError(f"{name} is a {run.manifest['kind']}; start it again", field="run")
    if "bench" in meta:
        raise ConfigError(
            f"{name} ran on the virtual bench, whose devices ended with its process; there is "
            "nothing to go on with, run it again", field="run",
        )  # fmt: skip


def _copy_of(run: Run, name: str, what: str) -> tuple[str, Path]:
    """Return the text of a file of the run and where it came from.

    Raises:
        ConfigError: it was not run from a file, or the file has changed since.
        StoreError: the run's copy is damaged.
    """
    noted = run.manifest["config"].get(name)
    if noted is None:
        raise ConfigError(
            f"{run.path.name} was not run from a {what} file, so it cannot be read again",
            field=name,
        )
    copy = run.path / "config" / name
    try:
        content = copy.read_bytes()
    except OSError as exc:
        raise StoreError(f"cannot read {copy}: {exc.strerror or exc}") from exc
    if hashlib.sha256(content).hexdigest() != noted["sha256"]:
        raise StoreError(f"{copy}: its sha256 is not the one noted")
    source = Path(noted["source"] or copy)
    if source.is_file() and hashlib.sha256(source.read_bytes()).hexdigest() != noted["sha256"]:
        raise ConfigError(
            f"has changed since {run.path.name} was started; a run goes on only with the {what} "
            "that it began with", path=source,
        )  # fmt: skip
    return content.decode(), source


def _station_of(run: Run) -> Station:
    text, source = _copy_of(run, "station.toml", "station")
    return validate_text(text, Station, source).model_copy(update={"path": source})


def _training_of(run: Run) -> Training:
    text, source = _copy_of(run, "training.toml", "training")
    training = validate_text(text, Training, source)
    checkpoint = CheckpointTable(**run.manifest["meta"].get("checkpoint", {}))
    seed = run.manifest["seeds"]["training"]
    return training.model_copy(update={"path": source, "seed": seed, "checkpoint": checkpoint})


def _protocol_of(run: Run) -> Any:
    _copy_of(run, "protocol.toml", "protocol")
    procedure = load_protocol(run.path / "config" / "protocol.toml")
    procedure.name = str(run.manifest["meta"]["protocol"])
    return procedure


def _compare(run: Run, files: Mapping[str, bytes | Path]) -> None:
    """Refuse to go on when a device or calibration file is not that of the run."""
    noted = {
        name: facts for name, facts in run.manifest["config"].items()
        if name not in ("protocol.toml", "training.toml")
    }  # fmt: skip
    if noted.keys() != files.keys():
        differing = sorted(noted.keys() ^ files.keys())
        raise ConfigError(
            f"{run.path.name} used {', '.join(noted)}; now {', '.join(differing)} would differ",
            path=run.manifest["config"]["station.toml"]["source"],
        )
    for name, content in files.items():
        if name == "station.toml":
            continue  # compared already, and it may have been moved away
        found = content if isinstance(content, bytes) else content.read_bytes()
        if hashlib.sha256(found).hexdigest() != noted[name]["sha256"]:
            raise ConfigError(
                f"has changed since {run.path.name} was started",
                path=name if isinstance(content, bytes) else content,
            )


def _with_exchanges(state: dict[str, Any], run: Run, kept: Kept) -> dict[str, Any]:
    """Return a state with the roles that real devices have by now; see ``Begin`` and M3c."""
    learner = state["trainer"]["learner"]
    since = kept.checkpoint.t_ns if kept.checkpoint is not None else 0
    for event in run.events:
        if event.get("kind") == "exchange" and event["t_ns"] > since:
            roles = learner["exchanged"][event["layer"]]
            roles[event["outputs"]] = ~roles[event["outputs"]]
    return state
