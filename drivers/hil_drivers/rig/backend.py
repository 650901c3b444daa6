"""The backend of a rig: blocks become closures and runs, readings become measurement blocks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.backend import Backend, Unfinished
from hil.capabilities import Capabilities
from hil.config.station import Wire
from hil.errors import BackendError, LinkError
from hil.geometry import ArrayGeometry
from hil.limits import LimitChecker, SafetyLimits
from hil.measurement import MeasurementBlock
from hil.program import Phase, PulseBlock
from hil_drivers.calibration.decode import corrected
from hil_drivers.confirming import confirming_safe
from hil_drivers.instrument import Instrument
from hil_drivers.rig import preview
from hil_drivers.rig.channels import channel_limits, check_wiring, rig_capabilities, specs_of
from hil_drivers.rig.job import Collector, Job, deliver, quantised
from hil_drivers.rig.programs import RunBuilder
from hil_drivers.rig.rack import Connect, Rack
from hil_drivers.rig.reads import Lowered, averaged, can_superpose, level_by_level, unchanged
from hil_drivers.rig.salvage import UnderWay
from hil_drivers.rig.shapes import Jobs, Shapes
from hil_drivers.router.errors import RouteRefused
from hil_drivers.router.plan import RoutePlan, Router
from hil_drivers.router.wiring import Crosspoint, Wiring

if TYPE_CHECKING:
    from hil_drivers.calibration.table import Calibration
    from hil_drivers.transport.exclusive import InstrumentLocks


class RigBackend(Backend):
    """Several instruments as one array, by the wiring of a station file.

    Args:
        geometry: the array.
        ways: every way of every line (:func:`hil.config.station.wires`).
        instruments: constructed drivers by name, not open.
        connect: opens a session with an instrument by name; also used for the second sessions of
            :meth:`abort`.
        limits: safety limits.
        triggers: instrument name -> its line of the common trigger.
        g_max_siemens: largest conductance of a device, for measuring ranges; 0 = not known.
        message_s: documented time of a message to each instrument, for predicted times.
        calibration: corrections applied to readings.
        simulated: the instruments are emulated; every reading says so.
        wait: waits that many seconds with outputs off; None = wall time, ended early by an abort.
        locks: keep other processes away from the instruments while it is open.
        name: printed first and stamped into every run.

    Raises:
        ConfigError: the wiring does not fit the array or the instruments, or would short sources.
    """

    def __init__(
        self, geometry: ArrayGeometry, ways: Iterable[Wire], instruments: Mapping[str, Instrument],
        connect: Connect, *, limits: SafetyLimits | None = None,
        triggers: Mapping[str, str] | None = None, g_max_siemens: float = 0.0,
        message_s: Mapping[str, float] | None = None,
        calibration: Calibration | None = None, simulated: bool = False,
        wait: Callable[[float], object] | None = None, locks: InstrumentLocks | None = None,
        name: str = "rig",
    ) -> None:  # fmt: skip
        self.ways = tuple(ways)
        self.rack = Rack(instruments, connect, triggers, locks)
        self._g_max_siemens = g_max_siemens
        self.message_s = dict(message_s or {})
        self.calibration = calibration
        self.calibration_notes: list[str] = []  #: what has changed since, but does not matter
        self._wire(geometry)
        self._simulated = simulated
        self.rack.patience = 3.0 if simulated else 1.0
        super().__init__(geometry, self._capabilities(), limits)
        self.checker = RigChecker(self)
        self.name = name
        self.strategies: dict[str, int] = {}  #: what was done to suit the wiring -> blocks
        self._job: Job | None = None
        self._under_way: UnderWay | None = None
        self._map = self._open_map()
        self._end_ns = 0
        self._wake = threading.Event()
        self._wait_s = wait if wait is not None else self._wake.wait

    def _wire(self, geometry: ArrayGeometry) -> None:
        self._limits = channel_limits(self.rack.instruments)
        self.wiring = Wiring.build(geometry, self.ways, specs_of(self._limits))
        check_wiring(self.wiring, self.rack.instruments)
        self.router = Router(self.wiring, self.rack.triggers)
        self.shapes = Shapes(self.wiring)
        self._jobs = Jobs(self.shapes)
        self.builder = RunBuilder(
            self.wiring, self._limits, self.rack.check_start, self._g_max_siemens,
            None if self.calibration is None else self.calibration.sources,
        )  # fmt: skip
        self._port = np.unique(
            np.concatenate([geometry.read_lines.plus, geometry.read_lines.minus])
        )

    def _capabilities(self) -> Capabilities:
        found = rig_capabilities(self.router, self._limits)
        return replace(found, simulated=self._simulated)

    def _open_map(self) -> np.ndarray:
        return np.full(self.wiring.n_lines, -1, dtype=np.int64)

    # -- life ------------------------------------------------------------------------------

    def _open(self) -> None:
        self.rack.open()
        try:
            # The models found may be able to do less than the widest of their family.
            self._wire(self.geometry)
            self.capabilities = self._capabilities()
            self.checker = RigChecker(self)
            self._map = self._open_map()
            self._end_ns = 0
            self._wake.clear()
            if self.calibration is not None:
                self.calibration_notes = self.calibration.check(self.rack.instruments)
        except BaseException:
            self.rack.close()
            raise

    def _close(self) -> None:
        self.rack.close()

    def identify(self) -> str:
        """Return the instruments, as found when open, and the calibration in force."""
        parts = self.rack.identities()
        if self.calibration is not None:
            parts.append(str(self.calibration))
        return f"{self.name}: " + "; ".join(parts)

    def calibration_facts(self) -> dict[str, Any]:
        """Return what a run notes: the calibration in force, or that there is none."""
        if self.calibration is None:
            return {"used": False}
        return {
            "used": True, **self.calibration.facts(), "age_s": self.calibration.age_s(),
            "notes": self.calibration_notes,
        }  # fmt: skip

    def clock_ns(self) -> int:
        """Return nanoseconds since open, never before the end of the last run."""
        return max(super().clock_ns(), self._end_ns)

    # -- planning --------------------------------------------------------------------------

    def lower(
        self, block: PulseBlock, before: NDArray[np.int64] | None = None
    ) -> tuple[Lowered, RoutePlan]:
        """Return the block as it will be driven and its closures; nothing is driven.

        ``before`` is (n_lines,) channel of every line before the block, those of now by default.

        A read that asks for more potentials than the wiring has is driven one level at a time.

        Raises:
            RouteRefused: the wiring cannot do it.
        """
        before = self._map if before is None else before
        lowered = averaged(unchanged(block))
        try:
            return lowered, self.router.plan(lowered.block, before)
        except RouteRefused as refused:
            if not (refused.too_many and can_superpose(block)):
                raise
            last, why = refused, refused.note
        for one_line in (False, True):
            lowered = averaged(level_by_level(unchanged(block), self._port, why, one_line=one_line))
            try:
                return lowered, self.router.plan(lowered.block, before)
            except RouteRefused as refused:
                if not refused.too_many:
                    raise
                last = refused
        raise last

    def job(self, block: PulseBlock, before: NDArray[np.int64] | None = None) -> Job:
        """Return everything that will be done for one block; nothing is driven.

        ``before`` is (n_lines,) channel of every line before the block, those of now by default.

        Raises:
            LimitError: wiring or instruments cannot do it.
        """
        start = self._map if before is None else before
        return self._jobs.get(block, start, lambda: self._plan(block, start))

    def _plan(self, block: PulseBlock, before: NDArray[np.int64]) -> Job:
        lowered, plan = self.lower(block, before)
        if block.phase is Phase.IDLE:
            return Job(block, lowered, RoutePlan((), before), (), block)
        runs = tuple(tuple(self.builder.runs(lowered.block, stage)) for stage in plan.stages)
        level = lowered.block.level_v.copy()
        width = lowered.block.width_s.copy()
        for stage, stage_runs in zip(plan.stages, runs, strict=True):
            lines_of = self._lines_of(stage.channel_of_line)
            for run in stage_runs:
                for name, channels in self.rack.delivered(run).items():
                    named = {f"{name}.{c}": d for c, d in channels.items()}
                    deliver(lowered.block, run, named, lines_of, self.builder.sources, level, width)
        return Job(block, lowered, plan, runs, quantised(lowered.block, level, width))

    def _lines_of(self, channel_of_line: NDArray[np.int64]) -> dict[str, list[int]]:
        return {
            self.wiring.channels[channel].name: np.flatnonzero(channel_of_line == channel).tolist()
            for channel in np.unique(channel_of_line).tolist()
            if channel >= 0
        }

    def preview(self, programme: Iterable[PulseBlock]) -> list[str]:
        """Return lines: what runs inside the instruments, what does not, and the predicted time."""
        return preview.lines(self, programme)

    def predicted_s(self, programme: Iterable[PulseBlock]) -> float:
        """Return how long a programme takes in seconds: pulses, waits, relays and messages."""
        return preview.totals(self, programme).total_s

    @property
    def closed_map(self) -> NDArray[np.int64]:
        """(n_lines,) channel of every line now, −1 = open."""
        return self._map

    # -- running ---------------------------------------------------------------------------

    def _prepare(self, block: PulseBlock) -> PulseBlock:
        self._job = self.job(block)
        for note in self._job.notes:
            self.strategies[note] = self.strategies.get(note, 0) + 1
        return self._job.delivered

    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        job, self._job, self._under_way, self.tripped_steps = self._job, None, None, ()
        if job is None or job.delivered is not block:
            raise BackendError(f"{self.name}: the block was not prepared")
        if block.phase is Phase.IDLE:
            return self._wait(block)
        self._under_way = under_way = UnderWay(job, Collector(job), self.geometry)
        for stage, runs in zip(job.plan.stages, job.runs, strict=True):
            self._map = self._open_map()
            self._route(stage.closures)
            self._map = stage.channel_of_line
            for run in runs:
                start_ns = self.clock_ns() + 1
                under_way.begin(run, start_ns)
                readings = self.rack.execute(run)
                self._end_ns = start_ns + round(run.duration_s * 1e9)
                under_way.end(readings)
        collector = under_way.collector
        self.tripped_steps = tuple(sorted(under_way.tripped))
        self.rack.refuse_reset()
        if collector.missing:
            raise BackendError(
                f"{self.name}: {collector.missing} of {len(collector.t_ns)} readings did not come"
            )
        return self._calibrated(collector.readings(self.capabilities.simulated), job)

    def _route(self, closures: frozenset[Crosspoint]) -> None:
        """Move relays; an error also says which lines the crosspoints join to what."""
        try:
            self.rack.route(closures)
        except BackendError as exc:
            for way in self.ways:
                if way.crosspoint is not None and way.crosspoint in str(exc):
                    exc.add_note(f"{way.crosspoint} joins {way.line} to {way.channel}")
            raise

    def _calibrated(self, rows: MeasurementBlock, job: Job) -> MeasurementBlock:
        if self.calibration is None:
            return rows
        rows, notes = corrected(rows, job, self.wiring, self.calibration)
        for note in notes:
            self.strategies[note] = self.strategies.get(note, 0) + 1
        return rows

    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        """Return the runs that were collected and what the one that failed has left."""
        under_way, self._under_way = self._under_way, None
        if under_way is None or under_way.job.asked is not asked:
            return super()._salvage(asked, prepared)
        cause = self.rack.find_reset()
        failure = cause or sys.exception()
        if failure is not None:
            failure.add_note(under_way.place())
        if isinstance(failure, LinkError):
            failure.add_note(f"instrument: {self.rack.name_at(failure.address)}")
        taken = {}
        if under_way.open is not None and cause is None:
            taken = self.rack.salvage(under_way.open)
        return under_way.left(taken, self.capabilities.simulated, self._calibrated, cause)

    def _wait(self, block: PulseBlock) -> MeasurementBlock:
        """Wait with every output off, as long as the block says, or until it is aborted."""
        start_ns = self.clock_ns()
        self._wait_s(block.duration_s)
        self._end_ns = start_ns + round(block.duration_s * 1e9)
        return MeasurementBlock.empty(0)

    # -- safety ----------------------------------------------------------------------------

    def _safe_state(self) -> None:
        """Outputs off, then relays open; an error already under way is not replaced."""
        self._map = self._open_map()
        with confirming_safe():
            self.rack.safe()

    def _abort(self) -> None:
        self._wake.set()
        self.rack.abort()


class RigChecker(LimitChecker):
    """The limit check of a rig: levels and widths first, then whether the wiring can do it."""

    def __init__(self, rig: RigBackend) -> None:
        super().__init__(rig.geometry, rig.limits, rig.capabilities)
        self._rig = rig

    def _check_able(self, block: PulseBlock, index: int | None) -> None:
        """Raise LimitError when wiring or instruments do not allow ``block``.

        What a fill of a template changes is planned when it is run.
        """
        shape = self._rig.shapes.of(block)
        if shape in self._rig.shapes:
            return
        try:
            self._rig.job(block)
            self._rig.shapes.add(shape)
        except RouteRefused as refused:
            raise refused.in_block(index) from refused
