"""The command table of the Keithley 2400 SourceMeter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hil_sim.virtual_bench.scpi_values import boolean, integer, keyword, real

if TYPE_CHECKING:
    from hil_sim.virtual_bench.instruments.keithley_2400 import Keithley2400

# Levels of one list command, of a list (p. 18-92), readings.
MAX_GROUP, MAX_LIST, MAX_READINGS = 100, 2500, 2500


def add_commands(self: Keithley2400) -> None:
    """Add the command table."""
    s = self.setting
    changed = self.apply
    s(":SOURce#:FUNCtion[:MODE]", "func",
      keyword("VOLTage", "CURRent"), "VOLT", lambda _: changed())  # fmt: skip
    for axis, top in (("VOLTage", 210.0), ("CURRent", 1.05)):
        key = axis[:4]
        s(f":SOURce#:{axis}:MODE", f"mode {key}", keyword("FIXed", "LIST", "SWEep"), "FIX")
        s(f":SOURce#:{axis}:RANGe", f"range {key}", real(-top, top), top,
          partial(self.put_source_range, key))  # fmt: skip
        s(f":SOURce#:{axis}:RANGe:AUTO", f"auto {key}", boolean, True, lambda _: changed())
        s(f":SOURce#:{axis}[:LEVel][:IMMediate][:AMPLitude]", f"level {key}", real(-top, top),
          0.0, partial(self.put_level, key))  # fmt: skip
        s(f":SENSe#:{axis}[:DC]:RANGe[:UPPer]", f"sense range {key}", real(-top, top), top,
          partial(self.put_sense_range, key))  # fmt: skip
        s(f":SENSe#:{axis}[:DC]:RANGe:AUTO", f"sense auto {key}", boolean, True,
          lambda _: changed())  # fmt: skip
        s(f":SENSe#:{axis}[:DC]:NPLCycles", "nplc", real(0.01, 10.0, 1.0), 1.0)
        s(f":SENSe#:{axis}[:DC]:PROTection[:LEVel]", f"prot {key}", real(-top, top),
          1.05e-4 if key == "CURR" else 21.0, lambda _: changed())  # fmt: skip
        self.add(f":SENSe#:{axis}[:DC]:PROTection:TRIPped", get=lambda *_: self.tripped())
        self.add(f":MEASure:{axis}[:DC]", get=lambda _, k=key: self._measure(k))
        self.add(f":CONFigure:{axis}[:DC]", put=lambda _, k=key: self._configure(k))
    s(":SOURce#:DELay", "delay", real(0.0, 999.9999), 1e-3)
    s(":SOURce#:DELay:AUTO", "auto delay", boolean, True)
    s(":SOURce#:CLEar:AUTO", "auto off", boolean, False)
    s(":SOURce#:CLEar:AUTO:MODE", "auto off mode", keyword("ALWays", "TCOunt"), "ALW")
    self.add(":SOURce#:CLEar[:IMMediate]", put=lambda *_: self._switch(False))
    self.add(":SOURce#:LIST:VOLTage", put=self._list, get=self.list_query)
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
    s(":ARM[:SEQuence#][:LAYer#]:DIRection", "bypass", keyword("SOURce", "ACCeptor"), "ACC")
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
    self.add(":TRIGger:CLEar", put=lambda _: None)
    self.add(":INITiate[:IMMediate]", put=lambda _: self._initiate())
    self.add(":ABORt", put=lambda _: self.stop())
    self.add(":READ", get=lambda _: self._read())
    self.add(":FETCh", get=lambda _: self._encoded(self.smu.records))
    self.add(":SENSe#:DATA[:LATest]", get=lambda *_: self._encoded(self.smu.records[-1:]))
    s(":OUTPut#[:STATe]", "outp", boolean, False, lambda _: self._output())
    s(":OUTPut#:SMODe", "smod", keyword("HIMPedance", "NORMal", "ZERO", "GUARd"), "NORM",
      lambda _: changed())  # fmt: skip
    # Revisions call the line of the digital port interlock or output enable (pp. 18-9, 18-58).
    for line in ("ENABle[:STATe]", "INTerlock:STATe"):
        s(f":OUTPut#:{line}", "enable line", boolean, False)
    for line in ("ENABle", "INTerlock"):
        self.add(f":OUTPut#:{line}:TRIPped",
                 get=lambda *_: str(int(not self.faults.interlock_open)))  # fmt: skip
    self.add(":FORMat:ELEMents[:SENSe#]", put=self._put_elements,
             get=lambda *_: ",".join(self.elements))  # fmt: skip
    self.add(":FORMat[:DATA]", put=self._format, get=lambda _: self.value("format"))
    self.defaults["format"] = "ASC"
    s(":FORMat:BORDer", "border", keyword("NORMal", "SWAPped"), "NORM")  # *RST, p. 18-9
    s(":FORMat:SREGister", "sreg", keyword("ASCii", "HEXadecimal", "OCTal", "BINary"), "ASC")
    s(":TRACe:POINts", "points", integer(1, MAX_READINGS), 100)
    self.add(":TRACe:POINts:ACTual", get=lambda _: str(len(self.trace)))
    s(":TRACe:FEED", "feed", keyword("SENSe", "CALCulate", "CALC2"), "SENS")
    self.add(":TRACe:FEED:CONTrol", put=self._feed_control,
             get=lambda _: "NEXT" if self.feeding else "NEV")  # fmt: skip
    self.add(":TRACe:CLEar", put=lambda _: self.trace.clear())
    self.add(":TRACe:FREE", get=lambda _: f"{MAX_READINGS - len(self.trace)},0")
    self.add(":TRACe:DATA", get=lambda _: self._encoded(self.trace))
    s(":CALCulate3:FORMat", "statistic",
      keyword("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK"), "MEAN")  # fmt: skip
    self.add(":CALCulate3:DATA", get=lambda _: self._statistics())
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
    self.add(":STATus:OPERation:CONDition", get=lambda _: self._operation())
