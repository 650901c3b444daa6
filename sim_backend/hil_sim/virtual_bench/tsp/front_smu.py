"""The ``smu`` table of a 2450 in its TSP command set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hil_sim.virtual_bench.scpi_smu import LINE_HZ, Record, SmuChannel
from hil_sim.virtual_bench.terminal import OffMode, SourceMeter
from hil_sim.virtual_bench.tsp.config_lists import ConfigLists
from hil_sim.virtual_bench.tsp.front_buffers import STATUS_BITS, FrontBuffer, FrontReading
from hil_sim.virtual_bench.tsp.front_settings import FLAG, OFF, ON, FunctionSettings, Item

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.front_node import FrontNode

VOLTS, AMPS, OHMS = "smu.FUNC_DC_VOLTAGE", "smu.FUNC_DC_CURRENT", "smu.FUNC_RESISTANCE"
_WORDS: Final = (
    "ON", "OFF", "FUNC_DC_VOLTAGE", "FUNC_DC_CURRENT", "FUNC_RESISTANCE", "OFFMODE_NORMAL",
    "OFFMODE_ZERO", "OFFMODE_HIGHZ", "OFFMODE_GUARD", "SENSE_2WIRE", "SENSE_4WIRE",
    "TERMINALS_FRONT", "TERMINALS_REAR", "UNIT_AMP", "UNIT_VOLT", "UNIT_OHM", "UNIT_WATT",
    "RANGE_AUTO", "RANGE_BEST", "RANGE_FIXED", "DELAY_AUTO", "INFINITE", "FILTER_REPEAT_AVG",
    "FILTER_MOVING_AVG", "DIGITS_3_5", "DIGITS_4_5", "DIGITS_5_5", "DIGITS_6_5",
    *(f"PROTECT_{v}V" for v in (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180)),
    "PROTECT_NONE",
)  # fmt: skip
_OFF_MODES: Final[dict[str, OffMode]] = {
    "smu.OFFMODE_NORMAL": "normal", "smu.OFFMODE_ZERO": "zero", "smu.OFFMODE_HIGHZ": "high-z",
    "smu.OFFMODE_GUARD": "guard",
}  # fmt: skip
_NORMAL_PART: Final = 0.1  # of the current range (2450-901-01 rev. B p. 8-139)
_UNITS: Final = {VOLTS: "Volt DC", AMPS: "Amp DC", OHMS: "Ohm"}


def _source_items(meter: SourceMeter) -> dict[str, Item]:
    volts, amps = (r[-1] * meter.overrange for r in (meter.ranges_v, meter.ranges_a))
    top = max(volts, amps)
    return {
        "level": Item(0.0, -top, top),
        "range": Item({VOLTS: meter.ranges_v[0], AMPS: meter.ranges_a[0]}, -top, top),
        "autorange": Item(ON, words=FLAG), "delay": Item(0.0, 0.0, 1e4),
        "autodelay": Item(ON, words=FLAG), "highc": Item(OFF, words=FLAG),
        "offmode": Item("smu.OFFMODE_NORMAL", words=tuple(_OFF_MODES)),
        "readback": Item(ON, words=FLAG),
        "output": Item(OFF, words=FLAG, shared=True, listed=False),
        "ilimit.level": Item(1.05e-4, 1e-9, amps, shared=True),
        "vlimit.level": Item(21.0, 0.02, volts, shared=True),
        "protect.level": Item("smu.PROTECT_NONE", shared=True,
                              words=tuple(f"smu.{w}" for w in _WORDS if w.startswith("PROTECT"))),
    }  # fmt: skip


def _measure_items(meter: SourceMeter) -> dict[str, Item]:
    units = ("smu.UNIT_AMP", "smu.UNIT_VOLT", "smu.UNIT_OHM", "smu.UNIT_WATT")
    digits = tuple(f"smu.DIGITS_{n}_5" for n in (3, 4, 5, 6))
    return {
        "range": Item({VOLTS: meter.ranges_v[0], AMPS: 1e-4}, -2e8, 2e8),
        "autorange": Item(ON, words=FLAG), "autorangehigh": Item(2e8, -2e8, 2e8),
        "autorangelow": Item(0.0, -2e8, 2e8), "autorangerebound": Item(OFF, words=FLAG),
        "nplc": Item(1.0, 0.01, 10.0), "count": Item(1, 1, 300_000, shared=True),
        "sense": Item("smu.SENSE_2WIRE", words=("smu.SENSE_2WIRE", "smu.SENSE_4WIRE")),
        "terminals": Item("smu.TERMINALS_FRONT", shared=True,
                          words=("smu.TERMINALS_FRONT", "smu.TERMINALS_REAR")),
        "unit": Item({AMPS: units[0], VOLTS: units[1], OHMS: units[2]}, words=units),
        "displaydigits": Item(digits[2], words=digits), "autozero.enable": Item(ON, words=FLAG),
        "offsetcompensation": Item(OFF, words=FLAG), "filter.enable": Item(OFF, words=FLAG),
        "filter.count": Item(10, 1, 100),
        "filter.type": Item("smu.FILTER_REPEAT_AVG",
                            words=("smu.FILTER_REPEAT_AVG", "smu.FILTER_MOVING_AVG")),
        "rel.enable": Item(OFF, words=FLAG), "rel.level": Item(0.0),
    }  # fmt: skip


class FrontSmu:
    """Source and measure settings, readings, and configuration lists of the one channel."""

    def __init__(self, owner: FrontNode, channel: SmuChannel) -> None:
        self.owner, self.channel = owner, channel
        self.source = FunctionSettings(owner, _source_items(channel.meter), VOLTS,
                                       self._source_changed)  # fmt: skip
        self.measure = FunctionSettings(owner, _measure_items(channel.meter), AMPS,
                                        self._measure_changed)  # fmt: skip
        self.source_lists = ConfigLists(owner, self.source)
        self.measure_lists = ConfigLists(owner, self.measure)
        self.apply()

    def reset(self) -> None:
        """``smu.reset()``: settings; readings stay."""
        self.channel.reset(1.05e-4, self.channel.meter.ranges_v[0])
        self.source.reset()
        self.measure.reset()
        self.apply()

    # Settings.

    def _source_changed(self, name: str) -> None:
        s, terminal = self.source, self.channel.terminal
        meter = self.channel.meter
        if name == "range":
            s["autorange"] = OFF
        if name in ("range", "level", "") and s.function == VOLTS:
            full = s["range"] if s["autorange"] == OFF else s["level"]
            held = meter.range_for(full, meter.ranges_v)
            if held is None or abs(s["level"]) > held * meter.overrange:
                s["level"] = terminal.level_v
                self.owner.post_error(-222, f"Source level is out of the range of {full:g} V")
                return
            s["range"] = held
        if name == "output":
            self.switch(s["output"] == ON)
        self.apply()

    def _measure_changed(self, name: str) -> None:
        if name == "range":
            self.measure["autorange"] = OFF
        self.apply()

    def switch(self, on: bool) -> None:
        """Switch the output."""
        self.source["output"] = ON if on else OFF
        self.channel.switch(on)
        self.owner.warn_interlock()

    def apply(self) -> None:
        """Put the settings on the terminal."""
        s, m, terminal = self.source, self.measure, self.channel.terminal
        terminal.off_mode = _OFF_MODES[s["offmode"]]
        terminal.sources_current = s.function == AMPS
        terminal.limit_a, terminal.limit_v = s["ilimit.level"], s["vlimit.level"]
        fixed = m.function == AMPS and m["autorange"] == OFF
        terminal.range_a = self.channel.range_a(m["range"]) if fixed else None
        part = 1.0 if terminal.off_mode == "zero" else _NORMAL_PART
        terminal.off_limit_a = part * self.channel.present_range_a
        terminal.on = s["output"] == ON
        if s.function == VOLTS:
            terminal.range_v = s["range"]
            terminal.set_level_v(s["level"])
        else:
            terminal.level_a = s["level"]

    @property
    def settle_s(self) -> float:
        """Source delay in seconds before a measurement; automatic delays are taken as none."""
        return 0.0 if self.source["autodelay"] == ON else float(self.source["delay"])

    # Readings.

    def take(self, buffer: FrontBuffer, count: int, settle_s: float = 0.0) -> FrontReading:
        """Take ``count`` readings into a buffer; return the last one."""
        last = None
        for n in range(count):
            record = self.channel.spot(self.measure["nplc"] / LINE_HZ, 0.0 if n else settle_s)
            last = self._reading(record, n == 0)
            buffer.add(last)
        if last is None:
            raise ValueError("a measurement needs a count of at least 1")
        return last

    def _reading(self, record: Record, first: bool) -> FrontReading:
        m, s = self.measure, self.source
        value = {VOLTS: record.volts, AMPS: record.amps}.get(m.function, math.inf)
        if m.function == OHMS and record.amps:
            value = record.volts / record.amps
        if m["rel.enable"] == ON:
            value -= m["rel.level"]
        sourced = record.source if s["readback"] == OFF else record.volts
        if s.function == AMPS:
            sourced = s["level"] if s["readback"] == OFF else record.amps
        bit = STATUS_BITS
        status = bit["STAT_TERMINAL"] * (m["terminals"] == "smu.TERMINALS_FRONT")
        source_status = (
            bit["STAT_LIMIT"] * record.limited | bit["STAT_OUTPUT"] * (s["output"] == ON)
            | bit["STAT_SENSE"] * (m["sense"] == "smu.SENSE_4WIRE")
            | bit["STAT_READBACK"] * (s["readback"] == ON)
        )  # fmt: skip
        return FrontReading(
            value, sourced, record.time_s, _UNITS[m.function], _UNITS[s.function],
            status | bit["STAT_START_GROUP"] * first, source_status,
        )  # fmt: skip

    def limited(self) -> bool:
        """Whether the source limits now."""
        return self.channel.terminal.on and self.channel.spot(1e-6).limited

    # Sweeps.

    def sweep_levels(self, name: str, levels: list[float], range_type: Any) -> None:
        """Make the source configuration list of a sweep."""
        meter = self.channel.meter
        snapshot = self.source.snapshot()
        if self.source.function == VOLTS and range_type != "smu.RANGE_FIXED":
            best = meter.range_for(max(abs(v) for v in levels), meter.ranges_v)
            each = range_type == "smu.RANGE_AUTO"
            snapshot |= {"autorange": ON if each else OFF, "range": best}
        self.source_lists.make(name, [snapshot | {"level": v} for v in levels])

    # The Lua table.

    def table(self) -> Any:
        """Return ``smu``."""
        build = self.owner.object

        def read(buffer: Any = None) -> float:
            return self.take(self.owner.buffers_.find(buffer), int(self.measure["count"]),
                             self.settle_s).reading  # fmt: skip

        def read_with_time(buffer: Any = None) -> tuple[float, float, float]:
            read(buffer)
            time_s = self.owner.bench.clock_ns * 1e-9
            return self.owner.buffers_.find(buffer).readings[-1], time_s // 1, time_s % 1

        def acquire() -> float:
            self.measure["rel.level"] = read() + (
                self.measure["rel.level"] if self.measure["rel.enable"] == ON else 0.0
            )
            return float(self.measure["rel.level"])

        source: dict[str | int, Any] = {
            "configlist": self.source_lists.table(self.measure_lists),
            "ilimit": self._limit("ilimit", VOLTS), "vlimit": self._limit("vlimit", AMPS),
            "protect": build(*self.source.accessors("protect")),
            **self.owner.sweeps(),
        }  # fmt: skip
        measure: dict[str | int, Any] = {
            "read": read,
            "readwithtime": read_with_time,
            "configlist": self.measure_lists.table(self.source_lists),
            "autozero": build(*self.measure.accessors("autozero"), {"once": lambda *_: None}),
            "filter": build(*self.measure.accessors("filter")),
            "rel": build(*self.measure.accessors("rel"), {"acquire": acquire}),
        }
        terminals = self.measure.accessors("")
        objects: dict[str | int, Any] = {
            **{word: f"smu.{word}" for word in _WORDS},
            "source": self._function_table(self.source, (VOLTS, AMPS), source),
            "measure": self._function_table(self.measure, (VOLTS, AMPS, OHMS), measure),
            "reset": lambda *_: self.reset(),
            "interlock": build({"tripped": self._interlock}),
        }  # fmt: skip
        return build(
            {"terminals": terminals[0]["terminals"]}, {"terminals": terminals[1]["terminals"]},
            objects, "smu",
        )  # fmt: skip

    def _interlock(self) -> str:
        return OFF if self.owner.faults.interlock_open else ON

    def _limit(self, name: str, function: str) -> Any:
        def is_tripped() -> str:
            return ON if self.source.function == function and self.limited() else OFF

        getters, setters = self.source.accessors(name)
        return self.owner.object({**getters, "tripped": is_tripped}, setters)

    def _function_table(
        self, settings: FunctionSettings, functions: tuple[str, ...], objects: dict[str | int, Any]
    ) -> Any:
        def put_function(value: Any) -> None:
            if value not in functions:
                self.owner.post_error(-224, f"Parameter {value} is no function")
                return
            if settings is self.source and value != settings.function:
                self.switch(False)
            settings.function = value
            self.apply()

        getters, setters = settings.accessors("")
        get_function: Callable[[], Any] = lambda: settings.function  # noqa: E731
        return self.owner.object(
            {**getters, "func": get_function}, {**setters, "func": put_function}, objects
        )


def level_list(
    start: float, stop: float, points: int, *, both_ways: bool, logarithmic: bool = False,
    asymptote: float = 0.0,
) -> list[float]:  # fmt: skip
    """Return the levels of a sweep; both ways goes back again without repeating the turn."""
    if logarithmic:
        up = asymptote + np.geomspace(start - asymptote, stop - asymptote, points)
    else:
        up = np.linspace(start, stop, points)
    return [*up.tolist(), *up[-2::-1].tolist()] if both_ways else up.tolist()
