"""Trigger objects of TSP instruments: timers, blenders, generators, digio and TSP-Link lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil_sim.virtual_bench.engine import Timer

if TYPE_CHECKING:
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


class TriggerObjects:
    """The ``trigger``, ``digio`` and ``tsplink`` tables of one instrument.

    Digital I/O line n of all instruments of a bench are one wire. A change is published to the
    bench's engine at once.
    """

    def __init__(self, owner: TspPersonality, first_tsplink: int = 0) -> None:
        self.owner = owner
        new = owner.bench.engine.new_event
        self.command_event = new()
        self.timers = [_TimerState(new()) for _ in range(N_TIMERS)]
        self.generators = [new() for _ in range(N_GENERATORS)]
        self.blenders = [(new(), [0, 0, 0, 0], [False]) for _ in range(N_BLENDERS)]
        self.digio = [_Line(owner.bench.bus[n]) for n in range(1, N_DIGIO + 1)]
        self.tsplink = [_Line(new()) for _ in range(N_TSPLINK)]

    def reset(self) -> None:
        """Return every object to its default."""
        for timer in self.timers:
            timer.delays_s, timer.count = (10e-6,), 1
            timer.passthrough, timer.stimulus = False, 0
        for _, stimuli, _ in self.blenders:
            stimuli[:] = [0, 0, 0, 0]
        for line in (*self.digio, *self.tsplink):
            line.stimulus, line.mode = 0, 0.0
        self.publish()

    def publish(self) -> None:
        """Tell the engine what is connected."""
        engine = self.owner.bench.engine
        engine.timers[self.owner.name] = [
            Timer(t.stimulus, t.event, t.delays_s, t.count, t.passthrough) for t in self.timers
        ]
        wires = [(line.stimulus, line.event) for line in (*self.digio, *self.tsplink)]
        wires += [(s, event) for event, stimuli, _ in self.blenders for s in stimuli]
        engine.wires[self.owner.name] = [w for w in wires if w[0]]

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
            "blender": table({n + 1: self._blender(*b) for n, b in enumerate(self.blenders)}),
            "clear": lambda *_: None,
        }
        return self.owner.object(objects=objects)

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

        getters: dict[str, Callable[[], Any]] = {
            "delay": lambda: timer.delays_s[0], "overrun": lambda: False,
            "delaylist": lambda: self.owner.lua.table_from(list(timer.delays_s)),
        }  # fmt: skip
        setters: dict[str, Callable[[Any], None]] = {"delay": put_delay, "delaylist": put_list}
        for name, kind in (("count", int), ("passthrough", bool), ("stimulus", int)):
            getters[name], setters[name] = self._attribute(timer, name, kind)
        return self.owner.object(
            getters, setters, {"EVENT_ID": timer.event, "reset": reset, "clear": lambda *_: None}
        )

    def _generator(self, event: int) -> Any:
        return self.owner.object(
            objects={"EVENT_ID": event, "assert": lambda *_: self.fire(event)}
        )  # fmt: skip

    def _blender(self, event: int, stimuli: list[int], or_mode: list[bool]) -> Any:
        def put(at: int, value: Any) -> None:
            stimuli[at] = int(value)
            if not or_mode[0] and sum(s != 0 for s in stimuli) > 1:
                # All-of is not emulated; a blender that would need it must not pass silently.
                self.owner.post_error(1100, "Command unavailable: blender without orenable")
            self.publish()

        inputs = self.owner.object(
            {n + 1: (lambda n=n: stimuli[n]) for n in range(4)},  # type: ignore[misc]
            {n + 1: (lambda value, n=n: put(n, value)) for n in range(4)},  # type: ignore[misc]
        )
        return self.owner.object(
            {"orenable": lambda: or_mode[0]},
            {"orenable": lambda value: or_mode.__setitem__(0, bool(value))},
            {"EVENT_ID": event, "stimulus": inputs, "clear": lambda *_: None,
             "reset": lambda *_: stimuli.__setitem__(slice(None), [0, 0, 0, 0])},
        )  # fmt: skip

    def _line(self, line: _Line) -> Any:
        getters: dict[str, Callable[[], Any]] = {"overrun": lambda: False}
        setters: dict[str, Callable[[Any], None]] = {}
        for name, kind in (("stimulus", int), ("mode", float), ("pulsewidth", float)):
            getters[name], setters[name] = self._attribute(line, name, kind)

        def reset() -> None:
            line.stimulus, line.mode = 0, 0.0
            self.publish()

        return self.owner.object(
            getters, setters,
            {"EVENT_ID": line.event, "assert": lambda *_: self.fire(line.event), "reset": reset,
             "clear": lambda *_: None, "release": lambda *_: None},
        )  # fmt: skip
