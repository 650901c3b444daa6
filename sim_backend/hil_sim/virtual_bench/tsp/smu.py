"""A source-measure channel of a Series 2600B instrument: ``smua``, ``smub``."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hil_sim.virtual_bench.terminal import OffMode, SourceMeter, Terminal
from hil_sim.virtual_bench.tsp.attributes import (
    BLOCKED_BY_INTERLOCK,
    TOO_BIG_FOR_RANGE,
    Attribute,
    Attributes,
)
from hil_sim.virtual_bench.tsp.buffers import ReadingBuffer
from hil_sim.virtual_bench.tsp.sweeps import SweepModel

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

COMPLIANCE_STATUS = 64  # bit 6 of a reading's status, 2600B reference manual, bufferVar.statuses
INTERLOCK_RANGE_V = 200.0
_CAPACITY = 140_000
CONSTANTS: dict[str | int, Any] = {
    "OUTPUT_OFF": 0, "OUTPUT_ON": 1, "OUTPUT_HIGH_Z": 2, "OUTPUT_NORMAL": 0, "OUTPUT_ZERO": 1,
    "OUTPUT_DCAMPS": 0, "OUTPUT_DCVOLTS": 1, "AUTORANGE_OFF": 0, "AUTORANGE_ON": 1,
    "AUTORANGE_FOLLOW_LIMIT": 2, "AUTOZERO_OFF": 0, "AUTOZERO_ONCE": 1, "AUTOZERO_AUTO": 2,
    "SENSE_LOCAL": 0, "SENSE_REMOTE": 1, "SENSE_CALA": 3, "SETTLE_SMOOTH": 0,
    "SETTLE_FAST_RANGE": 1, "SETTLE_FAST_POLARITY": 2, "SETTLE_DIRECT_IRANGE": 3,
    "SETTLE_SMOOTH_100NA": 4, "SETTLE_FAST_ALL": 128, "DISABLE": 0, "ENABLE": 1, "ASYNC": 2,
    "SOURCE_IDLE": 0, "SOURCE_HOLD": 1, "OE_NONE": 0, "OE_OUTPUT_OFF": 1, "DELAY_OFF": 0,
    "DELAY_AUTO": -1, "LIMIT_AUTO": 0, "FILTER_OFF": 0, "FILTER_ON": 1, "FILTER_MOVING_AVG": 0,
    "FILTER_REPEAT_AVG": 1, "FILTER_MEDIAN": 2,
}  # fmt: skip
_OFF_MODES: dict[int, OffMode] = {0: "normal", 1: "zero", 2: "high-z"}


def _table(meter: SourceMeter) -> dict[str, Attribute]:
    volts, amps = meter.ranges_v[-1] * 1.02, meter.ranges_a[-1] * 1.02
    high_v, high_a = meter.ranges_v[-1], meter.ranges_a[-1]
    return {
        "sense": Attribute(0, 0, 3),
        "source.func": Attribute(1, 0, 1), "source.levelv": Attribute(0, -volts, volts),
        "source.leveli": Attribute(0, -amps, amps),
        "source.rangev": Attribute(high_v, -volts, volts),
        "source.rangei": Attribute(high_a, -amps, amps), "source.autorangev": Attribute(1, 0, 1),
        "source.autorangei": Attribute(1, 0, 1), "source.limitv": Attribute(volts, 1e-2, volts),
        "source.limiti": Attribute(0.1, 1e-12, amps), "source.limitp": Attribute(0, 0, 1e3),
        "source.output": Attribute(0, 0, 2), "source.offmode": Attribute(0, 0, 2),
        "source.offfunc": Attribute(1, 0, 1), "source.offlimiti": Attribute(1e-3, 1e-12, amps),
        "source.offlimitv": Attribute(volts, 1e-2, volts), "source.delay": Attribute(0, -1, 1e3),
        "source.settling": Attribute(0, 0, 128), "source.outputenableaction": Attribute(0, 0, 1),
        "source.highc": Attribute(0, 0, 1), "source.sink": Attribute(0, 0, 1),
        "source.lowrangev": Attribute(meter.ranges_v[0], 0, volts),
        "source.lowrangei": Attribute(meter.ranges_a[0], 0, amps),
        "measure.nplc": Attribute(1, 0.001, 25), "measure.rangei": Attribute(0.1, -amps, amps),
        "measure.rangev": Attribute(high_v, -volts, volts),
        "measure.autorangei": Attribute(1, 0, 2),
        "measure.autorangev": Attribute(1, 0, 2), "measure.autozero": Attribute(2, 0, 2),
        "measure.delay": Attribute(0, -1, 1e3), "measure.delayfactor": Attribute(1, 0, 1e3),
        "measure.count": Attribute(1, 1, 60_000), "measure.interval": Attribute(0, 0, 1),
        "measure.lowrangei": Attribute(meter.ranges_a[0], 0, amps),
        "measure.lowrangev": Attribute(meter.ranges_v[0], 0, volts),
        "measure.filter.enable": Attribute(0, 0, 1), "measure.filter.count": Attribute(1, 1, 100),
        "measure.filter.type": Attribute(1, 0, 2), "measure.analogfilter": Attribute(1, 0, 1),
        "measure.rel.enablei": Attribute(0, 0, 1), "measure.rel.leveli": Attribute(0),
        "measure.rel.enablev": Attribute(0, 0, 1), "measure.rel.levelv": Attribute(0),
    }  # fmt: skip


class Smu:
    """One channel: attributes, measure functions, buffers and the trigger model."""

    def __init__(self, owner: TspPersonality, letter: str, meter: SourceMeter) -> None:
        self.owner, self.meter = owner, meter
        self.terminal = Terminal(owner.name, letter, meter)
        self.attributes = Attributes(owner, _table(meter), self._changed)
        self.sweep = SweepModel(self)
        self.nvbuffers = [ReadingBuffer(owner, _CAPACITY) for _ in range(2)]
        self._apply()

    @property
    def aperture_s(self) -> float:
        """Integration time in seconds at 50 Hz."""
        return self.attributes["measure.nplc"] / 50.0

    @property
    def measure_delay_s(self) -> float:
        """Delay before a measurement; DELAY_AUTO is taken as none."""
        return max(self.attributes["measure.delay"], 0.0)

    def reset(self) -> None:
        """``smuX.reset()``; the buffers keep their readings."""
        self.owner.bench.engine.abort({id(self.terminal)})
        self.attributes.reset()
        self.sweep.reset()
        accuracy = self.terminal.accuracy
        self.terminal.reset()
        self.terminal.accuracy = accuracy
        self._apply()

    def _changed(self, name: str) -> None:
        values, post = self.attributes.values, self.owner.post_error
        if name == "source.rangev":
            full = self.meter.range_for(values[name], self.meter.ranges_v)
            values[name] = self.meter.ranges_v[-1] if full is None else full
            values["source.autorangev"] = 0
        elif name == "measure.rangei":
            full = self.meter.range_for(values[name], self.meter.ranges_a)
            values[name] = self.meter.ranges_a[-1] if full is None else full
            values["measure.autorangei"] = 0
        elif name == "source.levelv" and values["source.autorangev"] == 0:
            if abs(values[name]) > values["source.rangev"] * self.meter.overrange:
                values[name] = self.terminal.level_v
                post(TOO_BIG_FOR_RANGE, "Value too big for range")
        elif name == "source.output":
            self.owner.bench.dwell(0.0)
        self._apply()
        self.check_interlock()

    def check_interlock(self) -> None:
        """Switch the output off where the 200 V range needs an interlock that is open.

        2600BS-901-01 rev. F p. 9-334: models with a 200 V range.
        """
        values, top = self.attributes.values, self.meter.ranges_v[-1]
        needed = top >= INTERLOCK_RANGE_V and values["source.rangev"] == top
        if values["source.output"] == 1 and needed and self.owner.faults.interlock_open:
            values["source.output"] = 0
            self.owner.post_error(BLOCKED_BY_INTERLOCK, "OUTPUT blocked by interlock")
            self._apply()

    def _apply(self) -> None:
        """Put the attributes on the terminal."""
        a, t = self.attributes, self.terminal
        output = int(a["source.output"])
        t.on = output == 1
        # Off, 2600BS-901-01 rev. F pp. 2-41 to 2-43: normal is 0 V behind offlimiti, or 0 A; zero
        # keeps the compliance of the output that is on.
        t.off_mode = "high-z" if output == 2 else _OFF_MODES[int(a["source.offmode"])]
        if t.off_mode == "normal" and a["source.offfunc"] == 0:
            t.off_mode = "guard"
        t.off_limit_a = a["source.limiti" if t.off_mode == "zero" else "source.offlimiti"]
        t.sources_current = a["source.func"] == 0
        t.limit_a, t.limit_v, t.level_a = (
            a["source.limiti"], a["source.limitv"], a["source.leveli"],
        )  # fmt: skip
        if a["source.autorangev"]:
            full = self.meter.range_for(a["source.levelv"], self.meter.ranges_v)
            a.values["source.rangev"] = self.meter.ranges_v[-1] if full is None else full
        t.range_v = a["source.rangev"]
        t.range_a = None if a["measure.autorangei"] else a["measure.rangei"]
        t.set_level_v(a["source.levelv"])

    # Measurements.

    def measure(self, *buffers: Any) -> tuple[float, float]:
        """Take one reading of current and voltage; store into the given buffers (i, v)."""
        i, v, limited = self.owner.bench.measure(
            self.terminal, self.aperture_s, self.measure_delay_s
        )
        if not self.terminal.low_impedance:
            v = 0.0
        shown, full = self.terminal.metered(np.array([i]), np.array([v]), self.terminal.range_a)
        volts = np.round(np.array([v]) / (self.terminal.range_v * 1e-6)) * (
            self.terminal.range_v * 1e-6
        )
        self.terminal.limited = limited
        now = np.array([self.owner.bench.clock_ns * 1e-9])
        status = np.array([COMPLIANCE_STATUS if limited else 0.0])
        for buffer, values in zip(buffers, (shown, volts), strict=False):
            if buffer is not None:
                buffer.extend(values, np.array([self.terminal.level_v]), now, status, full)
        return float(shown[0]), float(volts[0])

    def _measured(self, kind: str, *arguments: Any) -> Any:
        count = int(self.attributes["measure.count"])
        found = [self.sweep.buffer_of(a) for a in arguments]
        for buffer in found:
            buffer.start()
        i = v = 0.0
        rest_s = max(self.attributes["measure.interval"] - self.aperture_s, 0.0)
        for n in range(count):
            if n:
                self.owner.bench.dwell(rest_s)
            i_buffer = found[0] if kind in ("i", "iv") and found else None
            v_buffer = found[0] if kind == "v" and found else found[1] if len(found) > 1 else None
            i, v = self.measure(i_buffer, v_buffer)
            if kind in ("r", "p") and found:
                one = np.array([v / i if kind == "r" and i else v * i])
                zero = np.zeros(1)
                found[0].extend(one, zero, np.array([self.owner.bench.clock_ns * 1e-9]), zero, zero)
        if kind == "iv":
            return i, v
        return {"i": i, "v": v, "p": v * i, "r": v / i if i else math.inf}[kind]

    def compliance(self) -> bool:
        """Whether the source limits now."""
        if not self.terminal.on:
            return False
        self.owner.bench.run(self.owner)
        self.owner.bench.measure(self.terminal, 1e-6)
        return self.terminal.limited

    # The Lua object.

    def lua_object(self, letter: str) -> Any:
        """Return ``smuX``."""
        build = self.owner.object
        source_get, source_set = self.attributes.accessors("source")
        source_get["compliance"] = self.compliance
        measure_get, measure_set = self.attributes.accessors("measure")
        filter_object = build(*self.attributes.accessors("measure.filter"))
        rel_object = build(*self.attributes.accessors("measure.rel"))
        measures: dict[str | int, Any] = {"filter": filter_object, "rel": rel_object}
        for kind in ("i", "v", "iv", "r", "p"):
            measures[kind] = measures[f"overlapped{kind}"] = partial(self._measured, kind)
        getters, setters = self.attributes.accessors("")
        objects: dict[str | int, Any] = {
            **CONSTANTS,
            "source": build(source_get, source_set),
            "measure": build(measure_get, measure_set, measures),
            "trigger": self.sweep.lua_object(),
            "nvbuffer1": self.nvbuffers[0].lua, "nvbuffer2": self.nvbuffers[1].lua,
            "reset": lambda *_: self.reset(),
            "abort": lambda *_: self.owner.bench.engine.abort({id(self.terminal)}),
            "makebuffer": self._make_buffer, "savebuffer": lambda *_: None,
        }  # fmt: skip
        return build(getters, setters, objects, "smu")

    def _make_buffer(self, size: float) -> Any:
        buffer = ReadingBuffer(self.owner, max(int(size), 1))
        self.sweep.know(buffer)
        return buffer.lua
