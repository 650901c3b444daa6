"""Keithley 2400 SourceMeter (2400S-900-01): SCPI, list sweep of 100 points, 2 500 readings."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from hil_sim.virtual_bench.instruments.keithley_2400_table import (
    MAX_GROUP,
    MAX_LIST,
    MAX_READINGS,
    add_commands,
)
from hil_sim.virtual_bench.instruments.one_channel import OneChannel
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi_smu import LINE_HZ, Record, Shape, SmuChannel
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    keyword,
    number,
    numbers,
    text,
)
from hil_sim.virtual_bench.terminal import OffMode, SourceMeter

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_AMPS: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
METER: Final = SourceMeter((0.2, 2.0, 20.0, 200.0), _AMPS, 4e4, 1e6, 1.055, 9.9e37)
NAN: Final = 9.91e37
_ELEMENTS: Final = ("VOLT", "CURR", "RES", "TIME", "STAT")
# Status word, 2400S-900-01 rev. K pp. 18-50 and 18-51 (example p. 18-53).
_OVERFLOW, _FRONT, _COMPLIANCE = 1 << 0, 1 << 2, 1 << 3
_MEASURES: Final = {"VOLT": 1 << 11, "CURR": 1 << 12, "RES": 1 << 13}
_SOURCES_V, _SOURCES_I, _REMOTE_SENSE = 1 << 14, 1 << 15, 1 << 22
_MODES: Final[dict[str, OffMode]] = {
    "HIMP": "high-z", "NORM": "normal", "ZERO": "zero", "GUAR": "guard",
}  # fmt: skip
_OFF_PART: Final = 0.005  # of the current range: the limit of a normal output that is off, p. 18-59


class Keithley2400(OneChannel):
    """One channel, called ``1``."""

    driver: ClassVar[str] = "keithley-2400"
    default_model: ClassVar[str] = "2400"
    setups: ClassVar[int] = 5

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.listed = np.zeros(1)
        self.elements: tuple[str, ...] = _ELEMENTS
        self.functions: set[str] = {"CURR"}
        self.trace: list[Record] = []
        self.feeding = False
        super().__init__(bench, name, settings)
        self.smu = SmuChannel(self, "1", METER)
        self.terminals["1"] = self.smu.terminal
        self._set_up()

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return (
            f"KEITHLEY INSTRUMENTS INC.,MODEL {self.model},{self.serial},C32 Oct  4 2010 14:20:11"
        )

    @property
    def meter(self) -> SourceMeter:
        """Ranges of the model."""
        return METER

    def format_error(self, code: int, message: str) -> str:
        """Return an error as ``:SYST:ERR?`` answers it."""
        return f'{code:+d},"{message or "No error"}"'.replace("+0,", "0,")

    def add_commands(self) -> None:
        """Add the command table."""
        add_commands(self)

    # Settings.

    def _set_up(self) -> None:
        self.smu.reset(1.05e-4, 20.0)
        self.elements, self.functions = _ELEMENTS, {"CURR"}
        self.apply()

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.trace.clear()
        self.feeding, self.listed = False, np.zeros(1)
        self._set_up()

    def apply(self) -> None:
        """Put the settings on the terminal."""
        terminal = self.smu.terminal
        terminal.off_mode = _MODES[self.value("smod", 1)]
        terminal.sources_current = self.value("func", 1) == "CURR"
        terminal.limit_a = abs(self.value("prot CURR", 1))
        terminal.limit_v = abs(self.value("prot VOLT", 1))
        auto = self.value("sense auto CURR", 1)
        terminal.range_a = None if auto else self.smu.range_a(self.value("sense range CURR", 1))
        keeps = terminal.off_mode == "zero"
        terminal.off_limit_a = terminal.limit_a if keeps else _OFF_PART * self.smu.present_range_a
        level = self.value("level VOLT", 1)
        if self.value("auto VOLT", 1):
            terminal.range_v = self.smu.range_v(level)
        terminal.level_a = self.value("level CURR", 1)
        terminal.set_level_v(level)

    def _output(self) -> None:
        on = self.value("outp", 1)
        self.values["outp", (1,)] = False
        self._switch(on)

    @property
    def _blocked(self) -> bool:
        """Whether the output enable line, where it is in use, keeps the output off."""
        return bool(self.value("enable line", 1)) and self.faults.interlock_open

    def _switch(self, on: bool) -> None:
        """Switch the output; 802 as in 2400S-900-01 rev. K p. B-6."""
        if on and self._blocked:
            raise ScpiError(802, "OUTPUT blocked by output enable")
        self.smu.switch(on)
        self.values["outp", (1,)] = on

    def watch_interlock(self) -> None:
        """Switch off, relay open, when the output enable line goes away (p. 13-10)."""
        if self._blocked and self.smu.terminal.on:
            self._switch(False)
            self.smu.terminal.off_mode = "high-z"

    def _functions(self, *arguments: object) -> None:
        names = {text(p)[:4].upper() for p in self._parameters(arguments)}
        if not names <= {"VOLT", "CURR", "RES"}:
            raise ScpiError(-224, "Illegal parameter value")
        self.functions = (
            self.functions | names if self.value("concurrent", 1) else names
        )  # fmt: skip

    def _functions_off(self, *arguments: object) -> None:
        self.functions -= {text(p)[:4].upper() for p in self._parameters(arguments)}

    def _all_functions(self) -> None:
        self.functions = {"VOLT", "CURR", "RES"}

    def _functions_query(self, *_: object) -> str:
        return ",".join(f'"{name}:DC"' if name != "RES" else '"RES"' for name in self.functions)

    @staticmethod
    def _parameters(arguments: tuple[object, ...]) -> list[str]:
        last = arguments[-1]
        if not isinstance(last, list) or not last:
            raise ScpiError(-109, "Missing parameter")
        return last

    def _put_elements(self, *arguments: object) -> None:
        parse = keyword("VOLTage", "CURRent", "RESistance", "TIME", "STATus")
        chosen = {parse(p) for p in self._parameters(arguments)}
        self.elements = tuple(e for e in _ELEMENTS if e in chosen)

    def _format(self, parameters: list[str]) -> None:
        kind = keyword("ASCii", "REAL", "SREal")(parameters[0] if parameters else "")
        if len(parameters) > 1 and number(parameters[1]) != 32:
            raise ScpiError(-224, "Illegal parameter value")
        self.values["format", ()] = "ASC" if kind == "ASC" else "REAL,32"

    def _list(self, *arguments: object) -> None:
        self.listed = numbers(-210.0, 210.0, MAX_GROUP)(self._parameters(arguments))

    def _append(self, *arguments: object) -> None:
        more = numbers(-210.0, 210.0, MAX_GROUP)(self._parameters(arguments))
        if self.listed.size + more.size > MAX_LIST:
            raise ScpiError(-223, "Too much data")
        self.listed = np.concatenate([self.listed, more])

    def _feed_control(self, parameters: list[str]) -> None:
        self.feeding = keyword("NEXT", "NEVer")(parameters[0] if parameters else "") == "NEXT"
        if self.feeding:
            self.trace.clear()

    def _full(self) -> bool:
        return len(self.trace) >= int(self.value("points"))

    def summary(self) -> int:
        """Return bit 0 of the status byte, the measurement register (2400S-900-01, section 15)."""
        self.bench.run(self)
        return int(bool(512 * self._full() & self.value("measurement enable")))

    # Running.

    @property
    def aperture_s(self) -> float:
        """Integration time in seconds."""
        return float(self.value("nplc", 1)) / LINE_HZ

    def _counts(self) -> tuple[int, int]:
        arms, count = (self._layer("arm count", 2), self._layer("count", 1))
        if arms * count > MAX_READINGS:
            raise ScpiError(-221, "Settings conflict")
        return arms, count

    def _layer(self, key: str, suffixes: int) -> int:
        return int(self.value(key, *([1] * suffixes)))

    def _initiate(self) -> None:
        auto_off = self.value("auto off", 1)
        if not self.smu.terminal.on and not auto_off:
            raise ScpiError(803, "Not permitted with OUTPUT off")
        if auto_off and not self.smu.terminal.on:
            self._switch(True)
        arms, count = self._counts()
        level = self.smu.terminal.level_v
        listed = self.value("mode VOLT", 1) == "LIST" and self.value("func", 1) == "VOLT"
        if listed:
            if self.value("auto VOLT", 1):
                self.smu.terminal.range_v = self.smu.range_v(float(np.abs(self.listed).max()))
            levels = self.listed
        else:
            levels = np.full(1, level)
        ones = (1,)
        line = self.bench.bus[self.value("in", *ones)]
        arm_line = self.bench.bus[self.value("arm in", 1, 1)]
        arm = arm_line if self.value("arm source", 1, 1) == "TLIN" else 0
        source = line if self.value("source", *ones) == "TLIN" else 0
        pulsed = listed and auto_off and self.value("auto off mode", 1) == "ALW"
        delay = 0.0 if self.value("auto delay", 1) else self.value("delay", 1)
        self.smu.records.clear()
        self._publish()
        if pulsed:
            self.smu.terminal.set_level_v(0.0)
        self.smu.start(
            levels, arms,
            Shape(delay, self.aperture_s, self.value("trigger delay", *ones), pulsed,
                  stimuli=(arm, source, 0, 0)),
            self._finished, points=count,
        )  # fmt: skip
        self.smu.terminal.set_level_v(level)

    def _publish(self) -> None:
        event = {"SOUR": 1, "DEL": 1, "SENS": 2}.get(self.value("output", 1))
        out = self.bench.bus[self.value("out", 1)]
        wires = [] if event is None else [(self.smu.events[event], out)]
        layer = {"TENT": 0, "TEX": 4}.get(self.value("arm output", 1, 1))
        if layer is not None:
            wires.append((self.smu.events[layer], self.bench.bus[self.value("arm out", 1, 1)]))
        self.bench.engine.wires[self.name] = wires

    def _operation(self) -> str:
        """Operation condition: bit 6 waits for an arm event, bit 10 idle (figure 15-5)."""
        self.bench.run(self)
        return str(64 * self.smu.waits_for_arm | 1024 * self.smu.idle)

    def _finished(self, records: list[Record]) -> None:
        if self.feeding:
            room = self.value("points") - len(self.trace)
            self.trace.extend(records[:room])
            if self._full():
                self.feeding = False
        if self.value("auto off", 1):
            self._switch(False)

    def trigger(self) -> None:
        """``*TRG``: bus trigger of the arm layer."""
        self.bench.run(self)

    def _read(self) -> str | bytes:
        self._initiate()
        self.finish()
        return self._encoded(self.smu.records)

    def _configure(self, key: str) -> None:
        self.functions = {key}
        self.values["arm count", (1, 1)] = self.values["count", (1,)] = 1

    def _measure(self, key: str) -> str | bytes:
        self._configure(key)
        if not self.smu.terminal.on:
            self._switch(True)
        return self._read()

    # Replies.

    def _statistics(self) -> str:
        """Return a statistic of the buffer's volts, amperes and ohms (``:CALC3:DATA?``)."""
        if not self.trace:
            raise ScpiError(-230, "Data corrupt or stale")
        rows = np.array([self._row(record, _ELEMENTS[:3]) for record in self.trace])
        lowest, highest = rows.min(axis=0), rows.max(axis=0)
        found = {
            "MEAN": rows.mean(axis=0), "SDEV": rows.std(axis=0), "MAX": highest, "MIN": lowest,
            "PKPK": highest - lowest,
        }[self.value("statistic")]  # fmt: skip
        return ",".join(self.format_number(float(v)) for v in found)

    def _row(self, record: Record, elements: tuple[str, ...]) -> list[float]:
        measures_v, measures_i = "VOLT" in self.functions, "CURR" in self.functions
        sources_v = not self.smu.terminal.sources_current
        volts = record.volts if measures_v else record.source if sources_v else NAN
        amps = record.amps if measures_i else NAN if sources_v else self.smu.terminal.level_a
        ohms = record.volts / record.amps if "RES" in self.functions and record.amps else NAN
        status = (
            _OVERFLOW * record.overflow | _COMPLIANCE * record.limited
            | _FRONT * (self.value("terminals") == "FRON")
            | sum(_MEASURES[name] for name in self.functions)
            | (_SOURCES_V if sources_v else _SOURCES_I) | _REMOTE_SENSE * self.value("rsense")
        )  # fmt: skip
        row = {"VOLT": volts, "CURR": amps, "RES": ohms, "TIME": record.time_s, "STAT": status}
        return [row[element] for element in elements]

    def _encoded(self, records: list[Record]) -> str | bytes:
        if not records:
            raise ScpiError(-230, "Data corrupt or stale")
        values = [value for record in records for value in self._row(record, self.elements)]
        if self.value("format") == "ASC":
            return ",".join(self.format_number(v) for v in values)
        order = "<" if self.value("border") == "SWAP" else ">"
        return b"#0" + struct.pack(f"{order}{len(values)}f", *values)
