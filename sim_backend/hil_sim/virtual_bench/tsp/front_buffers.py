"""Reading buffers of TSP instruments with a front display, such as the 2450 (``defbuffer1``)."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

# Bits of ``statuses`` and ``sourcestatuses``, 2450-901-01 rev. B pp. 8-29 and 8-33; readback and
# protection 2461-901-01 rev. A p. 8-31, first reading of a group 2470-901-01 rev. A p. 12-141.
STATUS_BITS: Final[dict[str | int, int]] = {
    "STAT_QUESTIONABLE": 2, "STAT_ORIGIN": 4, "STAT_TERMINAL": 8, "STAT_LIMIT2_LOW": 16,
    "STAT_LIMIT2_HIGH": 32, "STAT_LIMIT1_LOW": 64, "STAT_LIMIT1_HIGH": 128,
    "STAT_START_GROUP": 256, "STAT_PROTECTION": 4, "STAT_READBACK": 8, "STAT_OVER_TEMP": 16,
    "STAT_LIMIT": 32, "STAT_SENSE": 64, "STAT_OUTPUT": 128,
}  # fmt: skip
_STYLES: Final = ("STYLE_COMPACT", "STYLE_STANDARD", "STYLE_FULL", "STYLE_WRITABLE")
_COLUMNS: Final = (
    "readings", "sourcevalues", "relativetimestamps", "timestamps", "seconds", "fractionalseconds",
    "dates", "times", "units", "sourceunits", "statuses", "sourcestatuses", "formattedreadings",
    "sourceformattedvalues",
)  # fmt: skip
_EPOCH: Final = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_LEAST, _MOST = 10, 11_000_020


@dataclass(frozen=True, slots=True)
class FrontReading:
    """One reading, with what was sourced; units as the display writes them."""

    reading: float
    source: float
    time_s: float
    unit: str
    source_unit: str
    status: int
    source_status: int


class FrontBuffer:
    """Columns of readings.

    Attributes:
        continuous: a full buffer loses its oldest readings, otherwise the newest.
    """

    def __init__(self, owner: TspPersonality, capacity: int, continuous: bool) -> None:
        self.owner, self.capacity, self.continuous = owner, capacity, continuous
        self._columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._first_s = 0.0
        self.lua = self._object()

    def __len__(self) -> int:
        return len(self._columns["readings"])

    @property
    def readings(self) -> list[float]:
        """The readings in their unit."""
        return self._columns["readings"]

    def clear(self) -> None:
        """Forget all readings."""
        for column in self._columns.values():
            column.clear()

    def add(self, one: FrontReading) -> None:
        """Append a reading."""
        if len(self) >= self.capacity:
            if not self.continuous:
                return
            for column in self._columns.values():
                del column[0]
        if not len(self):
            self._first_s = one.time_s
        moment = _EPOCH + datetime.timedelta(seconds=one.time_s)
        date, clock = moment.strftime("%m/%d/%Y"), moment.strftime("%H:%M:%S")
        whole = math.floor(one.time_s)
        fraction = one.time_s - whole
        row = (
            one.reading, one.source, one.time_s - self._first_s,
            f"{date} {clock}{fraction:.9f}".replace("0.", ".", 1), float(whole), fraction, date,
            clock, one.unit, one.source_unit, float(one.status), float(one.source_status),
            f"{one.reading:+.5e} {one.unit}", f"{one.source:+.5e} {one.source_unit}",
        )  # fmt: skip
        for name, value in zip(_COLUMNS, row, strict=True):
            self._columns[name].append(value)

    def statistics(self) -> dict[str, float]:
        """Return count, mean, standard deviation, lowest and highest reading."""
        values = self.readings
        n = len(values)
        mean = sum(values) / n if n else 0.0
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
        return {
            "n": float(n), "mean": mean, "stddev": spread, "min": min(values, default=0.0),
            "max": max(values, default=0.0),
        }  # fmt: skip

    def _count(self) -> int:
        self.owner.catch_up()
        return len(self)

    def _column(self, name: str) -> list[Any]:
        self.owner.catch_up()
        return self._columns[name]

    def _object(self) -> Any:
        def put_capacity(value: float) -> None:
            self.capacity = min(max(int(value), _LEAST), _MOST)
            self.clear()

        def put_fill(value: Any) -> None:
            self.continuous = str(value).endswith("CONTINUOUS")

        getters: dict[str, Callable[[], Any]] = {
            "n": self._count, "capacity": lambda: self.capacity, "endindex": self._count,
            "startindex": lambda: int(self._count() > 0), "logstate": lambda: "buffer.OFF",
            "fillmode": lambda: "buffer.FILL_CONTINUOUS" if self.continuous else "buffer.FILL_ONCE",
        }  # fmt: skip
        setters: dict[str, Callable[[Any], None]] = {
            "capacity": put_capacity, "fillmode": put_fill, "logstate": lambda _: None,
        }  # fmt: skip
        objects: dict[str | int, Any] = {"clear": lambda *_: self.clear()}
        for name in _COLUMNS:
            objects[name] = self.owner.object(
                luatype="synchronous_table", values=partial(self._column, name)
            )
        return self.owner.object(
            getters, setters, objects, "reading_buffer", partial(self._column, "readings")
        )


class FrontBuffers:
    """All buffers of one instrument and the ``buffer`` table."""

    def __init__(self, owner: TspPersonality) -> None:
        self.owner = owner
        self._by_id: dict[int, FrontBuffer] = {}
        self.default = [self._new(100_000, True) for _ in range(2)]

    def _new(self, capacity: int, continuous: bool) -> FrontBuffer:
        out = FrontBuffer(self.owner, capacity, continuous)
        number = self.owner.buffer_id(out.lua)
        if number is not None:
            self._by_id[number] = out
        return out

    def find(self, value: Any) -> FrontBuffer:
        """Return the buffer that a script names; ``defbuffer1`` for nil.

        Raises:
            ValueError: it is none.
        """
        if value is None or value == "defbuffer1":
            return self.default[0]
        number = self.owner.buffer_id(value)
        if number is None or number not in self._by_id:
            raise ValueError("argument is no reading buffer")
        return self._by_id[number]

    def clear(self) -> None:
        """``reset()``: empty buffers."""
        for one in self._by_id.values():
            one.clear()

    def _make(self, size: float, style: Any = None) -> Any:
        if style is not None and str(style).removeprefix("buffer.") not in _STYLES:
            raise ValueError(f"{style} is no style of a buffer")
        return self._new(min(max(int(size), _LEAST), _MOST), False).lua

    def _statistics(self, value: Any = None) -> Any:
        return self.owner.lua.table_from(self.find(value).statistics())

    def _delete(self, value: Any) -> None:
        found = self.find(value)
        if found in self.default:
            raise ValueError("a default buffer cannot be deleted")
        self._by_id = {number: b for number, b in self._by_id.items() if b is not found}

    def table(self) -> Any:
        """Return ``buffer``."""
        words = (*_STYLES, "FILL_ONCE", "FILL_CONTINUOUS", "ON", "OFF")
        objects: dict[str | int, Any] = {
            "make": self._make, "getstats": self._statistics, "delete": self._delete,
            "clearstats": lambda *_: None,
            **STATUS_BITS, **{word: f"buffer.{word}" for word in words},
        }  # fmt: skip
        return self.owner.object(objects=objects)
