"""The run folder while it is written: manifest first, stop record last."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from numpy.typing import ArrayLike

from hil.errors import EnduranceError, RunInterrupted, StoreError
from hil.locks import held
from hil.program import Phase
from hil.record import durable
from hil.record.appending import Appender
from hil.record.checkpoints import write_checkpoint
from hil.record.commit import GroupCommit
from hil.record.events import EventLog
from hil.record.files import LOCK, LOCK_WAIT_S, lock_name
from hil.record.intents import IntentLog
from hil.record.jsonable import to_json
from hil.record.leases import OpenLease
from hil.record.levels import Level, resolve_levels
from hil.record.manifest import Kind as Kind
from hil.record.manifest import check_file_name, create_folder, remove_unused
from hil.record.policy import CommitPolicy
from hil.record.reader import open_run
from hil.record.reopening import Before, look_back, put_stop_aside
from hil.record.sealing import Sealer
from hil.record.watch import Watch

#: ``endurance``: a device has received all the pulses that its limit allows.
EndStatus = Literal["done", "interrupted", "failed", "endurance"]


class RunFolder(Appender):
    """One run being recorded. Make it with :meth:`create`, use it as a context manager.

    Everything is appended from the control thread; :meth:`event` may be called from any thread.
    Methods that append return a ticket; ``run.acked >= ticket`` says that the row is on the disk.

    A StoreError of a method that appends means that recording failed: stop driving. After a full
    disk the row at hand has been taken nevertheless (see ``GroupCommit``).

    Attributes:
        path: the folder.
        manifest: what ``manifest.json`` holds.
        intents: write-ahead intents; None on a plain simulator, which keeps only checkpoints.
        unresolved: leases that an earlier session left open; see :meth:`devices_are_known`.
    """

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        levels: dict[Phase, Level],
        policy: CommitPolicy,
        *,
        again: bool = False,
    ) -> None:
        """Start recording into a folder that holds its manifest; use :meth:`create`."""
        self.path = path
        self.manifest = manifest
        self._policy = policy
        self._closed = False
        self._fault_told = False
        self._started_s = time.monotonic()
        with ExitStack() as undo:
            try:
                undo.enter_context(held(path / LOCK, lock_name(path), wait_s=LOCK_WAIT_S))
                before = look_back(path, manifest) if again else Before.nothing(manifest)
                super().__init__(levels, before.epoch_ns)
                if again:
                    put_stop_aside(path)
                room = min(policy.ballast_bytes, shutil.disk_usage(path).free // 8)
                self._ballast = durable.Ballast(path, room)
                undo.callback(self._ballast.release)
                self._events = EventLog(path, self._ballast, again=again)
                undo.callback(self._events.close)
                what = "resume" if again else "start"
                self.event(what, run=manifest["id"], run_kind=manifest["kind"])
            except OSError as exc:
                raise durable.store_error("start recording in", path, exc) from exc
            self._undo = undo.pop_all()
        self._parts = before.parts  # of checkpoints and earlier sessions
        self.unresolved: tuple[OpenLease, ...] = before.leases
        self._watch = Watch(path, self._epoch_ns, policy, self.event)
        self._sealer = Sealer(path, self._not_sealed)
        self._commit = GroupCommit(
            path, policy, self._ballast, self._on_fault, self._watch.tick, before.begin,
            self._sealer.add if policy.seal_running else None,
        )  # fmt: skip
        self.intents = None
        if manifest["clock"] == "monotonic":
            self.intents = IntentLog(
                path, lambda: self.t_ns, lambda: self.acked, self._ballast, before.last_lease + 1
            )

    @classmethod
    def create(
        cls,
        root: str | Path,
        name: str,
        *,
        kind: Kind,
        backend: str,
        simulated: bool,
        levels: Mapping[Phase, str] | Mapping[str, str] | str = "full",
        config: Mapping[str, bytes | Path] | None = None,
        meta: Mapping[str, Any] | None = None,
        seeds: Any = None,
        limits: Any = None,
        estimate_bytes: int = 0,
        policy: CommitPolicy | None = None,
    ) -> RunFolder:
        """Create ``root/<UTC time>_<name>_<id8>/`` and sync its manifest, before the first pulse.

        Args:
            root: folder of all runs; made when missing.
            name: of the run; characters that do not suit a file name become ``-`` in the folder's.
            kind: ``run``, ``train`` or ``demo``.
            backend: name of the backend.
            simulated: whether the devices are simulated.
            levels: recording level per phase, or one for all; phases not named are ``full``.
            config: file name -> content, or path to copy; verbatim, with its sha256 noted.
            meta: further facts. ``operator``, ``sample``, ``instruments``, ``wiring_digest`` and
                ``clock`` ("virtual" or "monotonic") get places of their own in the manifest.
            seeds: seeds of the random generators.
            limits: safety limits in force.
            estimate_bytes: expected size of the recording.

        Raises:
            StoreError: the folder cannot be written, or less than twice the estimate is free.
            ConfigError: an argument that does not exist or fit.
        """
        by_phase = resolve_levels(levels)
        path, manifest = create_folder(
            Path(root), name, kind=kind, backend=backend, simulated=simulated, levels=by_phase,
            config=config or {}, meta=meta or {}, seeds=seeds, limits=limits,
            estimate_bytes=estimate_bytes,
        )  # fmt: skip
        try:
            return cls(path, manifest, by_phase, policy or CommitPolicy())
        except StoreError:
            remove_unused(path)
            raise

    @classmethod
    def reopen(cls, path: str | Path, *, policy: CommitPolicy | None = None) -> RunFolder:
        """Go on recording a run that crashed, failed or was interrupted; an event says ``resume``.

        Rows go to new segments and are numbered on; what earlier sessions wrote is not touched.
        Their stop record becomes ``stop-000001.json``.

        Raises:
            LockedError: a process writes the run; says which.
            StoreError: it is no run, is done, or cannot be written.
        """
        run = open_run(path)
        return cls(
            run.path, run.manifest, resolve_levels(run.manifest["levels"]),
            policy or CommitPolicy(), again=True,
        )  # fmt: skip

    @property
    def id(self) -> str:
        """The run's id (UUIDv7)."""
        return str(self.manifest["id"])

    @property
    def rows(self) -> dict[str, int]:
        """Rows written per table so far."""
        return self._commit.tables.rows

    @property
    def short_of_space(self) -> bool:
        """True while less than 1 GB is free, or a quarter of what was free at the start if less.

        Then nothing more should be driven; it is looked at every second.
        """
        return self._watch.short_of_space

    def wait_for_space(self, stopped: Callable[[], bool]) -> None:
        """Pause until there is space again, or ``stopped`` says that a stop was requested.

        Raises:
            StoreError: there was none for as long as the policy says.
        """
        self._watch.wait_for_space(stopped)

    def devices_are_known(self) -> None:
        """Close the leases of earlier sessions; call it when their devices have been read back.

        Raises:
            StoreError: it could not be written.
        """
        if self.intents is not None and self.unresolved:
            self.intents.resolve([lease.number for lease in self.unresolved])
        self.unresolved = ()

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to ``events.jsonl``; it is on the disk when this returns.

        Raises:
            StoreError: it could not be written.
        """
        self._events.append(self.t_ns, kind, fields)

    def checkpoint(self, name: str, *, anew: bool = False, **arrays: ArrayLike) -> Path:
        """Write ``checkpoints/<name>.npz``, never ahead of the rows, and return its path.

        With ``anew`` it takes the place of an earlier one of that name.

        Raises:
            StoreError: it exists already or cannot be written.
        """
        check_file_name(name, "checkpoint")
        self._commit.barrier()
        path, part = write_checkpoint(self.path, name, arrays, anew=anew)
        self._parts[f"checkpoints/{path.name}"] = part
        self.event("checkpoint", file=path.name, **part)
        return path

    def drop_checkpoints(self, names: Iterable[str]) -> None:
        """Remove checkpoints that nothing will need any more; an event names them.

        Raises:
            StoreError: they could not be removed.
        """
        files = [f"{name}.npz" for name in names if f"checkpoints/{name}.npz" in self._parts]
        if not files:
            return
        self.event("dropped", files=files)
        for file in files:
            del self._parts[f"checkpoints/{file}"]
            path = self.path / "checkpoints" / file
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:
                raise durable.store_error("remove the checkpoint", path, exc) from exc

    def close(self, status: EndStatus = "done", *, error: str | None = None) -> None:
        """Write what is left and the stop record; does nothing when closed already.

        When recording failed, the record says ``failed``, whatever ``status`` is.

        Raises:
            StoreError: recording failed, or the stop record could not be written.
        """
        if self._closed:
            return
        self._closed = True
        self._commit.close()
        if self.intents is not None:
            self.intents.close()
        failure = self._commit.error
        if failure is not None:
            status, error = "failed", error or str(failure)
        try:
            quick_s = self._policy.seal_share * (time.monotonic() - self._started_s)
            self._sealer.finish(self._commit.tables.parts, quick_s if status == "done" else 0.0)
        finally:
            try:
                self._end(status, error, failure)
            finally:
                self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.close("done")
            return
        interrupted = isinstance(exc, (RunInterrupted, KeyboardInterrupt))
        text = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        try:
            if isinstance(exc, EnduranceError):
                self.close("endurance", error=text)
            else:
                self.close(
                    "interrupted" if interrupted else "failed", error=None if interrupted else text
                )
        except StoreError as store_exc:
            if str(store_exc) != str(exc):
                exc.add_note(f"closing the run: {store_exc}")

    def _on_fault(self, error: StoreError) -> None:
        with contextlib.suppress(StoreError):  # the fault itself reaches the control thread
            self.event("fault", error=str(error))
            self._fault_told = True

    def _not_sealed(self, error: StoreError) -> None:
        with contextlib.suppress(StoreError):  # the segment stays, which is as safe
            self.event("alarm", what="a segment was not sealed", error=str(error))

    def _end(self, status: EndStatus, error: str | None, failure: StoreError | None) -> None:
        self._ballast.shrink()
        try:
            if error is not None and status != "endurance" and not self._fault_told:
                self.event("fault", error=error)
            self.event("stop", status=status)
        except StoreError as exc:
            failure, status, error = failure or exc, "failed", error or str(exc)
        self._ballast.release()
        self._events.close()
        self._write_stop(status, error)
        if failure is not None:
            raise StoreError(str(failure)) from failure

    def _write_stop(self, status: str, error: str | None) -> None:
        parts = {**self._parts, **self._commit.tables.parts}
        for segment, note in self._sealer.notes.items():
            parts.pop(segment, None)
            parts[note.part] = note.as_part()
        record = {
            "status": status,
            "error": error,
            "t_ns": self.t_ns,
            "utc": datetime.now(UTC).isoformat(),
            "rows": self._commit.tables.rows,
            "rows_appended": self._commit.acked_rows + self._commit.ticket - self._commit.acked,
            "rows_acknowledged": self._commit.acked_rows,
            "parts": {**parts, "events.jsonl": self._events.part()},
        }
        path = self.path / "stop.json"
        try:
            durable.write_new(path, to_json(record, indent=2))
        except OSError as exc:
            raise durable.store_error("write", path, exc) from exc
