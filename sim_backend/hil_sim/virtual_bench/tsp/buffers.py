"""Reading buffers of TSP instruments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

_COLUMNS = ("readings", "timestamps", "sourcevalues", "statuses", "measureranges")


class ReadingBuffer:
    """Columns of readings; ``capacity`` of them are kept, further ones are lost with an error.

    Attributes:
        append: readings go on after those of earlier measurements.
    """

    def __init__(self, owner: TspPersonality, capacity: int) -> None:
        self.owner, self.capacity, self.append = owner, capacity, False
        self.collect_sources, self.collect_times = False, False
        self.base_s = 0.0
        self._columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}
        self.lua = self._object()

    def __len__(self) -> int:
        return len(self._columns["readings"])

    def clear(self) -> None:
        """Forget all readings."""
        for column in self._columns.values():
            column.clear()

    def start(self) -> None:
        """Begin a measurement: without append mode it replaces what was there."""
        if not self.append:
            self.clear()
        if not len(self):
            self.base_s = self.owner.bench.clock_ns * 1e-9

    def extend(self, readings: NDArray[np.float64], sources: NDArray[np.float64],
               times_s: NDArray[np.float64], statuses: NDArray[np.float64],
               ranges: NDArray[np.float64]) -> None:  # fmt: skip
        """Append readings; times are absolute in seconds."""
        room = self.capacity - len(self)
        if readings.size > room:
            self.owner.post_error(-225, "Out of memory: reading buffer is full")
        data = (readings, times_s - self.base_s, sources, statuses, ranges)
        for name, column in zip(_COLUMNS, data, strict=True):
            self._columns[name].extend(column[:room].tolist())

    def values(self, name: str) -> list[float]:
        """Return one column."""
        return self._columns[name]

    def _column_object(self, name: str, luatype: str = "synchronous_table") -> Any:
        values = self._columns[name]
        return self.owner.object(
            objects={"getreading": lambda at: values[int(at) - 1]}, luatype=luatype,
            values=lambda: values,
        )  # fmt: skip

    def _flag(self, name: str) -> int:
        return int(getattr(self, name))

    def _put_flag(self, name: str, value: Any) -> None:
        setattr(self, name, bool(value))

    def _object(self) -> Any:
        flag: dict[str, str] = {
            "appendmode": "append", "collectsourcevalues": "collect_sources",
            "collecttimestamps": "collect_times",
        }  # fmt: skip
        getters: dict[str, Callable[[], Any]] = {
            "n": lambda: len(self), "capacity": lambda: self.capacity,
            "basetimestamp": lambda: self.base_s, "next": lambda: len(self) + 1,
            "timestampresolution": lambda: 1e-6, "cachemode": lambda: 1, "fillmode": lambda: 0,
            "fillcount": lambda: self.capacity,
        }  # fmt: skip
        setters: dict[str, Callable[[Any], None]] = {
            "timestampresolution": lambda _: None, "cachemode": lambda _: None,
            "fillmode": lambda _: None, "fillcount": lambda _: None,
        }  # fmt: skip
        for lua_name, name in flag.items():
            getters[lua_name] = partial(self._flag, name)
            setters[lua_name] = partial(self._put_flag, name)
        objects: dict[str | int, Any] = {
            "clear": lambda *_: self.clear(), "clearcache": lambda *_: None,
            "FILL_ONCE": 0, "FILL_WINDOW": 1,
        }  # fmt: skip
        for name in _COLUMNS:
            objects[name] = self._column_object(name)
        return self.owner.object(
            getters, setters, objects, "reading_buffer", lambda: self._columns["readings"]
        )
