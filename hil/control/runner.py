"""Runs procedures and programmes on one backend, recording every block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hil.backend import Backend
from hil.control.recorder import Recorder
from hil.errors import RunInterrupted, StoreError
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.procedure import ArrayContext, Outcome, Procedure
from hil.program import Phase, Programme, PulseBlock

_PRODUCTS = (Phase.FORWARD, Phase.BACKWARD)

Progress = Callable[[PulseBlock], None]


@dataclass
class ProcedureResult:
    """What running a procedure gave.

    ``outcome`` holds the procedure's arrays and numbers (empty when interrupted); ``duration_s`` is
    on the backend's clock.
    """

    name: str
    kind: str
    outcome: Outcome = field(default_factory=dict)
    n_blocks: int = 0
    n_device_pulses: int = 0
    n_readings: int = 0
    duration_s: float = 0.0
    interrupted: bool = False


class Runner:
    """Drives one backend and records; what :class:`~hil.control.array.SynapseArray` stands on."""

    def __init__(
        self, backend: Backend, op: OperatingPoint, recorder: Recorder | None = None, layer: int = 0
    ) -> None:
        self.backend, self.op, self.recorder, self.layer = backend, op, recorder, layer

    def block(
        self, block: PulseBlock, op_id: int | None = None, ordinal: int = 0
    ) -> MeasurementBlock:
        """Drive one block of a closed loop, record it, return its readings."""
        backend, recorder = self.backend, self.recorder
        if recorder is None:
            readings = backend.run_block(block)
            self._note(block, readings)
            return readings
        number = recorder.next_op() if op_id is None else op_id
        recorder.before(backend, block)
        ledger = backend.ledger
        start_ns, before = backend.clock_ns(), ledger.device_pulses
        try:
            readings = backend.run_block(block)
        except BaseException as exc:
            self._keep_unfinished(number, ordinal, start_ns, exc)
            raise
        self._note(block, readings)
        recorder.block(
            backend, self.op, number, ordinal, self.layer, start_ns,
            ledger.device_pulses - before, block, readings, ends=True,
        )  # fmt: skip
        if backend.tripped_steps:
            recorder.tripped(backend.geometry, number, ordinal, block, backend.tripped_steps)
        return readings

    def _note(self, block: PulseBlock, readings: MeasurementBlock) -> None:
        """Keep the conductances that were read in the ledger; products of many rows give none."""
        if block.phase not in _PRODUCTS and len(readings):
            self.backend.ledger.note(block, readings, self.op.read_v)

    def _keep_unfinished(
        self, op_id: int, ordinal: int, start_ns: int, failure: BaseException
    ) -> None:
        """Record what is known of the block in whose middle the backend failed, if it did."""
        left = self.backend.unfinished
        if self.recorder is None:
            return
        if left is None:
            self.recorder.refused(self.backend)
            return
        try:
            self.recorder.unfinished(
                self.backend, self.op, op_id, ordinal, self.layer, start_ns, left, failure
            )
        except StoreError as exc:
            failure.add_note(f"and what was measured until then could not be recorded: {exc}")

    def programme(self, programme: Programme) -> Iterator[tuple[PulseBlock, MeasurementBlock]]:
        """Check a static programme whole, then drive, record and yield block after block.

        Raises:
            LimitError: a step is out of range; nothing was driven.
            RunInterrupted: a stop was requested; the array is in the safe state.
        """
        self.backend.check(programme)
        yield from self._drive(iter(programme))
        if self.backend.was_stopped:
            raise RunInterrupted("stopped on request, in the safe state")

    def _drive(
        self, blocks: Iterator[PulseBlock], ordinal: int = 0
    ) -> Iterator[tuple[PulseBlock, MeasurementBlock]]:
        backend, recorder = self.backend, self.recorder
        current: list[PulseBlock] = []

        def tapped() -> Iterator[PulseBlock]:
            for block in blocks:
                current[:] = [block]
                if recorder is not None:
                    recorder.before(backend, block)
                yield block

        op_id = 0 if recorder is None else recorder.next_op()
        start_ns, before = backend.clock_ns(), backend.ledger.device_pulses
        stream = backend.run(tapped())
        try:
            for readings in stream:
                block = current[0]
                self._note(block, readings)
                if recorder is not None:
                    recorder.block(
                        backend, self.op, op_id, ordinal, self.layer, start_ns,
                        backend.ledger.device_pulses - before, block, readings,
                    )  # fmt: skip
                    if backend.tripped_steps:
                        recorder.tripped(
                            backend.geometry, op_id, ordinal, block, backend.tripped_steps
                        )
                    start_ns, before = backend.clock_ns(), backend.ledger.device_pulses
                ordinal += 1
                yield block, readings
        except BaseException as exc:
            self._keep_unfinished(op_id, ordinal, start_ns, exc)
            raise
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
            if recorder is not None:
                recorder.flush()

    def procedure(
        self,
        procedure: Procedure,
        context: ArrayContext,
        progress: Progress | None = None,
    ) -> ProcedureResult:
        """Run a procedure; a static one is checked whole before its first pulse.

        Raises:
            ProtocolError: it does not fit the array. LimitError: a step is out of range.
        """
        if not procedure.adaptive:
            self.backend.check(procedure.programme(context))
        result = ProcedureResult(procedure.name, procedure.kind)
        steps = procedure.steps(context)
        sent: list[MeasurementBlock | None] = [None]
        outcome: dict[str, Any] = {}
        finished = False

        def blocks() -> Iterator[PulseBlock]:
            nonlocal finished
            try:
                block = next(steps)
                while True:
                    yield block
                    if sent[0] is None:
                        return
                    block = steps.send(sent[0])
            except StopIteration as stop:
                outcome.update(stop.value or {})
                finished = True

        start_ns = self.backend.clock_ns()
        before = self.backend.ledger.device_pulses
        for block, readings in self._drive(blocks(), procedure.first_block):
            sent[0] = readings
            result.n_blocks += 1
            result.n_readings += len(readings)
            if progress is not None:
                progress(block)
        result.outcome = outcome
        result.interrupted = not finished
        result.n_device_pulses = self.backend.ledger.device_pulses - before
        result.duration_s = (self.backend.clock_ns() - start_ns) * 1e-9
        return result
