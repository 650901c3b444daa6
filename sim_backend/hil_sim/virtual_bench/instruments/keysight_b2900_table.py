"""The command table of the Keysight B2901A/02A/11A/12A source-measure units."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hil_sim.virtual_bench.scpi_smu import LINE_HZ
from hil_sim.virtual_bench.scpi_values import boolean, integer, keyword, real

if TYPE_CHECKING:
    from hil_sim.virtual_bench.instruments.keysight_b2900 import KeysightB2900

INTERLOCK_OPEN = 1 << 10  # questionable condition (B2910-90030 ed. 2 p. 4-116)
MAX_LIST, MAX_READINGS = 2500, 100_000
ELEMENTS = ("VOLT", "CURR", "RES", "TIME", "STAT", "SOUR")
_SOURCES = ("AINT", "BUS", "TIMer", *(f"INT{n}" for n in (1, 2)), "LAN",
                   *(f"EXT{n}" for n in range(1, 15)))  # fmt: skip


def add_commands(self: KeysightB2900) -> None:
    """Add the command table."""
    s = self.setting
    s(":SOURce#:FUNCtion:MODE", "func", keyword("VOLTage", "CURRent"), "VOLT", self._apply)
    s(":SOURce#:FUNCtion[:SHAPe]", "shape", keyword("DC", "PULSe"), "DC")
    s(":SOURce#:FUNCtion:TRIGgered:CONTinuous", "continuous", boolean, False)
    for axis, top in (("VOLTage", 210.0), ("CURRent", 3.03)):
        key = axis[:4]
        s(f":SOURce#:{axis}:MODE", f"mode {key}", keyword("FIXed", "SWEep", "LIST"), "FIX")
        s(f":SOURce#:{axis}[:LEVel][:IMMediate][:AMPLitude]", f"level {key}", real(-top, top),
          0.0, partial(self._level, key))  # fmt: skip
        s(f":SOURce#:{axis}[:LEVel]:TRIGgered[:AMPLitude]", f"triggered {key}",
          real(-top, top), 0.0)  # fmt: skip
        s(f":SOURce#:{axis}:RANGe", f"range {key}", real(-top, top), top,
          partial(self._range, key))  # fmt: skip
        s(f":SOURce#:{axis}:RANGe:AUTO", f"auto {key}", boolean, True, self._apply)
        for name, start in (("STARt", 0.0), ("STOP", 0.0)):
            s(f":SOURce#:{axis}:{name}", f"{name} {key}", real(-top, top), start)
        s(f":SOURce#:{axis}:POINts", f"points {key}", integer(1, MAX_LIST), 1)
        s(f":SENSe#:{axis}[:DC]:PROTection[:LEVel]", f"prot {key}", real(-top, top),
          1e-4 if key == "CURR" else 2.0, self._apply)  # fmt: skip
        self.add(f":SENSe#:{axis}[:DC]:PROTection:TRIPped", get=self._tripped)
        s(f":SENSe#:{axis}[:DC]:RANGe[:UPPer]", f"sense range {key}", real(-top, top), top,
          partial(self._sense_range, key))  # fmt: skip
        s(f":SENSe#:{axis}[:DC]:RANGe:AUTO", f"sense auto {key}", boolean, True, self._apply)
        s(f":SENSe#:{axis}[:DC]:APERture", "aperture", real(8e-6, 2.0), 0.02)
        self.add(f":SENSe#:{axis}[:DC]:NPLCycles", put=self._nplc,
                 get=lambda n, _: self.value("aperture", n) * LINE_HZ)  # fmt: skip
        self.add(f":MEASure:{axis}[:DC]", get=lambda p, k=key: self._measure(p, (k,)))
        self.add(f":FETCh:ARRay:{axis}", get=lambda p, k=key: self._fetch(p, (k,)))
    self.add(":MEASure:RESistance", get=lambda p: self._measure(p, ("RES",)))
    self.add(":MEASure", get=lambda p: self._measure(p, self.elements))
    self.add(":READ[:SCALar]", get=lambda p: self._read(p))
    self.add(":READ:ARRay", get=lambda p: self._read(p))
    self.add(":FETCh:ARRay", get=lambda p: self._fetch(p, self.elements))
    for name in ("STATus", "TIME", "SOURce"):
        self.add(f":FETCh:ARRay:{name}", get=lambda p, k=name[:4]: self._fetch(p, (k,)))
    self.add(":FETCh[:SCALar]", get=lambda p: self._fetch(p, self.elements, last=True))
    self.add(":SOURce#:LIST:VOLTage", put=self._list, get=self._list_query)
    self.add(":SOURce#:LIST:VOLTage:APPend", put=self._append)
    self.add(":SOURce#:LIST:VOLTage:POINts",
             get=lambda n, _: str(self.listed.get(n, np.zeros(1)).size))  # fmt: skip
    s(":SOURce#:PULSe:DELay", "pulse delay", real(0.0, 99_999.9), 0.0)
    s(":SOURce#:PULSe:WIDTh", "pulse width", real(5e-5, 1e5), 5e-5)
    s(":SOURce#:WAIT[:STATe]", "source wait", boolean, True)
    s(":SENSe#:WAIT[:STATe]", "sense wait", boolean, True)
    self.add(":SENSe#:FUNCtion[:ON]", put=self._functions, get=self._functions_query)
    self.add(":SENSe#:FUNCtion:ALL", put=lambda n, _: self.values.__setitem__(
        ("functions", (n,)), {"VOLT", "CURR", "RES"}))  # fmt: skip
    self.add(":SENSe#:FUNCtion:OFF", put=lambda *_: None)
    self.defaults["functions"] = {"CURR"}
    for layer in ("", ":ALL", ":TRANsient", ":ACQuire"):
        _layers(self, layer)
    self.add(":INITiate[:IMMediate][:ALL]", put=self._initiate)
    self.add(":ABORt[:ALL]", put=lambda p: self._stop(p))
    self.add(":IDLE:ALL", get=lambda p: self._idle(p))
    self.add(":OUTPut#[:STATe]", put=self._output, get=lambda n, _: self.smu(n).terminal.on)
    s(":OUTPut#:OFF:MODE", "off mode", keyword("NORMal", "ZERO", "HIZ"), "NORM", self._apply)
    s(":OUTPut#:OFF:AUTO", "off auto", boolean, False)
    s(":OUTPut#:ON:AUTO", "on auto", boolean, True)
    s(":OUTPut#:PROTection[:STATe]", "protection", boolean, False)
    s(":OUTPut#:LOW", "low", keyword("GROund", "FLOat"), "GRO")
    s(":OUTPut#:HCAPacitance[:STATe]", "high c", boolean, False)
    s(":OUTPut#:FILTer[:LPASs][:STATe]", "filter", boolean, True)
    self.add(":FORMat:ELEMents:SENSe", put=self._put_elements,
             get=lambda _: ",".join(self.elements))  # fmt: skip
    self.add(":FORMat[:DATA]", put=self._format, get=lambda _: self.value("format"))
    self.defaults["format"] = "ASC"
    s(":FORMat:BORDer", "border", keyword("NORMal", "SWAPped"), "NORM")
    s(":SENSe#:REMote", "remote", boolean, False)
    s(":SYSTem:LFRequency", "line", real(50, 60), 50.0)
    self.add(":SYSTem:INTerlock:TRIPped", get=lambda _: str(int(self.faults.interlock_open)))
    self.add(":STATus:QUEStionable:CONDition",
             get=lambda _: str(INTERLOCK_OPEN * self.faults.interlock_open))  # fmt: skip
    self.add(":SYSTem:BEEPer:STATe", put=lambda _: None)
    self.add(":SYSTem:TIME:TIMer:COUNt:RESet:AUTO", put=lambda _: None)
    self.add(":DISPlay:ENABle", put=lambda _: None)
    self.add(":STATus:OPERation:CONDition", get=lambda _: str(self._condition()))
    self.add(":STATus:PRESet", put=lambda _: None)
    self.traces.add_commands(MAX_READINGS)
    s(":SOURce#:DIGital:EXTernal#[:FUNCtion]", "external line",
      keyword("DIO", "DINPut", "HVOLtage", "TINPut", "TOUTput"), "DIO")  # fmt: skip
    # Trigger output when the arm layer is entered from idle: the channel begins.
    s(":ARM#:TRANsient[:LAYer]:TOUTput[:STATe]", "arm tout", boolean, False)
    s(":ARM#:TRANsient[:LAYer]:TOUTput:SIGNal", "arm tout line", keyword(*_SOURCES[-14:]), "EXT1")


def _layers(self: KeysightB2900, layer: str) -> None:
    """Trigger settings; ``:ALL`` and none set the transient and the acquire layer."""
    names = {"": ("TRAN", "ACQ"), ":ALL": ("TRAN", "ACQ"), ":TRANsient": ("TRAN",),
             ":ACQuire": ("ACQ",)}[layer]  # fmt: skip
    items: tuple[tuple[str, Any, Any], ...] = (
        ("COUNt", integer(1, MAX_READINGS), 1), ("DELay", real(0.0, 1e5), 0.0),
        ("TIMer", real(1e-5, 1e5), 1e-5), ("SOURce", keyword(*_SOURCES), "AINT"),
        ("BYPass", keyword("ONCE", "OFF"), "OFF"),
    )  # fmt: skip
    for name, parse, default in items:
        for kind in names:
            self.defaults[f"{kind} {name}"] = default
            self.defaults[f"arm {kind} {name}"] = 1 if name == "COUNt" else default
        for head, prefix in ((":TRIGger#", ""), (":ARM#", "arm ")):
            self.add(
                f"{head}{layer}:{name}" if prefix == "" else f"{head}{layer}[:LAYer]:{name}",
                put=partial(self._put_layer, names, prefix + "{} " + name, parse),
                get=partial(self._get_layer, prefix + f"{names[0]} {name}"),
            )
