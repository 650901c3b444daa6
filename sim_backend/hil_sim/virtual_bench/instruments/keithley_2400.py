"""Keithley 2400 SourceMeter (2400S-900-01): SCPI, list sweep of 100 points, 2 500 readings."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi import ScpiPersonality
from hil_sim.virtual_bench.scpi_smu import LINE_HZ, Record, Shape, SmuChannel
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    boolean,
    integer,
    keyword,
    number,
    numbers,
    real,
    text,
)
from hil_sim.virtual_bench.terminal import SourceMeter

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_AMPS: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
METER: Final = SourceMeter((0.2, 2.0, 20.0, 200.0), _AMPS, 4e4, 1e6, 1.055, 9.9e37)
NAN: Final = 9.91e37
MAX_LIST, MAX_READINGS = 100, 2500
_ELEMENTS: Final = ("VOLT", "CURR", "RES", "TIME", "STAT")
_OVERFLOW, _COMPLIANCE, _MEASURES_V, _MEASURES_I, _SOURCES_V = 1, 8, 1 << 11, 1 << 12, 1 << 14
_MODES: Final = {"HIMP": "high-z", "NORM": "normal", "ZERO": "zero", "GUAR": "normal"}


class Keithley2400(ScpiPersonality):
    """One channel, called ``1``."""

    driver: ClassVar[str] = "keithley-2400"
    default_model: ClassVar[str] = "2400"
    latency_s: ClassVar[float] = 4e-3  # GPIB, planning value

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

    def format_error(self, code: int, message: str) -> str:
        """Return an error as ``:SYST:ERR?`` answers it."""
        return f'{code:+d},"{message or "No error"}"'.replace("+0,", "0,")

    def add_commands(self) -> None:
        """Add the command table."""
        s = self.setting
        changed = partial(self._apply)
        s(":SOURce#:FUNCtion[:MODE]", "func",
          keyword("VOLTage", "CURRent"), "VOLT", lambda _: changed())  # fmt: skip
        for axis, top in (("VOLTage", 210.0), ("CURRent", 1.05)):
            key = axis[:4]
            s(f":SOURce#:{axis}:MODE", f"mode {key}", keyword("FIXed", "LIST", "SWEep"), "FIX")
            s(f":SOURce#:{axis}:RANGe", f"range {key}", real(-top, top), top,
              partial(self._fixed_range, key))  # fmt: skip
            s(f":SOURce#:{axis}:RANGe:AUTO", f"auto {key}", boolean, True, lambda _: changed())
            s(f":SOURce#:{axis}[:LEVel][:IMMediate][:AMPLitude]", f"level {key}", real(-top, top),
              0.0, partial(self._level, key))  # fmt: skip
            s(f":SENSe#:{axis}[:DC]:RANGe[:UPPer]", f"sense range {key}", real(-top, top), top,
              partial(self._sense_range, key))  # fmt: skip
            s(f":SENSe#:{axis}[:DC]:RANGe:AUTO", f"sense auto {key}", boolean, True,
              lambda _: changed())  # fmt: skip
            s(f":SENSe#:{axis}[:DC]:NPLCycles", "nplc", real(0.01, 10.0, 1.0), 1.0)
            s(f":SENSe#:{axis}[:DC]:PROTection[:LEVel]", f"prot {key}", real(-top, top),
              1.05e-4 if key == "CURR" else 21.0, lambda _: changed())  # fmt: skip
            self.add(f":SENSe#:{axis}[:DC]:PROTection:TRIPped", get=lambda *_: self._tripped())
            self.add(f":MEASure:{axis}[:DC]", get=lambda _, k=key: self._measure(k))
            self.add(f":CONFigure:{axis}[:DC]", put=lambda _, k=key: self._configure(k))
        s(":SOURce#:DELay", "delay", real(0.0, 999.9999), 1e-3)
        s(":SOURce#:DELay:AUTO", "auto delay", boolean, True)
        s(":SOURce#:CLEar:AUTO", "auto off", boolean, False)
        s(":SOURce#:CLEar:AUTO:MODE", "auto off mode", keyword("ALWays", "TCOunt"), "ALW")
        self.add(":SOURce#:CLEar[:IMMediate]", put=lambda *_: self.smu.switch(False))
        self.add(":SOURce#:LIST:VOLTage", put=self._list, get=self._list_query)
        self.add(":SOURce#:LIST:VOLTage:POINts", get=lambda *_: str(self.listed.size))
        self.add(":SOURce#:LIST:VOLTage:APPend", put=self._append)
        self.add(":SENSe#:FUNCtion[:ON]", put=self._functions, get=self._functions_query)
        self.add(":SENSe#:FUNCtion:ALL", put=lambda *_: self._all_functions())
        self.add(":SENSe#:FUNCtion:OFF", put=self._functions_off)
        s(":SENSe#:FUNCtion:CONCurrent", "concurrent", boolean, True)
        s(":SENSe#:AVERage[:STATe]", "average", boolean, False)
        s(":SENSe#:AVERage:COUNt", "averages", integer(1, 100), 10)
        s(":SENSe#:AVERage:TCONtrol", "average kind", keyword("REPeat", "MOVing"), "REP")
        s(":SENSe#:RESistance:MODE", "ohm mode", keyword("MANual", "AUTO"), "AUTO")
        s(":SENSe#:RESistance:NPLCycles", "nplc", real(0.01, 10.0, 1.0), 1.0)
        s(":ARM[:SEQuence#][:LAYer#]:COUNt", "arm count", integer(1, MAX_READINGS), 1)
        s(":ARM[:SEQuence#][:LAYer#]:SOURce", "arm source",
          keyword("IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest"),
          "IMM")  # fmt: skip
        s(":ARM[:SEQuence#][:LAYer#]:TIMer", "arm timer", real(1e-3, 1e5), 0.1)
        s(":ARM[:SEQuence#][:LAYer#]:ILINe", "arm in", integer(1, 4), 1)
        s(":ARM[:SEQuence#][:LAYer#]:OLINe", "arm out", integer(1, 4), 2)
        s(":ARM[:SEQuence#][:LAYer#]:OUTPut", "arm output", keyword("TENTer", "TEXit", "NONE"),
          "NONE")  # fmt: skip
        s(":TRIGger[:SEQuence#]:COUNt", "count", integer(1, MAX_READINGS), 1)
        s(":TRIGger[:SEQuence#]:SOURce", "source", keyword("IMMediate", "TLINk"), "IMM")
        s(":TRIGger[:SEQuence#]:DELay", "trigger delay", real(0.0, 999.9999), 0.0)
        s(":TRIGger[:SEQuence#]:ILINe", "in", integer(1, 4), 1)
        s(":TRIGger[:SEQuence#]:OLINe", "out", integer(1, 4), 2)
        s(":TRIGger[:SEQuence#]:INPut", "input",
          keyword("SOURce", "DELay", "SENSe", "NONE"), "SOUR")  # fmt: skip
        s(":TRIGger[:SEQuence#]:OUTPut", "output",
          keyword("SOURce", "DELay", "SENSe", "NONE"), "NONE")  # fmt: skip
        self.add(":TRIGger:CLEar", put=lambda _: self._stop())
        self.add(":INITiate[:IMMediate]", put=lambda _: self._initiate())
        self.add(":ABORt", put=lambda _: self._stop())
        self.add(":READ", get=lambda _: self._read())
        self.add(":FETCh", get=lambda _: self._encoded(self.smu.records))
        self.add(":SENSe#:DATA[:LATest]", get=lambda *_: self._encoded(self.smu.records[-1:]))
        s(":OUTPut#[:STATe]", "outp", boolean, False, lambda _: self._output())
        s(":OUTPut#:SMODe", "smod", keyword("HIMPedance", "NORMal", "ZERO", "GUARd"), "NORM",
          lambda _: changed())  # fmt: skip
        s(":OUTPut#:ENABle[:STATe]", "enable line", boolean, False)
        self.add(":FORMat:ELEMents[:SENSe#]", put=self._put_elements,
                 get=lambda *_: ",".join(self.elements))  # fmt: skip
        self.add(":FORMat[:DATA]", put=self._format, get=lambda _: self.value("format"))
        self.defaults["format"] = "ASC"
        s(":FORMat:BORDer", "border", keyword("NORMal", "SWAPped"), "SWAP")
        s(":FORMat:SREGister", "sreg", keyword("ASCii", "HEXadecimal", "OCTal", "BINary"), "ASC")
        s(":TRACe:POINts", "points", integer(1, MAX_READINGS), 100)
        self.add(":TRACe:POINts:ACTual", get=lambda _: str(len(self.trace)))
        s(":TRACe:FEED", "feed", keyword("SENSe", "CALCulate", "CALC2"), "SENS")
        self.add(":TRACe:FEED:CONTrol", put=self._feed_control,
                 get=lambda _: "NEXT" if self.feeding else "NEV")  # fmt: skip
        self.add(":TRACe:CLEar", put=lambda _: self.trace.clear())
        self.add(":TRACe:FREE", get=lambda _: f"{MAX_READINGS - len(self.trace)},0")
        self.add(":TRACe:DATA", get=lambda _: self._encoded(self.trace))
        s(":SYSTem:RSENse", "rsense", boolean, False)
        s(":SYSTem:AZERo[:STATe]", "azero", keyword("ON", "OFF", "ONCE", "1", "0"), "ON")
        s(":SYSTem:LFRequency", "line", real(50, 60), 50.0)
        s(":SYSTem:LFRequency:AUTO", "auto line", boolean, True)
        s(":SYSTem:BEEPer:STATe", "beeper", boolean, True)
        self.add(":SYSTem:BEEPer[:IMMediate]", put=lambda _: None)
        self.add(":SYSTem:TIME:RESet", put=lambda _: None)
        self.add(":SYSTem:PRESet", put=lambda _: self.reset())
        s(":ROUTe:TERMinals", "terminals", keyword("FRONt", "REAR"), "FRON")
        s(":DISPlay:ENABle", "display", boolean, True)
        self.add(":STATus:PRESet", put=lambda _: None)
        s(":STATus:MEASurement:ENABle", "measurement enable", integer(0, 65535), 0)
        self.add(":STATus:MEASurement[:EVENt]", get=lambda _: str(512 * self._full()))
        self.add(":STATus:MEASurement:CONDition", get=lambda _: str(512 * self._full()))
        self.add(":STATus:OPERation:CONDition", get=lambda _: str(1024 * self.smu.idle))

    # Settings.

    def _set_up(self) -> None:
        self.smu.reset(1.05e-4, 20.0)
        self.elements, self.functions = _ELEMENTS, {"CURR"}
        self._apply()

    def reset(self) -> None:
        """``*RST``."""
        super().reset()
        self.trace.clear()
        self.feeding, self.listed = False, np.zeros(1)
        self._set_up()

    def _apply(self) -> None:
        """Put the settings on the terminal."""
        terminal = self.smu.terminal
        terminal.off_mode = _MODES[self.value("smod", 1)]
        terminal.sources_current = self.value("func", 1) == "CURR"
        terminal.limit_a = abs(self.value("prot CURR", 1))
        terminal.limit_v = abs(self.value("prot VOLT", 1))
        auto = self.value("sense auto CURR", 1)
        terminal.range_a = None if auto else self.smu.range_a(self.value("sense range CURR", 1))
        level = self.value("level VOLT", 1)
        if self.value("auto VOLT", 1):
            terminal.range_v = self.smu.range_v(level)
        terminal.level_a = self.value("level CURR", 1)
        terminal.set_level_v(level)

    def _level(self, key: str, *_: int) -> None:
        level = self.value(f"level {key}", 1)
        fixed = key == "VOLT" and not self.value("auto VOLT", 1)
        if fixed and abs(level) > self.smu.terminal.range_v * METER.overrange:
            self.values["level VOLT", (1,)] = self.smu.terminal.level_v
            raise ScpiError(-222, "Parameter data out of range")
        self._apply()

    def _fixed_range(self, key: str, *_: int) -> None:
        self.values[f"auto {key}", (1,)] = False
        if key == "VOLT":
            self.smu.terminal.range_v = self.smu.range_v(self.value("range VOLT", 1))

    def _sense_range(self, key: str, *_: int) -> None:
        self.values[f"sense auto {key}", (1,)] = False
        self._apply()

    def _output(self) -> None:
        on = self.value("outp", 1)
        self.values["outp", (1,)] = False
        self.smu.switch(on)
        self.values["outp", (1,)] = on

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
        self.listed = numbers(-210.0, 210.0, MAX_LIST)(self._parameters(arguments))

    def _append(self, *arguments: object) -> None:
        more = numbers(-210.0, 210.0, MAX_LIST)(self._parameters(arguments))
        if self.listed.size + more.size > MAX_LIST:
            raise ScpiError(-223, "Too much data")
        self.listed = np.concatenate([self.listed, more])

    def _list_query(self, *_: object) -> str:
        return ",".join(self.format_number(float(v)) for v in self.listed)

    def _feed_control(self, parameters: list[str]) -> None:
        self.feeding = keyword("NEXT", "NEVer")(parameters[0] if parameters else "") == "NEXT"
        if self.feeding:
            self.trace.clear()

    def _full(self) -> bool:
        return len(self.trace) >= int(self.value("points"))

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

    def _stop(self) -> None:
        self.bench.engine.abort({id(self.smu.terminal)})

    def _initiate(self) -> None:
        auto_off = self.value("auto off", 1)
        if not self.smu.terminal.on and not auto_off:
            raise ScpiError(803, "Not permitted with OUTPUT off")
        if auto_off and not self.smu.terminal.on:
            self.smu.switch(True)
        arms, count = self._counts()
        level = self.smu.terminal.level_v
        listed = self.value("mode VOLT", 1) == "LIST" and self.value("func", 1) == "VOLT"
        if listed:
            if self.value("auto VOLT", 1):
                self.smu.terminal.range_v = self.smu.range_v(float(np.abs(self.listed).max()))
            levels = np.resize(self.listed, count)
        else:
            levels = np.full(count, level)
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
            self._finished,
        )  # fmt: skip
        self.smu.terminal.set_level_v(level)

    def _publish(self) -> None:
        event = {"SOUR": 1, "DEL": 1, "SENS": 2}.get(self.value("output", 1))
        out = self.bench.bus[self.value("out", 1)]
        self.bench.engine.wires[self.name] = (
            [] if event is None else [(self.smu.events[event], out)]
        )

    def _finished(self, records: list[Record]) -> None:
        if self.feeding:
            room = self.value("points") - len(self.trace)
            self.trace.extend(records[:room])
            if self._full():
                self.feeding = False
        if self.value("auto off", 1):
            self.smu.terminal.on = False
            self.values["outp", (1,)] = False

    def finish(self) -> None:
        """Wait for the trigger model to be idle."""
        self.bench.wait_until(self, lambda: self.smu.idle)

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
            self.smu.switch(True)
            self.values["outp", (1,)] = True
        return self._read()

    def _tripped(self) -> str:
        if not self.smu.terminal.on:
            return "0"
        return str(int(self.smu.spot(1e-6).limited))

    # Replies.

    def _row(self, record: Record) -> list[float]:
        measures_v, measures_i = "VOLT" in self.functions, "CURR" in self.functions
        sources_v = not self.smu.terminal.sources_current
        volts = record.volts if measures_v else record.source if sources_v else NAN
        amps = record.amps if measures_i else NAN if sources_v else self.smu.terminal.level_a
        ohms = record.volts / record.amps if "RES" in self.functions and record.amps else NAN
        status = (
            _OVERFLOW * record.overflow | _COMPLIANCE * record.limited | _MEASURES_V * measures_v
            | _MEASURES_I * measures_i | _SOURCES_V * sources_v
        )  # fmt: skip
        row = {"VOLT": volts, "CURR": amps, "RES": ohms, "TIME": record.time_s, "STAT": status}
        return [row[element] for element in self.elements]

    def _encoded(self, records: list[Record]) -> str | bytes:
        if not records:
            raise ScpiError(-230, "Data corrupt or stale")
        values = [value for record in records for value in self._row(record)]
        if self.value("format") == "ASC":
            return ",".join(self.format_number(v) for v in values)
        order = "<" if self.value("border") == "SWAP" else ">"
        return b"#0" + struct.pack(f"{order}{len(values)}f", *values)
