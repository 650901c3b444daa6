"""Trigger models of a 2450 made of blocks (2450-901-01, section 3), as far as they are sweeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil_sim.virtual_bench.scpi_smu import Shape
from hil_sim.virtual_bench.scpi_values import ScpiError, integer, keyword, number, text

if TYPE_CHECKING:
    from hil_sim.virtual_bench.instruments.keithley_2450 import Keithley2450

CONFIGURATION_LIST = "VoltCustomSweepList"
N_LINES = 6
_MAX_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its kind and its numbers (branch: count and target; wait: line; delay: s)."""

    kind: str
    value: float = 0.0
    target: int = 0


@dataclass(slots=True)
class Pass:
    """What a trigger model does between two of its waits or notifications."""

    points: int = 0
    delay_s: float = 0.0


class TriggerBlocks:
    """The blocks of one instrument, its digital lines, and the sweep that they stand for.

    Programmes that are understood: an optional buffer-clear, then passes of equal length, each
    begun by a wait for a digital line or a notification, whose points are configuration-next,
    delay, measure.
    """

    def __init__(self, owner: Keithley2450) -> None:
        self.owner = owner
        self.blocks: dict[int, Block] = {}
        self.stimulus: dict[int, int] = {}  # digital line -> notification that it sends

    def reset(self) -> None:
        """``*RST``."""
        self.blocks.clear()
        self.stimulus.clear()

    def add_commands(self) -> None:
        """Add the commands of blocks and digital lines."""
        add = self.owner.add
        head = ":TRIGger:BLOCk"
        for name, parse in (
            ("BUFFer:CLEar", self._clear), ("WAIT", self._wait), ("NOTify", self._notify),
            ("CONFig:NEXT", self._next), ("DELay:CONStant", self._delay),
            ("MEASure", self._measure), ("BRANch:COUNter", self._counter),
        ):  # fmt: skip
            add(f"{head}:{name}", put=self._putter(parse))
        add(":DIGital:LINE#:MODE", put=self._line_mode)
        add(":TRIGger:DIGital#:IN:EDGE", put=self._edge)
        add(":TRIGger:DIGital#:IN:CLEar", put=lambda n, _: self._line(n))
        add(":TRIGger:DIGital#:OUT:LOGic", put=self._logic)
        add(":TRIGger:DIGital#:OUT:STIMulus", put=self._stimulus)

    # Commands.

    def _putter(self, parse: Callable[[list[str]], Block]) -> Callable[[list[str]], None]:
        def put(parameters: list[str]) -> None:
            if not parameters:
                raise ScpiError(-109, "Missing parameter")
            at = integer(1, 63)(parameters[0])
            self.blocks[at] = parse(parameters[1:])
            self.owner.planned = self.begin

        return put

    @staticmethod
    def _given(parameters: list[str], count: int) -> list[str]:
        if len(parameters) < count:
            raise ScpiError(-109, "Missing parameter")
        return parameters

    def _clear(self, parameters: list[str]) -> Block:
        self.owner.buffer(parameters, 0)
        return Block("clear")

    def _wait(self, parameters: list[str]) -> Block:
        word = self._given(parameters, 1)[0].upper()
        name = word.rstrip("0123456789")
        if name not in ("DIG", "DIGIO"):
            raise ScpiError(-221, "Settings conflict: only digital lines are emulated")
        return Block("wait", self._line(int(word[len(name) :] or 0)))

    def _notify(self, parameters: list[str]) -> Block:
        return Block("notify", integer(1, 8)(self._given(parameters, 1)[0]))

    def _next(self, parameters: list[str]) -> Block:
        if text(self._given(parameters, 1)[0]) != CONFIGURATION_LIST:
            raise ScpiError(-1133, f"Configuration list {parameters[0]} does not exist")
        return Block("next")

    def _delay(self, parameters: list[str]) -> Block:
        return Block("delay", number(self._given(parameters, 1)[0]))

    def _measure(self, parameters: list[str]) -> Block:
        self.owner.buffer(parameters, 0)
        return Block("measure")

    def _counter(self, parameters: list[str]) -> Block:
        count, target = self._given(parameters, 2)[:2]
        return Block("count", integer(1, _MAX_STEPS)(count), integer(1, 63)(target))

    @staticmethod
    def _line(n: int) -> int:
        if not 1 <= n <= N_LINES:
            raise ScpiError(-114, "Header suffix out of range")
        return n

    def _line_mode(self, n: int, parameters: list[str]) -> None:
        self._line(n)
        kind, state = self._given(parameters, 2)[:2]
        keyword("DIGital", "TRIGger", "SYNChronous")(kind)
        keyword("IN", "OUT", "OPENdrain", "MASTer", "ACCeptor")(state)

    def _edge(self, n: int, parameters: list[str]) -> None:
        self._line(n)
        keyword("FALLing", "RISing", "EITHer")(self._given(parameters, 1)[0])

    def _logic(self, n: int, parameters: list[str]) -> None:
        self._line(n)
        keyword("POSitive", "NEGative")(self._given(parameters, 1)[0])

    def _stimulus(self, n: int, parameters: list[str]) -> None:
        word = self._given(parameters, 1)[0].upper()
        name = word.rstrip("0123456789")
        if name not in ("NOT", "NOTIFY", "NONE"):
            raise ScpiError(-221, "Settings conflict: only notifications are emulated")
        self.stimulus[self._line(n)] = int(word[len(name) :] or 0)

    # Running.

    def _passes(self) -> tuple[Block, list[Pass]]:
        """Execute the blocks without time; return what begins every pass, and the passes."""
        counters: dict[int, int] = {}
        begins: Block | None = None
        passes: list[Pass] = []
        at = 1
        for _ in range(_MAX_STEPS):
            block = self.blocks.get(at)
            if block is None:
                break
            at += 1
            if block.kind in ("wait", "notify"):
                begins = begins or block
                if block != begins:
                    raise ScpiError(-221, "Settings conflict: passes that begin differently")
                passes.append(Pass())
            elif block.kind == "measure" and passes:
                passes[-1].points += 1
            elif block.kind == "delay" and passes:
                passes[-1].delay_s = block.value
            elif block.kind == "count":
                done = counters[at] = counters.get(at, 0) + 1
                if done < block.value:
                    at = block.target
                else:
                    counters[at] = 0
        else:
            raise ScpiError(-221, "Settings conflict: the trigger model does not end")
        if begins is None or not passes or any(p != passes[0] or not p.points for p in passes):
            raise ScpiError(-221, "Settings conflict: this trigger model is not emulated")
        return begins, passes

    def begin(self) -> None:
        """Arm the sweep that the blocks stand for."""
        owner = self.owner
        begins, passes = self._passes()
        buffer = owner.buffer([], 0)
        buffer.clear()
        smu = owner.smu
        waits = owner.bench.bus[int(begins.value)] if begins.kind == "wait" else 0
        sent = [line for line, which in self.stimulus.items()
                if begins.kind == "notify" and which == int(begins.value)]  # fmt: skip
        owner.bench.engine.wires[owner.name] = [
            (smu.events[0], owner.bench.bus[line]) for line in sent
        ]
        smu.records.clear()

        def keep(records: list[Any]) -> None:
            owner.keep(buffer, records)

        smu.start(
            np.asarray(owner.listed, dtype=np.float64), len(passes),
            Shape(passes[0].delay_s, owner.aperture_s(), stimuli=(waits, 0, 0, 0)),
            keep, points=passes[0].points,
        )  # fmt: skip
