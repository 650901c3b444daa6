"""Attributes of TSP objects: a default, what is allowed, and what happens when they are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

# Error numbers of the 2600 family, as listed in qkitgroup/qkit, qkit/drivers/Keithley.py; a reader
# of OE-FET/keithley2600 issue 17 met "Parameter too big" and 5028 on a 2651A.
TOO_BIG, TOO_SMALL, BAD_PRECISION, BAD_FORMAT = 1101, 1102, 1405, 1406
TOO_BIG_FOR_RANGE, BLOCKED_BY_INTERLOCK = 5005, 802
CONFLICT = -221


@dataclass(frozen=True, slots=True)
class Attribute:
    """One number that a script may set between ``low`` and ``high``."""

    default: float
    low: float = float("-inf")
    high: float = float("inf")


class Attributes:
    """A dictionary of attributes by dotted name, with Lua getters and setters for a part of it."""

    def __init__(self, owner: TspPersonality, table: dict[str, Attribute],
                 changed: Callable[[str], None]) -> None:  # fmt: skip
        self.owner, self.table, self.changed = owner, table, changed
        self.values = {name: a.default for name, a in table.items()}

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def reset(self) -> None:
        """Return to the defaults."""
        self.values = {name: a.default for name, a in self.table.items()}

    def put(self, name: str, value: Any) -> None:
        """Set one attribute; out of range posts an error and changes nothing."""
        attribute = self.table[name]
        number = float(value)
        if number > attribute.high:
            self.owner.post_error(TOO_BIG, "Parameter too big")
            return
        if number < attribute.low:
            self.owner.post_error(TOO_SMALL, "Parameter too small")
            return
        self.values[name] = number
        self.changed(name)

    def accessors(
        self, prefix: str
    ) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[Any], None]]]:
        """Return getters and setters of the attributes directly below ``prefix``."""
        getters: dict[str, Callable[[], Any]] = {}
        setters: dict[str, Callable[[Any], None]] = {}
        for name in self.table:
            parent, _, last = name.rpartition(".")
            if parent == prefix:
                getters[last] = partial(self.__getitem__, name)
                setters[last] = partial(self.put, name)
        return getters, setters
