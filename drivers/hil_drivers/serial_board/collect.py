"""The readings of a block's runs, and what is left of it when it fails in its middle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.backend import Unfinished
from hil.errors import LinkError
from hil.measurement import MeasurementBlock, Status, reading_index
from hil.program import Phase
from hil_drivers.rig.job import Collector, Job
from hil_drivers.router.plan import RoutePlan
from hil_drivers.serial_board.messages import BoardStatus
from hil_drivers.serial_board.plan import Part, Plan, Planner

#: Bits of a board that mean the same here.
_BITS = np.uint32(
    Status.I_COMPLIANCE
    | Status.V_COMPLIANCE
    | Status.OVERFLOW
    | Status.INTERLOCK
    | Status.SIMULATED
)

Readings = NDArray[np.void]
Ints = NDArray[np.int64]


class Taken:
    """A block that is being driven: parts that ended, the one under way, readings so far.

    Attributes:
        plan: what the block becomes.
        open: the part that was begun and has not ended well, if any.
    """

    def __init__(self, plan: Plan, planner: Planner) -> None:
        self.plan = plan
        self.open: Part | None = None
        self._board_line = planner.board_line
        block = plan.lowered.block
        self._step, self._line, self._pulse = reading_index(block)
        self._order: Ints | None = None
        if (planner.board_line[1:] < planner.board_line[:-1]).any():
            on_board = planner.board_line[self._line]
            self._order = np.lexsort((on_board, self._pulse, self._step))
        n = self._step.size
        self._current = np.full(n, np.nan)
        self._range = np.full(n, np.nan)
        self._level, self._width = np.zeros(n), np.zeros(n)
        self._status = np.full(n, int(Status.TIMEOUT), dtype=np.uint32)
        self._t_ns = np.zeros(n, dtype=np.int64)
        self._at = self._start_ns = 0
        self._known = np.zeros(block.n_steps, dtype=np.int64)

    def begin(self, part: Part, start_ns: int) -> None:
        """Note that a part may begin to drive from now on."""
        self.open, self._start_ns = part, start_ns

    def end(self, part: Part, start_ns: int, records: Readings | None) -> None:
        """Take the readings of a part that ended well.

        Raises:
            LinkError: they are of other lines.
        """
        if records is not None:
            self._take(records, start_ns)
            self._at += part.n_readings
        self._known[part.start : part.stop] += part.repeat
        self.open = None

    def _take(self, records: Readings, start_ns: int) -> None:
        rows: Ints | slice = slice(self._at, self._at + records.size)
        if self._order is not None:
            rows = self._order[rows]
        if not np.array_equal(self._board_line[self._line[rows]], records["line"]):
            raise LinkError("the readings that came are of other lines than those sensed")
        current = records["current"].astype(np.float64)
        status = records["status"].astype(np.uint32) & _BITS
        wrong = ~np.isfinite(current)
        current[wrong] = np.nan
        status[wrong] |= np.uint32(Status.OVERFLOW)
        self._current[rows], self._status[rows] = current, status
        self._range[rows] = records["range"]
        self._level[rows] = records["level"]
        self._width[rows] = records["width"] / 1e9
        self._t_ns[rows] = start_ns + records["t"].astype(np.int64)

    def readings(self, simulated: bool) -> MeasurementBlock:
        """Return the readings of the block as it was asked for; averages are formed."""
        plan = self.plan
        asked = plan.asked
        if plan.lowered.averages > 1:
            nothing = RoutePlan((), np.full(asked.n_lines, -1, dtype=np.int64))
            collector = Collector(Job(asked, plan.lowered, nothing, (), plan.delivered))
            collector.current_a[:], collector.range_a[:] = self._current, self._range
            collector.status[:], collector.t_ns[:] = self._status, self._t_ns
            return collector.readings(simulated)
        out = MeasurementBlock.empty(self._step.size)
        out.step[:], out.line[:], out.pulse[:] = self._step, self._line, self._pulse
        out.current_a[:], out.range_a[:], out.t_ns[:] = self._current, self._range, self._t_ns
        out.level_v[:], out.width_s[:] = self._level, self._width
        out.executed[:] = asked.repeat[self._step]
        out.status[:] = self._status | np.uint32(Status.SIMULATED if simulated else 0)
        return out

    # -- after a failure -------------------------------------------------------------------

    def place(self) -> str:
        """Return in words where the block was."""
        parts = self.plan.parts
        what = f"in a {Phase(self.plan.asked.phase).name} block"
        if self.open is None:
            return f"{what}, between its {len(parts)} runs"
        at = next(k for k, part in enumerate(parts, 1) if part is self.open)
        return f"{what}, run {at} of {len(parts)} (steps {self.open.start} to {self.open.stop - 1})"

    def left(
        self, status: BoardStatus | None, records: Readings | None, simulated: bool
    ) -> Unfinished:
        """Return what is known of the block.

        Args:
            status: how far the part under way has come; None = not known.
            records: its readings, as far as they came.
            simulated: the board is emulated.
        """
        known, possible = self._known.copy(), self._known.copy()
        if self.open is not None:
            self._progress(self.open, status, known, possible)
            if records is not None and records.size:
                due = int(min(records.size, self._step.size - self._at))
                self._take(records[:due], self._start_ns)
        plan, lowered = self.plan, self.plan.lowered
        within = self._pulse < possible[self._step]
        self._status[within & (self._pulse >= known[self._step])] |= np.uint32(Status.COUNT_UNKNOWN)
        self._status[within & np.isnan(self._current)] |= np.uint32(Status.COUNT_UNKNOWN)
        self._t_ns[self._t_ns == 0] = self._start_ns
        rows = self.readings(simulated)
        asked_known, asked_possible = known // lowered.averages, -(-possible // lowered.averages)
        keep = rows.pulse < asked_possible[rows.step]
        rows.executed[:] = asked_known[rows.step]
        return Unfinished(
            plan.asked, replace(plan.delivered, repeat=possible, template=None), asked_known,
            asked_possible, MeasurementBlock(*(c[keep] for c in rows.columns().values())),
        )  # fmt: skip

    @staticmethod
    def _progress(part: Part, status: BoardStatus | None, known: Ints, possible: Ints) -> None:
        """Add the pulses of a part that ran, and those that ran or may have run."""
        at = slice(part.start, part.stop)
        if status is None:
            possible[at] += part.repeat
            return
        done = np.zeros_like(part.repeat)
        steps = min(status.steps, done.size)
        done[:steps] = part.repeat[:steps]
        begun = done.copy()
        if steps < done.size:
            done[steps] = min(status.pulses, int(part.repeat[steps]))
            begun[steps] = min(status.pulses + status.in_pulse, int(part.repeat[steps]))
        known[at] += done
        possible[at] += begun
