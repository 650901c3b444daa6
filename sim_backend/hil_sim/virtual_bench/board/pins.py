"""The board's pins: a block of the board's lines, driven on the arrays that they are wired to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError
from hil.measurement import MeasurementBlock, reading_index
from hil.program import LineState, PulseBlock
from hil_sim.virtual_bench.board.windows import needs_windows, windowed
from hil_sim.virtual_bench.readout import BenchReadout
from hil_sim.virtual_bench.terminal import Terminal

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Wires:
    """Which lines of one array the board's lines reach, and the other terminals on it.

    ``same`` says that line k of the board is line k of the array, for all lines of both.
    """

    mine: NDArray[np.int64]
    lines: NDArray[np.int64]
    others: tuple[tuple[Terminal, int], ...]
    same: bool


class BenchPins:
    """Drives the arrays of a bench from the lines of one board.

    Args:
        bench: whose arrays, wiring and clock are used.
        terminals: the board's lines in the board's order.
    """

    def __init__(self, bench: Bench, terminals: Sequence[Terminal]) -> None:
        self.bench, self.terminals = bench, tuple(terminals)
        self.tripped_steps: tuple[int, ...] = ()
        self._version = -1
        self._wires: dict[int, _Wires] = {}

    def run(self, block: PulseBlock) -> MeasurementBlock:
        """Drive a block of the board's lines; return what its meters see, in amperes.

        Sources and meters have the errors of their terminals. The window of the sensing counts. A
        line that is not wired carries no current.
        """
        if needs_windows(block):
            return windowed(block, self._drive)
        return self._drive(block)

    def _drive(self, block: PulseBlock) -> MeasurementBlock:
        bench = self.bench
        bench.settled()
        self._find()
        level, begin = self._delivered(block), bench.clock_ns
        self.tripped_steps = ()
        parts = [self._on_array(number, block, level, begin) for number in self._wires]
        bench.advance(block.duration_s)
        seen = parts[0] if len(parts) == 1 else _merged(parts)
        if len(seen) < block.n_readings:
            seen = _completed(block, seen)
        return self._metered(seen, level)

    def _find(self) -> None:
        """Note which line of which array each board line reaches now."""
        bench = self.bench
        if self._version == bench.network.version:
            return
        index = {id(terminal): k for k, terminal in enumerate(self.terminals)}
        mine: dict[int, list[tuple[int, int]]] = {}
        others: dict[int, list[tuple[Terminal, int]]] = {}
        seen: set[int] = set()
        for terminal, (array, line) in bench.network.links():
            k = index.get(id(terminal))
            if k is None:
                others.setdefault(array, []).append((terminal, line))
                continue
            if k in seen:
                raise ConfigError(f"{terminal.name} reaches two lines; a board's line has one",
                                  field="wiring.channel")  # fmt: skip
            seen.add(k)
            mine.setdefault(array, []).append((k, line))
        self._wires = {}
        for array, pairs in mine.items():
            here = np.array(sorted(pairs)).T
            every = np.arange(len(self.terminals))
            same = len(pairs) == bench.physics.arrays[array].geometry.n_lines == every.size
            same = same and bool((here == every).all()) and array not in others
            self._wires[array] = _Wires(here[0], here[1], tuple(others.get(array, ())), same)
        self._version = bench.network.version

    def _delivered(self, block: PulseBlock) -> FloatArray:
        if not any(t.accuracy.source_gain or t.accuracy.source_offset_v for t in self.terminals):
            return block.level_v
        gain = np.array([t.accuracy.source_gain for t in self.terminals])
        offset = np.array([t.accuracy.source_offset_v for t in self.terminals])
        return np.asarray(block.level_v * (1.0 + gain) + offset)

    def _on_array(
        self, number: int, block: PulseBlock, level_v: FloatArray, begin_ns: int
    ) -> MeasurementBlock:
        wires, network = self._wires[number], self.bench.network
        array = self.bench.physics.arrays[number]
        if wires.same and level_v is block.level_v:
            there, limits = block, block.compliance_a.tolist()
        else:
            there, limits = self._moved(block, level_v, wires, array.geometry.n_lines)
        readout = array.readout
        if network.path_ohm or network.relay_ohm or not isinstance(readout, BenchReadout):
            owner = np.arange(array.geometry.n_lines)
            compliance = self.bench.physics.line_limits(array, limits, owner, there.level_v)
            there = replace(there, compliance_a=compliance)
        else:
            readout.ohm[:] = 0.0
            readout.feeds, readout.lines_are_nodes = (), True
        array.clock_ns = begin_ns
        readings = array.run(there, there.n_readings)
        if array.tripped:
            self.tripped_steps = tuple(sorted({*self.tripped_steps, *array.tripped}))
        if wires.same or not len(readings):
            return readings
        back = np.full(array.geometry.n_lines, -1, dtype=np.int16)
        back[wires.lines] = wires.mine
        return _ordered(replace(readings, line=back[readings.line]))

    def _moved(
        self, block: PulseBlock, level_v: FloatArray, wires: _Wires, n_lines: int
    ) -> tuple[PulseBlock, list[float]]:
        """Return the block on the lines of one array, other terminals at their levels."""
        n = block.n_steps
        state = np.full((n, n_lines), LineState.FLOAT, dtype=np.uint8)
        level, sense = np.zeros((n, n_lines)), np.zeros((n, n_lines), dtype=np.bool_)
        limit = np.full(n_lines, np.inf)
        state[:, wires.lines] = block.state[:, wires.mine]
        level[:, wires.lines] = level_v[:, wires.mine]
        sense[:, wires.lines] = block.sense[:, wires.mine]
        limit[wires.lines] = block.compliance_a[wires.mine]
        width = block.width_s
        if width.ndim == 2:
            moved = np.repeat(block.step_width_s[:, None], n_lines, axis=1)
            moved[:, wires.lines] = width[:, wires.mine]
            width = moved
        for terminal, line in wires.others:
            if terminal.low_impedance:
                level[:, line], limit[line] = terminal.drive()
                state[:, line] = LineState.DRIVE
        there = PulseBlock.build(
            block.phase, state, level, width, rise_s=block.rise_s, fall_s=block.fall_s,
            gap_s=block.gap_s, compliance_a=limit, repeat=block.repeat, sense=sense,
            sensing=block.sensing,
        )  # fmt: skip
        return there, limit.tolist()

    def _metered(self, seen: MeasurementBlock, level_v: FloatArray) -> MeasurementBlock:
        """Return the readings with the errors of the meters."""
        errors = [t.accuracy for t in self.terminals]
        if not (
            len(seen) and any(e.meter_gain or e.leak_siemens or e.meter_offset_a for e in errors)
        ):
            return seen
        gain = np.array([e.meter_gain for e in errors])
        leak = np.array([e.leak_siemens for e in errors])
        offset = np.array([next(iter(e.meter_offset_a.values()), 0.0) for e in errors])
        line = seen.line
        current = seen.current_a + level_v[seen.step, line] * leak[line]
        return replace(seen, current_a=current * (1.0 + gain[line]) + offset[line])


def _ordered(seen: MeasurementBlock) -> MeasurementBlock:
    """Return readings in the order of step, pulse, line."""
    order = np.lexsort((seen.line, seen.pulse, seen.step))
    return MeasurementBlock(*(column[order] for column in seen.columns().values()))


def _merged(parts: list[MeasurementBlock]) -> MeasurementBlock:
    """Return the readings of several arrays in one order."""
    if not parts:
        return MeasurementBlock.empty()
    columns = [part.columns() for part in parts]
    return _ordered(
        MeasurementBlock(*(np.concatenate([c[name] for c in columns]) for name in columns[0]))
    )


def _completed(block: PulseBlock, seen: MeasurementBlock) -> MeasurementBlock:
    """Return the readings with 0 A for sensed lines that are wired to nothing."""
    out = MeasurementBlock.empty(block.n_readings)
    out.step[:], out.line[:], out.pulse[:] = reading_index(block)
    for name, column in out.columns().items():
        if name not in ("step", "line", "pulse"):
            column[:] = 0
    wired = np.isin(out.line, np.unique(seen.line))
    for name, column in out.columns().items():
        column[wired] = seen.columns()[name]
    return out
