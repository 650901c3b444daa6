"""Pulse blocks as what the board does: one cell after the other, read or pulsed by V/2.

A pulse holds its word line at V, its bit line at 0 V and all others at V/2: seen from the devices
that is the V/2 scheme, levels shifted by V/2. A read holds its word line at the read voltage and
all others at 0 V, and measures its bit line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import LimitError
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock, reading_index
from hil.program import READING_PHASES, FloatArray, LineState, Phase, PulseBlock
from hil_drivers.arc_one.protocol import sent

Ints = NDArray[np.int64]

SERIAL_WRITES: Final = "pulses on several devices are given one device after the other"
SERIAL_READS: Final = "read device by device, currents added up"
ALL_CELLS: Final = "read with one command for the whole array"
NO_CELL: Final = "slots that select lines and no device are left out: the board pulses devices"
OWN_RANGE: Final = "the board chooses its range, aperture and settling by itself"


class Kind(IntEnum):
    """What one operation does; REST sends nothing: every device of the step is at 0 V."""

    READ = 0
    PULSE = 1
    REST = 2


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A block as the board does it; columns over its operations, in order.

    Attributes:
        asked: the block as it was asked for.
        delivered: one step per operation, with the levels that the board gives.
        kind: what each does; ``row``, ``col`` which device, ``volts`` which voltage it sees.
        count: pulses of it, 0 for a read.
        step, pulse: for which step and pulse of the block asked for.
        reading, operation, sign: columns over contributions: reading of the block asked for, the
            operation whose current counts to it, and its direction.
        averages: operations that are averaged to one.
        notes: what was done and why.
    """

    asked: PulseBlock
    delivered: PulseBlock
    kind: NDArray[np.uint8]
    row: Ints
    col: Ints
    volts: FloatArray
    count: Ints
    step: Ints
    pulse: Ints
    reading: Ints
    operation: Ints
    sign: FloatArray
    averages: int
    notes: tuple[str, ...]

    @property
    def n_operations(self) -> int:
        """Number of operations."""
        return int(self.kind.size)

    def readings(
        self, current_a: FloatArray, t_ns: Ints, status: NDArray[np.uint32]
    ) -> MeasurementBlock:
        """Return the rows promised, of the current through the device of every operation."""
        asked = self.asked
        out = MeasurementBlock.empty(asked.n_readings)
        out.step[:], out.line[:], out.pulse[:] = reading_index(asked)
        total = np.zeros(len(out))
        np.add.at(total, self.reading, self.sign * current_a[self.operation] / self.averages)
        out.current_a[:] = total
        out.status[:] = 0
        np.bitwise_or.at(out.status, self.reading, status[self.operation])
        if len(out):
            # The lines of a pulse share its start, that of its first operation.
            most = int(out.pulse.max()) + 1
            start = np.full((asked.n_steps, most), np.iinfo(np.int64).max)
            mine = (self.kind != Kind.PULSE) & (self.pulse < most)
            np.minimum.at(start, (self.step[mine], self.pulse[mine]), t_ns[mine])
            out.t_ns[:] = start[out.step, out.pulse]
        out.level_v[:] = asked.level_v[out.step, out.line]
        out.width_s[:] = asked.step_width_s[out.step]
        out.range_a[:] = np.nan
        out.executed[:] = asked.repeat[out.step]
        return out


class Lowering:
    """Turns blocks of one array into jobs; ``read_v`` is the one read voltage, None = any."""

    def __init__(self, geometry: ArrayGeometry, read_v: float | None = None) -> None:
        self.geometry, self.read_v = geometry, read_v
        self._word = geometry.read_lines.plus
        self._bit = geometry.read_lines.minus
        self._row_of = np.full(geometry.n_lines, -1)
        self._row_of[self._word] = np.arange(geometry.n_rows)
        self._col_of = np.full(geometry.n_lines, -1)
        self._col_of[self._bit] = np.arange(geometry.n_cols)

    def job(self, block: PulseBlock) -> Job:
        """Return what the board does for ``block``; nothing is sent.

        Raises:
            LimitError: the board cannot do it.
        """
        work = _Work(block, max(block.sensing.averages, 1))
        level = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
        reads = np.full(block.n_steps, block.phase in READING_PHASES) | block.reading_steps
        for step in np.flatnonzero(block.repeat > 0).tolist():
            if (block.state[step] == LineState.FLOAT).any():
                raise LimitError("floating lines", int((block.state[step] == 0).sum()), 0, "lines",
                                 step=step, note="the board drives every line")  # fmt: skip
            across = level[step, self._word][:, None] - level[step, self._bit][None, :]
            if reads[step] or not across.any():
                self._read(work, step, across)
            else:
                self._write(work, step, level[step], across)
        return work.job(self)

    def _read(self, work: _Work, step: int, across: FloatArray) -> None:
        """Read every device on a sensed line that sees a voltage; the others carry no current."""
        block = work.block
        lines = np.flatnonzero(block.sense[step])
        on_row, on_col = self._row_of[lines], self._col_of[lines]
        wanted = np.zeros(across.shape, dtype=np.bool_)
        wanted[on_row[on_row >= 0]] = True
        wanted[:, on_col[on_col >= 0]] = True
        wanted &= across != 0.0
        rows, cols = np.nonzero(wanted)
        if self.read_v is not None and (other := across[wanted & (across != self.read_v)]).size:
            raise LimitError("read voltage", float(other[0]), self.read_v, "V", step=step,
                             note="the classic mode has no other")  # fmt: skip
        if rows.size > 1 and lines.size:
            work.note(SERIAL_READS)
        which = np.full(across.shape, -1)
        for pulse in range(int(block.repeat[step])):
            if not rows.size:
                work.add(Kind.REST, step, pulse, 0, 0, 0.0, 0)
                continue
            for _ in range(work.averages):
                first = work.n_operations
                for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
                    work.add(Kind.READ, step, pulse, row, col, float(across[row, col]), 0)
                which[rows, cols] = first + np.arange(rows.size)
                for rank, (row, col) in enumerate(
                    zip(on_row.tolist(), on_col.tolist(), strict=True)
                ):
                    # Current into the array: out of a word line, and into a bit line.
                    found = which[row] if row >= 0 else which[:, col]
                    work.contribute(pulse, rank, found[found >= 0], 1.0 if row >= 0 else -1.0)

    def _write(self, work: _Work, step: int, level: FloatArray, across: FloatArray) -> None:
        """Pulse every selected device; anything but the V/2 scheme is refused."""
        block = work.block
        if block.sense[step].any():
            raise LimitError("lines sensed in a write pulse", int(block.sense[step].sum()), 0,
                             "lines", step=step,
                             note="the board measures between pulses, not in them")  # fmt: skip
        rows = block.selected[step, self._word]
        cols = block.selected[step, self._bit]
        if not (rows.any() and cols.any()):
            if block.phase is Phase.UPDATE:
                work.note(NO_CELL)
                return
            raise LimitError(
                "devices selected by a write pulse", 0, 1, "devices", step=step,
                note="the board pulses devices, not lines alone",
            )  # fmt: skip
        volts = self._half_bias(block, step, level, rows, cols)
        if volts == 0.0:
            return
        at_row, at_col = np.nonzero(rows[:, None] & cols[None, :])
        if at_row.size > 1:
            work.note(SERIAL_WRITES)
        for row, col in zip(at_row.tolist(), at_col.tolist(), strict=True):
            work.add(Kind.PULSE, step, 0, row, col, volts, int(block.repeat[step]))

    def _half_bias(
        self, block: PulseBlock, step: int, level: FloatArray,
        rows: NDArray[np.bool_], cols: NDArray[np.bool_],
    ) -> float:  # fmt: skip
        """Return the voltage in volts of a V/2 pulse on rows x cols; refuse what is none."""
        word, bit = level[self._word], level[self._bit]
        on, off = float(word[rows][0]), float(bit[cols][0])
        rest = (on + off) / 2
        slack = 1e-6 * abs(on - off) + 1e-9
        for lines, levels, expected, what in (
            (self._word[rows], word[rows], on, "selected line"),
            (self._bit[cols], bit[cols], off, "selected line"),
            (self._word[~rows], word[~rows], rest, "unselected line"),
            (self._bit[~cols], bit[~cols], rest, "unselected line"),
        ):
            wrong = np.flatnonzero(np.abs(levels - expected) > slack)
            if wrong.size:
                raise LimitError(
                    f"level of an {what}" if what[0] == "u" else f"level of a {what}",
                    float(levels[wrong[0]]), expected, "V", step=step,
                    where=self.geometry.line_name(int(lines[wrong[0]])),
                    note='the board pulses by V/2 and nothing else: inhibit = "v/2"',
                )  # fmt: skip
        return on - off

    def delivered(self, work: _Work, columns: dict[str, Any]) -> PulseBlock:
        """Return the operations as steps with the levels that the board gives."""
        block, geometry = work.block, self.geometry
        kind, row, col, volts = (columns[k] for k in ("kind", "row", "col", "volts"))
        n = kind.size
        steps = np.arange(n)
        pulse, live = kind == Kind.PULSE, kind != Kind.REST
        level = np.repeat(np.where(pulse, volts / 2, 0.0)[:, None], geometry.n_lines, axis=1)
        state = np.where(level != 0.0, LineState.DRIVE, LineState.GROUND).astype(np.uint8)
        word, bit = self._word[row], self._bit[col]
        level[steps[live], word[live]] = volts[live]
        level[steps[live], bit[live]] = 0.0
        state[steps[live], word[live]] = LineState.DRIVE
        state[steps[live], bit[live]] = LineState.GROUND
        sense = np.zeros(state.shape, dtype=np.bool_)
        sense[steps[~pulse], bit[~pulse]] = True
        selected = np.zeros(state.shape, dtype=np.bool_)
        chosen = pulse | (live & (block.phase in READING_PHASES))
        selected[steps[chosen], word[chosen]] = True
        selected[steps[chosen], bit[chosen]] = True
        of = columns["step"]
        width = block.step_width_s[of]
        return PulseBlock.build(
            block.phase, state, level, np.where(pulse, sent(width), width), gap_s=block.gap_s[of],
            repeat=np.where(pulse, columns["count"], 1), sense=sense, selected=selected,
            sensing=replace(block.sensing, averages=1), target=block.target[of],
        )  # fmt: skip


class _Work:
    """Operations and contributions of one block, as they are found."""

    def __init__(self, block: PulseBlock, averages: int) -> None:
        self.block, self.averages = block, averages
        self._rows: list[tuple[int, int, int, int, int, float, int]] = []
        self._given: list[tuple[int, Ints, float]] = []
        self._notes: dict[str, None] = {}
        sensed = block.sense.sum(axis=1)
        count = sensed * block.repeat
        self._first, self._sensed = np.cumsum(count) - count, sensed

    @property
    def n_operations(self) -> int:
        return len(self._rows)

    def note(self, text: str) -> None:
        self._notes[text] = None

    def add(
        self, kind: Kind, step: int, pulse: int, row: int, col: int, volts: float, count: int
    ) -> None:
        self._rows.append((int(kind), step, pulse, row, col, volts, count))

    def contribute(self, pulse: int, rank: int, operations: Ints, sign: float) -> None:
        """Let operations count to the reading of the ``rank``-th sensed line of a pulse."""
        step = self._rows[-1][1]
        reading = int(self._first[step] + pulse * self._sensed[step] + rank)
        self._given.append((reading, operations.copy(), sign))

    def job(self, lowering: Lowering) -> Job:
        block = self.block
        names = ("kind", "step", "pulse", "row", "col", "volts", "count")
        table = list(zip(*self._rows, strict=True)) or [()] * len(names)
        types = (np.uint8, np.int64, np.int64, np.int64, np.int64, np.float64, np.int64)
        columns = {
            name: np.array(values, dtype=dtype)
            for name, values, dtype in zip(names, table, types, strict=True)
        }
        columns["volts"] = sent(columns["volts"])
        sizes = [operations.size for _, operations, _ in self._given]
        plan = block.sensing
        if block.sense.any():
            if plan.range_a is not None or plan.aperture_s is not None or plan.settle_s:
                self.note(OWN_RANGE)
            if self.averages > 1:
                self.note(f"{self.averages} reads are averaged to one reading")
        return Job(
            asked=block, delivered=lowering.delivered(self, columns),
            kind=columns["kind"], row=columns["row"], col=columns["col"], volts=columns["volts"],
            count=columns["count"], step=columns["step"], pulse=columns["pulse"],
            reading=np.repeat([r for r, _, _ in self._given], sizes).astype(np.int64),
            operation=np.concatenate([np.empty(0, np.int64), *(o for _, o, _ in self._given)]),
            sign=np.repeat([s for _, _, s in self._given], sizes).astype(np.float64),
            averages=self.averages, notes=tuple(self._notes),
        )  # fmt: skip
