"""The entry point ``rig`` of ``hil.backends``: real instruments as a station file wires them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hil import registry
from hil.config.station import COMMON, wires
from hil.errors import BackendUnavailable, ConfigError
from hil.operating import OperatingPoint
from hil.registry import INSTRUMENTS, found
from hil_drivers.boards import BoardBackend, board_of
from hil_drivers.calibration.factory import Calibrates
from hil_drivers.instrument import Instrument

if TYPE_CHECKING:
    from hil.config.station import ArrayTable, InstrumentTable, Station
    from hil_drivers.boards import BoardBackend
    from hil_drivers.rig.backend import RigBackend
    from hil_drivers.transport import WireLog
    from hil_drivers.transport.session import Session

Rig = TypeVar("Rig", bound="RigBackend")

_STATION = """\
# A rig: dual source-measure unit and switch matrix. Every line reaches both channels and 0 V.
schema = 1
name = "bench"

[[array]]
rows = 4
cols = 4
# What stands in for the real devices with --sim and --virtual: a preset or a device file.
device = "device.toml"

[drive]
g_min = "1 uS"
g_max = "100 uS"
read_voltage = "0.2 V"
read_width = "1 ms"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "200 us"
gap = "100 us"
coding = "amplitude"

[[instrument]]
name = "smu"
driver = "keithley-2600b"
resource = "TCPIP0::192.168.0.5::5025::SOCKET"

[[instrument]]
name = "mux"
driver = "keithley-707b"
resource = "TCPIP0::192.168.0.6::5025::SOCKET"

# A span: the last two digits of the crosspoint count up with the lines.
[[wiring]]
line = "WL0:4"
channel = "smu.a"
crosspoint = "mux/1A01"
[[wiring]]
line = "WL0:4"
channel = "smu.b"
crosspoint = "mux/1B01"
[[wiring]]
line = "WL0:4"
channel = "common"
crosspoint = "mux/1C01"
[[wiring]]
line = "BL0:4"
channel = "smu.a"
crosspoint = "mux/1A05"
[[wiring]]
line = "BL0:4"
channel = "smu.b"
crosspoint = "mux/1B05"
[[wiring]]
line = "BL0:4"
channel = "common"
crosspoint = "mux/1C05"
"""


class RigFactory(Calibrates):
    """Makes the backends of real (or emulated) instruments."""

    name = "rig"
    simulated = False

    def create(
        self,
        station: Station,
        array: ArrayTable,
        *,
        seed: int,
        wire_log: WireLog | None = None,
        virtual: bool = False,
        wait: Callable[[float], object] | None = None,
        replay: str | Path | None = None,
    ) -> RigBackend | BoardBackend:
        """Return the (closed) backend of one array of a station: a rig, or its board.

        Args:
            station: instruments, wiring, limits.
            array: which of its arrays.
            seed: not used; instruments have their own noise.
            wire_log: every exchange with every instrument goes into it.
            virtual: the resources are those of a virtual bench; readings are marked as simulated.
            wait: how IDLE steps wait; a virtual bench has a clock of its own.
            replay: a wire log that answers in place of the instruments, see
                :func:`hil_drivers.transport.replaying.replayed` and
                :class:`hil_drivers.transport.replayport.ReplayPort`.

        Raises:
            ConfigError: no instruments, wrong settings, wiring that does not fit or would short.
            BackendUnavailable: no such driver.
        """
        from hil_drivers.rig.backend import RigBackend
        from hil_drivers.transport.exclusive import InstrumentLocks

        connect = locks = None
        board = board_of(station, array)
        if board is not None:
            kind, table = board
            if not virtual and replay is None:
                locks = InstrumentLocks({table.name: table.resource})
            return kind.board(station, array, table, wire_log=wire_log, virtual=virtual,
                              wait=wait, locks=locks, replay=replay)  # fmt: skip
        if replay is not None:
            from hil_drivers.transport.replaying import replayed

            connect = replayed(replay)
        elif not virtual:
            locks = InstrumentLocks({table.name: table.resource for table in station.instrument})
        return self._make(
            RigBackend, station, array, wire_log, connect=connect, simulated=virtual, wait=wait,
            locks=locks, name="rig on the virtual bench" if virtual else "rig",
        )  # fmt: skip

    def rehearse(self, station: Station, array: ArrayTable) -> Any:
        """Return the rig, or the board, for a simulator to obey; no instrument is asked.

        Every instrument is taken for the widest model of its family. Raises as :meth:`create`.
        """
        from hil_drivers.rig.rehearsal import RehearsedRig

        board = board_of(station, array)
        if board is not None:
            kind, table = board
            return kind.rehearsed(station, array, table)
        return self._make(RehearsedRig, station, array, None, simulated=True, name="rehearsed rig")

    def _make(
        self, kind: type[Rig], station: Station, array: ArrayTable, wire_log: WireLog | None,
        connect: Callable[[str], Session] | None = None, **options: Any,
    ) -> Rig:  # fmt: skip
        from hil_drivers.calibration.station import load_for
        from hil_drivers.transport.latency import message_s

        ways = wires(station, array.name)
        if not station.instrument or not ways:
            raise ConfigError(
                "a rig needs [[instrument]] and [[wiring]] tables", path=station.path,
                field="wiring" if station.instrument else "instrument",
            )  # fmt: skip
        used = {w.channel.partition(".")[0] for w in ways} | {w.matrix for w in ways if w.matrix}
        tables = {t.name: t for t in station.instrument if t.name in used - {COMMON}}
        instruments = {name: make_instrument(table) for name, table in tables.items()}
        triggers = {name: t.trigger for name, t in tables.items() if t.trigger is not None}
        calibration = None
        if station.calibration is not None:
            calibration = load_for(station, array)
        return kind(
            array.geometry(), ways, instruments,
            connect or connector(tables, instruments, wire_log),
            limits=station.limits.limits(), triggers=triggers,
            g_max_siemens=station.drive.operating_point().g_max_siemens if station.drive else 0.0,
            message_s={name: message_s(table.resource) for name, table in tables.items()},
            calibration=calibration, **options,
        )  # fmt: skip

    def wire_log(self) -> WireLog:
        """Return a wire log that stays in memory until it is moved to a file."""
        from hil_drivers.transport import WireLog

        return WireLog()

    def open_device(
        self, device: str | Path, n_rows: int, n_cols: int, *, seed: int, **options: Any
    ) -> tuple[RigBackend, OperatingPoint]:
        """Raise BackendUnavailable: a rig has wires, so it needs a station file."""
        raise BackendUnavailable("a rig needs a station file; give --station FILE")

    def operating_point(self, station: Station, array: ArrayTable) -> OperatingPoint | None:
        """Return None: voltages for real devices are stated by the station, never guessed."""
        return None

    def schemas(self) -> Mapping[str, dict[str, Any]]:
        """Return the JSON schema of every driver's settings, by driver."""
        out = {}
        for entry in found(INSTRUMENTS):
            if entry.error is None:
                driver: type[Instrument] = registry.load(INSTRUMENTS, entry.name)
                out[f"instrument-{entry.name}"] = driver.Settings.model_json_schema()
        return out

    def templates(self) -> Mapping[str, str]:
        """Return commented stations: a dual source-measure unit with a matrix, and a board."""
        from hil_drivers.serial_board.starter import STATION

        return {"rig-station.toml": _STATION, "board-station.toml": STATION}

    def station_text(self, kind: str, sizes: Sequence[tuple[int, int]], device: str) -> str:
        """Return the station file of a rig of kind a, b, c or d; see :mod:`.rig_stations`."""
        from hil_drivers.rig_stations import station_text

        return station_text(kind, sizes, device)

    def doctor(self) -> list[str]:
        """Return the drivers found, and those that do not load."""
        lines = []
        for entry in found(INSTRUMENTS):
            what = entry.error
            if what is None:
                driver: type[Instrument] = registry.load(INSTRUMENTS, entry.name)
                what = (driver.__doc__ or "").partition("\n")[0]
            lines.append(f"driver {entry.name}: {what}")
        return lines


def make_instrument(table: InstrumentTable) -> Instrument:
    """Return the driver of one instrument of a station, not open.

    Raises:
        ConfigError: a setting is unknown or wrong.
        BackendUnavailable: there is no such driver.
    """
    driver: type[Instrument] = registry.load(INSTRUMENTS, table.driver)
    return driver(table.name, table.settings)


def connector(
    tables: Mapping[str, InstrumentTable], instruments: Mapping[str, Instrument],
    wire_log: WireLog | None = None,
) -> Callable[[str], Session]:  # fmt: skip
    """Return what opens a session with an instrument by name; every exchange is logged."""

    def connect(name: str) -> Session:
        from hil_drivers.transport import open_session

        session: Session = open_session(tables[name].resource, instruments[name].link)
        if wire_log is not None:
            session = cast("Session", wire_log.session(name, session))
        return session

    return connect
