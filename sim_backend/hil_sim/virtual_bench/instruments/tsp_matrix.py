"""Keithley 707B/708B (707B-901-01) and 3706A (3700AS-901-01) switch matrices: TSP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hil_sim.virtual_bench.matrix import Matrix, Relays, spans
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.tsp.runtime import TspPersonality

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_BREAK_BEFORE_MAKE, _MAKE_BEFORE_BREAK, _NO_RULE = 1, 2, 0


class TspMatrix(Matrix, TspPersonality):
    """Slots with matrix cards and the ``channel`` table."""

    crosspoint: ClassVar[re.Pattern[str]]
    card: ClassVar[tuple[str, str]]  #: model and description
    slots: ClassVar[int] = 6
    rows: ClassVar[int] = 8
    columns: ClassVar[int] = 12

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.relays = Relays(self)
        self.rule, self.sequential = _BREAK_BEFORE_MAKE, False
        self.counts: dict[str, int] = {}
        self.forbidden: set[str] = set()
        super().__init__(bench, name, settings)

    def root_objects(self) -> dict[str, Any]:
        """Return ``channel`` and ``slot`` beside the common objects."""
        objects = super().root_objects()
        objects["channel"] = self._channel_object()
        objects["slot"] = self.lua.table_from({n: self._slot(n) for n in range(1, self.slots + 1)})
        objects["status"] = self.object(
            objects={"reset": self.reset_status, "standard": self.standard_events()}
        )
        objects["memory"] = self.object(objects={"available": lambda: "71.99, 100.00, 100.00"})
        address = self.object({"ipaddress": lambda: "127.0.0.1"})
        objects["lan"] = self.object(objects={"status": address, "reset": lambda *_: None})
        objects["display"] = self.object(
            objects={"clear": lambda *_: None, "settext": lambda *_: None}
        )
        return objects

    def _slot(self, number: int) -> Any:
        def installed() -> bool:
            return number not in self.faults.missing_card

        def idn() -> str:
            model, description = self.card
            if not installed():
                return "Empty Slot"
            return f"{model},{description},01.40a,{1000 + number}"

        def count(value: int) -> int | None:
            return value if installed() else None

        size = {"rows": self.rows, "columns": self.columns}
        axes: dict[str | int, Any] = {
            axis: self.object({"matrix": partial(count, value)}) for axis, value in size.items()
        }
        axes["interlock"] = self.object({"state": lambda: 0 if installed() else None})
        return self.object({"idn": idn, "poles": lambda: 2, "matrix": lambda: None}, objects=axes)

    def _channel_object(self) -> Any:
        def put_rule(value: float) -> None:
            self.rule = int(value)

        def put_sequential(value: Any) -> None:
            self.sequential = bool(value)

        return self.object(
            {"connectrule": lambda: self.rule, "connectsequential": lambda: int(self.sequential)},
            {"connectrule": put_rule, "connectsequential": put_sequential},
            {
                "BREAK_BEFORE_MAKE": _BREAK_BEFORE_MAKE, "MAKE_BEFORE_BREAK": _MAKE_BEFORE_BREAK,
                "OFF": 0, "ON": 1, "ENABLE": 1, "DISABLE": 0,
                "close": self._close, "open": self._open, "getclose": self._getclose,
                "exclusiveclose": self._exclusive, "exclusiveslotclose": self._exclusive_slot,
                "getstate": self._getstate, "getcount": self._getcount, "reset": self._reset,
                "getimage": self._getclose, "getdelay": self._getdelay,
                "getforbidden": self._getforbidden, "setforbidden": self._setforbidden,
                "clearforbidden": self._clearforbidden,
            },
        )  # fmt: skip

    # Channel lists.

    def _names(self, text: Any) -> list[str] | None:
        """Return the crosspoints of a channel list; None, with an error, when one is wrong."""
        if not isinstance(text, str) or not text.strip():
            self.post_error(1115, "Parameter error: no channel is specified")
            return None
        lowered = text.strip().lower()
        if lowered == "allslots":
            return [n for n in self._everything() if self._slot_of(n) not in
                    self.faults.missing_card]  # fmt: skip
        if re.fullmatch(r"slot[1-6]", lowered):
            return [n for n in self._everything() if n.startswith(lowered[-1])]
        names = spans(text.upper(), ",", lambda one: [one])
        for name in names:
            if self.crosspoint.fullmatch(name) is None:
                self.post_error(1115, f"Parameter error: invalid channel specified {name}")
                return None
            if self._slot_of(name) in self.faults.missing_card:
                self.post_error(1116, f"No card in slot {self._slot_of(name)} for channel {name}")
                return None
        return names

    @staticmethod
    def _slot_of(name: str) -> int:
        return int(name[0])

    def _everything(self) -> list[str]:
        """Return every crosspoint name."""
        rows = [self.row_name(n) for n in range(self.rows)]
        return [
            f"{slot}{row}{column:02d}"
            for slot in range(1, self.slots + 1)
            for row in rows
            for column in range(1, self.columns + 1)
        ]

    def row_name(self, number: int) -> str:
        """Return the name of row ``number``, from 0."""
        return chr(ord("A") + number)

    def _getdelay(self, text: Any) -> str | None:
        names = self._names(text)
        return None if names is None else ",".join(self.number_text(0.0) for _ in names)

    def _getforbidden(self, text: Any) -> str | None:
        names = self._names(text)
        found = [n for n in names or [] if n in self.forbidden]
        return ",".join(found) if found else None

    def _setforbidden(self, text: Any) -> None:
        names = self._names(text) or []
        self._move(names, [])
        self.forbidden |= set(names)

    def _clearforbidden(self, text: Any) -> None:
        self.forbidden -= set(self._names(text) or [])

    def _move(self, opened: list[str], closed: list[str]) -> None:
        barred = [n for n in closed if n in self.forbidden]
        if barred:
            self.post_error(1117, f"Channel {barred[0]} is in the forbidden list")
            return
        for name in closed:
            if name not in self.relays.closed:
                self.counts[name] = self.counts.get(name, 0) + 1
        self.relays.move(opened, closed, self.rule == _MAKE_BEFORE_BREAK)

    # Functions of ``channel``.

    def _close(self, text: Any) -> None:
        names = self._names(text)
        if names is not None:
            self._move([], names)

    def _open(self, text: Any) -> None:
        names = self._names(text)
        if names is not None:
            self._move(names, [])

    def _exclusive(self, text: Any) -> None:
        names = [] if text == "" else self._names(text)
        if names is not None:
            self._move(sorted(self.relays.closed - set(names)), names)

    def _exclusive_slot(self, text: Any) -> None:
        names = self._names(text)
        if names is not None:
            slots = {n[0] for n in names}
            others = {n for n in self.relays.closed - set(names) if n[0] in slots}
            self._move(sorted(others), names)

    def _getclose(self, text: Any) -> str | None:
        names = self._names(text)
        if names is None:
            return None
        closed = [n for n in names if n in self.relays.closed]
        return ";".join(closed) if closed else None

    def _getstate(self, text: Any, *_: Any) -> Any:
        names = self._names(text)
        if names is None:
            return None
        states = [int(n in self.relays.closed) for n in names]
        return states[0] if len(states) == 1 else ";".join(str(s) for s in states)

    def _getcount(self, text: Any) -> str | None:
        names = self._names(text)
        return None if names is None else ";".join(str(self.counts.get(n, 0)) for n in names)

    def _reset(self, text: Any) -> None:
        self._open(text)

    def reset(self) -> None:
        """``reset()``: every relay opens, the rule is break before make."""
        self.rule, self.sequential = _BREAK_BEFORE_MAKE, False
        self.forbidden.clear()
        self._move(sorted(self.relays.closed), [])


class Keithley707B(TspMatrix):
    """Six slots of 7174A 8 x 12 cards; ``1A01`` = slot, row, column."""

    driver: ClassVar[str] = "keithley-707b"
    default_model: ClassVar[str] = "707B"
    crosspoint: ClassVar[re.Pattern[str]] = re.compile(r"[1-6][A-H](0[1-9]|1[0-2])")
    card: ClassVar[tuple[str, str]] = ("7174A", "8x12 Low Current Matrix")


class Keithley3706A(TspMatrix):
    """Six slots of 3730 6 x 16 cards; ``1101`` = slot, row, column, and backplane relays 1911 …."""

    driver: ClassVar[str] = "keithley-3706a"
    default_model: ClassVar[str] = "3706A"
    crosspoint: ClassVar[re.Pattern[str]] = re.compile(r"[1-6](?:[1-6](?:0[1-9]|1[0-6])|91[1-6])")
    card: ClassVar[tuple[str, str]] = ("3730", "6x16 High Density Matrix")
    rows: ClassVar[int] = 6
    columns: ClassVar[int] = 16

    def row_name(self, number: int) -> str:
        """Return the name of row ``number``, from 0."""
        return str(number + 1)

    def _everything(self) -> list[str]:
        relays = [f"{slot}91{n}" for slot in range(1, self.slots + 1) for n in range(1, 7)]
        return [*super()._everything(), *relays]
