"""Boards that drive a whole array by themselves: each is a backend, not an instrument of a rig."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from pydantic import ValidationError

from hil import registry
from hil.backend import Backend
from hil.config.quantities import Table
from hil.config.station import wires
from hil.errors import ConfigError
from hil.registry import INSTRUMENTS
from hil_drivers.instrument import NoSettings

if TYPE_CHECKING:
    from hil.config.station import ArrayTable, InstrumentTable, Station
    from hil_drivers.transport.exclusive import InstrumentLocks
    from hil_drivers.transport.wirelog import WireLog

Checked = TypeVar("Checked", bound=Table)


class BoardBackend(Backend):
    """A board with a line for every row and column of an array.

    An entry point of ``hil.instruments`` names a subclass; the rig's factory hands an array whose
    instrument is one to :meth:`board`.
    """

    driver: ClassVar[str]  #: entry point name
    Settings: ClassVar[type[Table]] = NoSettings  #: the station file's ``settings`` table

    @classmethod
    @abstractmethod
    def board(
        cls, station: Station, array: ArrayTable, table: InstrumentTable, *,
        wire_log: WireLog | None = None, virtual: bool = False,
        wait: Callable[[float], object] | None = None, locks: InstrumentLocks | None = None,
        replay: str | Path | None = None,
    ) -> Self:  # fmt: skip
        """Return the (closed) backend of one array; see ``RigFactory.create`` for the arguments.

        Raises:
            ConfigError: wrong settings, or an array that the board cannot have.
        """

    @classmethod
    @abstractmethod
    def rehearsed(cls, station: Station, array: ArrayTable, table: InstrumentTable) -> Any:
        """Return the board for a simulator to obey (``hil_sim.mimic.Mimic``); nothing is opened."""


def settings_of(kind: type[Checked], table: InstrumentTable, driver: str) -> Checked:
    """Return the settings of a board; ConfigError with the field where one is unknown or wrong."""
    try:
        return kind.model_validate(table.settings)
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(["instrument", table.name, "settings", *(str(p) for p in first["loc"])])
        raise ConfigError(f"{driver}: {first['msg']}", field=field) from exc


def board_of(
    station: Station, array: ArrayTable
) -> tuple[type[BoardBackend], InstrumentTable] | None:
    """Return the board of one array and its table; None when its instruments are no board.

    Without wiring a station's only board belongs to its only array.

    Raises:
        ConfigError: the array is wired to a board and to something else, or it is not said to
            which board an array belongs.
        BackendUnavailable: there is no such driver.
    """
    ways = wires(station, array.name)
    used = {way.channel.partition(".")[0] for way in ways}
    tables = [table for table in station.instrument if not ways or table.name in used]
    boards = []
    for table in tables:
        driver = registry.load(INSTRUMENTS, table.driver)
        if isinstance(driver, type) and issubclass(driver, BoardBackend):
            boards.append((driver, table))
    if not boards:
        return None
    kind, table = boards[0]
    if len(tables) > 1 or len(used - {table.name}) > 0:
        raise ConfigError(
            f"array {array.name!r} has the board {table.name!r}, which drives every line by "
            f"itself, and more instruments besides", path=station.path, field="wiring",
        )  # fmt: skip
    if not ways and len(station.array) > 1:
        raise ConfigError(
            f"{len(station.array)} arrays and no [[wiring]]: say which of them is on "
            f"{table.name!r}", path=station.path, field="wiring",
        )  # fmt: skip
    return kind, table
