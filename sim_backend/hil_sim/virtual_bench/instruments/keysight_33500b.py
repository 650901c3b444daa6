"""Keysight 33500B/33600A waveform generators (33500-90901): pulse, burst, arbitrary, trigger."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.scpi_generator import PulseGenerator
from hil_sim.virtual_bench.scpi_values import boolean, integer, keyword, real


class Keysight33500B(PulseGenerator):
    """A two-channel 33522B; levels up to 10 V open circuit, pulses from 16 ns."""

    driver: ClassVar[str] = "keysight-33500b"
    default_model: ClassVar[str] = "33522B"
    queue_limit: ClassVar[int] = 20
    setups: ClassVar[int] = 5
    top_v: ClassVar[float] = 10.0
    dac_top: ClassVar[int] = 32767
    loads_ohm: ClassVar[tuple[float, float]] = (1.0, 1e4)
    min_width_s: ClassVar[float] = 16e-9
    min_period_s: ClassVar[float] = 33e-9
    functions: ClassVar[tuple[str, ...]] = (
        "SINusoid", "SQUare", "TRIangle", "RAMP", "PULSe", "PRBS", "NOISe", "ARB", "DC",
    )  # fmt: skip
    arbitrary_name: ClassVar[str] = "ARB"

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"Agilent Technologies,{self.model},{self.serial},3.05-1.19-2.00-52-00"

    def publish(self) -> None:
        """Give the trigger output a pulse at the beginning of a burst (p. 264), if it is on."""
        super().publish()
        line = int(self.settings.get("trigger_out", 0))
        if line and self.value("trigger out", 1):
            out = self.out(int(self.value("trigger out of", 1)[-1]))
            self.bench.engine.wires[self.name] = [(out.events[0], self.bench.bus[line])]

    def reset(self) -> None:
        """``*RST``: the trigger output, too."""
        super().reset()
        self.publish()

    def add_commands(self) -> None:
        """Add the command table."""
        s, source = self.setting, "[:SOURce#]"
        self.add_function(f"{source}:FUNCtion")
        self.add_levels(f"{source}:VOLTage")
        s(f"{source}:VOLTage:RANGe:AUTO", "range auto", boolean, True)
        s(f"{source}:VOLTage:LIMit:STATe", "limit", boolean, False)
        for name, default in (("HIGH", 10.0), ("LOW", -10.0)):
            s(f"{source}:VOLTage:LIMit:{name}", f"limit {name}", real(-10.0, 10.0), default)
        s(f"{source}:FREQuency[:CW]", "freq", real(1e-6, 3e7), 1e3)
        s(f"{source}:FREQuency:MODE", "freq mode", keyword("CW", "LIST", "SWEep", "FIXed"), "CW")
        s(f"{source}:PHASe", "phase", real(-360, 360), 0.0)
        self.add("[:SOURce#]:PHASe:SYNChronize", put=lambda *_: None)
        s(f"{source}:FUNCtion:SQUare:DCYCle", "duty", real(0.01, 99.99), 50.0)
        s(f"{source}:FUNCtion:RAMP:SYMMetry", "symmetry", real(0, 100), 100.0)
        self.add_pair(f"{source}:FUNCtion:PULSe:WIDTh", self.put_width, "width_s")
        self.add_pair(f"{source}:FUNCtion:PULSe:PERiod", self.put_period, "period_s")
        s(f"{source}:FUNCtion:PULSe:HOLD", "hold", keyword("WIDTh", "DCYCle"), "WIDT")
        self.add(f"{source}:FUNCtion:PULSe:DCYCle", put=self.put_duty,
                 get=lambda n, _: 100.0 * self.out(n).width_s / self.out(n).period_s)  # fmt: skip
        edge = real(8.4e-9, 1e-6)
        s(f"{source}:FUNCtion:PULSe:TRANsition[:BOTH]", "edge", edge, 1e-8)
        s(f"{source}:FUNCtion:PULSe:TRANsition:LEADing", "leading", edge, 1e-8)
        s(f"{source}:FUNCtion:PULSe:TRANsition:TRAiling", "trailing", edge, 1e-8)
        s(f"{source}:BURSt:STATe", "burst", boolean, False)
        s(f"{source}:BURSt:MODE", "burst mode", keyword("TRIGgered", "GATed"), "TRIG")
        self.add_pair(f"{source}:BURSt:NCYCles", self.put_cycles, "cycles")
        s(f"{source}:BURSt:PHASe", "burst phase", real(-360, 360), 0.0)
        s(f"{source}:BURSt:INTernal:PERiod", "burst period", real(1e-6, 8e3), 1e-2)
        s(f"{source}:BURSt:GATE:POLarity", "gate", keyword("NORMal", "INVerted"), "NORM")
        s(":TRIGger#:SOURce", "trigger", keyword("IMMediate", "EXTernal", "TIMer", "BUS"), "IMM")
        s(":TRIGger#:SLOPe", "slope", keyword("POSitive", "NEGative"), "POS")
        s(":TRIGger#:COUNt", "trigger count", integer(1, 1_000_000), 1)
        s(":TRIGger#:TIMer", "trigger timer", real(1e-6, 8e3), 1.0)
        self.add_pair(":TRIGger#:DELay", self.put_delay, "delay_s")
        self.add(":TRIGger#[:IMMediate]", put=lambda *_: self.trigger())
        self.add(":OUTPut#[:STATe]", put=self.put_output,
                 get=lambda n, _: self.out(n).terminal.on)  # fmt: skip
        self.add(":OUTPut#:LOAD", put=self.put_load, get=self.get_load)
        s(":OUTPut#:POLarity", "polarity", keyword("NORMal", "INVerted"), "NORM")
        s(":OUTPut#:SYNC[:STATe]", "sync", boolean, True)
        s(":OUTPut#:SYNC:SOURce", "sync source", keyword("CH1", "CH2"), "CH1")
        s(":OUTPut#:TRIGger[:STATe]", "trigger out", boolean, False, lambda _: self.publish())
        s(":OUTPut#:TRIGger:SOURce", "trigger out of", keyword("CH1", "CH2"), "CH1",
          lambda _: self.publish())  # fmt: skip
        s(":OUTPut#:TRIGger:SLOPe", "out slope", keyword("POSitive", "NEGative"), "POS")
        self.add(f"{source}:DATA:VOLatile:CLEar", put=self._clear)
        self.add(f"{source}:DATA:VOLatile:CATalog", get=self.catalog)
        self.add(f"{source}:DATA:VOLatile:FREE", get=lambda *_: str(1_000_000))
        self.add(f"{source}:DATA:ARBitrary#:DAC",
                 put=lambda n, _, tail: self.put_waveform(n, tail, False), raw=True)  # fmt: skip
        self.add(f"{source}:DATA:ARBitrary#",
                 put=lambda n, _, tail: self.put_waveform(n, tail, True), raw=True)  # fmt: skip
        self.add(f"{source}:FUNCtion:ARBitrary", put=self.choose_waveform, get=self._chosen)
        s(f"{source}:FUNCtion:ARBitrary:SRATe", "rate", real(1e-6, 2.5e8), 4e4)
        s(f"{source}:FUNCtion:ARBitrary:FILTer", "filter", keyword("NORMal", "STEP", "OFF"), "NORM")
        s(f"{source}:FUNCtion:ARBitrary:ADVance", "advance", keyword("TRIGger", "SRATe"), "SRAT")
        s(":FORMat:BORDer", "border", keyword("NORMal", "SWAPped"), "NORM")
        self.add(":SYSTem:BEEPer[:IMMediate]", put=lambda _: None)
        self.add(":DISPlay:TEXT", put=lambda _: None, get=lambda _: '""')
        self.add(":DISPlay:TEXT:CLEar", put=lambda _: None)
        s(":DISPlay[:STATe]", "display", boolean, True)
        self.add(":ABORt", put=lambda _: self.bench.engine.abort(
            {id(o.terminal) for o in self.outs.values()}))  # fmt: skip

    def _clear(self, n: int, _: list[str]) -> None:
        for key in [k for k in self.waveforms if k[0] == n]:
            del self.waveforms[key]

    def _chosen(self, n: int, _: list[str]) -> str:
        return f'"{self.values.get(("arb", (n,)), "")}"'

    def waveform_of(self, n: int) -> tuple[float, NDArray[np.float64]] | None:
        """Return (sample time, samples) when the channel plays an arbitrary waveform."""
        if self.value("func", n) != "ARB":
            return None
        return 1.0 / self.value("rate", n), self.samples(n, str(self.values["arb", (n,)]))

    def external(self, n: int) -> bool:
        """Whether the channel waits for the trigger input."""
        return bool(self.value("trigger", n) == "EXT")

    def by_bus(self, n: int) -> bool:
        """Whether the channel waits for ``*TRG``."""
        return bool(self.value("trigger", n) == "BUS")
