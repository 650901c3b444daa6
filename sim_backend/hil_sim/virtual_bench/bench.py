"""The bench: instruments, arrays, wiring and one virtual clock, reachable over real transports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hil.config.station import Station
from hil.geometry import ArrayGeometry
from hil_sim.factory import SimFactory
from hil_sim.models.device import load_device
from hil_sim.sim_array import SimArray
from hil_sim.virtual_bench.catalogue import personality_class
from hil_sim.virtual_bench.engine import Engine, RunAborted, Sweep
from hil_sim.virtual_bench.faults import Faults
from hil_sim.virtual_bench.fixtures import make_imperfect, resistors
from hil_sim.virtual_bench.frames import Train
from hil_sim.virtual_bench.network import Network, build_network
from hil_sim.virtual_bench.personality import Personality, Setting
from hil_sim.virtual_bench.physics import Physics
from hil_sim.virtual_bench.stream import StreamPersonality, open_stream
from hil_sim.virtual_bench.terminal import Rail, Terminal
from hil_sim.virtual_bench.transport import Transport, kind_for, open_transport

N_BUS_LINES = 14
_SLICE_S = 0.01


@dataclass(frozen=True, slots=True)
class Output:
    """What one channel does now: ``level_v`` at the terminal, 0 when off; lines it reaches."""

    level_v: float
    on: bool
    lines: tuple[str, ...]


class Bench:
    """Emulated instruments of one station.

    Attributes:
        resources: VISA resource string by instrument, while the bench is open.
        array, arrays: the simulated array(s); ``array`` is the station's first.
        faults: what tests break; see :class:`Faults`.
        accuracy: errors by ``instrument.channel`` are set on ``terminal(...)``.
        incidents: hot switching and colliding sources, in order.
        clock_ns: the virtual clock.
        realistic: whether documented latencies are slept.
    """

    def __init__(
        self, station: Station, *, seed: int, realistic: bool = False,
        options: Mapping[str, Mapping[str, Setting]] | None = None,
    ) -> None:  # fmt: skip

        self.station, self.realistic = station, realistic
        factory = SimFactory()
        self.arrays: dict[str, SimArray] = {
            table.name: factory.create(station, table, seed=seed).array for table in station.array
        }
        self.array = self.arrays[station.array[0].name]
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.faults = Faults()
        self.clock_ns = 0
        self.message_counts: dict[str, int] = {}
        self._hot: list[str] = []
        self.instruments: dict[str, Personality] = {}
        self.engine = Engine()
        self.bus = [self.engine.new_event() for _ in range(N_BUS_LINES + 1)]
        given = options or {}
        for table in station.instrument:
            kind = personality_class(table.driver)
            self.instruments[table.name] = kind(self, table.name, given.get(table.name, {}))
        terminals: dict[tuple[str, str], Terminal] = {
            (name, channel): terminal
            for name, instrument in self.instruments.items()
            for channel, terminal in instrument.terminals.items()
        }
        self.network: Network = build_network(station, terminals)
        for instrument in self.instruments.values():
            instrument.wired(self.network)
        self.physics = Physics(list(self.arrays.values()), self.network)
        if station.twin.imperfect:
            geometries = {name: array.geometry for name, array in self.arrays.items()}
            make_imperfect(self.network, geometries, station.twin.seed)
        self._running = False
        self._transports: dict[str, Transport] = {}

    @property
    def resources(self) -> dict[str, str]:
        """VISA resource string of every instrument."""
        return {name: transport.resource for name, transport in self._transports.items()}

    @property
    def incidents(self) -> list[str]:
        """Hot switching and colliding sources so far."""
        return [*self._hot, *self.physics.conflicts]

    @property
    def running(self) -> bool:
        """Whether a run is going on now."""
        return self._running

    def warm_up(self) -> None:
        """Compile or load what the physics needs, so that no session times out over it."""
        physics = Physics([_small_array()], Network({}))
        rail = Rail()
        rail.on, rail.level_v, rail.limit_a = True, 0.1, 1.0
        physics.network.terminals["warm", ""] = rail
        for line in (0, 1):
            physics.network.direct.append((rail, (0, line)))
        sweep = Sweep(rail, np.full(2, 0.1), 1, (0, 0, 0, 0), (0,) * 6, lambda _: None,
                      measures=True, aperture_s=1e-3, limit_a=1.0)  # fmt: skip
        engine = Engine()
        engine.arm(sweep)
        engine.run(physics, 0)

    def __enter__(self) -> Self:
        self.warm_up()
        for table in self.station.instrument:
            instrument = self.instruments[table.name]
            asked = instrument.settings.get("transport")
            if isinstance(instrument, StreamPersonality):
                kind = None if asked is None else str(asked)
                self._transports[table.name] = open_stream(kind, instrument)
            else:
                kind = str(asked or kind_for(table.resource))
                self._transports[table.name] = open_transport(kind, self, instrument)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()

    def cut_link(self, instrument: str) -> None:
        """Cut every open connection with an instrument; new ones are accepted."""
        self._transports[instrument].drop()

    def terminal(self, name: str) -> Terminal:
        """Return the terminal called ``instrument.channel``."""
        instrument, _, channel = name.partition(".")
        return self.instruments[instrument].terminals[channel]

    def insert(self, array: str, g_siemens: NDArray[np.float64] | None) -> None:
        """Connect resistors in place of an array, as a person would; None = the array again.

        Args:
            array: its name.
            g_siemens: (n_rows, n_cols) between rows and columns of the read port.
        """
        with self.lock:
            self.settled()
            number = list(self.arrays).index(array)
            own = self.arrays[array]
            there = own if g_siemens is None else resistors(own.geometry, g_siemens)
            self.physics.put(number, there)

    def outputs(self) -> dict[str, Output]:
        """Return what every channel does now, by ``instrument.channel``."""
        with self.lock:
            reached: dict[int, list[str]] = {}
            geometries = [array.geometry for array in self.arrays.values()]
            for terminal, (array, line) in self.network.links():
                reached.setdefault(id(terminal), []).append(geometries[array].line_name(line))
            return {
                t.name: Output(t.drive()[0] if t.on else 0.0, t.on, tuple(reached.get(id(t), ())))
                for t in self.network.terminals.values()
                if not isinstance(t, Rail)
            }

    def closed(self) -> dict[str, set[str]]:
        """Return the closed crosspoints of every matrix, in its own grammar."""
        with self.lock:
            return {
                name: set(instrument.closed_names())
                for name, instrument in self.instruments.items()
                if instrument.is_matrix
            }

    @property
    def safe(self) -> bool:
        """Whether every output is off or at 0 V and every relay open."""
        quiet = all(not o.on or o.level_v == 0.0 for o in self.outputs().values())
        return quiet and not any(self.closed().values())

    def note(self, incident: str) -> None:
        """Record something that a careful user would not do."""
        if incident not in self._hot:
            self._hot.append(incident)

    def note_relays(self, matrix: str, crosspoints: set[str]) -> None:
        """Record a relay move while a source that is on drives the array."""
        live = [t.name for t in self.network.terminals.values() if t.on and t.drive()[0] != 0.0]
        if live and crosspoints:
            self._hot.append(f"{matrix} moved {', '.join(sorted(crosspoints))} while "
                             f"{', '.join(live)} drove a level")  # fmt: skip

    def dwell(self, seconds: float) -> None:
        """Let time pass at the present levels."""
        self.settled()
        if seconds <= 0.0:
            return
        if any(t.low_impedance and t.drive()[0] != 0.0 for t in self.network.terminals.values()):
            self.physics.run([], seconds, self.clock_ns)
        self.advance(seconds)

    def measure(
        self, terminal: Terminal, aperture_s: float, settle_s: float = 0.0
    ) -> tuple[float, float, bool]:
        """Measure a terminal at its present level; return true amperes, volts, and compliance."""
        self.settled()
        level, limit = terminal.drive()
        if not terminal.low_impedance:
            self.advance(aperture_s + settle_s)
            return 0.0, 0.0, False
        none = np.empty(0)
        train = Train(terminal, none, none, none, level, limit, np.array([settle_s]),
                      np.array([aperture_s]))  # fmt: skip
        sensed = self.physics.run([train], aperture_s + settle_s, self.clock_ns)[0]
        self.advance(aperture_s + settle_s)
        terminal.limited = bool(terminal.in_compliance(sensed.limited)[0])
        return float(sensed.current_a[0]), float(sensed.level_v[0]), terminal.limited

    def advance(self, seconds: float) -> None:
        """Advance the clock of the bench and of its arrays."""
        self.clock_ns += round(seconds * 1e9)
        for array in self.arrays.values():
            array.clock_ns = self.clock_ns

    def settled(self) -> None:
        """Wait until no other instrument's run is under way."""
        self.changed.wait_for(lambda: not self._running)

    def run(self, owner: Personality) -> None:
        """Run what is armed, as far as it goes.

        Raises:
            RunAborted: ``owner`` was told to stop by another session.
        """
        self.settled()
        for instrument in self.instruments.values():
            instrument.before_run()
        if not self.engine.pending:
            return
        self._running = True
        try:
            paced = self.faults.pace > 0.0 or self.faults.during_run is not None
            proceed = self._pacer(owner) if paced else None
            took = self.engine.run(self.physics, self.clock_ns, proceed)
            self.advance(took)
        finally:
            self._running = False
            self.changed.notify_all()
        if owner.abort_requested:
            self.engine.abort({id(t) for t in owner.terminals.values()})
            raise RunAborted(owner.name)

    def _pacer(self, owner: Personality) -> Callable[[float, float], bool]:
        begin = time.monotonic()

        def proceed(start_s: float, stop_s: float) -> bool:
            hook, self.faults.during_run = self.faults.during_run, None
            if hook is not None:
                hook(start_s)
            while not owner.abort_requested and self.faults.pace > 0.0:
                left = begin + stop_s / self.faults.pace - time.monotonic()
                if left <= 0.0:
                    break
                self.changed.wait(min(left, _SLICE_S))
            return not owner.abort_requested

        return proceed

    def wait_until(self, owner: Personality, finished: Callable[[], bool]) -> None:
        """Run and then block the calling session until ``finished``.

        Raises:
            RunAborted: another session aborted, or the bench was closed.
        """
        self.run(owner)
        while not finished():
            if owner.abort_requested or not self._transports:
                self.engine.abort({id(t) for t in owner.terminals.values()})
                raise RunAborted(owner.name)
            self.changed.wait(_SLICE_S)
            self.run(owner)


def _small_array() -> SimArray:
    return SimArray(ArrayGeometry(2, 2), load_device("ideal"), 0)


def open_bench(
    station: Station, *, seed: int = 0, realistic: bool = False,
    options: Mapping[str, Mapping[str, Setting]] | None = None,
) -> Bench:  # fmt: skip
    """Return the bench of a station file; use it as a context manager.

    Args:
        station: what is there and how it is wired; its resources are replaced by the emulators'.
        seed: of the simulated devices, the same as ``SimFactory`` gives them.
        realistic: sleep the documented latency of every message.
        options: by instrument: ``model``, ``serial``, ``transport`` (socket, hislip, vxi11,
            prologix, pty; by default what suits the station's resource), ``trigger_in``,
            ``trigger_out`` (lines of the trigger bus).

    Raises:
        ConfigError: wiring that names unknown channels or crosspoints, an array without a device.
        BackendUnavailable: no emulator for a driver, or lupa (extra ``bench``) is not installed.
    """
    return Bench(station, seed=seed, realistic=realistic, options=options)
