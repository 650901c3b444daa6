"""The run folder while it is written: manifest first, stop record last."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import RunInterrupted, StoreError
from hil.measurement import MeasurementBlock
from hil.program import Phase, PulseBlock
from hil.record import durable
from hil.record.columns import pulse_rows
from hil.record.commit import GroupCommit
from hil.record.deferred import RowSource
from hil.record.events import EventLog
from hil.record.jsonable import to_json
from hil.record.levels import Level, resolve_levels
from hil.record.manifest import Kind as Kind
from hil.record.manifest import check_file_name, create_folder, remove_unused
from hil.record.policy import CommitPolicy
from hil.record.watch import Watch

EndStatus = Literal["done", "interrupted", "failed"]


class RunFolder:
    """One run being recorded. Make it with :meth:`create`, use it as a context manager.

    Everything is appended from the control thread; :meth:`event` may be called from any thread.
    Methods that append return a ticket; ``run.acked >= ticket`` says that the row is on the disk.

    A StoreError of a method that appends means that recording failed: stop driving. After a full
    disk the row at hand has been taken nevertheless (see ``GroupCommit``).

    Attributes:
        path: the folder.
        manifest: what ``manifest.json`` holds.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], levels: dict[Phase, Level], policy: CommitPolicy
    ) -> None:
        """Start recording into a folder that holds its manifest; use :meth:`create`."""
        self.path = path
        self.manifest = manifest
        self._levels = levels
        by_phase = [levels[phase] for phase in Phase]
        self._full = [level is Level.FULL for level in by_phase]
        self._operation = [level is not Level.OFF for level in by_phase]
        self._epoch_ns: int = manifest["monotonic_epoch_ns"]
        self._checkpoints: dict[str, dict[str, Any]] = {}
        self._closed = False
        self._fault_told = False
        try:
            room = min(policy.ballast_bytes, shutil.disk_usage(path).free // 8)
            self._ballast = durable.Ballast(path, room)
        except OSError as exc:
            raise durable.store_error("start recording in", path, exc) from exc
        try:
            self._events = EventLog(path, self._ballast)
            self.event("start", run=manifest["id"], run_kind=manifest["kind"])
        except OSError as exc:
            self._ballast.release()
            raise durable.store_error("start recording in", path, exc) from exc
        except StoreError:
            self._events.close()
            self._ballast.release()
            raise
        watch = Watch(path, self._epoch_ns, policy, self.event)
        self._commit = GroupCommit(path, policy, self._ballast, self._on_fault, watch.tick)

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

    # -- what is known ----------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id (UUIDv7)."""
        return str(self.manifest["id"])

    @property
    def ticket(self) -> int:
        """Ticket of the last row appended."""
        return self._commit.ticket

    @property
    def acked(self) -> int:
        """All rows with a ticket up to this one are on the disk."""
        return self._commit.acked

    @property
    def rows(self) -> dict[str, int]:
        """Rows written per table so far."""
        return self._commit.rows

    @property
    def t_ns(self) -> int:
        """Nanoseconds since the run's start on the monotonic clock."""
        return time.monotonic_ns() - self._epoch_ns

    def level(self, phase: Phase) -> Level:
        """Return the recording level of ``phase``."""
        return self._levels[phase]

    # -- recording --------------------------------------------------------------------------

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to ``events.jsonl``; it is on the disk when this returns.

        Raises:
            StoreError: it could not be written.
        """
        self._events.append(self.t_ns, kind, fields)

    def readings(self, op: int, block_ordinal: int, block: PulseBlock, m: MeasurementBlock) -> int:
        """Append the raw readings ``m`` of ``block`` (level ``full``) and return the ticket.

        The values are copied. Call it before anybody uses them.
        """
        if not self._full[block.phase]:
            return self._commit.ticket
        return self._commit.append(
            "reads",
            (
                op, block_ordinal, m.step, m.line, m.pulse, m.t_ns, m.level_v, m.width_s,
                m.current_a, m.range_a, m.executed, m.status,
            ),
            len(m.step),
        )  # fmt: skip

    def pulses(self, columns: Mapping[str, ArrayLike]) -> int:
        """Append device-level rows (of phases at level ``full``) and return the ticket.

        ``columns`` are those of the ``pulses`` table without ``seq``: arrays of one length, or
        scalars that hold for all rows. ``op``, ``phase``, ``row``, ``col``, ``v``, ``width`` and
        ``count`` are needed; ``t_ns`` defaults to now, ``layer`` and ``status`` to 0, ``i_read`` to
        NaN, the nullable ones to null. In ``executed`` a masked array says what is unknown; in
        ``g0``, ``g1`` and ``temperature`` NaN does, too.

        Raises:
            StoreError: a column that is unknown, missing, of another length or out of its range.
        """
        values, nulls, n = pulse_rows(columns, self.t_ns, self._full)
        return self._commit.append("pulses", values, n, nulls)

    def operation(
        self,
        op: int,
        phase: Phase,
        layer: int = 0,
        *,
        n_steps: int = 0,
        n_pulses: int = 0,
        n_readings: int = 0,
        duration_s: float = 0.0,
        energy_joule: float = float("nan"),
        t_ns: int | None = None,
    ) -> int:
        """Append the summary of one operation and return the ticket.

        It is recorded at the levels ``full`` and ``operation``. ``n_pulses`` counts device pulses,
        ``energy_joule`` is an upper bound, ``t_ns`` defaults to now.
        """
        if not self._operation[phase]:
            return self._commit.ticket
        if t_ns is None:
            t_ns = time.monotonic_ns() - self._epoch_ns
        return self._commit.append_row(
            "ops",
            (t_ns, op, phase, layer, n_steps, n_pulses, n_readings, duration_s, energy_joule),
        )

    def hand_over(
        self, source: RowSource, content: Any, n_tickets: int, n_rows: int, n_bytes: int
    ) -> int:
        """Append what ``source`` makes rows of in the writer thread and return the ticket.

        It is not copied. ``n_tickets`` is what its rows count in the tickets, ``n_rows`` and
        ``n_bytes`` bound how many rows it becomes and what they take. Levels are the caller's.
        """
        return self._commit.hand_over(source, content, n_tickets, n_rows, n_bytes)

    def barrier(self) -> int:
        """Return, with the last ticket, when every row appended so far is on the disk.

        Device-level rows that wait for the reading after their pulse are written without it.

        Raises:
            StoreError: recording failed.
        """
        return self._commit.barrier()

    def checkpoint(self, name: str, **arrays: ArrayLike) -> Path:
        """Write ``checkpoints/<name>.npz``, never ahead of the rows, and return its path.

        Raises:
            StoreError: it exists already or cannot be written.
        """
        check_file_name(name, "checkpoint")
        self._commit.barrier()
        buffer = io.BytesIO()
        named: dict[str, NDArray[Any]] = {key: np.asarray(value) for key, value in arrays.items()}
        np.savez(buffer, allow_pickle=False, **named)
        content = buffer.getvalue()
        path = self.path / "checkpoints" / f"{name}.npz"
        try:
            if not path.parent.exists():
                path.parent.mkdir()
                durable.sync_folder(self.path)
            durable.write_new(path, content)
        except OSError as exc:
            raise durable.store_error("write the checkpoint", path, exc) from exc
        digest = hashlib.sha256(content).hexdigest()
        part = {"bytes": len(content), "sha256": digest}
        self._checkpoints[f"checkpoints/{path.name}"] = part
        self.event("checkpoint", file=path.name, **part)
        return path

    # -- the end ----------------------------------------------------------------------------

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
        failure = self._commit.error
        if failure is not None:
            status, error = "failed", error or str(failure)
        self._ballast.shrink()
        try:
            if error is not None and not self._fault_told:
                self.event("fault", error=error)
            self.event("stop", status=status)
        except StoreError as exc:
            failure, status, error = failure or exc, "failed", error or str(exc)
        self._ballast.release()
        self._events.close()
        self._write_stop(status, error)
        if failure is not None:
            raise StoreError(str(failure)) from failure

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
            self.close(
                "interrupted" if interrupted else "failed", error=None if interrupted else text
            )
        except StoreError as store_exc:
            if str(store_exc) != str(exc):
                exc.add_note(f"closing the run: {store_exc}")

    # -- inner ------------------------------------------------------------------------------

    def _on_fault(self, error: StoreError) -> None:
        with contextlib.suppress(StoreError):  # the fault itself reaches the control thread
            self.event("fault", error=str(error))
            self._fault_told = True

    def _write_stop(self, status: str, error: str | None) -> None:
        record = {
            "status": status,
            "error": error,
            "t_ns": self.t_ns,
            "utc": datetime.now(UTC).isoformat(),
            "rows": self._commit.rows,
            "rows_appended": self._commit.acked_rows + self._commit.ticket - self._commit.acked,
            "rows_acknowledged": self._commit.acked_rows,
            "parts": {
                **self._commit.parts,
                **self._checkpoints,
                "events.jsonl": self._events.part(),
            },
        }
        path = self.path / "stop.json"
        try:
            durable.write_new(path, to_json(record, indent=2))
        except OSError as exc:
            raise durable.store_error("write", path, exc) from exc
