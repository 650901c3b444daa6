"""Between the controller and the run folder: every block that was driven becomes rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from hil.backend import Backend, Unfinished
from hil.control.blockrows import BlockRows
from hil.control.devicelog import FLUSH, FORGET, READ, DeviceLog, Driven
from hil.control.intending import Intentions
from hil.geometry import ArrayGeometry
from hil.ledger import Ledger
from hil.measurement import COLUMNS, MeasurementBlock, Status
from hil.operating import OperatingPoint
from hil.program import READING_PHASES, Phase, PulseBlock

if TYPE_CHECKING:
    from hil.record.folder import RunFolder

#: Bytes of a raw reading, of a device-level row and of the rest of an entry; for the bounded queue.
_READING_BYTES, _ROW_BYTES, _ENTRY_BYTES = 58, 71, 500
_columns_of = attrgetter(*COLUMNS)


class Recorder:
    """Numbers the operations of a run and writes their blocks, at the level of each phase.

    One recorder serves all arrays of a run. At level ``full`` raw readings and device-level rows
    are written, at ``operation`` one row per operation, at ``off`` neither.

    Blocks and readings are handed as they are to the run's writer thread, which makes the rows.
    From then on nobody may write into them; the readings are made read-only.

    Args:
        folder: of the run.
        names: names of the arrays, for write-ahead intents.
        first_op: id of the first operation; an earlier session of the run has used those before.
    """

    def __init__(
        self, folder: RunFolder, names: Mapping[Backend, str] | None = None, first_op: int = 1
    ) -> None:
        self.folder = folder
        self._intentions: Intentions | None = None
        if folder.intents is not None:
            self._intentions = Intentions(folder.intents, names or {})
        self.upcoming_op = first_op  #: id of the next operation
        self._full = [folder.level(phase) == "full" for phase in Phase]
        self._any = [folder.level(phase) != "off" for phase in Phase]
        self._rows = BlockRows()
        self._logs: dict[Backend, DeviceLog] = {}
        self._waiting: set[DeviceLog] = set()  # may have rows that wait for a reading
        self._stale: set[DeviceLog] = set()  # were told that what they knew no longer holds

    def next_op(self) -> int:
        """Return the id of a new operation."""
        self.upcoming_op += 1
        return self.upcoming_op - 1

    def before(self, backend: Backend, block: PulseBlock) -> None:
        """Wait while the disk is nearly full, then note on it what ``block`` is about to write.

        Raises:
            StoreError: nothing can be recorded any more; the block must not be driven.
        """
        if self.folder.short_of_space:
            self.folder.wait_for_space(lambda: backend.stop_requested)
        if self._intentions is not None:
            self._intentions.before(backend, block)

    def refused(self, backend: Backend) -> None:
        """Note that the block announced last was not driven."""
        if self._intentions is not None:
            self._intentions.recorded(backend, 0)

    def block(
        self,
        backend: Backend,
        op_point: OperatingPoint,
        op_id: int,
        ordinal: int,
        layer: int,
        start_ns: int,
        n_pulses: int,
        block: PulseBlock,
        readings: MeasurementBlock,
        *,
        ends: bool = False,
        status: int = 0,
    ) -> None:
        """Record a block that was driven; ``n_pulses`` is its number of device pulses.

        ``ends``: it is the last of its operation, as if :meth:`flush` followed. ``status`` is that
        of its device rows; with ``COUNT_UNKNOWN`` how many of the pulses ran is null.

        Raises:
            StoreError: recording failed; nothing more may be driven.
        """
        phase = block.phase
        log, kind, given, columns = None, FLUSH, None, None
        n_readings, n_steps = len(readings), block.n_steps
        n_read, n_rows, n_bytes = 0, 1, _ENTRY_BYTES
        if self._full[phase]:
            log = self._logs.get(backend) or self._new_log(backend, op_point)
            kind = log.kinds[phase]
            if kind == READ:
                self._stale.discard(log)
            else:
                if not ends:
                    self._waiting.add(log)
                if kind != FLUSH:
                    given = block
                    n_rows += log.most_rows(n_steps, n_pulses)
                    n_bytes += block.level_v.nbytes + _ROW_BYTES * n_rows
            if n_readings:
                columns = _columns_of(readings)
                for column in columns:
                    column.setflags(write=False)
                n_read = n_readings
                n_rows += n_read
                n_bytes += _READING_BYTES * n_read
                if kind == READ:
                    given = block
        else:
            if self._logs:
                self._forget(backend, phase)
            if not self._any[phase]:
                if self._intentions is not None:
                    self._intentions.recorded(backend, self.folder.ticket)
                return
        duration_s = (backend.clock_ns() - start_ns) * 1e-9
        driven = Driven(
            log, kind, given, columns, n_read, ends, op_id, ordinal, phase, layer, start_ns,
            n_steps, n_pulses, n_readings, duration_s, status,
        )  # fmt: skip
        ticket = self.folder.hand_over(self._rows, driven, n_read + 1, n_rows, n_bytes)
        if self._intentions is not None:
            self._intentions.recorded(backend, ticket)

    def unfinished(
        self, backend: Backend, op_point: OperatingPoint, op_id: int, ordinal: int, layer: int,
        start_ns: int, left: Unfinished, failure: BaseException,
    ) -> None:  # fmt: skip
        """Record what is known of a block that failed in its middle; the end of its operation.

        Pulses known to have run become rows as always. Those that may have run are counted, but
        marked: status ``COUNT_UNKNOWN``, ``executed`` null. An event names the failure.

        Raises:
            StoreError: recording failed.
        """
        block, known = left.block, left.known == left.possible
        if self._intentions is not None and not known.all():
            self._intentions.unknown(backend)
        for part, status in ((known, 0), (~known, int(Status.COUNT_UNKNOWN))):
            repeat = np.where(part, left.possible, 0)
            if not repeat.any():
                continue
            cut = replace(block, repeat=repeat, template=None)
            rows = part[left.readings.step]
            readings = MeasurementBlock(*(c[rows] for c in left.readings.columns().values()))
            pulses = Ledger(backend.geometry).add(cut)
            self.block(
                backend, op_point, op_id, ordinal, layer, start_ns, pulses, cut, readings,
                status=status,
            )  # fmt: skip
            start_ns += round(float((block.period_s * repeat).sum()) * 1e9)
        self.flush()
        self.folder.event(
            "unfinished", op=op_id, block=ordinal, phase=Phase(block.phase).name,
            error=f"{type(failure).__name__}: {failure}", pulses=int(block.repeat.sum()),
            pulses_known=int(left.known.sum()), pulses_possible=int(left.possible.sum()),
            readings=len(left.readings), readings_promised=block.n_readings,
        )  # fmt: skip

    def tripped(
        self, geometry: ArrayGeometry, op_id: int, ordinal: int, block: PulseBlock,
        steps: tuple[int, ...],
    ) -> None:  # fmt: skip
        """Note by an event in which steps a current limit was reached though nothing is sensed."""
        lines = np.flatnonzero(block.selected[list(steps)].any(axis=0))
        self.folder.event(
            "limit", what="compliance", op=op_id, block=ordinal, phase=Phase(block.phase).name,
            steps=list(steps), lines=[geometry.line_name(int(k)) for k in lines],
        )  # fmt: skip

    def flush(self) -> None:
        """Write the device-level rows that still wait for a reading; the end of an operation."""
        if self._waiting:
            for log in self._waiting:
                self._mark(log, FLUSH)
            self._waiting.clear()

    def _new_log(self, backend: Backend, op: OperatingPoint) -> DeviceLog:
        log = self._logs[backend] = DeviceLog(backend.geometry, op)
        self._rows.add(log)
        return log

    def _forget(self, backend: Backend, phase: Phase) -> None:
        """Note that a block which is not recorded in full may have changed conductances."""
        log = self._logs.get(backend)
        if log is None or log in self._stale or phase in READING_PHASES or phase is Phase.IDLE:
            return
        self._stale.add(log)
        self._mark(log, FORGET)

    def _mark(self, log: DeviceLog, kind: int) -> None:
        mark = Driven(log, kind, None, None, 0, True, 0, 0, -1, 0, 0, 0, 0, 0, 0.0)
        self.folder.hand_over(self._rows, mark, 0, 0, _ENTRY_BYTES)
