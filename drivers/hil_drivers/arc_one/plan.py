"""What an ArC ONE is given: its settings, its lines, what it can do, and the check of limits."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field

from hil.capabilities import Capabilities, Range
from hil.config.quantities import Second, Table, Volt
from hil.config.station import Wire
from hil.errors import ConfigError
from hil.geometry import ArrayGeometry
from hil.limits import LimitChecker, SafetyLimits
from hil.program import Phase, PulseBlock
from hil_drivers.arc_one import protocol
from hil_drivers.arc_one.lowering import Lowering
from hil_drivers.boards import settings_of

if TYPE_CHECKING:
    from hil.config.station import InstrumentTable, Station

DRIVER: Final = "arc-one"
MODES: Final = {"classic": 0, "tia": 1, "tia4p": 2}
_CLASSIC_V: Final = 0.5  # the classic read has this voltage and no other


class ArcOneSettings(Table):
    """The station file's ``settings`` of an ArC ONE."""

    read_cycles: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 30
    read_mode: Annotated[str, Field(pattern="^(classic|tia|tia4p)$")] = "tia4p"
    read_back_voltage: Volt = 0.2  #: of the read after a pulse; by default the drive table's
    read_back_tolerance: Annotated[float, Field(gt=0.0)] = 0.25  #: share of the conductance
    read_tries: Annotated[int, Field(strict=True, ge=1, le=10)] = 2
    write_delay: Annotated[Second, Field(ge=0.5e-3)] = 1e-3
    timeout: Second = 7.0
    reset_time: Second = 2.0


class BoardChecker(LimitChecker):
    """The limit check of the board: of the block asked for, then of the levels that it gives."""

    def __init__(
        self, lowering: Lowering, limits: SafetyLimits, capabilities: Capabilities
    ) -> None:
        super().__init__(lowering.geometry, limits, capabilities)
        self._lowering = lowering
        unbounded = replace(capabilities, max_steps=sys.maxsize, max_block_s=float("inf"))
        self._given = LimitChecker(lowering.geometry, limits, unbounded)

    def _check_able(self, block: PulseBlock, index: int | None) -> None:
        """Raise LimitError when the board does not allow ``block``, or what it gives for it."""
        if block.phase is not Phase.IDLE:
            self._given.check(self._lowering.job(block).delivered, index)


def arc_settings(station: Station, table: InstrumentTable) -> ArcOneSettings:
    """Return the settings; pulses are read back at the station's read voltage unless they say so.

    Raises:
        ConfigError: a setting is unknown or wrong, or a voltage that the board does not have.
    """
    settings = settings_of(ArcOneSettings, table, DRIVER)
    if station.drive is not None and "read_back_voltage" not in table.settings:
        settings = settings.model_copy(update={"read_back_voltage": station.drive.read_voltage})
    volts = settings.read_back_voltage
    field = f"instrument.{table.name}.settings.read_back_voltage"
    if volts not in protocol.VOLTS or volts == 0.0:
        raise ConfigError(f"{volts:g} V: the board reads at up to {protocol.VOLTS.max:g} V, "
                          "and not at 0 V", path=station.path, field=field)  # fmt: skip
    if settings.read_mode == "classic" and volts != _CLASSIC_V:
        raise ConfigError(f"the classic mode reads at {_CLASSIC_V:g} V and at nothing else; "
                          f"{volts:g} V is asked for", path=station.path, field=field)  # fmt: skip
    return settings


def lowering_of(geometry: ArrayGeometry, settings: ArcOneSettings) -> Lowering:
    """Return what turns blocks into the board's operations."""
    return Lowering(geometry, _CLASSIC_V if settings.read_mode == "classic" else None)


def board_lines(geometry: ArrayGeometry, ways: Iterable[Wire]) -> tuple[np.ndarray, np.ndarray]:
    """Return the board's word of every row and bit of every column, counted from 1.

    Raises:
        ConfigError: not two-terminal cells, more lines than the board has, or a row on no word.
    """
    if geometry.cell.name != "1R":
        raise ConfigError(f"ArC ONE has two terminals per device, cells are {geometry.cell.name}",
                          field="array.cell")  # fmt: skip
    found: dict[int, int] = {}
    for way in ways:
        channel = way.channel.partition(".")[2]
        line = geometry.line_index(way.line)
        letter = "w" if way.line.startswith("WL") else "b"
        if way.crosspoint is not None or channel[:1] != letter or not channel[1:].isdigit():
            raise ConfigError(
                f"{way.line} is on {way.channel!r}; rows are on w0 … w31 and columns on b0 … b31",
                field="wiring.channel",
            )  # fmt: skip
        found[line] = int(channel[1:]) + 1
    out = []
    for lines, what in ((geometry.read_lines.plus, "words"), (geometry.read_lines.minus, "bits")):
        at = [found.get(int(line), 0) if found else k + 1 for k, line in enumerate(lines)]
        if min(at) < 1:
            missing = geometry.line_name(int(lines[at.index(min(at))]))
            raise ConfigError(f"{missing} is on no line of the board", field="wiring.line")
        if max(at) > protocol.MAX_LINES or len(set(at)) < len(at):
            raise ConfigError(f"ArC ONE has {protocol.MAX_LINES} {what}, each for one line; "
                              f"asked for {sorted(at)}", field="wiring.channel")  # fmt: skip
        out.append(np.array(at))
    return out[0], out[1]


def board_capabilities(simulated: bool) -> Capabilities:
    """Return what the board can do; what it does in parts counts as done."""
    return Capabilities(
        level_v=protocol.VOLTS, width_s=Range(protocol.PULSE_S.min, 2.0), rise_s=Range(0.0, 0.0),
        max_steps=4096, can_float=False, per_line_width=False, limits_current=False,
        simulated=simulated, step_overhead_s=0.0,
    )  # fmt: skip
