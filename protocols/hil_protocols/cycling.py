"""Protocols that cycle cells: ``ltp-ltd``, ``pulse-map`` and ``endurance``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from hil.config.quantities import Count, Index
from hil.phases.cells import joined
from hil.procedure import ArrayContext
from hil_protocols.base import WriteTable, field_error
from hil_protocols.compile import Pulses, Reader, depression, erase_shots, nominal_pulse
from hil_protocols.fields import MAX_VALUES, VoltLevels, VoltSweep, WidthLevels, WidthSweep
from hil_protocols.fields import seconds as seconds_of
from hil_protocols.fields import volts as volts_of
from hil_protocols.plan import CurveRecord, Plan, Shot
from hil_protocols.selection import Cells
from hil_protocols.trains import TrainPart, Trains

Depression = Literal["auto", "pulses", "erase"]
ManyPulses = Annotated[int, Field(strict=True, ge=1, le=10**9)]


class LtpLtd(WriteTable):
    """Cycles of N potentiation and N depression pulses with a read after each.

    ``depression = "erase"`` replaces the depression pulses of a cycle by one block erase
    (three-terminal cells); ``auto`` does so where the operating point has an erase pulse. The
    block erase also clears cells of the same block that were not chosen.

    ``order = "cell"`` finishes all cycles of one cell before the next, as papers on single devices
    do; a whole train is then one block, which an instrument behind a switch matrix runs by itself.
    ``"interleaved"`` gives every pulse to all cells (``together`` of them in one step) before the
    next pulse. ``"auto"`` goes cell by cell where the backend senses one line at a time and nothing
    is erased; files that compare backends should say which.

    Outcome axes: ``cycle``, ``pulse`` (pulses of this half so far, 0 = start of the cycle),
    ``polarity`` (0 at the start, then +1, −1).
    """

    kind: Literal["ltp-ltd"]
    cycles: ManyPulses = 1
    pulses: ManyPulses = 50
    read_every: Count = 1
    depression: Depression = "auto"
    order: Literal["auto", "cell", "interleaved"] = "auto"

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        if self._cell_by_cell(context):
            return self._trains(context, cells).plan()
        reader = Reader(context, cells, self.read_repeat)
        up = Pulses(context, nominal_pulse(context, cells, self.together, +1), self.read_every)
        erasing = depression(self.depression, context) == "erase"
        down = Pulses(context, nominal_pulse(context, cells, self.together, -1), self.read_every)
        erase = erase_shots(context, cells) if erasing else []

        def train(pulses: Pulses, cycle: int, polarity: int) -> Iterator[Shot]:
            done = 0
            while done < self.pulses:
                now = min(self.read_every, self.pulses - done)
                yield from pulses.shots(now)
                done += now
                yield from reader.at(cycle, done, polarity)

        def shots() -> Iterator[Shot]:
            for cycle in range(self.cycles):
                yield from reader.at(cycle, 0, 0)
                yield from train(up, cycle, +1)
                if erasing:
                    yield from erase
                    yield from reader.at(cycle, 1, -1)
                else:
                    yield from train(down, cycle, -1)

        axes = ("cycle", "pulse", "polarity")
        return Plan(shots, lambda: CurveRecord(reader.read, cells.rows, cells.cols, axes))

    def notes(self, context: ArrayContext) -> list[str]:
        """Return which order was taken, and why."""
        together = context.capabilities.parallel_sense
        if self._cell_by_cell(context):
            text = "order: cell by cell, all cycles of one before the next"
            why = ": the backend senses one line at a time, and a change of cell may move relays"
        else:
            text = "order: interleaved, each pulse on all cells before the next pulse"
            why = ": lines are sensed together" if together else ": an erase depresses whole blocks"
        return [text + (why if self.order == "auto" else "")]

    def _cell_by_cell(self, context: ArrayContext) -> bool:
        erasing = depression(self.depression, context) == "erase"
        if self.order == "cell" and erasing:
            raise field_error(
                "order", "a block erase depresses the whole block: cells cannot follow one another"
            )
        if self.order == "auto":
            return not erasing and not context.capabilities.parallel_sense
        return self.order == "cell"

    def _trains(self, context: ArrayContext, cells: Cells) -> Trains:
        parts: list[TrainPart] = []
        for cycle in range(self.cycles):
            parts.append(TrainPart(0, 0, (cycle, 0, 0)))
            for polarity in (1, -1):
                for done in range(0, self.pulses, self.read_every):
                    now = min(self.read_every, self.pulses - done)
                    parts.append(TrainPart(polarity, now, (cycle, done + now, polarity)))
        axes = ("cycle", "pulse", "polarity")
        return Trains(context, cells, parts, axes, self.read_repeat)


class PulseMap(WriteTable):
    """Response to pulses of every amplitude and width of a grid.

    Before each grid point the cells are brought back by ``reset_pulses`` nominal pulses of the
    other polarity (0 = none), or by a block erase (``reset = "erase"``); then ``pulses`` pulses of
    the point are given with a read before the first and after each.

    Outcome axes: ``amplitude_v``, ``width_s``, ``pulse``.
    """

    kind: Literal["pulse-map"]
    polarity: Literal["potentiate", "depress"] = "potentiate"
    amplitudes: VoltLevels = VoltSweep(relative=(0.7, 0.8, 0.9, 1.0))
    widths: WidthLevels = WidthSweep(relative=(0.5, 1.0, 2.0))
    pulses: ManyPulses = 10
    reset: Depression = "pulses"
    reset_pulses: Index = 100

    @model_validator(mode="after")
    def _erase_only_depresses(self) -> PulseMap:
        if self.reset == "erase" and self.polarity == "depress":
            raise ValueError("reset: a block erase depresses; it cannot undo depression pulses")
        return self

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        sign = 1 if self.polarity == "potentiate" else -1
        nominal_v = context.op.potentiate_v if sign > 0 else context.op.depress_v
        amplitudes = volts_of(self.amplitudes, nominal_v)
        if (amplitudes * sign <= 0).any():
            bad = amplitudes[amplitudes * sign <= 0][0]
            wanted = "above" if sign > 0 else "below"
            raise field_error(
                "amplitudes", f"{bad:g} V is not {wanted} 0 V, as {self.polarity} needs"
            )
        widths = seconds_of(self.widths, context.op.write_s)
        reader = Reader(context, cells, self.read_repeat)
        reset: list[Shot] = []
        if self.reset != "pulses" and sign > 0 and depression(self.reset, context) == "erase":
            reset = erase_shots(context, cells)
        elif self.reset_pulses:
            block = nominal_pulse(context, cells, self.together, -sign)
            reset = list(Pulses(context, block, self.reset_pulses).shots(self.reset_pulses))

        def shots() -> Iterator[Shot]:
            for v in amplitudes:
                for width_s in widths:
                    yield from reset
                    yield from reader.at(v, width_s, 0)
                    block = nominal_pulse(
                        context, cells, self.together, sign, v=float(v), width_s=float(width_s)
                    )
                    pulse = Pulses(context, block)
                    for k in range(self.pulses):
                        yield from pulse.shots()
                        yield from reader.at(v, width_s, k + 1)

        axes = ("amplitude_v", "width_s", "pulse")
        return Plan(shots, lambda: CurveRecord(reader.read, cells.rows, cells.cols, axes))


class Endurance(WriteTable):
    """Window after many set–reset cycles: reads of both states at spread cycles.

    A cycle is ``pulses`` potentiation and ``pulses`` depression pulses (or a block erase). Both
    states are read in the first and last cycle and in ``reads_per_decade`` cycles per decade
    between (in every ``read_every``-th cycle if that is given).

    Outcome axes: ``cycle`` (from 1), ``state`` (+1 after potentiation, −1 after depression).
    """

    kind: Literal["endurance"]
    cycles: ManyPulses = 1000
    pulses: ManyPulses = 1
    reads_per_decade: Annotated[int, Field(strict=True, ge=1, le=1000)] = 5
    read_every: Count | None = None
    depression: Depression = "auto"

    def read_cycles(self) -> list[int]:
        """Return the cycles (from 1) in which both states are read."""
        last = self.cycles
        if self.read_every is not None:
            if last // self.read_every > MAX_VALUES:
                raise field_error("read_every", f"gives {last // self.read_every} reads, at most "
                             f"{MAX_VALUES} are allowed")  # fmt: skip
            return sorted({1, last, *range(self.read_every, last + 1, self.read_every)})
        n = int(np.log10(last) * self.reads_per_decade) + 1
        spread = np.rint(10 ** (np.arange(n) / self.reads_per_decade)).astype(int)
        return sorted({1, last, *(int(c) for c in spread if c <= last)})

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        reads = self.read_cycles()
        reader = Reader(context, cells, self.read_repeat)
        up = nominal_pulse(context, cells, self.together, +1, repeat=self.pulses)
        down = nominal_pulse(context, cells, self.together, -1, repeat=self.pulses)
        erasing = depression(self.depression, context) == "erase"
        erase = erase_shots(context, cells) if erasing else []
        up_once, down_once = Pulses(context, up), Pulses(context, down)
        both = Pulses(context, joined([up, down]), self.cycles)

        def unread(cycles: int) -> Iterator[Shot]:
            if not erasing:
                yield from both.shots(cycles)
                return
            for _ in range(cycles):
                yield from up_once.shots()
                yield from erase

        def shots() -> Iterator[Shot]:
            done = 0
            for cycle in reads:
                yield from unread(cycle - done - 1)
                yield from up_once.shots()
                yield from reader.at(cycle, +1)
                yield from erase if erasing else down_once.shots()
                yield from reader.at(cycle, -1)
                done = cycle

        axes = ("cycle", "state")
        return Plan(shots, lambda: CurveRecord(reader.read, cells.rows, cells.cols, axes))
