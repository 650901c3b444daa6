"""An array board that speaks the framed serial protocol (docs/serial-protocol.md)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigError
from hil_sim.virtual_bench.board.codes import Can, Features
from hil_sim.virtual_bench.board.core import Core
from hil_sim.virtual_bench.board.frames import VERSION, Frame
from hil_sim.virtual_bench.board.machine import Machine
from hil_sim.virtual_bench.board.pins import BenchPins
from hil_sim.virtual_bench.latencies import MESSAGE, latency_s
from hil_sim.virtual_bench.personality import Personality, Setting
from hil_sim.virtual_bench.stream import StreamPersonality
from hil_sim.virtual_bench.terminal import SourceMeter, Terminal

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_SETTABLE = frozenset(f.name for f in fields(Features)) - {"identity"}
# For the errors of an imperfect bench: a converter's offset is about that of a 10 uA range.
_METER = SourceMeter((10.0,), (1e-5,), 20_000.0, 10_000.0, 1e9, float("nan"))


class SerialBoard(StreamPersonality):
    """Drives and senses every line of an array.

    Its channels are the protocol's line numbers, ``0`` …, and by other names the word lines ``w0``
    …, bit lines ``b0`` … and further lines ``x0`` …. A board that a station does not wire has
    line k of the first array on its line k. Options are the
    fields of :class:`Features`, ``version`` (of the protocol), ``trigger_in`` and ``trigger_out``.
    """

    driver = "serial-board"
    default_model = "Array board"
    settings_known = Personality.settings_known | _SETTABLE | {"version"}

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(bench, name, settings)
        geometry = bench.station.array[0].geometry()
        features = Features(
            geometry.n_rows, geometry.n_cols, geometry.n_lines,
            f"synapse-hil,{self.model},{self.serial},1.0",
        )  # fmt: skip
        chosen: dict[str, Any] = {k: v for k, v in self.settings.items() if k in _SETTABLE}
        if chosen.keys() & {"rows", "cols"}:
            more = int(chosen.get("rows", features.rows)) + int(chosen.get("cols", features.cols))
            rest = geometry.n_lines - geometry.n_rows - geometry.n_cols
            chosen.setdefault("lines", more + rest)
        can = Can(int(chosen.pop("can", features.can)))
        for option, bit in (("trigger_in", Can.TRIG_IN), ("trigger_out", Can.TRIG_OUT)):
            can |= bit if option in self.settings else 0
        features = replace(features, can=can, **chosen)
        if features.lines < features.rows + features.cols:
            raise ConfigError("a board has a line for every row and column",
                              field=f"options.{name}.lines")  # fmt: skip
        others = features.lines - features.rows - features.cols
        names = [
            f"{group}{k}"
            for group, count in (("w", features.rows), ("b", features.cols), ("x", others))
            for k in range(count)
        ]
        self.terminals = {channel: Terminal(name, channel, _METER) for channel in names}
        for terminal in self.terminals.values():
            terminal.off_mode = "zero"
        pins = BenchPins(bench, tuple(self.terminals.values()))
        # Their numbers are names, too.
        self.terminals |= {str(k): t for k, t in enumerate(pins.terminals)}
        counter = itertools.count(int(time.time_ns()) & 0x3FFFFFFF)
        self.core = Core(
            features, pins, outputs=self._outputs,
            pace=lambda: bench.faults.pace, edges=self._edges, pulse=self._pulse,
        )  # fmt: skip
        self.machine = Machine(
            self.core, salt=lambda: next(counter), boot=lambda: next(counter),
            arrived=self._arrived, version=int(self.settings.get("version", VERSION)),
        )  # fmt: skip

    def receive(self, data: bytes) -> bytes:
        """Take bytes as they come; return what is sent back."""
        if self.faults.mute:
            return b""
        with self.bench.changed:
            return self._sent(self.machine.receive(data))

    def tick(self) -> bytes:
        """Do what is due by the clock; return what is sent."""
        with self.bench.changed:
            hook = self.bench.faults.during_run
            if hook is not None and self.core.running:
                self.bench.faults.during_run = None
                hook(self.core.run_s)
            sent = self.machine.tick()
            return b"" if self.faults.mute else self._sent(sent)

    def idle_s(self) -> float:
        """Return after how many seconds :meth:`tick` is wanted at the latest."""
        with self.bench.lock:
            return self.machine.idle_s()

    def session_closed(self) -> None:
        """The host has gone: the board goes safe."""
        self.machine.link_lost()

    def post_error(self, code: int, text: str) -> None:
        """Have a fault of the hardware: the request at hand is answered with HARDWARE."""
        self.core.fault = f"{code} {text}"

    def reset(self) -> None:
        """Lose session, settings and memory."""
        self.machine.reset()

    def _sent(self, reply: bytes) -> bytes:
        return self._spoil(reply, self.faults) or b"" if reply else reply

    def _arrived(self, frame: Frame) -> None:
        self.core.identity = self.faults.corrupt_idn or self.core.features.identity
        self._inject(bytes([frame.op]) + frame.payload, self.faults)
        if self.bench.realistic:
            self.owed_s += latency_s(self.driver, MESSAGE)

    def _outputs(self, on: bool) -> None:
        for terminal in self.terminals.values():
            terminal.on = on

    def _line(self, option: str) -> int | None:
        number = self.settings.get(option)
        return None if number is None else self.bench.bus[int(number)]

    def _edges(self) -> int:
        event = self._line("trigger_in")
        return 0 if event is None else self.bench.engine.count(event)

    def _pulse(self) -> None:
        event = self._line("trigger_out")
        if event is not None:
            self.bench.engine.fire(event)
            self.bench.run(self)
