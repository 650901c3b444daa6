"""The one interface in front of every array, physical or simulated.

:meth:`Backend.run` is final: it checks limits, drives, counts and hands out readings the same way
for every backend. An implementation writes the small hooks below it and nothing else.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Capabilities
from hil.errors import BackendError, EnduranceError, HilError, RunInterrupted, SafetyTrip
from hil.geometry import ArrayGeometry
from hil.ledger import Ledger
from hil.limits import ComplianceTrips, LimitChecker, PulseBudget, SafetyLimits
from hil.measurement import MeasurementBlock
from hil.program import Phase, PulseBlock


@dataclass(frozen=True, slots=True, eq=False)
class Unfinished:
    """What is known of a block that failed after it had begun.

    Attributes:
        block: the block as it was asked for.
        delivered: as it was delivered, with those pulses only that ran or may have run.
        known, possible: (block.n_steps,) pulses that ran, and those that ran or may have run.
        readings: those that were taken, and NaN for those that were due and did not come.
        cause: what failed, where that is known better by now than by the error that was raised.
    """

    block: PulseBlock
    delivered: PulseBlock
    known: NDArray[np.int64]
    possible: NDArray[np.int64]
    readings: MeasurementBlock
    cause: HilError | None = None


@runtime_checkable
class Restorable(Protocol):
    """A backend whose devices can be put back: a simulator, for checkpoints and nothing else."""

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return copies of everything that decides what its devices do from now on."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot of the same array.

        Raises:
            ConfigError: it is that of another array.
        """


class Backend(ABC):
    """An array behind an interface: open it, run pulse blocks, get measurement blocks.

    Use it as a context manager; leaving it always enforces the safe state, also when a generator
    returned by :meth:`run` was abandoned half way.
    """

    name = "backend"  #: printed first and stamped into every run

    def __init__(
        self,
        geometry: ArrayGeometry,
        capabilities: Capabilities,
        limits: SafetyLimits | None = None,
    ) -> None:
        self.geometry = geometry
        self.capabilities = capabilities
        self.limits = limits if limits is not None else SafetyLimits()
        self.ledger = Ledger(geometry)
        self.checker = LimitChecker(geometry, self.limits, capabilities)
        self._budget = PulseBudget(self.limits, self.ledger)
        self.trips = ComplianceTrips(self.limits, geometry)  #: since it was opened
        self._epoch_ns = time.monotonic_ns()
        self._is_open = False
        self._running = False
        self._stop = threading.Event()
        self._aborted = False
        self.was_stopped = False  #: the last stream ended early because a stop was requested
        #: Steps of the last block in which a current limit was reached unasked (nothing is sensed).
        self.tripped_steps: tuple[int, ...] = ()
        #: The block in whose middle the last :meth:`run` or :meth:`run_block` failed, if it did.
        self.unfinished: Unfinished | None = None

    # -- what an implementation writes ------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Connect, verify the identity, leave every output at 0 V."""

    @abstractmethod
    def _close(self) -> None:
        """Disconnect; called once, after the safe state."""

    def _prepare(self, block: PulseBlock) -> PulseBlock:
        """Return the block as it will be delivered (quantised); may upload it."""
        return block

    @abstractmethod
    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        """Drive the block and return exactly the readings that it promises.

        The readings' arrays are given away: once recorded they are read-only.
        """

    @abstractmethod
    def _safe_state(self) -> None:
        """Bring every level to 0 V and outputs off; idempotent, also after a failure."""

    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        """Return what is known of a block that failed in :meth:`_execute`.

        Called once, after the safe state. Default: nothing was read, and every pulse may have run.
        """
        none = np.zeros(asked.n_steps, dtype=np.int64)
        return Unfinished(asked, prepared, none, asked.repeat, MeasurementBlock.empty(0))

    def _abort(self) -> None:
        """Switch outputs off out of band, from any thread; default: the safe state."""
        self._safe_state()

    def clock_ns(self) -> int:
        """Return the backend's monotonic clock in nanoseconds; a simulator's may be virtual."""
        return time.monotonic_ns() - self._epoch_ns

    @abstractmethod
    def identify(self) -> str:
        """Return one line that says what is behind this backend."""

    # -- what everybody uses ---------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True between open and close."""
        return self._is_open

    @final
    def open(self) -> None:
        """Open the backend; does nothing when it is open already."""
        if self._is_open:
            return
        self._epoch_ns = time.monotonic_ns()
        self._open()
        self.trips.clear()
        self._is_open = True
        self._aborted = False
        self._stop.clear()

    @final
    def close(self) -> None:
        """Enforce the safe state and disconnect; does nothing when closed already."""
        if not self._is_open:
            return
        self._is_open = False
        self._running = False
        try:
            self._safe_state()
        finally:
            self._close()

    @final
    def __enter__(self) -> Self:
        self.open()
        return self

    @final
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def request_stop(self) -> None:
        """Ask the stream to end before its next block, in the safe state; from any thread.

        ``was_stopped`` then is True until the next :meth:`run`. The request is honoured once.
        """
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """True from :meth:`request_stop` until the request is honoured."""
        return self._stop.is_set()

    def _honour_stop(self) -> None:
        self._stop.clear()
        self.was_stopped = True
        self._safe_state()

    def abort(self) -> None:
        """Switch outputs off now, from any thread; the backend must be closed afterwards."""
        self._aborted = True
        self._stop.set()
        self._abort()

    @final
    def run(self, blocks: Iterable[PulseBlock]) -> Iterator[MeasurementBlock]:
        """Drive ``blocks`` and yield one measurement block for each, in order.

        A static programme (anything that can be walked again: a list, a
        :class:`~hil.program.Programme`) is checked whole, here, before anything is driven. An
        iterator is an adaptive stream and is checked block by block: an error in block 17 means
        that blocks 0 to 16 were driven and are recorded, and 17 was not.

        When the stream fails, is stopped or is abandoned, the array is put in the safe state.

        Raises:
            BackendError: not open, aborted, or another stream is still running.
            SafetyTrip: blocks before reached the current limit more often than is allowed.
            LimitError: a step is out of range; it was not driven.
        """
        self._require_ready()
        self.unfinished = None
        iterator = iter(blocks)
        static = iterator is not blocks
        if static:
            self.check(blocks)
        self.was_stopped = False
        return self._stream(iterator, static)

    @final
    def check(self, programme: Iterable[PulseBlock]) -> None:
        """Check a whole static programme against limits, capabilities and the pulse budget.

        Nothing is driven and the backend need not be open.

        Raises:
            LimitError: naming block, step, line or cell, value, limit and unit.
        """
        for index, block in enumerate(programme):
            self.checker.check(block, index)
        self._budget.check_programme(programme)

    @final
    def run_block(self, block: PulseBlock) -> MeasurementBlock:
        """Drive one block and return its readings; :meth:`run` for a closed loop's inner step.

        Same checks and same bookkeeping as :meth:`run`, without a generator. A failure enforces the
        safe state.

        Raises:
            RunInterrupted: :meth:`request_stop` was called; the block was not driven.
        """
        self._require_ready()
        self.unfinished = None
        if self._stop.is_set():
            self._honour_stop()
            raise RunInterrupted("stopped on request, in the safe state")
        self.checker.check(block)
        try:
            self.trips.check()
            self._budget.check_block(block)
        except (EnduranceError, SafetyTrip):
            self._safe_state()  # this is how a closed loop ends
            raise
        return self._one(block)

    def check_endurance(self) -> None:
        """Raise EnduranceError when a device has no pulse left of ``limits.pulses_per_device``."""
        self._budget.check_left()

    def _require_ready(self) -> None:
        if not self._is_open:
            raise BackendError(f"{self.name} is not open; use it in a `with` statement")
        if self._aborted:
            raise BackendError(f"{self.name} was aborted; close and open it again")
        if self._running:
            raise BackendError(
                f"{self.name} is still running a stream; exhaust or close() it before the next"
            )

    def _stream(self, blocks: Iterator[PulseBlock], static: bool) -> Iterator[MeasurementBlock]:
        self._require_ready()
        self._running = True
        cared_for = False  # nothing is on, or the safe state was enforced already
        try:
            for index, block in enumerate(blocks):
                if not self._is_open:
                    return
                if self._stop.is_set():
                    self._honour_stop()
                    return
                self.trips.check()
                if not static:
                    self.checker.check(block, index)
                    self._budget.check_block(block, index)
                cared_for = True
                readings = self._one(block)
                cared_for = False
                yield readings
            self.trips.check()
            cared_for = True
        finally:
            self._running = False
            if not cared_for and self._is_open:
                self._safe_state()

    def _one(self, block: PulseBlock) -> MeasurementBlock:
        """Drive one block; a failure ends in the safe state, then what is known is kept."""
        prepared: PulseBlock | None = None
        template = block.template
        try:
            prepared = self._prepare(block)
            readings = self._execute(prepared)
            promised = block.n_readings if template is None else template.n_readings
            if len(readings) != promised:
                raise BackendError(
                    f"{self.name} gave {len(readings)} readings for a {Phase(block.phase).name} "
                    f"block that promises {promised}"
                )
        except BaseException as exc:
            self._failed(block, prepared, exc)
            raise
        self.ledger.add(prepared)
        self.trips.add(block, readings, self.tripped_steps)
        return readings

    def _failed(
        self, block: PulseBlock, prepared: PulseBlock | None, failure: BaseException
    ) -> None:
        """Enforce the safe state, then keep what is known; a pulse that may have run is counted.

        Raises:
            HilError: a clearer error than ``failure``.
        """
        left = None
        try:
            self._safe_state()
        finally:
            if prepared is not None:
                left = self._salvage(block, prepared)
                if left.possible.any():
                    self.ledger.add(left.delivered)
                    self.unfinished = left
        if left is not None and left.cause not in (None, failure):
            raise left.cause from failure
