"""Keysight 81150A/81160A pulse generators (81160-91021): suffixes stand behind the first node."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.scpi_generator import PulseGenerator
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    boolean,
    integer,
    keyword,
    number,
    real,
    text,
)


class Keysight81160A(PulseGenerator):
    """Two channels; ±5 V into 50 Ω, so ±10 V open circuit; period from 3.03 ns."""

    driver: ClassVar[str] = "keysight-81160a"
    default_model: ClassVar[str] = "81160A"
    queue_limit: ClassVar[int] = 20
    top_v: ClassVar[float] = 10.0
    dac_top: ClassVar[int] = 8191
    loads_ohm: ClassVar[tuple[float, float]] = (0.3, 1e6)
    min_width_s: ClassVar[float] = 1.5e-9
    min_period_s: ClassVar[float] = 3.03e-9
    functions: ClassVar[tuple[str, ...]] = (
        "SINusoid", "SQUare", "RAMP", "PULSe", "NOISe", "DC", "USER",
    )  # fmt: skip
    arbitrary_name: ClassVar[str] = "USER"

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"Agilent Technologies,{self.model},{self.serial},1.0.0.0-2.6"

    def add_commands(self) -> None:
        """Add the command table."""
        s = self.setting
        self.add_function(":FUNCtion#[:SHAPe]")
        self.add_levels("[:SOURce]:VOLTage#")
        s(":VOLTage#:LIMit:STATe", "limit", boolean, False)
        for name, default in (("HIGH", 10.0), ("LOW", -10.0)):
            s(f":VOLTage#:LIMit:{name}", f"limit {name}", real(-10.0, 10.0), default)
        s(":FREQuency#[:CW]", "freq", real(1e-6, 5e8), 1e3)
        s(":PHASe#[:ADJust]", "phase", real(-360, 360), 0.0)
        for head in (":PULSe:WIDTh#", ":FUNCtion#:PULSe:WIDTh"):
            self.add_pair(head, self.put_width, "width_s")
        self.add_pair(":PULSe:PERiod#", self.put_period, "period_s")
        self.add_pair(":PULSe:DELay#", self.put_delay, "delay_s")
        self.add_pair(":FUNCtion#:PULSe:PERiod", self.put_period, "period_s")
        s(":PULSe:HOLD#", "hold", keyword("WIDTh", "DCYCle", "TDELay"), "WIDT")
        for head in (":PULSe:DCYCle#", ":FUNCtion#:PULSe:DCYCle"):
            self.add(head, put=self.put_duty,
                     get=lambda n, _: 100.0 * self.out(n).width_s / self.out(n).period_s,
                     )  # fmt: skip
        edge = real(1e-9, 1e3)
        s(":PULSe:TRANsition#[:LEADing]", "edge", edge, 1e-9)
        s(":PULSe:TRANsition#:TRAiling", "trailing", edge, 1e-9)
        s(":FUNCtion#:PULSe:TRANsition[:LEADing]", "edge", edge, 1e-9)
        s(":FUNCtion#:SQUare:DCYCle", "duty", real(0.01, 99.99), 50.0)
        s(":FUNCtion#:RAMP:SYMMetry", "symmetry", real(0, 100), 100.0)
        s(":FORMat:BORDer", "border", keyword("NORMal", "SWAPped"), "NORM")
        s(":BURSt#:STATe", "burst", boolean, False)
        s(":BURSt#:MODE", "burst mode", keyword("TRIGgered", "GATed"), "TRIG")
        self.add_pair(":BURSt#:NCYCles", self.put_cycles, "cycles")
        self.add_pair(":TRIGger#:COUNt", self.put_cycles, "cycles")
        s(":BURSt#:INTernal:PERiod", "burst period", real(1e-6, 8e3), 1e-2)
        s(":ARM:SOURce#", "arm", keyword("IMMediate", "INTernal", "INT1", "INT2",
                                         "EXTernal", "MANual"), "IMM")  # fmt: skip
        s(":ARM:SLOPe#", "slope", keyword("POSitive", "NEGative", "EITHer"), "POS")
        s(":ARM:LEVel#", "arm level", real(-10, 10), 1.0)
        s(":ARM:SENSe#", "arm sense", keyword("EDGE", "LEVel"), "EDGE")
        self.add(":TRIGger#[:IMMediate]", put=lambda *_: self.trigger())
        self.add(":OUTPut#[:STATe]", put=self.put_output,
                 get=lambda n, _: self.out(n).terminal.on)  # fmt: skip
        for head in (":OUTPut#:LOAD", ":OUTPut#:IMPedance:EXTernal"):
            self.add(head, put=self.put_load, get=self.get_load)
        s(":OUTPut#:IMPedance[:INTernal]", "internal", real(5, 50), 50.0)
        s(":OUTPut#:POLarity", "polarity", keyword("NORMal", "INVerted"), "NORM")
        s(":OUTPut#:COMPlement", "complement", boolean, False)
        s(":TRACe:CHANnel#", "coupled", boolean, False)
        self.add(":DATA#:DAC", put=lambda n, tail: self.put_waveform(n, tail, False), raw=True)
        self.add(":DATA#", put=lambda n, tail: self.put_waveform(n, b"VOLATILE," + tail.partition(
            b",")[2], True), raw=True)  # fmt: skip
        self.add(":DATA#:COPY", put=self._copy)
        self.add(":DATA#:DELete[:NAME]", put=self._delete)
        self.add(":DATA#:CATalog", get=self.catalog)
        self.add(":DATA#:NVOLatile:CATalog", get=self.catalog)
        self.add(":DATA#:NVOLatile:FREE", get=lambda *_: "4")
        self.add(":FUNCtion#:USER", put=self.choose_waveform,
                 get=lambda n, _: str(self.values.get(("arb", (n,)), "VOLATILE")))  # fmt: skip
        for shape in ("DC", "NOISe", "PULSe", "SINusoid", "SQUare", "USER"):
            self.add(f":APPLy#:{shape}",
                     put=lambda n, p, name=shape: self._apply(n, name, p))  # fmt: skip
        self.setting(":DISPlay", "display", boolean, True)
        self.setting(":SYSTem:WARNing[:STATe]", "warning", boolean, True)
        self.setting(":TRIGger#:SOURce", "trigger", keyword("IMMediate", "INTernal", "EXTernal"),
                     "IMM")  # fmt: skip
        self.setting(":ARM:COUNt", "arm count", integer(1, 1), 1)

    def put_period(self, n: int, parameters: list[str]) -> None:
        """Pulse period; at least width + 1.6 edges (data sheet)."""
        period = real(self.min_period_s, 1e6)(self._one(parameters))
        if period < self.out(n).width_s + 1.6 * self.value("edge", n):
            raise ScpiError(-221, "Settings conflict; period < width + 1.6 * transition")
        self.out(n).period_s = period

    def _apply(self, n: int, shape: str, parameters: list[str]) -> None:
        frequency, amplitude, offset = (*parameters, "DEF", "DEF", "DEF")[:3]
        self.values["func", (n,)] = keyword(*self.functions)(shape)
        if amplitude.upper() != "DEF":
            self.put_amplitude(n, [amplitude])
        if offset.upper() != "DEF":
            self.put_offset(n, [offset])
        if frequency.upper() != "DEF":
            self.values["freq", (n,)] = number(frequency)
        self.put_output(n, ["ON"])

    def _copy(self, n: int, parameters: list[str]) -> None:
        if len(parameters) != 2:
            raise ScpiError(-109, "Missing parameter")
        source = self.waveforms.get((n, parameters[1].upper()))
        if source is None:
            raise ScpiError(-224, "Illegal parameter value; waveform does not exist")
        self.waveforms[n, text(parameters[0]).upper()] = source

    def _delete(self, n: int, parameters: list[str]) -> None:
        if self.waveforms.pop((n, text(self._one(parameters)).upper()), None) is None:
            raise ScpiError(-224, "Illegal parameter value; waveform does not exist")

    def waveform_of(self, n: int) -> tuple[float, NDArray[np.float64]] | None:
        """Return (sample time, samples) when the channel plays a user waveform."""
        if self.value("func", n) != "USER":
            return None
        samples = self.samples(n, str(self.values.get(("arb", (n,)), "VOLATILE")))
        return 1.0 / (self.value("freq", n) * samples.size), samples

    def external(self, n: int) -> bool:
        """Whether the channel waits for the trigger input."""
        return bool(self.value("arm", n) == "EXT")

    def by_bus(self, n: int) -> bool:
        """Whether the channel waits for a manual trigger or ``*TRG``."""
        return bool(self.value("arm", n) == "MAN")
