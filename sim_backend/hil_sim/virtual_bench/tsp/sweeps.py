"""The trigger model of a Series 2600B channel (``smuX.trigger``)."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.engine import Reading, Sweep
from hil_sim.virtual_bench.terminal import NO_CURRENT_A
from hil_sim.virtual_bench.tsp.attributes import (
    CONFLICT,
    TOO_BIG,
    TOO_BIG_FOR_RANGE,
    Attribute,
    Attributes,
)
from hil_sim.virtual_bench.tsp.buffers import ReadingBuffer

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.smu import Smu

_EVENT_NAMES = ("ARMED_EVENT_ID", "SOURCE_COMPLETE_EVENT_ID", "MEASURE_COMPLETE_EVENT_ID",
                "PULSE_COMPLETE_EVENT_ID", "SWEEP_COMPLETE_EVENT_ID", "IDLE_EVENT_ID")  # fmt: skip
_MAX_POINTS = 100_000
_COMPLIANCE = 64
_TABLE = {
    "count": Attribute(1, 1, 1e6), "autoclear": Attribute(0, 0, 1),
    "arm.count": Attribute(1, 1, 1e6), "arm.stimulus": Attribute(0),
    "source.stimulus": Attribute(0), "source.action": Attribute(0, 0, 1),
    "source.limiti": Attribute(0), "source.limitv": Attribute(0),
    "measure.stimulus": Attribute(0), "measure.action": Attribute(0, 0, 2),
    "endpulse.stimulus": Attribute(0), "endpulse.action": Attribute(1, 0, 1),
    "endsweep.action": Attribute(0, 0, 1),
}  # fmt: skip


class SweepModel:
    """Levels, stimuli and buffers of a channel's sweeps."""

    def __init__(self, smu: Smu) -> None:
        self.smu, self.owner = smu, smu.owner
        new = self.owner.bench.engine.new_event
        self.events = tuple(new() for _ in _EVENT_NAMES)
        self.attributes = Attributes(self.owner, _TABLE, lambda _: None)
        self.levels: NDArray[np.float64] = np.zeros(1)
        self.kind, self.of_current = "", False
        self.targets: list[ReadingBuffer] = []
        self._buffers: dict[int, ReadingBuffer] = {}
        self.armed: Sweep | None = None

    def reset(self) -> None:
        """Return to the defaults."""
        self.attributes.reset()
        self.levels = np.zeros(1)
        self.kind, self.targets, self.of_current = "", [], False

    def know(self, buffer: ReadingBuffer) -> None:
        """Let scripts name a buffer."""
        number = self.owner.buffer_id(buffer.lua)
        if number is not None:
            self._buffers[number] = buffer

    def buffer_of(self, value: Any) -> ReadingBuffer:
        """Return the buffer that a Lua value is.

        Raises:
            ValueError: it is none.
        """
        for buffer in self.smu.nvbuffers:
            self.know(buffer)
        number = self.owner.buffer_id(value)
        if number is None or number not in self._buffers:
            raise ValueError("argument is no reading buffer")
        return self._buffers[number]

    # Levels.

    def _list(self, current: bool, values: Any) -> None:
        levels = np.array(list(values.values()), dtype=np.float64)
        if levels.size > _MAX_POINTS:
            self.owner.post_error(-225, "Out of memory")
            return
        self._take(current, levels)

    def _linear(self, current: bool, start: float, stop: float, points: float) -> None:
        self._take(current, np.linspace(start, stop, int(points)))

    def _log(self, current: bool, start: float, stop: float, points: float,
             asymptote: float = 0.0) -> None:  # fmt: skip
        levels = asymptote + np.geomspace(start - asymptote, stop - asymptote, int(points))
        self._take(current, levels)

    def _take(self, current: bool, levels: NDArray[np.float64]) -> None:
        ranges = self.smu.meter.ranges_a if current else self.smu.meter.ranges_v
        top = ranges[-1] * self.smu.meter.overrange
        if not levels.size or np.abs(levels).max() > top:
            self.owner.post_error(TOO_BIG, "Parameter too big")
            return
        self.levels, self.of_current = levels, current

    # Running.

    def _fits(self, levels: NDArray[np.float64]) -> bool:
        """Whether the source range holds the levels; an automatic one is made to."""
        smu = self.smu
        meter, top = smu.meter, float(np.abs(levels).max())
        if self.of_current:
            auto, full = smu.attributes["source.autorangei"], smu.attributes["source.rangei"]
            return bool(auto) or top <= full * meter.overrange
        if smu.attributes["source.autorangev"]:
            found = meter.range_for(top, meter.ranges_v)
            smu.terminal.range_v = meter.ranges_v[-1] if found is None else found
        return top <= smu.terminal.range_v * meter.overrange

    def initiate(self) -> None:
        """Arm the sweep; it runs when somebody waits for it."""
        a, smu = self.attributes, self.smu
        count = int(a["count"])
        drives = bool(a["source.action"])
        current = smu.terminal.sources_current
        held = smu.terminal.level_a if current else smu.terminal.level_v
        levels = np.resize(self.levels, count) if drives else np.full(count, held)
        if drives and self.of_current != current:
            self.owner.post_error(CONFLICT, "Settings conflict")
            return
        if drives and not self._fits(levels):
            self.owner.post_error(TOO_BIG_FOR_RANGE, "Value too big for range")
            return
        for buffer in self.targets:
            buffer.start()
        start_s = self.owner.bench.clock_ns * 1e-9
        limit = a["source.limiti"] or smu.attributes["source.limiti"]
        limit_v = a["source.limitv"] or smu.attributes["source.limitv"]
        idle_v, idle_a = smu.attributes["source.levelv"], smu.attributes["source.leveli"]
        if current:
            idle_v = math.copysign(limit_v, idle_a) if idle_a else 0.0
            limit = max(abs(idle_a), NO_CURRENT_A)
        self.armed = Sweep(
            smu.terminal, levels, int(a["arm.count"]),
            (int(a["arm.stimulus"]), int(a["source.stimulus"]), int(a["measure.stimulus"]),
             int(a["endpulse.stimulus"])),
            self.events, lambda reading: self._store(reading, start_s),
            idle_v=idle_v, idle_a=idle_a, limit_v=limit_v if current else None,
            end_idle=drives and a["endpulse.action"] == 0,
            measures=a["measure.action"] != 0 and bool(self.targets),
            asynchronous=a["measure.action"] == 2,
            source_delay_s=max(smu.attributes["source.delay"], 0.0),
            measure_delay_s=smu.measure_delay_s, aperture_s=smu.aperture_s, limit_a=limit,
            idle_when_done=drives and a["endsweep.action"] == 0,
        )  # fmt: skip
        self.owner.bench.engine.arm(self.armed)

    def _store(self, reading: Reading, start_s: float) -> None:
        terminal = self.smu.terminal
        shown, full = terminal.metered(reading.current_a, reading.level_v, terminal.range_a)
        step = terminal.range_v * 1e-6
        volts = np.round(reading.level_v / step) * step
        status = np.where(reading.limited, _COMPLIANCE, 0).astype(np.float64)
        times = start_s + reading.time_s
        ohms = volts / np.where(shown == 0.0, 1e-30, shown)
        columns = {
            "i": (shown,), "v": (volts,), "iv": (shown, volts), "r": (ohms,), "p": (volts * shown,),
        }  # fmt: skip
        for buffer, values in zip(self.targets, columns[self.kind], strict=True):
            buffer.extend(values, reading.source_v, times, status, full)

    # The Lua object.

    def _measures(self, kind: str, *arguments: Any) -> None:
        self.kind = kind
        self.targets = [self.buffer_of(a) for a in arguments[: len(kind) if kind == "iv" else 1]]
        if kind == "iv" and len(self.targets) != 2:
            raise ValueError("trigger.measure.iv needs two buffers")

    def lua_object(self) -> Any:
        """Return ``smuX.trigger``."""
        build, a = self.owner.object, self.attributes
        layers: dict[str, dict[str | int, Any]] = {
            "arm": {}, "endpulse": {}, "endsweep": {},
            "source": {}, "measure": {},
        }  # fmt: skip
        for letter, current in (("v", False), ("i", True)):
            for name, put in (("list", self._list), ("linear", self._linear), ("log", self._log)):
                layers["source"][name + letter] = partial(put, current)
        for kind in ("i", "v", "iv", "r", "p"):
            layers["measure"][kind] = partial(self._measures, kind)
        for layer in ("arm", "source", "measure", "endpulse"):
            layers[layer]["set"] = partial(self._set, layer)
            layers[layer]["clear"] = lambda *_: None
        objects: dict[str | int, Any] = {
            name: build(*a.accessors(name), functions) for name, functions in layers.items()
        }
        objects.update(zip(_EVENT_NAMES, self.events, strict=True))
        objects["SWEEPING_EVENT_ID"] = self.events[0]
        objects["initiate"] = lambda *_: self.initiate()
        getters, setters = a.accessors("")
        return build(getters, setters, objects)

    def _set(self, layer: str, *_: Any) -> None:
        """``.set()``: let a waiting layer pass once."""
        stimulus = int(self.attributes[f"{layer}.stimulus"])
        if stimulus:
            self.owner.bench.engine.fire(stimulus)
            self.owner.bench.changed.notify_all()
