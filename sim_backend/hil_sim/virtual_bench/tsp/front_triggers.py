"""The ``trigger``, ``digio`` and ``tsplink`` tables of a 2450."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hil_sim.virtual_bench.tsp import block_templates
from hil_sim.virtual_bench.tsp import local_events as le
from hil_sim.virtual_bench.tsp.block_model import BLOCKS

if TYPE_CHECKING:
    from hil_sim.virtual_bench.tsp.front_node import FrontNode

_WORDS: Final = (
    *(f"BLOCK_{kind}" for kind in BLOCKS), "CLEAR_ENTER", "CLEAR_NEVER", "WAIT_AND", "WAIT_OR",
    *(f"LIMIT_{kind}" for kind in ("ABOVE", "BELOW", "INSIDE", "OUTSIDE")), "ON", "OFF",
    *(f"EDGE_{kind}" for kind in ("FALLING", "RISING", "EITHER")), "LOGIC_POSITIVE",
    "LOGIC_NEGATIVE", "CONT_AUTO", "CONT_OFF", "CONT_RESTART",
    *(f"STATE_{k}" for k in ("IDLE", "RUNNING", "WAITING", "EMPTY", "ABORTED", "BUILDING",
                             "FAILED", "ABORTING")),
    *(f"LOG_{kind}{n}" for kind in ("INFO", "WARN", "ERROR") for n in range(1, 5)),
    "EVENT_NONE", "EVENT_COMMAND", "EVENT_DISPLAY", "EVENT_SOURCE_LIMIT",
    *(f"EVENT_TIMER{n}" for n in range(1, le.N_TIMERS + 1)),
    *(f"EVENT_BLENDER{n}" for n in range(1, le.N_BLENDERS + 1)),
    *(f"EVENT_DIGIO{n}" for n in range(1, le.N_DIGIO + 1)),
    *(f"EVENT_TSPLINK{n}" for n in range(1, le.N_TSPLINK + 1)),
    *(f"EVENT_NOTIFY{n}" for n in range(1, le.N_NOTIFY + 1)),
    *(f"EVENT_LAN{n}" for n in range(1, 9)),
)  # fmt: skip
_DIGIO_MODES: Final = ("MODE_TRIGGER_IN", "MODE_TRIGGER_OUT", "MODE_TRIGGER_OPEN_DRAIN",
                       "MODE_DIGITAL_IN", "MODE_DIGITAL_OUT", "MODE_DIGITAL_OPEN_DRAIN",
                       "MODE_SYNCHRONOUS_MASTER", "MODE_SYNCHRONOUS_ACCEPTOR")  # fmt: skip
_DEFAULT_MODE: Final = "digio.MODE_DIGITAL_IN"


def _flag(value: Any) -> bool:
    return value in (1, True, "trigger.ON", "smu.ON")


def trigger_table(self: FrontNode) -> Any:
    """Return ``trigger``."""
    table, model, events = self.lua.table_from, self.model_, self.events
    functions: dict[str | int, Any] = {
        "load": partial(block_templates.load, model), "setblock": model.put,
        "initiate": lambda *_: model.initiate(),
        "abort": lambda *_: model.abort(), "state": lambda *_: model.state(),
        "getblocklist": lambda *_: model.listing(), "getbranchcount": model.branch_count,
        "pause": lambda *_: None, "resume": lambda *_: None,
    }  # fmt: skip
    objects: dict[str | int, Any] = {
        **{word: f"trigger.{word}" for word in _WORDS},
        "model": self.object(objects=functions),
        "timer": table({n: _timer(self, t) for n, t in events.timers.items()}),
        "blender": table({n: _blender(self, n) for n in range(1, le.N_BLENDERS + 1)}),
        "digin": table({n: _input(self, "DIGIO", n) for n in range(1, le.N_DIGIO + 1)}),
        "digout": table({n: _output(self, "DIGIO", n) for n in range(1, le.N_DIGIO + 1)}),
        "tsplinkin": table({n: _input(self, "TSPLINK", n) for n in range(1, le.N_TSPLINK + 1)}),
        "tsplinkout": table({n: _output(self, "TSPLINK", n) for n in range(1, le.N_TSPLINK + 1)}),
        **events.waiting(le.COMMAND),
    }  # fmt: skip
    continuous = {"continuous": "trigger.CONT_OFF"}
    return self.object(
        {"continuous": lambda: continuous["continuous"]},
        {"continuous": lambda value: continuous.__setitem__("continuous", value)}, objects,
    )  # fmt: skip


def _timer(self: FrontNode, first: le.LocalTimer) -> Any:
    number, events = first.number, self.events

    def timer() -> le.LocalTimer:
        return events.timers[number]

    def put(name: str, kind: Callable[[Any], Any], value: Any) -> None:
        setattr(timer(), name, kind(value))

    def put_list(values: Any) -> None:
        timer().delays_s = tuple(float(values[i]) for i in range(1, len(values) + 1))

    def put_enable(value: Any) -> None:
        timer().enabled = _flag(value)
        timer().started += 1  # what an earlier start planned is off

    def reset(*_: Any) -> None:
        events.timers[number] = le.LocalTimer(number)

    start = self.object(
        {"stimulus": lambda: timer().stimulus, "generate": lambda: _onoff(timer().generate),
         "seconds": lambda: 0, "fractionalseconds": lambda: 0.0},
        {"stimulus": partial(put, "stimulus", str), "generate": partial(put, "generate", _flag),
         "seconds": lambda _: None, "fractionalseconds": lambda _: None},
    )  # fmt: skip
    name = le.event("TIMER", number)
    return self.object(
        {"delay": lambda: timer().delays_s[0], "count": lambda: timer().count,
         "delaylist": lambda: self.lua.table_from(list(timer().delays_s)),
         "enable": lambda: _onoff(timer().enabled), "overrun": lambda: events.overrun(name)},
        {"delay": lambda value: put("delays_s", lambda v: (float(v),), value),
         "count": partial(put, "count", int), "delaylist": put_list, "enable": put_enable},
        {"start": start, "reset": reset, **events.waiting(name)},
    )  # fmt: skip


def _onoff(value: bool) -> str:
    return "trigger.ON" if value else "trigger.OFF"


def _blender(self: FrontNode, number: int) -> Any:
    events = self.events

    def put(at: int, value: Any) -> None:
        events.blenders[number].stimuli[at] = str(value)
        events.blenders[number].came.clear()

    def put_or(value: Any) -> None:
        events.blenders[number].or_mode = _flag(value)

    def get(at: int) -> str:
        return events.blenders[number].stimuli[at]

    def reset(*_: Any) -> None:
        events.blenders[number] = le.LocalBlender(number)

    inputs = self.object(
        {n + 1: partial(get, n) for n in range(4)},  # type: ignore[misc]
        {n + 1: partial(put, n) for n in range(4)},  # type: ignore[misc]
    )
    name = le.event("BLENDER", number)
    return self.object(
        {"orenable": lambda: events.blenders[number].or_mode,
         "overrun": lambda: events.overrun(name)},
        {"orenable": put_or}, {"stimulus": inputs, "reset": reset, **events.waiting(name)},
    )  # fmt: skip


def _input(self: FrontNode, kind: str, number: int) -> Any:
    name = le.event(kind, number)
    edge = {"edge": "trigger.EDGE_FALLING"}
    return self.object(
        {"edge": lambda: edge["edge"], "overrun": lambda: self.events.overrun(name)},
        {"edge": lambda value: edge.__setitem__("edge", value)}, self.events.waiting(name),
    )  # fmt: skip


def _output(self: FrontNode, kind: str, number: int) -> Any:
    kept: dict[str, Any] = {"pulsewidth": 10e-6, "logic": "trigger.LOGIC_NEGATIVE"}
    key = (kind, number)

    def put_stimulus(value: Any) -> None:
        self.events.outputs[key] = str(value)

    getters: dict[str, Callable[[], Any]] = {name: partial(kept.__getitem__, name) for name in kept}
    setters: dict[str, Callable[[Any], None]] = {
        name: partial(kept.__setitem__, name) for name in kept
    }
    return self.object(
        {**getters, "stimulus": lambda: self.events.outputs.get(key, le.NONE)},
        {**setters, "stimulus": put_stimulus},
        {"assert": lambda *_: self.events.assert_line(key), "release": lambda *_: None},
    )


def _line(self: FrontNode, default: str) -> Any:
    kept: dict[str, Any] = {"mode": default, "state": "digio.STATE_HIGH"}
    return self.object(
        {name: partial(kept.__getitem__, name) for name in kept},
        {name: partial(kept.__setitem__, name) for name in kept},
        {"reset": lambda *_: kept.__setitem__("mode", default)},
    )


def digio_table(self: FrontNode) -> Any:
    """Return ``digio``."""
    lines = {n: _line(self, _DEFAULT_MODE) for n in range(1, le.N_DIGIO + 1)}
    words = (*_DIGIO_MODES, "STATE_HIGH", "STATE_LOW")
    return self.object(objects={
        **{word: f"digio.{word}" for word in words}, "line": self.lua.table_from(lines),
        "readport": lambda: 2**le.N_DIGIO - 1, "writeport": lambda *_: None,
    })  # fmt: skip


def tsplink_table(self: FrontNode) -> Any:
    """Return ``tsplink``: its lines join the instruments of a bench, nodes do not."""
    lines = {n: _line(self, "tsplink.MODE_DIGITAL_OPEN_DRAIN") for n in range(1, le.N_TSPLINK + 1)}
    return self.object(
        {"state": lambda: "offline", "node": lambda: 1, "master": lambda: 1, "group": lambda: 0},
        {"node": lambda _: None, "group": lambda _: None},
        {
            **{word: f"tsplink.{word}" for word in (*_DIGIO_MODES, "STATE_HIGH", "STATE_LOW")},
            "line": self.lua.table_from(lines), "initialize": lambda *_: 1,
        },
    )  # fmt: skip
