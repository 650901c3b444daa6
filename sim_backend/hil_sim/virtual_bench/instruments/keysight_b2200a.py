"""Keysight B2200A / Agilent E5250A switch matrix (B2200-90010): SCPI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from hil_sim.virtual_bench.matrix import Matrix, Relays, spans
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi import ScpiPersonality
from hil_sim.virtual_bench.scpi_values import ScpiError, channel_list, keyword

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_INPUTS, _OUTPUTS, _CARDS = 14, 12, 4
_NAME = re.compile(r"[0-4]\d{4}")


class KeysightB2200A(Matrix, ScpiPersonality):
    """Four 14 x 12 cards; ``00102`` = card (0 = auto configuration), input, output.

    In auto configuration the cards are one plane with outputs 1 … 48.
    """

    driver: ClassVar[str] = "keysight-b2200a"
    default_model: ClassVar[str] = "B2200A"

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.relays = Relays(self)
        super().__init__(bench, name, settings)

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        maker = "Agilent Technologies" if self.model.startswith("E52") else "KEYSIGHT TECHNOLOGIES"
        return f"{maker},{self.model},{self.serial},A.03.00"

    def add_commands(self) -> None:
        """Add the command table."""
        self.add("[:ROUTe]:CLOSe[:LIST]", put=self._close, get=self._closed_query, asks=1)
        self.add("[:ROUTe]:OPEN[:LIST]", put=self._open, get=self._open_query, asks=1)
        self.add("[:ROUTe]:OPEN:CARD", put=self._open_card)
        self.add("[:ROUTe]:CLOSe:CARD", get=self._card_query)
        for header, key, values, default in (
            ("[:ROUTe]:CONNection:RULE", "rule", ("FREE", "SROUte"), "FREE"),
            ("[:ROUTe]:CONNection:SEQuence", "sequence", ("NSEQ", "BBM", "MBBR"), "BBM"),
        ):
            self._card_setting(header, key, values, default)
        for group in ("BIAS", "AGND", "COUPle"):
            self._state(group)
        self.add("[:ROUTe]:FUNCtion", put=self._function,
                 get=lambda _: self.values.get(("function", ()), "ACON"))  # fmt: skip
        self.add(":SYSTem:CDEScription", get=self._card_description, asks=1)
        self.add(":SYSTem:CTYPe", get=self._card_type, asks=1)
        self.add(":SYSTem:CCONfig", get=lambda _: ",".join(["B2210A"] * _CARDS))

    def _card_setting(
        self, header: str, key: str, values: tuple[str, ...], default: str
    ) -> None:  # fmt: skip
        parse = keyword(*values)

        def put(parameters: list[str]) -> None:
            if len(parameters) != 2:
                raise ScpiError(-109, "Missing parameter")
            self.values[key, (self._card(parameters[0]),)] = parse(parameters[1])

        def get(parameters: list[str]) -> str:
            card = self._card(parameters[0]) if parameters else 0
            return str(self.values.get((key, (card,)), default))

        self.add(header, put=put, get=get)

    def _state(self, group: str) -> None:
        key = group.lower()

        def put(parameters: list[str]) -> None:
            if len(parameters) != 2:
                raise ScpiError(-109, "Missing parameter")
            state = keyword("ON", "OFF", "1", "0")(parameters[1])
            self.values[key, (self._card(parameters[0]),)] = "1" if state in ("ON", "1") else "0"

        def get(parameters: list[str]) -> str:
            return str(self.values.get((key, (self._card(parameters[0]),)), "0"))

        self.add(f"[:ROUTe]:{group}[:STATe]", put=put, get=get, asks=1)

    @staticmethod
    def _card(text: str) -> int:
        word = text.upper()
        if word == "ALL":
            return 0
        if not word.isdigit() or int(word) > _CARDS:
            raise ScpiError(-222, "Data out of range")
        return int(word)

    def _function(self, parameters: list[str]) -> None:
        value = keyword("ACONfig", "NCONfig")(parameters[0] if parameters else "")
        self.values["function", ()] = value
        self.relays.move(sorted(self.relays.closed), [])

    def _card_type(self, parameters: list[str]) -> str:
        card = self._card(parameters[0])
        absent = card in self.faults.missing_card
        return f"Agilent Technologies,{'NONE' if absent else 'B2210A'},0,0"

    def _card_description(self, parameters: list[str]) -> str:
        absent = self._card(parameters[0]) in self.faults.missing_card
        return "No Card" if absent else "B2210A 14x12 Switch"

    def _names(self, parameters: list[str]) -> list[str]:
        if len(parameters) != 1:
            raise ScpiError(-109, "Missing parameter")
        entries = channel_list(parameters[0])
        names = spans(",".join(entries), ",", lambda one: [one])
        auto = self.values.get(("function", ()), "ACON") == "ACON"
        for name in names:
            if _NAME.fullmatch(name) is None:
                raise ScpiError(-224, "Illegal parameter value")
            card, row, column = int(name[0]), int(name[1:3]), int(name[3:])
            top = _OUTPUTS * _CARDS if card == 0 else _OUTPUTS
            if auto != (card == 0) or not 1 <= row <= _INPUTS or not 1 <= column <= top:
                raise ScpiError(-222, "Data out of range")
            real = card or 1 + (column - 1) // _OUTPUTS
            if real in self.faults.missing_card:
                raise ScpiError(-241, "Hardware missing")
        return names

    def _close(self, parameters: list[str]) -> None:
        names = self._names(parameters)
        gone: set[str] = set()
        if self.values.get(("rule", (0,)), "FREE") == "SROU":
            # Single route: an input reaches one output and an output one input.
            for name in names:
                gone |= {
                    c for c in self.relays.closed
                    if c not in names and (c[1:3] == name[1:3] or c[3:] == name[3:])
                }  # fmt: skip
        sequence = self.values.get(("sequence", (0,)), "BBM")
        self.relays.move(sorted(gone), names, sequence == "MBBR")

    def _open(self, parameters: list[str]) -> None:
        self.relays.move(self._names(parameters), [])

    def _open_card(self, parameters: list[str]) -> None:
        card = self._card(parameters[0] if parameters else "")
        self.relays.move([n for n in self.relays.closed if card == 0 or int(n[0]) == card], [])

    def _closed_query(self, parameters: list[str]) -> str:
        return ",".join(str(int(n in self.relays.closed)) for n in self._names(parameters))

    def _open_query(self, parameters: list[str]) -> str:
        return ",".join(str(int(n not in self.relays.closed)) for n in self._names(parameters))

    def _card_query(self, parameters: list[str]) -> str:
        card = self._card(parameters[0] if parameters else "")
        closed = sorted(n for n in self.relays.closed if card == 0 or int(n[0]) == card)
        return f"(@{','.join(closed)})"

    def finish(self) -> None:
        """Relays move before the next command is taken."""

    def reset(self) -> None:
        """``*RST``: every relay opens, free rule, auto configuration."""
        self.relays.move(sorted(self.relays.closed), [])
        self.values.clear()

    def format_error(self, code: int, message: str) -> str:
        """Return an error as ``:SYST:ERR?`` answers it."""
        return f'{code:+d},"{message or "No error"}"'
