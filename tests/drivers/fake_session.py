"""A session with an obedient instrument of each family behind it; records what is sent."""

from __future__ import annotations

import re

import numpy as np

from hil.errors import LinkError, LinkTimeout

IDN = {
    "keithley-2600b": "Keithley Instruments Inc., Model 2636B, 1398687, 3.2.2",
    "keithley-2450": "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.7.0b",
    "keithley-2400": "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C32 Oct  4 2010 14:20:11/A02",
    "keysight-b2900": "Keysight Technologies,B2902A,MY51140137,3.4.2011.5100",
    "keysight-33500b": "Agilent Technologies,33522B,MY52800000,2.03-1.19-2.00-52-00",
    "keysight-81160a": "Agilent Technologies,81160A,MY51400000,1.0.3.0-2.6",
    "keithley-707b": "Keithley Instruments Inc., Model 707B, 1234567, 01.20a",
    "keithley-3706a": "KEITHLEY INSTRUMENTS INC.,MODEL 3706A,1234567,01.56a",
    "keysight-b2200a": "AGILENT TECHNOLOGIES,B2200A,0,A.01.00",
}


class FakeSession:
    """Answers as an instrument would whose outputs are off whenever it is asked."""

    def __init__(self, driver: str, *, output: str = "0", error: str = "") -> None:
        self.driver = driver
        self.address = "fake"
        self.transactions = 0
        self.log: list[str] = []
        self.output = output
        self.error = error  # one entry for the error queue, given once
        self.idn = IDN[driver]
        self.closed: set[str] = set()
        self._run = 0
        self._points = 0

    def _note(self, message: str) -> None:
        self.transactions += 1
        self.log.append(message)
        for run in re.findall(r"hil_(?:run|spot|follow|finish)\((\d+)", message):
            self._run = int(run)
        for points in re.findall(r":(?:TRAC\d?:POIN|TRIG:BLOC:BRAN:COUN 6,) ?(\d+)", message):
            self._points = int(points)
        for verb, names in re.findall(r'channel\.(open|close)\("([^"]*)"\)', message):
            self._relays(verb, names)
        for verb, names in re.findall(r":(OPEN|CLOS) \(@([\d,]*)\)", message):
            self._relays(verb.lower(), names)
        if ":OPEN:CARD ALL" in message or '"allslots")\nwaitcomplete' in message:
            self.closed.clear()

    def _relays(self, verb: str, names: str) -> None:
        chosen = set(names.split(","))
        self.closed = self.closed - chosen if verb == "open" else self.closed | chosen

    def write(self, message: str, timeout_s: float = 1.0) -> None:
        self._note(message)

    def write_binary(self, header: str, values, timeout_s: float = 1.0) -> None:
        self._note(f"{header}#block")

    def read(self, timeout_s: float = 1.0) -> str:
        on = 0 if self.output == "0" else 1
        return f"hil\t{self._run}\t{on}\t{1 if self.error else 0}\t100000\t100000\tok"

    def query(self, message: str, timeout_s: float = 1.0) -> str:
        self._note(message)
        if "\n" in message or message.startswith(("print", "hil_")):
            return self._tsp(message.splitlines()[-1])
        asked = [c for c in message.split(";") if "?" in c]
        return ";".join(self._scpi(c) for c in asked)

    def _tsp(self, line: str) -> str:
        if line.startswith("hil_follow"):
            return f"armed\t{self._run}"
        if line.startswith("hil_finish"):
            return self.read()
        if line.startswith("hil_spot"):
            return f"hil\t{self._run}\t0\t0\t1e-6\t0\tok"
        if "errorqueue.next" in line:
            error, self.error = self.error, ""
            return f"-286\t{error}\t2\t1" if error else "0.0\tQueue Is Empty\t0\t1"
        if "getclose" in line:
            return f"{';'.join(sorted(self.closed)) or 'nil'}\t{1 if self.error else 0}"
        if "linefreq" in line:
            return "1.00000e+00\t5.00000e+01"
        return "\t".join([self.output] * (line.count(",") + 1))

    def _scpi(self, command: str) -> str:
        if command == "*IDN?":
            return self.idn
        if command == ":SYST:ERR?":
            error, self.error = self.error, ""
            return f'-222,"{error}"' if error else '+0,"No error"'
        if "LOAD?" in command:
            return "9.9E+37" if self.driver == "keysight-33500b" else "1.0E+06"
        if command.startswith(":OUTP"):
            return self.output
        if "COND?" in command:
            return str(0b1001001001000)  # every channel waits for its arm event
        if command.startswith(":TRAC:DATA?"):
            asked = re.match(r":TRAC:DATA\? 1,(\d+)", command)
            return ",".join(["0,0"] * (int(asked.group(1)) if asked else self._points))
        if ":CLOS:CARD?" in command:
            return ",".join(sorted(self.closed))
        return {"*OPC?": "1", "*LANG?": "SCPI", ":TRIG:STAT?": "RUNNING;RUNNING;2"}.get(command, "")

    def query_binary(self, message: str, count: int, dtype: str, timeout_s: float = 1.0):
        self._note(message)
        return np.zeros(count)

    def read_binary(self, count: int, dtype: str, timeout_s: float = 1.0):
        return np.zeros(count)

    def clear(self) -> None:
        self.log.append("<clear>")

    def close(self) -> None:
        pass


class DeadSession(FakeSession):
    """A session whose link is lost from the moment ``dead`` is set; it still records attempts."""

    dead = False

    def _note(self, message: str) -> None:
        super()._note(message)
        if self.dead:
            raise LinkTimeout("no answer", self.address)

    def read(self, timeout_s: float = 1.0) -> str:
        if self.dead:
            raise LinkTimeout("no answer", self.address)
        return super().read(timeout_s)

    def clear(self) -> None:
        super().clear()
        if self.dead:
            raise LinkError("link lost", self.address)
