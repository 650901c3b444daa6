"""Keithley 2450/2460 SourceMeter (2450-901-01) with the SCPI command set."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from hil_sim.virtual_bench.instruments.keithley_2450_blocks import TriggerBlocks
from hil_sim.virtual_bench.instruments.keithley_2450_buffers import NamedBuffers
from hil_sim.virtual_bench.instruments.keithley_2450_interlock import (
    INTERLOCK_WARNING,
    event_text,
    limited_by_interlock,
    set_ceiling,
)
from hil_sim.virtual_bench.instruments.keithley_2450_table import add_commands
from hil_sim.virtual_bench.instruments.one_channel import OneChannel
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi_smu import LINE_HZ, Record, Shape, SmuChannel
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    integer,
    keyword,
    number,
    numbers,
    text,
)
from hil_sim.virtual_bench.terminal import OffMode, SourceMeter

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_AMPS: Final = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HIGH_CURRENT: Final = ((0.2, 2.0, 7.0, 10.0, 20.0, 100.0), (*_AMPS[2:], 4.0, 5.0, 7.0))
#: By model (specifications of each).
METERS: Final = {
    model: SourceMeter(volts, amps, 4e4, 1e6, 1.05, 9.9e37)
    for model, (volts, amps) in {
        "2450": ((0.02, 0.2, 2.0, 20.0, 200.0), _AMPS), "2460": _HIGH_CURRENT,
        "2461": _HIGH_CURRENT, "2470": ((0.2, 2.0, 20.0, 200.0, 1000.0), _AMPS),
    }.items()
}  # fmt: skip
MAX_LIST: Final = 100
# Source status of a reading: buffer.STAT_LIMIT and STAT_OUTPUT (2450-901-01).
_SOURCE_LIMITED, _OUTPUT_ON = 32, 128
# Off, 2450-901-01 rev. B pp. 6-32 and 8-139.
_MODES: Final[dict[str, OffMode]] = {
    "NORM": "normal", "HIMP": "high-z", "ZERO": "zero", "GUAR": "guard",
}  # fmt: skip
_NORMAL_PART: Final = 0.1  # of the current range: the limit of a normal output that is off


class Keithley2450(OneChannel):
    """One channel, called ``1``."""

    driver: ClassVar[str] = "keithley-2450"
    default_model: ClassVar[str] = "2450"
    setups: ClassVar[int] = 5

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        self.function = "CURR"
        self.listed = np.zeros(1)
        self.named = NamedBuffers()
        self.planned: Callable[[], None] | None = None
        self.blocks = TriggerBlocks(self)
        super().__init__(bench, name, settings)
        self.smu = SmuChannel(self, "1", self.meter)
        self.terminals["1"] = self.smu.terminal
        self._set_up()

    @property
    def meter(self) -> SourceMeter:
        """Ranges of the model."""
        return METERS[self.model]

    @property
    def top(self) -> dict[str, float]:
        """Largest level and limit of voltage and current."""
        return {"VOLT": self.meter.ranges_v[-1] * self.meter.overrange,
                "CURR": self.meter.ranges_a[-1] * self.meter.overrange}  # fmt: skip

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"KEITHLEY INSTRUMENTS,MODEL {self.model},{self.serial},1.7.12b"

    def format_number(self, value: float) -> str:
        """Return a number as the instrument writes it."""
        return f"{value:.7G}" if abs(value) < 1e30 else f"{value:.6E}"

    def format_error(self, code: int, message: str) -> str:
        """Return an error as ``:SYST:ERR?`` answers it."""
        return event_text(self, code, message)

    def add_commands(self) -> None:
        """Add the command table."""
        add_commands(self)
        self.blocks.add_commands()

    # Settings.

    def _set_up(self) -> None:
        self.smu.reset(1.05e-4, self.meter.ranges_v[0])
        self.function, self.listed, self.planned = "CURR", np.zeros(1), None
        self.named.forget()
        self.apply()

    def reset(self) -> None:
        """``*RST``: settings and buffers."""
        super().reset()
        self.blocks.reset()
        self._set_up()

    def apply(self) -> None:
        """Put the settings on the terminal."""
        terminal = self.smu.terminal
        terminal.off_mode = _MODES[self.value("smod", 1)]
        terminal.sources_current = self.value("func", 1) == "CURR"
        terminal.limit_a = self.value("limit VOLT", 1)
        terminal.limit_v = self.value("limit CURR", 1)
        auto = self.value("sense auto CURR", 1)
        terminal.range_a = None if auto else self.smu.range_a(self.value("sense range CURR", 1))
        part = 1.0 if terminal.off_mode == "zero" else _NORMAL_PART
        terminal.off_limit_a = part * self.smu.present_range_a
        if self.value("auto VOLT", 1):
            terminal.range_v = self.smu.range_v(self.value("level VOLT", 1))
        terminal.level_a = self.value("level CURR", 1)
        terminal.set_level_v(self.value("level VOLT", 1))

    def switch(self, on: bool) -> None:
        """Switch the output."""
        self.values["outp", (1,)] = on
        self.smu.switch(on)
        self._warn()

    def _warn(self) -> None:
        terminal = self.smu.terminal
        if terminal.on and limited_by_interlock(self, terminal):
            self.post_error(*INTERLOCK_WARNING)

    def watch_interlock(self) -> None:
        """Limit the output while the interlock is open."""
        set_ceiling(self, self.smu.terminal)

    def _put_function(self, *arguments: Any) -> None:
        parameters = arguments[-1]
        name = text(parameters[0]).upper().removesuffix(":DC")
        self.function = keyword("VOLTage", "CURRent", "RESistance")(name)

    def _list(self, *arguments: Any) -> None:
        self.listed = numbers(-self.top["VOLT"], self.top["VOLT"], MAX_LIST)(arguments[-1])

    def _append(self, *arguments: Any) -> None:
        more = numbers(-self.top["VOLT"], self.top["VOLT"], MAX_LIST)(arguments[-1])
        self.listed = np.concatenate([self.listed, more])
        if self.listed.size > 2500:
            self.listed = self.listed[:2500]
            raise ScpiError(-223, "Too much data")

    def buffer(self, parameters: list[str], at: int) -> list[Record]:
        """Return the buffer that parameter ``at`` names, ``defbuffer1`` without one."""
        return self.named.find(parameters, at)

    def keep(self, buffer: list[Record], records: list[Record]) -> None:
        """Append to a buffer what it has room for."""
        self.named.keep(buffer, records)

    # Running.

    def aperture_s(self) -> float:
        """Return the integration time of the present function in seconds."""
        return float(self.value(f"nplc {self.function}", 1)) / LINE_HZ

    def _delay(self) -> float:
        key = self.value("func", 1)
        return 0.0 if self.value(f"auto delay {key}", 1) else self.value(f"delay {key}", 1)

    def _linear(self, key: str, *arguments: Any) -> None:
        parameters = arguments[-1]
        start, stop = number(parameters[0]), number(parameters[1])
        levels = np.linspace(start, stop, integer(2, 1_000_000)(parameters[2]))
        delay = number(parameters[3]) if len(parameters) > 3 else -1.0
        count = number(parameters[4]) if len(parameters) > 4 else 1.0
        self._plan(key, levels, delay, int(count), parameters, 8)

    def _list_sweep(self, key: str, *arguments: Any) -> None:
        parameters = arguments[-1]
        first = int(number(parameters[0])) - 1 if parameters else 0
        if not 0 <= first < self.listed.size:
            raise ScpiError(-222, "Parameter data out of range")
        delay = number(parameters[1]) if len(parameters) > 1 else -1.0
        count = number(parameters[2]) if len(parameters) > 2 else 1.0
        self._plan(key, self.listed[first:], delay, int(count), parameters, 4)

    def _plan(self, key: str, levels: Any, delay: float, count: int, parameters: list[str],
              buffer_at: int) -> None:  # fmt: skip
        if key != "VOLT":
            raise ScpiError(-221, "Settings conflict: only voltage sweeps are emulated")
        self.buffer(parameters, buffer_at)
        wanted = list(parameters)

        def begin() -> None:
            buffer = self.buffer(wanted, buffer_at)
            buffer.clear()  # the sweep's trigger model starts with a buffer-clear block
            wait = delay if delay >= 0.0 else self._delay()
            if self.value("auto VOLT", 1):
                self.smu.terminal.range_v = self.smu.range_v(float(np.abs(levels).max()))
            self.smu.records.clear()
            self.smu.start(
                np.asarray(levels, dtype=np.float64), max(count, 1),
                Shape(wait, self.aperture_s()), lambda records: self.keep(buffer, records),
            )  # fmt: skip

        self.planned = begin

    def _initiate(self) -> None:
        if self.planned is None:
            raise ScpiError(-221, "Settings conflict: no trigger model")
        if not self.smu.terminal.on:
            self.switch(True)
        self.planned()

    def trigger_state(self) -> str:
        """Return the answer to ``:TRIG:STAT?`` (p. 6-166)."""
        self.bench.run(self)
        state = "WAITING" if self.smu.waits_for_arm else "IDLE" if self.smu.idle else "RUNNING"
        return f"{state};{state};0"

    def trigger(self) -> None:
        """``*TRG``: nothing waits for the command interface here."""

    def _take(self, parameters: list[str]) -> None:
        buffer = self.buffer(parameters, 0)
        for _ in range(self.value("count", 1)):
            self.keep(buffer, [self.smu.spot(self.aperture_s(), self._delay())])

    def _read(self, parameters: list[str]) -> str | bytes:
        self._take(parameters)
        return self._fetch(parameters)

    def _measure(self, key: str, parameters: list[str]) -> str | bytes:
        self.function = key
        if not self.smu.terminal.on:
            self.switch(True)
        self._take(parameters)
        return self._fetch(parameters)

    def _fetch(self, parameters: list[str]) -> str | bytes:
        records = self.buffer(parameters, 0)
        if not records:
            raise ScpiError(-230, "Data corrupt or stale")
        return self._encoded(records[-1:], parameters[1:])

    def _trace_data(self, parameters: list[str]) -> str | bytes:
        if len(parameters) < 2:
            raise ScpiError(-109, "Missing parameter")
        self.finish()
        buffer = self.buffer(parameters, 2)
        first, last = int(number(parameters[0])), int(number(parameters[1]))
        if not 1 <= first <= last <= len(buffer):
            raise ScpiError(-222, "Parameter data out of range")
        return self._encoded(buffer[first - 1 : last], parameters[3:])

    # Replies.

    def _format(self, parameters: list[str]) -> None:
        kind = keyword("ASCii", "REAL", "SREal")(parameters[0] if parameters else "")
        self.values["format", ()] = {"ASC": "ASC", "REAL": "REAL", "SRE": "SRE"}[kind]

    def _reading(self, record: Record) -> float:
        if self.function == "VOLT":
            return record.volts
        if self.function == "RES":
            return record.volts / record.amps if record.amps else 9.9e37
        return record.amps

    def _encoded(self, records: list[Record], wanted: list[str]) -> str | bytes:
        parse = keyword("SOURce", "READing", "RELative", "UNIT", "STATus", "SEConds", "TSTamp",
                        "FORMatted", "FRACtional",
                        "SOURUNIT", "SOURSTATus", "SOURFORMatted")  # fmt: skip
        elements = [parse(w) for w in wanted] or ["READ"]
        start = records[0].time_s
        values: list[float | str] = []
        for record in records:
            source = record.volts if self.value("read back VOLT", 1) else record.source
            row: dict[str, float | str] = {
                "SOUR": source, "READ": self._reading(record), "REL": record.time_s - start,
                "SEC": record.time_s, "TST": record.time_s, "STAT": 0.0,
                "SOURSTAT": float(_SOURCE_LIMITED * record.limited | _OUTPUT_ON),
                "FRAC": record.time_s % 1.0, "SOURFORM": source,
                "UNIT": "Amp DC" if self.function == "CURR" else "Volt DC", "SOURUNIT": "Volt DC",
                "FORM": self._reading(record),
            }  # fmt: skip
            values.extend(row[e] for e in elements)
        if self.value("format") == "ASC":
            return ",".join(
                v if isinstance(v, str) else self.format_number(v) for v in values
            )  # fmt: skip
        numbers_only = [float(v) for v in values if not isinstance(v, str)]
        order = "<" if self.value("border") == "SWAP" else ">"
        kind = "d" if self.value("format") == "REAL" else "f"
        return b"#0" + struct.pack(f"{order}{len(numbers_only)}{kind}", *numbers_only)
