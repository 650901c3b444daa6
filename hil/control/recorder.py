"""Between the controller and the run folder: every block that was driven becomes rows."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from hil.backend import Backend
from hil.control.devicelog import DeviceLog
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.program import READING_PHASES, Phase, PulseBlock

if TYPE_CHECKING:
    from hil.record.folder import RunFolder


class Recorder:
    """Numbers the operations of a run and writes their blocks, at the level of each phase.

    One recorder serves all arrays of a run. At level ``full`` raw readings and device-level rows
    are written, at ``operation`` one row per operation, at ``off`` neither.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._ops = count(1)
        self._full = {phase: folder.level(phase) == "full" for phase in Phase}
        self._any = {phase: folder.level(phase) != "off" for phase in Phase}
        self._logs: dict[Backend, DeviceLog] = {}

    def next_op(self) -> int:
        """Return the id of a new operation."""
        return next(self._ops)

    def log_of(self, backend: Backend, op: OperatingPoint) -> DeviceLog:
        """Return the device log of one array."""
        if backend not in self._logs:
            self._logs[backend] = DeviceLog(backend.geometry, op)
        return self._logs[backend]

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
    ) -> None:
        """Record a block that was driven; ``n_pulses`` is its number of device pulses.

        Raises:
            StoreError: recording failed; nothing more may be driven.
        """
        phase = block.phase
        if self._full[phase]:
            if len(readings):
                self.folder.readings(op_id, ordinal, block, readings)
            log = self.log_of(backend, op_point)
            if phase in READING_PHASES:
                log.reading(block, readings)
            else:
                for columns in log.writing(op_id, layer, start_ns, block):
                    self.folder.pulses(columns)
        if self._any[phase]:
            self.folder.operation(
                op_id, phase, layer, n_steps=block.n_steps, n_pulses=n_pulses,
                n_readings=len(readings), duration_s=(backend.clock_ns() - start_ns) * 1e-9,
                t_ns=start_ns,
            )  # fmt: skip

    def flush(self) -> None:
        """Write the device-level rows that still wait for a reading; the end of an operation."""
        for log in self._logs.values():
            for columns in log.flush():
                self.folder.pulses(columns)
