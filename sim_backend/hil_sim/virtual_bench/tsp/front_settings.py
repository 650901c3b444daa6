"""Settings of a channel that depend on its function, with words such as ``smu.ON`` as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

ON, OFF = "smu.ON", "smu.OFF"
FLAG = (OFF, ON)
# SCPI numbers; what the 2450 queues for a value out of range in TSP mode is not verified.
OUT_OF_RANGE, ILLEGAL = -222, -224


@dataclass(frozen=True, slots=True)
class Item:
    """A setting: a number between ``low`` and ``high``, or one of ``words``.

    Attributes:
        default: a value, or one by function.
        shared: not kept by function.
        listed: configuration lists keep it.
    """

    default: Any
    low: float = float("-inf")
    high: float = float("inf")
    words: tuple[str, ...] = ()
    shared: bool = False
    listed: bool = True


class FunctionSettings:
    """Values by function and name, with Lua getters and setters for a part of them.

    Attributes:
        function: the active one, a word.
    """

    def __init__(self, owner: TspPersonality, items: dict[str, Item], function: str,
                 changed: Callable[[str], None]) -> None:  # fmt: skip
        self.owner, self.items, self.changed = owner, items, changed
        self._first = function
        self.reset()

    def reset(self) -> None:
        """Return to the defaults."""
        self.function = self._first
        self._values: dict[tuple[str, str], Any] = {}

    def _key(self, name: str) -> tuple[str, str]:
        return ("" if self.items[name].shared else self.function), name

    def __getitem__(self, name: str) -> Any:
        item = self.items[name]
        default = item.default
        if isinstance(default, dict):
            default = default.get(self.function, next(iter(default.values())))
        return self._values.get(self._key(name), default)

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[self._key(name)] = value

    def put(self, name: str, value: Any) -> None:
        """Set one; a value that is not allowed is an event and changes nothing."""
        item = self.items[name]
        checked = _word(item.words, value) if item.words else _number(item, value)
        if checked is None:
            code = ILLEGAL if item.words else OUT_OF_RANGE
            self.owner.post_error(code, f"Parameter {value} is not allowed for {name}")
            return
        self[name] = checked
        self.changed(name)

    def snapshot(self) -> dict[str, Any]:
        """Return the active function and its settings."""
        listed = (name for name, item in self.items.items() if item.listed)
        return {"func": self.function, **{name: self[name] for name in listed}}

    def recall(self, saved: dict[str, Any]) -> None:
        """Take a snapshot back."""
        self.function = saved["func"]
        for name, value in saved.items():
            if name != "func":
                self[name] = value

    def accessors(
        self, prefix: str
    ) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[Any], None]]]:
        """Return getters and setters of the settings directly below ``prefix``."""
        getters: dict[str, Callable[[], Any]] = {}
        setters: dict[str, Callable[[Any], None]] = {}
        for name in self.items:
            parent, _, last = name.rpartition(".")
            if parent == prefix:
                getters[last] = partial(self.__getitem__, name)
                setters[last] = partial(self.put, name)
        return getters, setters


def _word(words: tuple[str, ...], value: Any) -> str | None:
    if isinstance(value, str):
        return value if value in words else None
    # 0 and 1 stand for OFF and ON.
    at = int(value)
    return words[at] if words == FLAG and at in (0, 1) else None


def _number(item: Item, value: Any) -> float | None:
    if isinstance(value, str):
        return None
    return float(value) if item.low <= float(value) <= item.high else None
