"""The command table of the Keithley 2450/2460 SourceMeter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hil_sim.virtual_bench.scpi_values import boolean, integer, keyword, real, text

if TYPE_CHECKING:
    from hil_sim.virtual_bench.instruments.keithley_2450 import Keithley2450


def add_commands(self: Keithley2450) -> None:
    """Add the command table."""
    s = self.setting
    s(":SOURce#:FUNCtion[:MODE]", "func", keyword("VOLTage", "CURRent"), "VOLT",
      lambda _: self.apply())  # fmt: skip
    for axis in ("VOLTage", "CURRent"):
        key = axis[:4]
        top, other = self.top[key], self.top["CURR" if key == "VOLT" else "VOLT"]
        s(f":SOURce#:{axis}[:LEVel][:IMMediate][:AMPLitude]", f"level {key}", real(-top, top),
          0.0, partial(self.put_level, key))  # fmt: skip
        s(f":SOURce#:{axis}:RANGe", f"range {key}", real(-top, top), self.meter.ranges_v[0],
          partial(self.put_source_range, key))  # fmt: skip
        s(f":SOURce#:{axis}:RANGe:AUTO", f"auto {key}", boolean, True,
          lambda _: self.apply())  # fmt: skip
        limit = ("ILIMit", other, 1.05e-4) if key == "VOLT" else ("VLIMit", other, 21.0)
        s(f":SOURce#:{axis}:{limit[0]}[:LEVel]", f"limit {key}", real(1e-9, limit[1]), limit[2],
          lambda _: self.apply())  # fmt: skip
        self.add(f":SOURce#:{axis}:{limit[0]}[:LEVel]:TRIPped",
                 get=lambda *_: self.tripped())  # fmt: skip
        s(f":SOURce#:{axis}:DELay", f"delay {key}", real(0.0, 1e4), 0.0)
        s(f":SOURce#:{axis}:DELay:AUTO", f"auto delay {key}", boolean, True)
        s(f":SOURce#:{axis}:READ:BACK", f"read back {key}", boolean, True)
        s(f":SOURce#:{axis}:HIGH:CAPacitance", f"high c {key}", boolean, False)
        self.add(f":SOURce#:SWEep:{axis}:LINear", put=partial(self._linear, key), needs=3)
        self.add(f":SOURce#:SWEep:{axis}:LIST", put=partial(self._list_sweep, key))
        self.add(f":SOURce#:LIST:{axis}", put=self._list, get=self.list_query)
        self.add(f":SOURce#:LIST:{axis}:APPend", put=self._append)
        self.add(f":SOURce#:LIST:{axis}:POINts", get=lambda *_: str(self.listed.size))
        self.add(f":MEASure:{axis}[:DC]", get=lambda p, k=key: self._measure(k, p))
    for axis in ("VOLTage", "CURRent", "RESistance"):
        key = axis[:3] if axis.startswith("RES") else axis[:4]
        s(f":SENSe#:{axis}[:DC]:RANGe[:UPPer]", f"sense range {key}", real(-2e8, 2e8), 1e-4,
          partial(self.put_sense_range, key))  # fmt: skip
        s(f":SENSe#:{axis}[:DC]:RANGe:AUTO", f"sense auto {key}", boolean, True,
          lambda _: self.apply())  # fmt: skip
        s(f":SENSe#:{axis}[:DC]:NPLCycles", f"nplc {key}", real(0.01, 10.0, 1.0), 1.0)
        s(f":SENSe#:{axis}[:DC]:RSENse", f"rsense {key}", boolean, False)
        s(f":SENSe#:{axis}[:DC]:AZERo[:STATe]", f"azero {key}", boolean, True)
        s(f":SENSe#:{axis}[:DC]:DELay:USER#", f"user delay {key}", real(0.0, 1e4), 0.0)
    self.add(":SENSe#:AZERo:ONCE", put=lambda *_: None)
    self.add(":SENSe#:FUNCtion[:ON]", put=self._put_function, needs=1, most=1,
             get=lambda *_: '"RES"' if self.function == "RES" else f'"{self.function}:DC"',
             )  # fmt: skip
    s(":SENSe#:COUNt", "count", integer(1, 300_000), 1)
    s(":OUTPut#[:STATe]", "outp", boolean, False, lambda _: self.switch(self.value("outp", 1)))
    s(":OUTPut#:SMODe", "smod", keyword("NORMal", "HIMPedance", "ZERO", "GUARd"), "NORM",
      lambda _: self.apply())  # fmt: skip
    for axis in ("VOLTage", "CURRent"):
        s(f":OUTPut#:{axis}:SMODe", "smod",
          keyword("NORMal", "HIMPedance", "ZERO", "GUARd"), "NORM",
          lambda _: self.apply())  # fmt: skip
    self.add(":OUTPut#:INTerlock:TRIPped", get=lambda *_: str(int(not self.faults.interlock_open)))
    self.add(":READ", get=lambda p: self._read(p))
    self.add(":MEASure", get=lambda p: self._measure(self.function, p))
    self.add(":FETCh", get=lambda p: self._fetch(p))
    self.add(":INITiate[:IMMediate]", put=lambda _: self._initiate())
    self.add(":ABORt", put=lambda _: self.stop())
    self.add(":TRIGger:STATe", get=lambda _: self.trigger_state())
    self.add(":TRACe:DATA", get=lambda p: self._trace_data(p))
    self.add(":TRACe:CLEar", put=lambda p: self.buffer(p, 0).clear())
    self.add(":TRACe:ACTual", get=lambda p: str(len(self.buffer(p, 0))))
    self.add(":TRACe:POINts", put=self.named.put_points, get=self.named.points, needs=1)
    self.add(":TRACe:MAKE", put=self.named.make, needs=2)
    self.add(":TRACe:DELete", put=self.named.delete, needs=1, most=1)
    self.add(":TRACe:TRIGger", put=lambda p: self._measure(self.function, p))
    self.add(":FORMat[:DATA]", put=self._format, get=lambda _: self.value("format"))
    self.defaults["format"] = "ASC"
    s(":FORMat:BORDer", "border", keyword("NORMal", "SWAPped"), "SWAP")
    s(":FORMat:ASCii:PRECision", "precision", integer(0, 16), 0)
    s(":ROUTe:TERMinals", "terminals", keyword("FRONt", "REAR"), "FRON")
    s(":SYSTem:LFRequency", "line", real(50, 60), 50.0)
    s(":DISPlay:LIGHt:STATe", "light", text, "ON100")
    self.add(":DISPlay:CLEar", put=lambda _: None)
    self.add(":STATus:CLEar", put=lambda _: None)
    self.add(":STATus:PRESet", put=lambda _: None)
    self.add(":SYSTem:EVENtlog:NEXT", get=lambda _: self.take_error())
