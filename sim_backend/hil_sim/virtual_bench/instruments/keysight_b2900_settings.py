"""Settings of Keysight B2901A/02A/11A/12A source-measure units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.instruments.keysight_b2900_table import ELEMENTS, MAX_LIST
from hil_sim.virtual_bench.latencies import range_latency_s
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi import ScpiPersonality
from hil_sim.virtual_bench.scpi_smu import LINE_HZ, SmuChannel
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    boolean,
    channel_list,
    keyword,
    numbers,
    real,
    text,
)
from hil_sim.virtual_bench.terminal import OffMode, SourceMeter

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_AMPS: Final = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5, 3.0)
METER: Final = SourceMeter((0.2, 2.0, 20.0, 200.0), _AMPS, 2e5, 1e6, 1.05, 9.91e37)
# Off, B2910-90010 table 6-1: the relay opens but for ZERO, which is 0 V behind 100 uA.
_MODES: Final[dict[str, OffMode]] = {"NORM": "high-z", "ZERO": "zero", "HIZ": "high-z"}
_OFF_LIMIT_A: Final = 1e-4
# Without its interlock the output gives no more (B2900A configuration guide p. 2-14).
_CEILING_V: Final = 42.0


class B2900Settings(ScpiPersonality):
    """Channels, levels, ranges, lists and formats; settings are kept by channel.

    Attributes:
        smus: channels by number; listed: levels of their list sweeps.
        elements: what a reading is made of.
    """

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.listed: dict[int, NDArray[np.float64]] = {}
        self.elements: tuple[str, ...] = ELEMENTS[:5]
        super().__init__(bench, name, settings)
        count = 1 if self.model in ("B2901A", "B2911A", "B2901B", "B2911B") else 2
        self.smus = {n: SmuChannel(self, str(n), METER) for n in range(1, count + 1)}
        for n, smu in self.smus.items():
            self.terminals[str(n)] = smu.terminal
        self._set_up()

    def _put_layer(self, names: tuple[str, ...], key: str, parse: Any, n: int,
                   parameters: list[str]) -> None:  # fmt: skip
        self.smu(n)
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        for name in names:
            self.values[key.format(name), (n,)] = parse(parameters[0])

    def _get_layer(self, key: str, n: int, _: list[str]) -> Any:
        return self.value(key, n)

    # Settings.

    def smu(self, n: int) -> SmuChannel:
        """Return a channel; -114 when there is none."""
        if n not in self.smus:
            raise ScpiError(-114, "Header suffix out of range")
        return self.smus[n]

    def _set_up(self) -> None:
        self.listed.clear()
        self.elements = ELEMENTS[:5]
        for n, smu in self.smus.items():
            smu.reset(1e-4, 2.0)
            self._apply(n)

    def restore(self, state: Any) -> None:
        """``*RCL``: outputs off, settings of before."""
        super().restore(state)
        for n in self.smus:
            self._apply(n)

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self._set_up()

    def _apply(self, n: int) -> None:
        smu = self.smu(n)
        terminal = smu.terminal
        terminal.off_mode = _MODES[self.value("off mode", n)]
        terminal.off_limit_a = _OFF_LIMIT_A
        terminal.sources_current = self.value("func", n) == "CURR"
        terminal.limit_a = abs(self.value("prot CURR", n))
        terminal.limit_v = abs(self.value("prot VOLT", n))
        auto = self.value("sense auto CURR", n)
        terminal.range_a = None if auto else smu.range_a(self.value("sense range CURR", n))
        if self.value("auto VOLT", n):
            terminal.range_v = smu.range_v(self.value("level VOLT", n))
        terminal.level_a = self.value("level CURR", n)
        terminal.set_level_v(self.value("level VOLT", n))

    def check_suffixes(self, header: str, suffixes: tuple[int, ...]) -> None:
        """Refuse a channel that the model has not got; a second suffix is a line, 1 to 14."""
        for n in suffixes[:1]:
            self.smu(n)
        if any(not 1 <= line <= 14 for line in suffixes[1:]):
            raise ScpiError(-114, "Header suffix out of range")

    def watch_interlock(self) -> None:
        """Limit outputs while the interlock is open; one that is above goes to 0 V and off.

        The emergency error number of the manual is not known here, so that none is queued; the
        questionable condition register says that the circuit is open.
        """
        for n, smu in self.smus.items():
            terminal, is_open = smu.terminal, self.faults.interlock_open
            if is_open and math.isinf(terminal.ceiling_v) and terminal.on:
                above = abs(terminal.level_v) > _CEILING_V
                terminal.on = terminal.on and not above
                self.values["level VOLT", (n,)] = 0.0 if above else terminal.level_v
                self._apply(n)
            terminal.ceiling_v = _CEILING_V if is_open else math.inf

    def _level(self, key: str, n: int) -> None:
        terminal = self.smu(n).terminal
        level = self.value(f"level {key}", n)
        fixed = key == "VOLT" and not self.value("auto VOLT", n)
        if fixed and abs(level) > terminal.range_v * METER.overrange:
            self.values["level VOLT", (n,)] = terminal.level_v
            raise ScpiError(-222, "Data out of range")
        self._apply(n)

    def _range(self, key: str, n: int) -> None:
        self.values[f"auto {key}", (n,)] = False
        if key == "VOLT":
            smu = self.smu(n)
            smu.terminal.range_v = smu.range_v(self.value("range VOLT", n))

    def _sense_range(self, key: str, n: int) -> None:
        self.values[f"sense auto {key}", (n,)] = False
        before = self.smu(n).terminal.range_a
        self._apply(n)
        now = self.smu(n).terminal.range_a
        if now != before and now is not None and self.bench.realistic:
            self.takes(range_latency_s(self.driver, now))

    def _nplc(self, n: int, parameters: list[str]) -> None:
        if not parameters:
            raise ScpiError(-109, "Missing parameter")
        self.values["aperture", (n,)] = real(4e-4, 100.0)(parameters[0]) / LINE_HZ

    def _output(self, n: int, parameters: list[str]) -> None:
        smu = self.smu(n)
        smu.switch(boolean(parameters[0] if parameters else ""))

    def _functions(self, n: int, parameters: list[str]) -> None:
        parse = keyword("VOLTage", "CURRent", "RESistance")
        self.values["functions", (n,)] = {
            parse(text(p).upper().removesuffix(":DC")) for p in parameters
        }  # fmt: skip

    def _functions_query(self, n: int, _: list[str]) -> str:
        return ",".join(f'"{f}"' for f in sorted(self.value("functions", n)))

    def _list(self, n: int, parameters: list[str]) -> None:
        self.smu(n)
        self.listed[n] = numbers(-210.0, 210.0, MAX_LIST)(parameters)

    def _append(self, n: int, parameters: list[str]) -> None:
        more = numbers(-210.0, 210.0, MAX_LIST)(parameters)
        both = np.concatenate([self.listed.get(n, np.empty(0)), more])
        if both.size > MAX_LIST:
            raise ScpiError(-223, "Too much data")
        self.listed[n] = both

    def _list_query(self, n: int, _: list[str]) -> str:
        return ",".join(self.format_number(float(v)) for v in self.listed.get(n, np.zeros(1)))

    def _put_elements(self, parameters: list[str]) -> None:
        parse = keyword("VOLTage", "CURRent", "RESistance", "TIME", "STATus", "SOURce")
        chosen = {parse(p) for p in parameters}
        self.elements = tuple(e for e in ELEMENTS if e in chosen)

    def _format(self, parameters: list[str]) -> None:
        kind = keyword("ASCii", "REAL")(parameters[0] if parameters else "")
        width = int(real(32, 64)(parameters[1])) if len(parameters) > 1 else 64
        if width not in (32, 64):
            raise ScpiError(-224, "Illegal parameter value")
        self.values["format", ()] = "ASC" if kind == "ASC" else f"REAL,{width}"

    def _channels(self, parameters: list[str]) -> list[int]:
        if not parameters:
            return list(self.smus)
        entries = channel_list(parameters[-1])
        out: list[int] = []
        for entry in entries:
            first, _, last = entry.partition(":")
            if not (first.isdigit() and (last or first).isdigit()):
                raise ScpiError(-224, "Illegal parameter value")
            out.extend(range(int(first), int(last or first) + 1))
        for n in out:
            self.smu(n)
        return out
