"""Trigger objects of TSP instruments: timers, blenders, generators, digio and TSP-Link lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hil_sim.virtual_bench.engine import Detector, Timer

if TYPE_CHECKING:
    from hil_sim.virtual_bench.personality import Personality
    from hil_sim.virtual_bench.tsp.runtime import TspPersonality

N_TIMERS, N_BLENDERS, N_GENERATORS, N_DIGIO, N_TSPLINK = 8, 6, 2, 14, 3


@dataclass(slots=True)
class _TimerState:
    event: int
    delays_s: tuple[float, ...] = (10e-6,)
    count: int = 1
    passthrough: bool = False
    stimulus: int = 0


@dataclass(slots=True)
class _Line:
    """A line that gives ``event`` when ``stimulus`` comes."""

    event: int
    stimulus: int = 0
    mode: float = 0.0
    pulsewidth: float = 10e-6


@dataclass(slots=True)
class _Blender:
    """Gives ``event`` when one (``or_mode``) or all of its stimuli have come."""

    event: int
    stimuli: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    or_mode: bool = False


def wait_for(owner: Personality, detector: Detector, timeout_s: float) -> bool:
    """Wait until an event was detected, and clear it; return whether it came in time.

    The time-out is wall-clock time, since another session has to bring the event about.

    Raises:
        RunAborted: another session aborted.
    """
    bench = owner.bench
    until = time.monotonic() + timeout_s
    if not detector.detected:
        listener = bench.engine.listen(detector.event)
        try:
            bench.run(owner)
            if not detector.detected:
                bench.wait_until(owner, lambda: detector.detected or time.monotonic() >= until)
        finally:
            bench.engine.drop(listener)
    found = detector.detected
    if found:
        detector.clear()
    else:
        bench.dwell(timeout_s)
    return found


class TriggerObjects:
    """The ``trigger``, ``digio`` and ``tsplink`` tables of one instrument.

    Digital I/O line n of all instruments of a bench are one wire, and so are TSP-Link lines. A
    change is published to the bench's engine at once.
    """

    def __init__(self, owner: TspPersonality) -> None:
        self.owner = owner
        engine = owner.bench.engine
        new = engine.new_event
        self.command_event, self.key_event = new(), new()
        self.timers = [_TimerState(new()) for _ in range(N_TIMERS)]
        self.generators = [new() for _ in range(N_GENERATORS)]
        self.blenders = [_Blender(new()) for _ in range(N_BLENDERS)]
        self.digio = [_Line(owner.bench.bus[n]) for n in range(1, N_DIGIO + 1)]
        self.tsplink = [_Line(engine.shared_event("tsplink", n)) for n in range(1, N_TSPLINK + 1)]
        self._detectors: dict[int, Detector] = {}

    def reset(self) -> None:
        """Return every object to its default."""
        for timer in self.timers:
            timer.delays_s, timer.count = (10e-6,), 1
            timer.passthrough, timer.stimulus = False, 0
        for blender in self.blenders:
            blender.stimuli, blender.or_mode = [0, 0, 0, 0], False
        for line in (*self.digio, *self.tsplink):
            line.stimulus, line.mode = 0, 0.0
        for detector in self._detectors.values():
            detector.clear()
        self.publish()

    def publish(self) -> None:
        """Tell the engine what is connected."""
        engine = self.owner.bench.engine
        engine.timers[self.owner.name] = [
            Timer(t.stimulus, t.event, t.delays_s, t.count, t.passthrough) for t in self.timers
        ]
        wires = [(line.stimulus, line.event) for line in (*self.digio, *self.tsplink)]
        wires += [(s, b.event) for b in self.blenders if b.or_mode for s in b.stimuli]
        engine.wires[self.owner.name] = [w for w in wires if w[0]]
        engine.blenders[self.owner.name] = [
            (b.event, tuple(b.stimuli)) for b in self.blenders if not b.or_mode and any(b.stimuli)
        ]

    def _detector(self, event: int) -> dict[str | int, Any]:
        """Return ``wait`` and ``clear`` of the object that gives ``event``."""
        detector = self._detectors.setdefault(event, Detector(self.owner.bench.engine, event))
        return {
            "wait": lambda seconds, *_: wait_for(self.owner, detector, float(seconds)),
            "clear": lambda *_: detector.clear(),
        }

    def _overrun(self, event: int) -> bool:
        return self._detectors[event].overrun

    def fire(self, event: int) -> None:
        """Give an event by hand."""
        self.owner.bench.engine.fire(event)
        self.owner.bench.changed.notify_all()

    def trigger_object(self) -> Any:
        """Return ``trigger``."""
        table = self.owner.lua.table_from
        objects: dict[str | int, Any] = {
            "EVENT_ID": self.command_event,
            "timer": table({n + 1: self._timer(t) for n, t in enumerate(self.timers)}),
            "generator": table({n + 1: self._generator(e) for n, e in enumerate(self.generators)}),
            "blender": table({n + 1: self._blender(b) for n, b in enumerate(self.blenders)}),
            **self._detector(self.command_event),
        }
        return self.owner.object(objects=objects)

    def key_object(self) -> Any:
        """Return ``display.trigger``, the TRIG key of the front panel."""
        return self.owner.object(
            objects={"EVENT_ID": self.key_event, **self._detector(self.key_event)}
        )

    def digio_object(self) -> Any:
        """Return ``digio``."""
        objects: dict[str | int, Any] = {
            "trigger": self.owner.lua.table_from(
                {n + 1: self._line(line) for n, line in enumerate(self.digio)}
            ),
            "TRIG_BYPASS": 0, "TRIG_FALLING": 1, "TRIG_RISING": 2, "TRIG_EITHER": 3,
            "TRIG_SYNCHRONOUSA": 4, "TRIG_SYNCHRONOUS": 5, "TRIG_SYNCHRONOUSM": 6,
            "TRIG_RISINGA": 7, "TRIG_RISINGM": 8,
            "readport": lambda: 0, "readbit": lambda *_: 0,
            "writeport": lambda *_: None, "writebit": lambda *_: None,
        }  # fmt: skip
        return self.owner.object(objects=objects)

    def tsplink_object(self) -> Any:
        """Return ``tsplink``."""
        objects: dict[str | int, Any] = {
            "trigger": self.owner.lua.table_from(
                {n + 1: self._line(line) for n, line in enumerate(self.tsplink)}
            ),
            "reset": lambda *_: 1,
        }
        return self.owner.object({"state": lambda: "offline", "node": lambda: 1}, objects=objects)

    def _attribute(
        self, item: Any, name: str, kind: Callable[[Any], Any]
    ) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        def put(value: Any) -> None:
            setattr(item, name, kind(value))
            self.publish()

        return lambda: getattr(item, name), put

    def _timer(self, timer: _TimerState) -> Any:
        def put_list(values: Any) -> None:
            timer.delays_s = tuple(float(values[i]) for i in range(1, len(values) + 1))
            self.publish()

        def put_delay(value: Any) -> None:
            timer.delays_s = (float(value),)
            self.publish()

        def reset() -> None:
            timer.delays_s, timer.count = (10e-6,), 1
            timer.passthrough, timer.stimulus = False, 0
            self.publish()

        functions = self._detector(timer.event)
        getters: dict[str, Callable[[], Any]] = {
            "delay": lambda: timer.delays_s[0], "overrun": partial(self._overrun, timer.event),
            "delaylist": lambda: self.owner.lua.table_from(list(timer.delays_s)),
        }  # fmt: skip
        setters: dict[str, Callable[[Any], None]] = {"delay": put_delay, "delaylist": put_list}
        for name, kind in (("count", int), ("passthrough", bool), ("stimulus", int)):
            getters[name], setters[name] = self._attribute(timer, name, kind)
        return self.owner.object(
            getters, setters, {"EVENT_ID": timer.event, "reset": reset, **functions}
        )

    def _generator(self, event: int) -> Any:
        return self.owner.object(
            objects={"EVENT_ID": event, "assert": lambda *_: self.fire(event),
                     **self._detector(event)}
        )  # fmt: skip

    def _blender(self, blender: _Blender) -> Any:
        def put(at: int, value: Any) -> None:
            blender.stimuli[at] = int(value)
            self.publish()

        def reset() -> None:
            blender.stimuli, blender.or_mode = [0, 0, 0, 0], False
            self.publish()

        inputs = self.owner.object(
            {n + 1: (lambda n=n: blender.stimuli[n]) for n in range(4)},  # type: ignore[misc]
            {n + 1: (lambda value, n=n: put(n, value)) for n in range(4)},  # type: ignore[misc]
        )
        get_or, put_or = self._attribute(blender, "or_mode", bool)
        functions = self._detector(blender.event)
        return self.owner.object(
            {"orenable": get_or, "overrun": partial(self._overrun, blender.event)},
            {"orenable": put_or},
            {"EVENT_ID": blender.event, "stimulus": inputs, "reset": reset, **functions},
        )

    def _line(self, line: _Line) -> Any:
        functions = self._detector(line.event)
        getters: dict[str, Callable[[], Any]] = {"overrun": partial(self._overrun, line.event)}
        setters: dict[str, Callable[[Any], None]] = {}
        for name, kind in (("stimulus", int), ("mode", float), ("pulsewidth", float)):
            getters[name], setters[name] = self._attribute(line, name, kind)

        def reset() -> None:
            line.stimulus, line.mode = 0, 0.0
            self.publish()

        return self.owner.object(
            getters, setters,
            {"EVENT_ID": line.event, "assert": lambda *_: self.fire(line.event), "reset": reset,
             "release": lambda *_: None, **functions},
        )  # fmt: skip
