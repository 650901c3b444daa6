"""Protocols that stress or wait: ``retention``, ``half-select-disturb``, ``read-disturb``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import model_validator

from hil.config.quantities import Count, Index, Volt
from hil.phases.cells import CellRead, checked_once, pieces, without_sensing
from hil.phases.reading import read_rows
from hil.procedure import ArrayContext
from hil_protocols.base import CellTable, WriteTable, field_error
from hil_protocols.compile import Pulses, Reader, depression, erase_shots, nominal_pulse, wait
from hil_protocols.cycling import Depression, ManyPulses
from hil_protocols.fields import Cell, WaitLevels, seconds
from hil_protocols.plan import CurveRecord, Plan, Shot
from hil_protocols.selection import listed_cells


class Retention(WriteTable):
    """Conductance over time at rest; outputs are off between the reads.

    First ``depress_pulses`` (or a block erase) and ``potentiate_pulses`` set the state to watch
    (0 = leave it). ``times`` count from the end of these pulses; a read at 0 s comes first.

    Outcome axis: ``wait_s``, the time waited in all (reads take their own time on top of it).
    """

    kind: Literal["retention"]
    times: WaitLevels
    potentiate_pulses: Index = 0
    depress_pulses: Index = 0
    depression: Depression = "pulses"

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        times = seconds(self.times, 1.0)
        if (np.diff(times) <= 0).any():
            raise field_error("times", "must rise from one to the next")
        reader = Reader(context, cells, self.read_repeat)
        first: list[Shot] = []
        if self.depression != "pulses" and depression(self.depression, context) == "erase":
            first += erase_shots(context, cells)
        for polarity, count in ((-1, self.depress_pulses), (+1, self.potentiate_pulses)):
            if count:
                block = nominal_pulse(context, cells, self.together, polarity)
                first += Pulses(context, block, count).shots(count)

        def shots() -> Iterator[Shot]:
            yield from first
            waited = 0.0
            if times[0] > 0:
                yield from reader.at(0.0)
            for time_s in times:
                yield from wait(context, float(time_s) - waited)
                waited = float(time_s)
                yield from reader.at(waited)

        return Plan(shots, lambda: CurveRecord(reader.read, cells.rows, cells.cols, ("wait_s",)))


class HalfSelectDisturb(WriteTable):
    """What write pulses on one cell do to its neighbours.

    ``pulses`` pulses are given to ``aggressor``; ``cells`` (all, by default) are read before and
    after every ``read_every`` pulses. Cells of the aggressor's row and column are half-selected;
    the aggressor is among the cells when all are read.

    Outcome: ``g_siemens`` over ``pulse``, and ``half_selected`` (n_cells,), True where a cell
    shares exactly one line with the aggressor.
    """

    kind: Literal["half-select-disturb"]
    aggressor: Cell = (0, 0)
    polarity: Literal["potentiate", "depress"] = "potentiate"
    pulses: ManyPulses = 1000
    read_every: Count = 100

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        try:
            hit = listed_cells(context.geometry, [self.aggressor])
        except ValueError as exc:
            raise field_error("aggressor", str(exc).split(": ", 1)[-1]) from exc
        cells = self.chosen(context)
        reader = Reader(context, cells, self.read_repeat)
        sign = 1 if self.polarity == "potentiate" else -1
        pulse = Pulses(context, nominal_pulse(context, hit, "cell", sign), self.read_every)

        def shots() -> Iterator[Shot]:
            done = 0
            yield from reader.at(0)
            while done < self.pulses:
                now = min(self.read_every, self.pulses - done)
                yield from pulse.shots(now)
                done += now
                yield from reader.at(done)

        row, col = self.aggressor
        half = (cells.rows == row) ^ (cells.cols == col)
        return Plan(shots, lambda: _Disturbed(reader.read, cells.rows, cells.cols, half))


class _Disturbed(CurveRecord):
    def __init__(
        self, read: CellRead, rows: np.ndarray, cols: np.ndarray, half: np.ndarray
    ) -> None:
        super().__init__(read, rows, cols, ("pulse",))
        self._half = half

    def outcome(self) -> dict[str, object]:
        """Return the curve and which cells were half-selected."""
        return super().outcome() | {"half_selected": self._half}


class ReadDisturb(CellTable):
    """Drift of the conductance under many read pulses.

    Every cell gets ``reads`` pulses at ``disturb_voltage`` (the read voltage by default) and is
    read before and after every ``read_every`` of them. Outcome axis: ``pulse``.
    """

    kind: Literal["read-disturb"]
    reads: ManyPulses = 10_000
    read_every: Count = 1000
    disturb_voltage: Volt | None = None

    @model_validator(mode="after")
    def _disturbs(self) -> ReadDisturb:
        if self.disturb_voltage == 0.0:
            raise ValueError("disturb_voltage: must not be 0 V")
        return self

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        reader = Reader(context, cells, self.read_repeat)
        rows = np.unique(cells.rows)
        cols = np.unique(cells.cols)

        # Nothing is sensed here, so one step per row serves every backend.
        able = dataclasses.replace(context.capabilities, parallel_sense=True)

        def stress(count: int) -> list[Shot]:
            block = read_rows(
                context.geometry, context.op, able, rows, cols, repeat=count,
                read_v=self.disturb_voltage,
            )  # fmt: skip
            silent = without_sensing(block)
            return [Shot(checked_once(piece)) for piece in pieces(silent, context.capabilities)]

        chunk = min(self.read_every, self.reads)
        full = stress(chunk)
        rest = self.reads % chunk
        last = stress(rest) if rest else []

        def shots() -> Iterator[Shot]:
            done = 0
            yield from reader.at(0)
            while done < self.reads:
                now = min(self.read_every, self.reads - done)
                yield from full if now == chunk else last
                done += now
                yield from reader.at(done)

        return Plan(shots, lambda: CurveRecord(reader.read, cells.rows, cells.cols, ("pulse",)))
