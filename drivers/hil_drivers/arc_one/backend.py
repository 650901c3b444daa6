"""ArC ONE as a backend: cell by cell, each command answered, a pulse never given twice."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from hil.backend import Unfinished
from hil.config.quantities import Table
from hil.config.station import Wire, wires
from hil.errors import BackendError, LinkError, ReadbackError
from hil.geometry import ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock, Status
from hil.program import Phase, PulseBlock
from hil_drivers.arc_one import protocol
from hil_drivers.arc_one.link import ArcLink, BoardSetup
from hil_drivers.arc_one.lowering import ALL_CELLS, Job, Kind
from hil_drivers.arc_one.plan import (
    DRIVER,
    MODES,
    ArcOneSettings,
    BoardChecker,
    arc_settings,
    board_capabilities,
    board_lines,
    lowering_of,
)  # fmt: skip
from hil_drivers.arc_one.progress import Progress
from hil_drivers.boards import BoardBackend
from hil_drivers.confirming import confirming_safe
from hil_drivers.transport.replayport import ReplayPort, recorded_port
from hil_drivers.transport.serialport import SerialPort

if TYPE_CHECKING:
    from hil.config.station import ArrayTable, InstrumentTable, Station
    from hil_drivers.arc_one.rehearsal import RehearsedArcOne
    from hil_drivers.transport.exclusive import InstrumentLocks
    from hil_drivers.transport.wirelog import WireLog


class ArcOne(BoardBackend):
    """ArC ONE: up to 32 x 32 two-terminal devices over a serial port."""

    driver: ClassVar[str] = DRIVER
    Settings: ClassVar[type[Table]] = ArcOneSettings

    def __init__(
        self, geometry: ArrayGeometry, ways: Iterable[Wire], resource: str,
        settings: ArcOneSettings, *, limits: SafetyLimits | None = None, name: str = "ArC ONE",
        wire_log: WireLog | None = None, simulated: bool = False,
        wait: Callable[[float], object] | None = None, locks: InstrumentLocks | None = None,
        instrument: str = "board", connect: Callable[[], SerialPort] | None = None,
    ) -> None:  # fmt: skip
        """Plan the board; nothing is opened.

        Args:
            geometry: the array.
            ways: lines and channels (``board.w0``); none = row k on word k, column k on bit k.
            resource: serial port.
            settings: of the station file.
            limits: safety limits.
            name: printed first and stamped into every run.
            wire_log: every byte goes into it.
            simulated: the board is emulated: it starts at once, readings are marked.
            wait: waits that many seconds with nothing driven; None = wall time.
            locks: keep other processes away while it is open.
            instrument: the board's name in the station file.
            connect: opens the port; None = that of ``resource``.

        Raises:
            ConfigError: an array or wiring that the board does not have.
        """
        self.words, self.bits = board_lines(geometry, ways)
        self.settings, self.resource, self.instrument = settings, resource, instrument
        self.capabilities = board_capabilities(simulated)
        super().__init__(geometry, self.capabilities, limits)
        self.name = name
        self.lowering = lowering_of(geometry, settings)
        self.checker = BoardChecker(self.lowering, self.limits, self.capabilities)
        self.strategies: dict[str, int] = {}  #: what was done to suit the board -> blocks
        self._locks = locks
        self._connect = connect or partial(SerialPort, resource, baud=protocol.BAUD, parity="even",
                                           log=wire_log, name=instrument)  # fmt: skip
        self._wake = threading.Event()
        self._wait_s = wait if wait is not None else self._wake.wait
        self._link: ArcLink | None = None
        self._job: Job | None = None
        self._progress: Progress | None = None
        self._end_ns = 0
        straight = np.arange(self.words.size) + 1, np.arange(self.bits.size) + 1
        self._whole = all(np.array_equal(a, b) for a, b in zip(straight, self._lines, strict=True))

    @property
    def _lines(self) -> tuple[np.ndarray, np.ndarray]:
        return self.words, self.bits

    @classmethod
    def board(
        cls, station: Station, array: ArrayTable, table: InstrumentTable, *,
        wire_log: WireLog | None = None, virtual: bool = False,
        wait: Callable[[float], object] | None = None, locks: InstrumentLocks | None = None,
        replay: str | Path | None = None,
    ) -> Self:  # fmt: skip
        """Return the (closed) board of one array; see :class:`BoardBackend`."""
        connect = None
        if replay is not None:
            connect = ReplayPort(table.name, recorded_port(replay, table.name)).reopened
        return cls(
            array.geometry(), wires(station, array.name), table.resource,
            arc_settings(station, table), limits=station.limits.limits(), wire_log=wire_log,
            simulated=virtual, wait=wait, locks=locks, instrument=table.name, connect=connect,
            name="ArC ONE on the virtual bench" if virtual else "ArC ONE",
        )  # fmt: skip

    @classmethod
    def rehearsed(
        cls, station: Station, array: ArrayTable, table: InstrumentTable
    ) -> RehearsedArcOne:
        """Return the board for a simulator to obey; nothing is opened."""
        from hil_drivers.arc_one.rehearsal import RehearsedArcOne

        board_lines(array.geometry(), wires(station, array.name))
        lowering = lowering_of(array.geometry(), arc_settings(station, table))
        return RehearsedArcOne(lowering, station.limits.limits())

    # -- life ------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._locks is not None:
            self._locks.take(self.instrument)
        self._wake.clear()
        self._end_ns = 0
        port = None
        try:
            port = self._connect()
            link = ArcLink(port, self._setup())
            link.initialise()
        except BaseException:
            if port is not None:
                port.close()
            if self._locks is not None:
                self._locks.release()
            raise
        self._link = link

    def _setup(self) -> BoardSetup:
        settings = self.settings
        return BoardSetup(
            words=int(self.words.max()), bits=int(self.bits.max()), cycles=settings.read_cycles,
            mode=protocol.ReadMode(MODES[settings.read_mode]),
            read_v=settings.read_back_voltage, write_delay_s=settings.write_delay,
            timeout_s=settings.timeout,
            reset_s=0.0 if self.capabilities.simulated else settings.reset_time,
        )  # fmt: skip

    def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.port.close()
        if self._locks is not None:
            self._locks.release()

    @property
    def link(self) -> ArcLink:
        """The line to the board; BackendError before it is open."""
        if self._link is None:
            raise BackendError(f"{self.name} is not open")
        return self._link

    def identify(self) -> str:
        """Return the board, its firmware as found when open, and how it reads."""
        found = "" if self._link is None or self._link.version is None else (
            ", firmware {}.{}".format(*self._link.version))  # fmt: skip
        rows, cols = self.geometry.shape
        return (f"{self.name}: ArC ONE at {self.resource}{found}, {rows} x {cols} cells, "
                f"reads by {self.settings.read_mode}")  # fmt: skip

    def clock_ns(self) -> int:
        """Return nanoseconds since open, never before the end of the last block."""
        return max(super().clock_ns(), self._end_ns)

    # -- running ---------------------------------------------------------------------------

    def preview(self, programme: Iterable[PulseBlock]) -> list[str]:
        """Return lines: how many reads and pulses the board does, and why. Raises LimitError."""
        jobs = [self.lowering.job(block) for block in programme if block.phase is not Phase.IDLE]
        reads = sum(int((job.kind == Kind.READ).sum()) for job in jobs)
        pulses = sum(int(job.count.sum()) for job in jobs)
        notes = dict.fromkeys(note for job in jobs for note in job.notes)
        return [f"{reads} reads and {pulses} pulses, one device after the other", *notes]

    def predicted_s(self, programme: Iterable[PulseBlock]) -> float:
        """Return a lower bound of a programme's time in seconds: waits, widths and messages."""
        total = 0.0
        for block in programme:
            total += block.duration_s
            if block.phase is not Phase.IDLE:
                job = self.lowering.job(block)
                commands = int((job.kind == Kind.READ).sum() + job.count.sum())
                total += commands * self.settings.write_delay
        return total

    def _prepare(self, block: PulseBlock) -> PulseBlock:
        if block.phase is Phase.IDLE:
            self._job = None
            return block
        self._job = job = self.lowering.job(block)
        for note in job.notes:
            self.strategies[note] = self.strategies.get(note, 0) + 1
        return job.delivered

    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        job, self._job, self._progress = self._job, None, None
        if block.phase is Phase.IDLE:
            start_ns = self.clock_ns()
            self._wait_s(block.duration_s)
            self._end_ns = start_ns + round(block.duration_s * 1e9)
            return MeasurementBlock.empty(0)
        if job is None or job.delivered is not block:
            raise BackendError(f"{self.name}: the block was not prepared")
        progress = self._progress = Progress(job, self.capabilities.simulated)
        self.link.use()
        at = 0
        while at < job.n_operations:
            n = self._all_cells(job, at)
            if n:
                self._read_all(job, at, n)
                at += n
                continue
            progress.begin(at, self._tick())
            if job.kind[at] == Kind.READ:
                self._read(job, at)
            elif job.kind[at] == Kind.PULSE:
                self._pulse(job, at)
            progress.end(at)
            at += 1
        self._end_ns = self._tick()
        return progress.readings()

    def _tick(self) -> int:
        """Return the time now; later than it was before."""
        self._end_ns = self.clock_ns() + 1
        return self._end_ns

    def _read(self, job: Job, at: int) -> None:
        volts = float(job.volts[at])
        word, bit = int(self.words[job.row[at]]), int(self.bits[job.col[at]])
        ohm = self._again(at, 1, lambda: self.link.read_one(word, bit, volts))
        self._take(slice(at, at + 1), np.array([ohm]), volts)

    def _read_all(self, job: Job, at: int, n: int) -> None:
        volts = float(job.volts[at])
        for k in range(at, at + n):
            self.progress.begin(k, self._tick())
        ohm = self._again(at, n, lambda: self.link.read_all(volts))
        self._take(slice(at, at + n), np.asarray(ohm), volts)
        for k in range(at, at + n):
            self.progress.end(k)
        self.strategies[ALL_CELLS] = self.strategies.get(ALL_CELLS, 0) + 1

    def _take(self, at: slice, ohm: np.ndarray, volts: float) -> None:
        current = volts / ohm
        open_ = np.isinf(ohm)
        self.progress.current_a[at] = current
        self.progress.status[at] |= np.where(open_, np.uint32(Status.OVERFLOW), np.uint32(0))

    def _again(self, at: int, n: int, read: Callable[[], object]) -> object:
        """Return what ``read`` returns; after a lost answer the board is reset and read again."""
        for left in range(self.settings.read_tries - 1, -1, -1):
            try:
                return read()
            except LinkError:
                if not left or self._aborted:
                    raise
                self.link.initialise()
                self.progress.status[at : at + n] |= np.uint32(Status.READ_RETRIED)
        raise BackendError("read_tries is 0")

    def _pulse(self, job: Job, at: int) -> None:
        """Pulse a cell as often as asked, then read it by itself and compare with the last answer.

        Raises:
            ReadbackError: the cell that was pulsed does not read as the cell that was meant.
            LinkError: an answer did not come; that pulse may have run.
        """
        volts, width_s = float(job.volts[at]), float(job.delivered.width_s[at])
        gap_s = float(job.delivered.gap_s[at])
        word, bit = int(self.words[job.row[at]]), int(self.bits[job.col[at]])
        after = np.nan
        for _ in range(int(job.count[at])):
            self.progress.pulse(at)
            after = self.link.pulse(word, bit, volts, width_s)
            self.progress.answered(at)
            if gap_s:
                self._wait_s(gap_s)
        again = self.link.read_one(word, bit, self.settings.read_back_voltage)
        one, other = 1.0 / after, 1.0 / again
        if abs(one - other) > self.settings.read_back_tolerance * max(one, other):
            self.progress.doubt(at)
            raise ReadbackError(
                f"cell ({job.row[at]}, {job.col[at]}), word {word} and bit {bit} of the board: "
                f"{after:.4g} ohm after the pulse, {again:.4g} ohm when read by itself, apart by "
                f"more than {self.settings.read_back_tolerance:g} of the conductance; another "
                "cell may have been pulsed"
            )

    def _all_cells(self, job: Job, at: int) -> int:
        """Return how many reads from ``at`` on are one of the whole array; 0 when they are not."""
        rows, cols = self.geometry.shape
        n = rows * cols
        part = slice(at, at + n)
        if not (self._whole and n > 1 and at + n <= job.n_operations):
            return 0
        same = (job.kind[part] == Kind.READ).all() and (job.volts[part] == job.volts[at]).all()
        order = np.arange(n)
        if same and np.array_equal(job.row[part] * cols + job.col[part], order):
            return n
        return 0

    @property
    def progress(self) -> Progress:
        """How far the block under way has come."""
        if self._progress is None:
            raise BackendError("no block is under way")
        return self._progress

    # -- safety ----------------------------------------------------------------------------

    def _salvage(self, asked: PulseBlock, prepared: PulseBlock) -> Unfinished:
        """Return the cells that were done and those that may have been."""
        progress, self._progress = self._progress, None
        if progress is None or progress.job.asked is not asked:
            return super()._salvage(asked, prepared)
        failure = sys.exception()
        if failure is not None:
            failure.add_note(progress.place(self.geometry))
        return progress.left()

    def _safe_state(self) -> None:
        """Reset the board unless it was; an error already under way is not replaced."""
        if self._link is None or self._link.is_safe:
            return
        with confirming_safe():
            self._link.make_safe()

    def _abort(self) -> None:
        self._wake.set()
        if self._link is not None:
            self._link.abort()
