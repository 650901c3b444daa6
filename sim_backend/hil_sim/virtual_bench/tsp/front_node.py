"""An instrument of the 2450 family in its TSP command set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from hil_sim.virtual_bench.instruments.keithley_2450_interlock import (
    ERROR,
    INTERLOCK_WARNING,
    WARNING,
    limited_by_interlock,
    set_ceiling,
    severity,
)
from hil_sim.virtual_bench.personality import Setting
from hil_sim.virtual_bench.scpi_smu import SmuChannel
from hil_sim.virtual_bench.terminal import SourceMeter
from hil_sim.virtual_bench.tsp import block_templates, front_triggers, node
from hil_sim.virtual_bench.tsp.block_model import BlockModel
from hil_sim.virtual_bench.tsp.config_lists import ConfigLists
from hil_sim.virtual_bench.tsp.front_buffers import FrontBuffers
from hil_sim.virtual_bench.tsp.front_smu import FrontSmu
from hil_sim.virtual_bench.tsp.local_events import COMMAND, LocalEvents
from hil_sim.virtual_bench.tsp.runtime import TspPersonality

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_SCRIPT_EXISTS = 1408
_INFORMATION = 4
_SLICE_S = 0.01


class FrontNode(TspPersonality):
    """One channel, called ``1``.

    Attributes:
        smu: the channel; buffers_, events, model_: what its tables of those names act on.
    """

    driver: ClassVar[str] = "keithley-2450"
    default_model: ClassVar[str] = "2450"

    def __init__(
        self, bench: Bench, name: str, settings: Mapping[str, Setting], meter: SourceMeter
    ) -> None:
        self._meter = meter
        super().__init__(bench, name, settings)
        self.precision = 0
        self._tools.digits("%.7g")

    def root_objects(self) -> dict[str, Any]:
        """Return the tables of the instrument."""
        objects = super().root_objects()
        channel = SmuChannel(self, "1", self._meter)
        self.terminals["1"] = channel.terminal
        self.buffers_ = FrontBuffers(self)
        self.events = LocalEvents(self)
        self.model_ = BlockModel(self)
        self.smu = FrontSmu(self, channel)
        for number, one in enumerate(self.buffers_.default, start=1):
            objects[f"defbuffer{number}"] = one.lua
        objects["smu"] = self.smu.table()
        objects["buffer"] = self.buffers_.table()
        objects["trigger"] = front_triggers.trigger_table(self)
        objects["digio"] = front_triggers.digio_table(self)
        objects["tsplink"] = front_triggers.tsplink_table(self)
        objects["eventlog"] = self._eventlog()
        objects["localnode"] = node.localnode(self, {"showevents": 0, "prompts4882": 1})
        objects["status"] = self._status()
        objects["timer"] = self._timer()
        objects["display"] = self._display()
        objects["delay"] = lambda seconds: self.events.dwell(float(seconds))
        objects["node"] = self.lua.table_from({1: self.lua.globals()})
        return objects

    # Tables of the node.

    def number_text(self, value: float) -> str:
        """Return a number as ``print`` writes it; precision 0 is automatic."""
        return super().number_text(value) if self.precision else f"{value:.7g}"

    def set_precision(self, digits: int) -> None:
        """Set the significant digits of printed numbers, 0 = automatic."""
        if digits:
            super().set_precision(digits)
        else:
            self.precision = 0
            self._tools.digits("%.7g")

    def _eventlog(self) -> Any:
        """Return ``eventlog`` (2461-901-01 rev. A pp. 8-68 to 8-71)."""

        def matching(wanted: Any) -> list[tuple[int, str]]:
            mask = int(wanted if wanted is not None else 7)
            return [e for e in self.errors if severity(e[0]) & mask]

        def next_event(wanted: Any = None) -> tuple[float, str, float, float, float, float]:
            found = matching(wanted)
            if not found:
                return 0.0, "No error", 0.0, 0.0, 0.0, 0.0
            self.errors.remove(found[0])
            code, text = found[0]
            seconds, nanoseconds = divmod(self.bench.clock_ns, 10**9)
            return (float(code), text, float(severity(code)), 0.0, float(seconds),
                    float(nanoseconds))  # fmt: skip

        return self.object(objects={
            "SEV_ERROR": ERROR, "SEV_WARN": WARNING, "SEV_INFO": _INFORMATION, "SEV_ALL": 7,
            "getcount": lambda wanted=None: len(matching(wanted)), "next": next_event,
            "clear": lambda *_: self.errors.clear(),
            "post": lambda text, *_: self.post_error(1, str(text)),
        })  # fmt: skip

    def _status(self) -> Any:
        def clear(*_: Any) -> None:
            self.esr = 0

        return self.object(
            {"condition": self.status_byte, "request_enable": lambda: self.sre},
            {"request_enable": lambda value: setattr(self, "sre", int(value))},
            {"standard": self.standard_events(), "clear": clear, "preset": clear},
        )

    def _timer(self) -> Any:
        start = [0]
        return self.object(objects={
            "cleartime": lambda *_: start.__setitem__(0, self.bench.clock_ns),
            "gettime": lambda *_: (self.bench.clock_ns - start[0]) * 1e-9,
        })  # fmt: skip

    def _display(self) -> Any:
        words = ("SCREEN_HOME", "SCREEN_GRAPH", "SCREEN_HOME_LARGE_READING", "SCREEN_USER_SWIPE",
                 "TEXT1", "TEXT2", "STATE_LCD_50", "STATE_LCD_100", "STATE_LCD_OFF")  # fmt: skip
        ignored: Callable[..., None] = lambda *_: None  # noqa: E731
        names = ("clear", "changescreen", "settext", "prompt", "delete")
        light = ["display.STATE_LCD_50"]
        return self.object(
            {"lightstate": lambda: light[0]},
            {"lightstate": lambda value: light.__setitem__(0, value)},
            {**{word: f"display.{word}" for word in words}, **dict.fromkeys(names, ignored)},
        )

    def lists_of(self, name: str) -> ConfigLists:
        """Return the kind of configuration lists that has ``name``; source lists for none."""
        return self.smu.measure_lists if name in self.smu.measure_lists.lists else (
            self.smu.source_lists
        )  # fmt: skip

    def sweeps(self) -> dict[str | int, Callable[..., None]]:
        """Return the functions that set up a sweep."""
        return block_templates.sweep_functions(self.model_)

    def may_redefine(self, name: str) -> bool:
        """A script of an existing name is refused with 1408."""
        if name and self.lua.globals()[name] is not None:
            self.post_error(_SCRIPT_EXISTS, f"Script {name} already exists")
            return False
        return True

    # Life.

    def reset(self) -> None:
        """``reset()`` and ``*RST``: settings, lists, trigger model; default buffers are empty."""
        self.model_.reset()
        self.events.reset()
        self.smu.reset()
        self.smu.source_lists.reset()
        self.smu.measure_lists.reset()
        self.buffers_.clear()

    def watch_interlock(self) -> None:
        """Limit the output while the interlock is open."""
        set_ceiling(self, self.smu.channel.terminal)

    def warn_interlock(self) -> None:
        """Queue the event that a level will not be given."""
        terminal = self.smu.channel.terminal
        if terminal.on and limited_by_interlock(self, terminal):
            self.post_error(*INTERLOCK_WARNING)

    def trigger(self) -> None:
        """``*TRG``: the command interface's event."""
        self.events.post(COMMAND)

    def is_urgent(self, message: bytes) -> bool:
        """What stops the trigger model interrupts a session that waits for it."""
        return super().is_urgent(message) or message.strip() == b"trigger.model.abort()"

    def abort(self) -> None:
        """Stop the trigger model; the output stays as it is."""
        super().abort()
        self.model_.abort()

    def catch_up(self) -> None:
        """Run the trigger model as far as it goes."""
        if not self.model_.running:
            self.model_.proceed()

    def wait_complete(self) -> None:
        """Block until the trigger model is idle."""
        self.bench.wait_until(self, self.model_.proceed)

    def wait_event(self, name: str, timeout_s: float) -> bool:
        """Wait for an event, and clear it; return whether it came within ``timeout_s``."""
        end = self.bench.clock_ns + round(timeout_s * 1e9)
        found = self.events.advance(
            lambda: self.events.latched(name) or (self.events.next_ns() or end + 1) > end
        ) and self.events.latched(name)
        waited_s = 0.0
        while not found and waited_s < timeout_s and not self.abort_requested:
            self.bench.changed.wait(min(_SLICE_S, timeout_s))
            waited_s += _SLICE_S
            found = self.events.latched(name)
        if found:
            self.events.clear(name)
        return found

    def pass_time(self, seconds: float) -> None:
        """Let time pass at the present levels, at the bench's pace."""
        self.bench.dwell(seconds)
        pace = self.bench.faults.pace
        left_s = seconds / pace if pace > 0.0 else 0.0
        while left_s > 0.0 and not self.abort_requested:
            self.bench.changed.wait(min(left_s, _SLICE_S))
            left_s -= _SLICE_S

    def language_command(self, text: str) -> None:
        """``*LANG?``; the instrument that has this command set answers for it."""
        if text.endswith("?"):
            self.emit("TSP")

    def version(self) -> str:
        """Return the firmware version."""
        return "1.7.12b"

    def identity(self) -> str:
        """Return the answer to ``*IDN?``."""
        return f"KEITHLEY INSTRUMENTS,MODEL {self.model},{self.serial},{self.version()}"
