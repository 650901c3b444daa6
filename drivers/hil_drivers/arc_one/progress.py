"""How far a block on the board has come, and what is left of it when it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.backend import Unfinished
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock, Status
from hil.program import Phase
from hil_drivers.arc_one.lowering import Job, Kind


class Progress:
    """Operations of a job: begun, answered, and what was read.

    Attributes:
        current_a: (n_operations,) current through each device in amperes, NaN = not read.
        status: (n_operations,) Status bits.
    """

    def __init__(self, job: Job, simulated: bool) -> None:
        n = job.n_operations
        self.job, self._simulated = job, simulated
        self.current_a = np.where(job.kind == Kind.READ, np.nan, 0.0)
        self.status = np.zeros(n, dtype=np.uint32)
        self._t_ns = np.zeros(n, dtype=np.int64)
        self._begun = np.zeros(n, dtype=np.bool_)
        self._done = np.zeros(n, dtype=np.bool_)
        self._known = np.zeros(n, dtype=np.int64)
        self._possible = np.zeros(n, dtype=np.int64)

    def begin(self, at: int, t_ns: int) -> None:
        """Note that operation ``at`` may begin from now on."""
        self._begun[at], self._t_ns[at] = True, t_ns

    def end(self, at: int) -> None:
        """Note that it has ended well."""
        self._done[at] = True

    def pulse(self, at: int) -> None:
        """Note that a further pulse may run from now on."""
        self._possible[at] += 1

    def answered(self, at: int) -> None:
        """Note that the last pulse ran."""
        self._known[at] = self._possible[at]

    def doubt(self, at: int) -> None:
        """Note that of no pulse of an operation it is sure which device had it."""
        self._known[at] = 0

    def readings(self) -> MeasurementBlock:
        """Return the rows that the block promises."""
        rows = self.job.readings(self.current_a, self._t_ns, self.status)
        rows.status[:] |= np.uint32(Status.SIMULATED if self._simulated else 0)
        return rows

    def place(self, geometry: ArrayGeometry) -> str:
        """Return in words where the block was."""
        what = f"in a {Phase(self.job.asked.phase).name} block"
        done = f"{int(self._done.sum())} of {self.job.n_operations} operations done"
        under_way = np.flatnonzero(self._begun & ~self._done)
        if not under_way.size:
            return f"{what}, {done}, none under way"
        at = int(under_way[0])
        verb = "pulsed" if self.job.kind[at] == Kind.PULSE else "read"
        return f"{what}, {done}; cell ({self.job.row[at]}, {self.job.col[at]}) was being {verb}"

    def left(self) -> Unfinished:
        """Return what is known of the block."""
        job, asked = self.job, self.job.asked
        pulses = job.kind == Kind.PULSE
        known, possible = self._of_pulses(pulses)
        self._of_reads(pulses, known, possible)
        once = np.where(self._begun, 1, 0)
        repeat = np.where(pulses, self._possible, once)
        return Unfinished(
            asked, replace(job.delivered, repeat=repeat, template=None), known, possible,
            self._rows(known, possible),
        )  # fmt: skip

    def _of_pulses(self, pulses: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return by step of the block asked for: every device had as many; some device may have."""
        asked = self.job.asked
        step = self.job.step[pulses]
        known = np.zeros(asked.n_steps, dtype=np.int64)
        known[step] = np.iinfo(np.int64).max
        np.minimum.at(known, step, self._known[pulses])
        possible = np.zeros(asked.n_steps, dtype=np.int64)
        np.maximum.at(possible, step, self._possible[pulses])
        return known, possible

    def _of_reads(
        self, pulses: NDArray[np.bool_], known: NDArray[np.int64], possible: NDArray[np.int64]
    ) -> None:
        """Count the pulses of reading steps that are read whole, and those begun, in place."""
        job = self.job
        for step in np.unique(job.step[~pulses]).tolist():
            mine = ~pulses & (job.step == step)
            for pulse in range(int(job.asked.repeat[step])):
                part = mine & (job.pulse == pulse)
                possible[step] += bool(self._begun[part].any())
                known[step] += bool(self._done[part].all())

    def _rows(self, known: NDArray[np.int64], possible: NDArray[np.int64]) -> MeasurementBlock:
        """Return readings of all that may have run; NaN where one did not come."""
        job = self.job
        if not job.asked.n_readings:
            return MeasurementBlock.empty(0)
        current = np.where(self._done, self.current_a, np.nan)
        rows = job.readings(current, self._t_ns, self.status)
        rows.status[:] |= np.uint32(Status.SIMULATED if self._simulated else 0)
        rows.status[np.isnan(rows.current_a)] |= np.uint32(Status.COUNT_UNKNOWN)
        rows.executed[:] = known[rows.step]
        due = rows.pulse < possible[rows.step]
        return MeasurementBlock(*(column[due] for column in rows.columns().values()))
