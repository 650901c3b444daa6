"""One session with a station: open it, run protocols or a training, every run in its folder.

The command line and notebooks use the same functions::

    with open_session("station.toml", sim=True) as session:
        report = session.run_protocol("read-map")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.backend import Backend
from hil.config.station import ArrayTable, Station, load_station
from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.bench import WIRE_LOG, reach
from hil.control.calibrating import calibration_files, facts_of
from hil.control.dryrun import Exposure
from hil.control.opening import default_pairs, make_backend
from hil.control.recorder import Recorder
from hil.control.reports import RunReport, TrainReport
from hil.control.runfiles import station_files
from hil.errors import ConfigError
from hil.operating import OperatingPoint
from hil.pairs import PairMap
from hil.procedure import ArrayContext, Procedure
from hil.program import PulseBlock
from hil.registry import backend_factory

if TYPE_CHECKING:
    from hil.control.bench import WireLog
    from hil.control.chips import ChipAccount
    from hil.control.placement import Site
    from hil.control.trainer import OnEvent, OnProgress
    from hil.record.folder import Kind, RunFolder


@dataclass
class Session:
    """A station that is open: one backend and one operating point per array.

    Make it with :func:`open_session`.

    Attributes:
        station: the station file.
        backend_name: name of the kind of backend, e.g. ``sim``; stamped into every run.
        simulated: whether the devices are simulated.
        seed: of the simulated devices.
        backends, ops: by the arrays' names.
        out: folder of all runs.
        virtual: the station's instruments are emulated on a virtual bench.
        log: the wire log, which every new run takes into its folder.
        chip: what the devices received in earlier runs, for stations that name their chip.
    """

    station: Station
    backend_name: str
    simulated: bool
    seed: int
    out: Path
    backends: dict[str, Backend] = field(default_factory=dict)
    ops: dict[str, OperatingPoint] = field(default_factory=dict)
    virtual: bool = False
    log: WireLog | None = None
    chip: ChipAccount | None = None

    @property
    def names(self) -> dict[Backend, str]:
        """Names of the open arrays."""
        return {backend: name for name, backend in self.backends.items()}

    @property
    def identity(self) -> str:
        """One line that says what is behind the arrays."""
        return "; ".join(dict.fromkeys(b.identify() for b in self.backends.values()))

    def table(self, name: str | None = None) -> ArrayTable:
        """Return the station's table of an open array, the first open one for None.

        Raises:
            ConfigError: there is no such array, or it was not opened.
        """
        if name is None:
            name = next(iter(self.backends))
        table = self.station.array_called(name)
        if table.name not in self.backends:
            raise ConfigError(f"array {name!r} is not open", path=self.station.path, field="array")
        return table

    def pairs(self, name: str | None = None) -> PairMap | None:
        """Return the largest pair map of the array's kind, None where no pair fits."""
        table = self.table(name)
        return default_pairs(self.backends[table.name], table.pairs)

    def context(self, name: str | None = None) -> ArrayContext:
        """Return what protocols are compiled for."""
        table = self.table(name)
        backend = self.backends[table.name]
        return ArrayContext(
            backend.geometry, self.ops[table.name], backend.capabilities, backend.limits,
            self.pairs(name), self.seed,
        )  # fmt: skip

    def array(
        self,
        name: str | None = None,
        *,
        weight_scale: float = 1.0,
        recorder: Recorder | None = None,
        pairs: PairMap | None = None,
    ) -> SynapseArray:
        """Return an array of the station; with ``recorder`` every block of it is recorded."""
        table = self.table(name)
        chosen = self.pairs(name) if pairs is None else pairs
        minus = None
        if chosen is not None and chosen.minus_array == 1:
            minus = self.backends[self.station.partner_of(table).name]
        return SynapseArray(
            self.backends[table.name], self.ops[table.name], chosen, weight_scale=weight_scale,
            recorder=recorder, minus_backend=minus,
        )  # fmt: skip

    def files(self) -> dict[str, bytes | Path]:
        """Return the files in force by their names in a run: station, devices, calibrations."""
        # A preset's file is the simulator's; a rig on the virtual bench is called otherwise.
        maker = "sim" if self.virtual else self.backend_name
        return {
            **station_files(self.station, set(self.backends), maker),
            **calibration_files(facts_of(self.backends)),
        }

    def new_run(
        self,
        name: str,
        kind: Kind,
        *,
        config: Mapping[str, bytes | Path],
        level: Mapping[str, str] | str = "full",
        estimate_bytes: int = 0,
        seeds: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """Create the folder of a run, its manifest on the disk; use it as a context manager."""
        from hil.record.folder import RunFolder

        calibrations = facts_of(self.backends)
        folder = RunFolder.create(
            self.out, name, kind=kind, backend=self.backend_name, simulated=self.simulated,
            levels=level, config={**self.files(), **config},
            seeds={"devices": self.seed, **(seeds or {})},
            limits={name: backend.limits for name, backend in self.backends.items()},
            estimate_bytes=estimate_bytes,
            meta={
                "identity": self.identity,
                "instruments": [i.model_dump(mode="json") for i in self.station.instrument],
                "operating_points": self.ops,
                **({"chip": self.station.chip} if self.station.chip else {}),
                **({"calibration": calibrations} if calibrations else {}),
                # A rig keeps wall time on the bench, too.
                **({"clock": "monotonic", "bench": "virtual bench"} if self.virtual else {}),
                **(meta or {}),
            },
        )  # fmt: skip
        if self.log is not None:
            self.log.move_to(folder.path / WIRE_LOG)
        return folder

    def run_protocol(
        self,
        protocol: Procedure | str | Path,
        *,
        array: str | None = None,
        level: Mapping[str, str] | str = "full",
        progress: Callable[[PulseBlock], None] | None = None,
        checking: Callable[[Exposure], None] | None = None,
        started: Callable[[Path, float | None], None] | None = None,
    ) -> RunReport:
        """Run a protocol on one array into a new run folder.

        Args:
            protocol: a file, the name of a shipped protocol, or a procedure.
            array: name of the array, None = the station's first.
            level: recording level, one for all or per phase.
            progress: called after every block.
            checking: called while a static protocol is compiled and checked, with what it is known
                to do so far.
            started: called with the run's folder and the predicted seconds (None: adaptive) once
                the folder exists, before the first pulse.

        Raises:
            ProtocolError: the protocol is wrong or does not fit the array.
            LimitError: a step is out of range; a static protocol was not driven at all then.
            RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
            StoreError: the run could not be recorded.
        """
        from hil.control.running import run_protocol

        return run_protocol(
            self, protocol, array=array, level=level, progress=progress, checking=checking,
            started=started,
        )  # fmt: skip

    def train(
        self,
        training: Training | str | Path,
        *,
        level: Mapping[str, str] | str | None = None,
        on_progress: OnProgress | None = None,
        on_event: OnEvent | None = None,
        on_stage: Callable[[str], None] | None = None,
        started: Callable[[Path], None] | None = None,
    ) -> TrainReport:
        """Train a network on the station's arrays into a new run folder.

        Args:
            training: a training file, or a loaded one.
            level: recording level, one for all or per phase; None = full, but ``operation`` for
                the phases of which a training drives millions.
            on_progress, on_event, on_stage: observers, see :func:`hil.control.training.train`.
            started: called with the run's folder once it exists, before the first pulse.

        Raises:
            ConfigError: a file is wrong, or the layers do not fit the arrays.
            RunInterrupted: a stop was requested; the run is closed as ``interrupted``.
            StoreError: the run could not be recorded.
        """
        from hil.control.running import Observers, run_training

        return run_training(
            self, training, level, Observers(on_progress, on_event, on_stage, started)
        )

    def sites(self) -> list[Site]:
        """Return the open arrays that layers may sit on; a minus array belongs to its partner."""
        from hil.control.placement import Site

        sites: list[Site] = []
        partners: set[str] = set()
        for table in self.station.array:
            if table.name not in self.backends or table.name in partners:
                continue
            minus = None
            if table.pairs == "two-arrays":
                partner = self.station.partner_of(table).name
                partners.add(partner)
                minus = self.backends[partner]
            backend, op = self.backends[table.name], self.ops[table.name]
            sites.append(Site(backend, op, table.pairs, table.name, minus, self.station.path))
        return sites


@contextmanager
def counting_life(
    session: Session, without: str | None = None, *, drive: bool = True
) -> Iterator[None]:
    """Count what the devices received in earlier runs of the chip towards their budgets.

    Args:
        session: with open arrays, of a station that names its chip.
        without: id of a run that is counted by itself, because it goes on.
        drive: False only looks: nothing is locked or written.

    Raises:
        LockedError: another process works on the chip. StoreError: its account is damaged.
    """
    from hil.control.chips import chip_account

    geometries = {name: backend.geometry for name, backend in session.backends.items()}
    chip = str(session.station.chip)
    with chip_account(chip, session.simulated, session.out, geometries, drive=drive) as account:
        for name, backend in session.backends.items():
            backend.ledger.carry(account.ledger(name, without).selected())
        session.chip = account
        yield


@contextmanager
def open_session(
    station: str | Path | Station,
    *,
    sim: bool = False,
    array: str | None = None,
    seed: int | None = None,
    out: str | Path = "runs",
    drive: bool = True,
    virtual: bool = False,
    wire_log: bool = False,
    resumes: str | None = None,
) -> Iterator[Session]:
    """Open a station's arrays and yield the session; the safe state follows on every way out.

    Args:
        station: a station file, or a loaded one.
        sim: drive the simulated twin; without it the station's own backend, never replaced.
        array: open this array only (and its partner, where pairs sit on two); None = all.
        seed: of the simulated devices; None = the station's.
        out: folder of all runs.
        drive: False makes the backends without opening them, to compile and check only.
        virtual: drive the station's backend on a virtual bench that emulates its instruments.
        wire_log: write every exchange with the instruments to ``wire.jsonl`` of the run.
        resumes: id of a run that goes on; its own pulses are not among those of earlier runs.

    Raises:
        ConfigError: the station file is wrong, or both ``sim`` and ``virtual`` were asked for.
        BackendUnavailable: the backend or the virtual bench is not installed.
    """
    if sim and virtual:
        raise ConfigError("an array is on the simulator or on the virtual bench, not on both")
    loaded = station if isinstance(station, Station) else load_station(station)
    factory = backend_factory("sim" if sim else loaded.backend)
    number = loaded.twin.seed if seed is None else seed
    wanted = {loaded.array_called(array).name} if array is not None else set(loaded.arrays)
    if array is not None and loaded.array_called(array).pairs == "two-arrays":
        wanted |= {t.name for t in loaded.array if t.pairs == "two-arrays"}
    with ExitStack() as stack:
        way = stack.enter_context(
            reach(loaded, factory, virtual=virtual, wire_log=wire_log, seed=number, out=Path(out))
        )
        session = Session(
            way.station, factory.name, factory.simulated, number, Path(out), virtual=virtual,
            log=way.log,
        )  # fmt: skip
        for table in way.station.array:
            if table.name in wanted:
                backend, op = make_backend(
                    way.station, table, sim=sim, seed=seed, options=way.options
                )
                session.backends[table.name], session.ops[table.name] = backend, op
                if virtual:
                    session.backend_name = backend.name
                    session.simulated = backend.capabilities.simulated
                if drive:
                    stack.enter_context(backend)
        if session.station.chip:
            stack.enter_context(counting_life(session, resumes, drive=drive))
        yield session
