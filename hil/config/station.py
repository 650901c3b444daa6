"""The station file: arrays, instruments, wiring, limits and the twin of one set-up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hil.capabilities import Range
from hil.config.drive import DriveTable
from hil.config.quantities import (
    Ampere,
    Count,
    FileTable,
    Index,
    Joule,
    Second,
    SecondRange,
    Table,
    Volt,
    VoltPerSecond,
    VoltRange,
    ordered,
)  # fmt: skip
from hil.config.toml_file import load_file
from hil.errors import ConfigError, GeometryError
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.limits import SafetyLimits
from hil.pairs import PairKind

MAX_LINES = 4096  # rows or columns of one array
COMMON = "common"  #: the channel name of the 0 V rail that all instruments share


class ArrayTable(Table):
    """One physical array: geometry, dead cells, how weights pair up, and its twin's device."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "main"
    rows: Annotated[int, Field(strict=True, ge=1, le=MAX_LINES)]
    cols: Annotated[int, Field(strict=True, ge=1, le=MAX_LINES)]
    cell: Literal["1R", "1T1R", "3T"] = "1R"
    dead: tuple[tuple[Index, Index], ...] = ()
    block_rows: Index = 0
    pairs: PairKind = "adjacent"
    device: str | None = None  #: preset name, or path of a device file relative to the station file

    @model_validator(mode="after")
    def _geometry_is_sound(self) -> ArrayTable:
        try:
            self.geometry()
        except GeometryError as exc:
            raise ValueError(str(exc)) from exc
        return self

    def geometry(self) -> ArrayGeometry:
        """Return the geometry."""
        cell = CELL_KINDS[self.cell]
        plain = ArrayGeometry.with_dead_cells(self.rows, self.cols, self.dead, cell)
        dead = plain.dead if self.dead else None
        return ArrayGeometry(self.rows, self.cols, cell, dead, self.block_rows)


class LineLimitTable(Table):
    """Limits of one line or one line group."""

    level: VoltRange


class LimitsTable(Table):
    """Safety limits; see :class:`hil.limits.SafetyLimits`. What is left out is not limited."""

    level: VoltRange | None = None
    lines: dict[str, LineLimitTable] = Field(default_factory=dict)
    slew: VoltPerSecond | None = None
    width: SecondRange | None = None
    width_grid: Second = 0.0
    compliance: Ampere | None = None
    device_voltage: VoltRange | None = None
    half_select: Volt | None = None
    erase_voltage: VoltRange | None = None
    energy_per_pulse: Joule | None = None
    pulses_per_device: Count | None = None
    compliance_trips: Count | None = None

    @field_validator("level", "width", "device_voltage", "erase_voltage")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None:
            ordered(value)
        return value

    def limits(self) -> SafetyLimits:
        """Return the limits in SI units."""
        inf = float("inf")

        def span(pair: tuple[float, float] | None, resolution: float = 0.0) -> Range:
            return Range(resolution=resolution) if pair is None else ordered(pair, resolution)

        groups = {k: ordered(v.level) for k, v in self.lines.items() if not k[-1:].isdigit()}
        lines = {k: ordered(v.level) for k, v in self.lines.items() if k[-1:].isdigit()}
        return SafetyLimits(
            level_v=span(self.level), group_level_v=groups, line_level_v=lines,
            slew_v_per_s=inf if self.slew is None else self.slew,
            width_s=span(self.width or (0.0, inf), self.width_grid),
            compliance_a=inf if self.compliance is None else self.compliance,
            device_v=span(self.device_voltage),
            half_select_v=inf if self.half_select is None else self.half_select,
            erase_v=span(self.erase_voltage),
            energy_joule=inf if self.energy_per_pulse is None else self.energy_per_pulse,
            pulses_per_device=inf if self.pulses_per_device is None else self.pulses_per_device,
            compliance_trips=inf if self.compliance_trips is None else self.compliance_trips,
        )  # fmt: skip


class InstrumentTable(Table):
    """One instrument: which driver speaks to it, and where it is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    driver: str
    resource: str  #: VISA resource string or serial port
    trigger: str | None = None  #: its line of the trigger that all instruments with one share
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)


class WireTable(Table):
    """What one line (or a span of lines) is wired to; a line may have several, through a matrix."""

    line: str  #: ``WL3``, or a span ``WL0:16`` (16 lines from WL0)
    channel: str  #: ``instrument.channel``, or ``common`` for the 0 V rail; see :func:`wires`
    crosspoint: str | None = None  #: ``matrix/crosspoint`` on the way, None without a matrix
    array: str = "main"


class TwinTable(Table):
    """How the simulator stands in for the rig: seed and capabilities to mimic."""

    seed: Index = 0
    as_rig: bool = False  #: obey the station's own backend: grids, meter ranges, order of steps
    level_resolution: Volt | None = None
    width_resolution: Second | None = None
    current_resolution: Ampere | None = None
    parallel_sense: bool = True
    per_line_width: bool = True
    limits_current: bool = True
    imperfect: bool = False  #: the virtual bench has gain errors, offsets, leakage, path resistance


class Station(FileTable):
    """A station file."""

    KIND: ClassVar[str] = "station"

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str = "station"
    backend: str = "rig"
    chip: str | None = None
    array: Annotated[tuple[ArrayTable, ...], Field(min_length=1)]
    drive: DriveTable | None = None
    limits: LimitsTable = LimitsTable()
    instrument: tuple[InstrumentTable, ...] = ()
    wiring: tuple[WireTable, ...] = ()
    twin: TwinTable = TwinTable()
    calibration: str | None = None  #: calibration file beside the station file; {array} = its name
    calibration_max_age: Second | None = None  #: an older calibration is used with a warning

    @model_validator(mode="after")
    def _consistent(self) -> Station:
        names = [a.name for a in self.array]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two arrays are called {name!r}")
        instruments = [i.name for i in self.instrument]
        for name in instruments:
            if instruments.count(name) > 1:
                raise ValueError(f"two instruments are called {name!r}")
        self._check_wiring(set(instruments))
        for group_or_line in self.limits.lines:
            self._check_line(self.array[0], group_or_line, "limits.lines")
        return self

    def _check_wiring(self, instruments: set[str]) -> None:
        seen: dict[tuple[str, str], list[int]] = {}
        used: dict[tuple[str, str], str] = {}
        for k, wire in enumerate(self.wiring):
            array = self.arrays.get(wire.array)
            if array is None:
                raise ValueError(f"wiring[{k}]: no array is called {wire.array!r}")
            for line in span_lines(wire.line):
                self._check_line(array, line, f"wiring[{k}].line")
                others = seen.setdefault((wire.array, line), [])
                for other in others:
                    direct = wire.crosspoint is None or self.wiring[other].crosspoint is None
                    if direct or self.wiring[other].channel == wire.channel:
                        raise ValueError(
                            f"wiring[{k}].line: line {line} of array {wire.array!r} is wired twice "
                            f"(first in wiring[{other}]); alternatives need a crosspoint each and "
                            "lead to different channels"
                        )
                others.append(k)
            for what, owner in (
                ("channel", wire.channel.split(".")[0]),
                ("crosspoint", wire.crosspoint.split("/")[0] if wire.crosspoint else None),
            ):
                if owner is not None and owner not in instruments:
                    if what == "channel" and wire.channel == COMMON:
                        continue
                    raise ValueError(f"wiring[{k}].{what}: no instrument is called {owner!r}")
            for line, crosspoint in zip(
                span_lines(wire.line), _counted(wire.crosspoint, wire.line, _LAST_TWO), strict=True
            ):
                if crosspoint is None:
                    continue
                if "/" not in crosspoint:
                    raise ValueError(
                        f"wiring[{k}].crosspoint: {crosspoint!r} is no matrix/crosspoint"
                    )
                first = used.setdefault((wire.array, crosspoint), line)
                if first != line:
                    raise ValueError(
                        f"wiring[{k}].crosspoint: {crosspoint} would join lines {first} and {line}"
                    )

    @staticmethod
    def _check_line(array: ArrayTable, name: str, field: str) -> None:
        geometry = array.geometry()
        if name in geometry.groups:
            return
        try:
            geometry.line_index(name)
        except GeometryError as exc:
            raise ValueError(f"{field}: {exc}") from exc

    @property
    def arrays(self) -> dict[str, ArrayTable]:
        """Arrays by name."""
        return {a.name: a for a in self.array}

    def array_called(self, name: str | None) -> ArrayTable:
        """Return the array called ``name``, the first for None; ConfigError when there is none."""
        if name is None:
            return self.array[0]
        if name not in self.arrays:
            raise ConfigError(f"no array is called {name!r}; there are {', '.join(self.arrays)}",
                              path=self.path, field="array")  # fmt: skip
        return self.arrays[name]

    def at(self, resources: Mapping[str, str]) -> Station:
        """Return the station with its instruments at other VISA resources, by instrument name."""
        moved = tuple(
            i.model_copy(update={"resource": resources.get(i.name, i.resource)})
            for i in self.instrument
        )
        return self.model_copy(update={"instrument": moved})

    def partner_of(self, array: ArrayTable) -> ArrayTable:
        """Return the array that holds the minus devices of ``array``; ConfigError without one."""
        for other in self.array:
            if other.name != array.name and other.pairs == "two-arrays":
                return other
        raise ConfigError(
            'pairs on two arrays need a second [[array]] of equal size with pairs = "two-arrays"',
            path=self.path, field="array",
        )  # fmt: skip

    def beside(self, name: str) -> Path:
        """Return a path relative to the station file's folder."""
        return Path(name) if self.path is None else self.path.parent / name


def span_lines(text: str) -> list[str]:
    """Return the lines of ``WL3`` or of a span ``WL0:16``; ValueError when it is neither."""
    match = re.fullmatch(r"([A-Z]+)(\d+)(?::(\d+))?", text)
    if match is None:
        raise ValueError(f"{text!r} is no line such as WL3 and no span such as WL0:16")
    group, first, count = match.group(1), int(match.group(2)), int(match.group(3) or 1)
    if not 1 <= count <= MAX_LINES:
        raise ValueError(f"{text!r} spans {count} lines; 1 … {MAX_LINES} are possible")
    return [f"{group}{n}" for n in range(first, first + count)]


@dataclass(frozen=True, slots=True)
class Wire:
    """One line's way to one channel; ``matrix`` and ``crosspoint`` are None for a direct wire."""

    line: str
    channel: str
    matrix: str | None
    crosspoint: str | None


_LAST_TWO = re.compile(r"(.*?)(\d{1,2})")
_LAST_NUMBER = re.compile(r"(.*?)(\d+)")


def _counted(text: str | None, span: str, pattern: re.Pattern[str]) -> list[str | None]:
    """Return ``text`` for every line of ``span``, its last digits counting up with the lines."""
    count = len(span_lines(span))
    if text is None or count == 1:
        return [text] * count
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} does not end in digits that could count up over {span!r}")
    stem, first = match.group(1), int(match.group(2))
    size = len(match.group(2))
    if pattern is _LAST_TWO and first + count > 100:
        raise ValueError(f"{text!r} counts past 99 over {span!r}")
    return [f"{stem}{first + n:0{size}d}" for n in range(count)]


def wires(station: Station, array: str) -> list[Wire]:
    """Return every way of every line of ``array``, spans written out.

    The last two digits of a span's crosspoint count up with its lines (``1A01``, ``1A02`` …). Lines
    of a span share its channel, except without a crosspoint when the channel ends in digits, which
    then count up too (``board.1``, ``board.2`` …).
    """
    out = []
    for wire in station.wiring:
        if wire.array != array:
            continue
        lines = span_lines(wire.line)
        channels: list[str | None] = [wire.channel] * len(lines)
        if wire.crosspoint is None and len(lines) > 1 and _LAST_NUMBER.fullmatch(wire.channel):
            channels = _counted(wire.channel, wire.line, _LAST_NUMBER)
        points = _counted(wire.crosspoint, wire.line, _LAST_TWO)
        for line, channel, point in zip(lines, channels, points, strict=True):
            matrix, _, crosspoint = (point or "").partition("/")
            out.append(Wire(line, str(channel), matrix or None, crosspoint or None))
    return out


def load_station(path: str | Path) -> Station:
    """Load a station file.

    Raises:
        ConfigError: with file, line and field.
    """
    return load_file(path, Station)
