"""The backend of a board that speaks the framed protocol."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self

from pydantic import Field

from hil.backend import Unfinished
from hil.capabilities import Capabilities
from hil.config.quantities import Second, Table
from hil.config.station import Wire, wires
from hil.errors import BackendError, BackendUnavailable, ConfigError
from hil.geometry import ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock, Status
from hil.program import Phase, PulseBlock
from hil_drivers.boards import BoardBackend, settings_of
from hil_drivers.confirming import confirming_safe
from hil_drivers.serial_board import messages, preview
from hil_drivers.serial_board.collect import Taken
from hil_drivers.serial_board.link import BoardLink, any_challenge
from hil_drivers.serial_board.messages import Can, Hello, State
from hil_drivers.serial_board.plan import BoardChecker, Plan, Planner
from hil_drivers.serial_board.recording import RecordedPort
from hil_drivers.serial_board.runs import Runner
from hil_drivers.serial_board.shape import assumed, board_lines, capabilities_of
from hil_drivers.steps import Identity
from hil_drivers.transport.replayport import recorded_port
from hil_drivers.transport.serialport import SerialPort

if TYPE_CHECKING:
    from hil.config.station import ArrayTable, InstrumentTable, Station
    from hil_drivers.transport.exclusive import InstrumentLocks
    from hil_drivers.transport.wirelog import WireLog

_PATIENT_S: Final = 1.0  #: time-out on a virtual bench, which computes, and may have to compile


class BoardSettings(Table):
    """The ``[instrument.settings]`` of a board."""

    baud: Annotated[int, Field(strict=True, ge=300)] = 115_200  #: without meaning on USB
    timeout: Annotated[Second, Field(gt=0.0, le=60.0)] | None = None  #: for a reply; 0.25 s
    tries: Annotated[int, Field(strict=True, ge=1, le=20)] = 4  #: of one frame into silence
    watchdog: Annotated[Second, Field(ge=0.05, le=60.0)] = 1.0
    startup: Annotated[Second, Field(ge=0.0, le=60.0)] = 3.0  #: boards that reset when opened


class SerialBoard(BoardBackend):
    """Array board on a serial port (framed protocol, docs/serial-protocol.md).

    Args:
        name: the instrument's, in the station.
        geometry: the array; its line k is the board's line k, but for ``ways``.
        ways: wiring, empty for line by line.
        connect: opens the port; ``draw`` gives another 32-bit number for each session.
        settings: of the station file.
        limits: safety limits; the board's own are merged with them, the stricter of both wins.
        simulated: on a virtual bench; every reading says so.
        wait: waits that many seconds with outputs off; None = wall time, ended early by an abort.
        locks: keep other processes away while it is open.
    """

    driver: ClassVar[str] = "serial-board"
    Settings: ClassVar[type[Table]] = BoardSettings

    def __init__(
        self, name: str, geometry: ArrayGeometry, ways: Iterable[Wire],
        connect: Callable[[], SerialPort], settings: BoardSettings | None = None, *,
        limits: SafetyLimits | None = None, simulated: bool = False,
        wait: Callable[[float], object] | None = None, locks: InstrumentLocks | None = None,
        draw: Callable[[], int] = any_challenge,
    ) -> None:  # fmt: skip
        self.instrument = name
        self.settings = settings or BoardSettings()
        self._connect, self._draw, self._locks, self._simulated = connect, draw, locks, simulated
        self._board_line = board_lines(name, geometry, ways)
        super().__init__(geometry, Capabilities(simulated=simulated), limits)
        self.checker = self._checker = BoardChecker(geometry, self.limits, self.capabilities)
        self.name = "board on the virtual bench" if simulated else "board"
        self.link: BoardLink | None = None
        self.hello: Hello | None = None  #: what the board said, while and after it was open
        self.strategies: dict[str, int] = {}  #: what was done to suit the board -> blocks
        self._runner: Runner | None = None
        self._plan: Plan | None = None
        self._taken: Taken | None = None
        self._end_ns = 0
        self._wake = threading.Event()
        self._wait_s = wait if wait is not None else self._wake.wait

    @classmethod
    def board(
        cls, station: Station, array: ArrayTable, table: InstrumentTable, *,
        wire_log: WireLog | None = None, virtual: bool = False,
        wait: Callable[[float], object] | None = None, locks: InstrumentLocks | None = None,
        replay: str | Path | None = None,
    ) -> Self:  # fmt: skip
        """Return the (closed) backend of one array.

        Raises:
            ConfigError: wrong settings, or wiring that is not one line of the board each.
        """
        settings = settings_of(BoardSettings, table, cls.driver)
        if settings.timeout is None and virtual:
            settings = settings.model_copy(update={"timeout": _PATIENT_S})

        build = partial(
            cls, table.name, array.geometry(), wires(station, array.name), settings=settings,
            limits=station.limits.limits(), simulated=virtual, wait=wait, locks=locks,
        )  # fmt: skip
        if replay is not None:
            recorded = RecordedPort(table.name, recorded_port(replay, table.name))
            return build(connect=recorded.reopened, draw=recorded.challenge)
        return build(
            connect=partial(
                SerialPort, table.resource, baud=settings.baud, log=wire_log, name=table.name
            )
        )

    @classmethod
    def rehearsed(cls, station: Station, array: ArrayTable, table: InstrumentTable) -> Any:
        """Raise ConfigError: a board says what its grids are only when it is asked."""
        raise ConfigError(
            f"{cls.driver} {table.name!r} cannot be obeyed unseen: give its grids in [twin] as "
            "level_resolution, width_resolution and current_resolution (`hil doctor` shows them)",
            path=station.path, field="twin.as_rig",
        )  # fmt: skip

    # -- life ------------------------------------------------------------------------------

    def _open(self) -> None:
        self._wake.clear()
        self._end_ns = 0
        try:
            if self._locks is not None:
                self._locks.take(self.instrument)
            timeout_s = self.settings.timeout or 0.25
            self.link = BoardLink(
                self._connect(), timeout_s=timeout_s, tries=self.settings.tries, draw=self._draw
            )
            self._greet(self.link, self.settings.startup)
        except BaseException:  # also a Ctrl-C
            self._close()
            raise

    def _greet(self, link: BoardLink, patience_s: float = 0.0) -> None:
        """Begin a session and take the board's limits.

        Raises:
            BackendUnavailable: it is a board of another size, or another board than before.
        """
        hello = link.begin(patience_s)
        identity = Identity.parse(hello.identity)
        if self._locks is not None and identity is not None:
            self._locks.identified(self.instrument, identity)
        geometry = self.geometry
        asked = (geometry.n_rows, geometry.n_cols, geometry.n_lines)
        has = (hello.rows, hello.cols, hello.lines)
        if has != asked:
            raise BackendUnavailable(
                f"{self.instrument} ({link.address}): the station's array has {asked[0]} rows, "
                f"{asked[1]} columns and {asked[2]} lines, the board {has[0]}, {has[1]} and "
                f"{has[2]}; nothing was driven"
            )
        self.hello = hello
        self.capabilities = capabilities_of(hello, self._simulated)
        checker = BoardChecker(geometry, self.limits, self.capabilities)
        checker.planner = planner = Planner(hello, self._board_line)
        self.checker = self._checker = checker
        self._runner = Runner(link, hello, planner, self._arming(hello), self.settings.watchdog)

    def _arming(self, hello: Hello) -> bytes:
        """Return the limits that the board is asked to keep: the stricter of both, on its grid."""
        half_v = hello.level_step_v / 2 * (1 + 1e-6)
        low, high = self._checker.span_v()
        limits = self.limits
        width = limits.width_s.max * 1e9 + hello.time_step / 2
        return messages.ARM.pack(
            min(low - half_v, 0.0), max(high + half_v, 0.0),
            min(math.ceil(width), messages.ALL) if math.isfinite(width) else messages.ALL,
            limits.compliance_a if hello.can & Can.COMPLIANCE else math.inf,
        )  # fmt: skip

    def _close(self) -> None:
        link, self.link, self._runner = self.link, None, None
        if link is not None:
            link.close()
        if self._locks is not None:
            self._locks.release()

    def identify(self) -> str:
        """Return what the board says of itself, when it was open."""
        who = "not open yet" if self.hello is None else self.hello.identity
        return f"{self.name}: {self.instrument} {who}"

    def clock_ns(self) -> int:
        """Return nanoseconds since open, never before the end of the last run."""
        return max(super().clock_ns(), self._end_ns)

    # -- planning --------------------------------------------------------------------------

    def plan(self, block: PulseBlock) -> Plan:
        """Return what will be done for a block; nothing is driven.

        Before the board was asked what it can do, the plan is that of :func:`assumed`.

        Raises:
            LimitError: it cannot do it.
        """
        planner = self._checker.planner
        if planner is None:
            planner = Planner(assumed(self.geometry), self._board_line)
        return planner.plan(block)

    def preview(self, programme: Iterable[PulseBlock]) -> list[str]:
        """Return lines: how many sequences, requests and bytes, and the predicted time."""
        return preview.lines(self, programme)

    def predicted_s(self, programme: Iterable[PulseBlock]) -> float:
        """Return how long a programme takes in seconds: pulses, waits, requests and bytes."""
        return preview.totals(self, programme).total_s

    # -- running ---------------------------------------------------------------------------

    def _prepare(self, block: PulseBlock) -> PulseBlock:
        self._plan, self._taken = plan, _ = self.plan(block), None
        for note in plan.lowered.notes:
            self.strategies[note] = self.strategies.get(note, 0) + 1
        if block.phase is Phase.IDLE:
            return block
        self._plan = plan = self._ready().exact(plan)
        return plan.delivered

    def _ready(self) -> Runner:
        """Return what runs parts; a session that ended in doubt is begun anew, and it is armed.

        Raises:
            BackendUnavailable: another board answers now.
        """
        link, runner = self.link, self._runner
        if link is None or runner is None:
            raise BackendError(f"{self.name} is not open")
        if link.lost:
            before = runner.hello
            self._greet(link, self.settings.startup)
            runner = self._runner
            if runner is None or replace(runner.hello, challenge=0, boot=0) != replace(
                before, challenge=0, boot=0
            ):
                raise BackendUnavailable(f"{self.instrument}: another board answers now")
        runner.arm()
        return runner

    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        plan, self._plan, self.tripped_steps = self._plan, None, ()
        runner = self._runner
        if plan is None or plan.delivered is not block or runner is None:
            raise BackendError(f"{self.name}: the block was not prepared")
        if block.phase is Phase.IDLE:
            return self._wait(block)
        self._taken = taken = Taken(plan, runner.planner)
        tripped: set[int] = set()
        for part in plan.parts:
            if not part.repeat.any():
                taken.end(part, 0, None)
                continue
            start_ns = self.clock_ns() + 1
            taken.begin(part, start_ns)
            status, records = runner.run(part)
            self._end_ns = start_ns + part.duration
            if status.state != State.DONE:
                raise BackendError(
                    f"{self.instrument}: the run ended after {status.steps} of "
                    f"{part.stop - part.start} steps: {status.why}"
                )
            if status.status & Status.I_COMPLIANCE:
                tripped.update(runner.limited_steps(part))
            taken.end(part, start_ns, records)
        origin = plan.lowered.origin
        self.tripped_steps = tuple(sorted({int(origin[step]) for step in tripped}))
        return taken.readings(self.capabilities.simulated)

    def _wait(self, block: PulseBlock) -> MeasurementBlock:
        """Wait with every output off, as long as the block says, or until it is aborted."""
        start_ns = self.clock_ns()
        self._wait_s(block.duration_s)
        self._end_ns = start_ns + round(block.duration_s * 1e9)
        return MeasurementBlock.empty(0)

    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        """Return the parts that ended, and of the one that failed what the board says of it."""
        taken, self._taken = self._taken, None
        if taken is None or taken.plan.asked is not asked or self._runner is None:
            return super()._salvage(asked, prepared)
        failure = sys.exception()
        if failure is not None:
            failure.add_note(taken.place())
        status = records = None
        if taken.open is not None:
            status = self._runner.doubtful()
            if status is not None:
                records = self._runner.left_behind(status)
        return taken.left(status, records, self.capabilities.simulated)

    # -- safety ----------------------------------------------------------------------------

    def _safe_state(self) -> None:
        """Levels to 0 V and outputs off; an error already under way is not replaced."""
        if self.link is None:
            return
        if self._runner is not None:
            self._runner.armed = False
        with confirming_safe():
            self.link.safe()

    def _abort(self) -> None:
        self._wake.set()
        link = self.link
        if link is not None:
            link.safe_now()
