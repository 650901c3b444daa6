"""How far a block has come, and what is left of it when it fails in its middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hil.backend import Unfinished
from hil.errors import HilError
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock, Status, reading_index
from hil.program import LineState, Phase
from hil_drivers.instrument import ChannelReadings
from hil_drivers.rig.job import Collector, Job
from hil_drivers.rig.programs import Run


@dataclass(eq=False)
class UnderWay:
    """A block that is being driven.

    Attributes:
        job: what it becomes.
        collector: its readings so far.
        geometry: names its lines.
        tripped: steps asked for in which a current limit was reached though nothing is sensed.
        done: runs that ended well and were collected.
        open: the run that was begun and has not ended well, if any; ``start_ns`` is its begin.
    """

    job: Job
    collector: Collector
    geometry: ArrayGeometry
    done: list[Run] = field(default_factory=list)
    tripped: set[int] = field(default_factory=set)
    open: Run | None = None
    start_ns: int = 0

    def begin(self, run: Run, start_ns: int) -> None:
        """Note that a run may begin to drive from now on."""
        self.open, self.start_ns = run, start_ns

    def end(self, readings: dict[str, ChannelReadings]) -> None:
        """Take the readings of the run that was begun."""
        run = self.open
        if run is None:
            return
        self.collector.add(run, readings, self.start_ns)
        for channel, got in readings.items():
            tripped = list(got.tripped_steps)
            if channel not in run.sensed:  # measured to watch the limit
                tripped += got.step[(got.status & np.uint32(Status.I_COMPLIANCE)) != 0].tolist()
            self.tripped.update(self.job.lowered.origin[run.steps[tripped]].tolist())
        self.done.append(run)
        self.open = None

    def place(self) -> str:
        """Return in words where the block was: steps, instruments and lines that were driven."""
        block = self.job.lowered.block
        what = f"in a {Phase(block.phase).name} block"
        if self.open is None:
            return f"{what}, {len(self.done)} of {self.job.n_runs} runs done, none under way"
        steps = self.open.steps
        driven = (block.state[steps] == LineState.DRIVE) & (block.level_v[steps] != 0.0)
        lines = [self.geometry.line_name(int(k)) for k in np.flatnonzero(driven.any(axis=0))]
        return (
            f"{what}, run {len(self.done) + 1} of {self.job.n_runs} (steps {steps.min()} to "
            f"{steps.max()}) of {', '.join(self.open.programs)}; lines driven: {', '.join(lines)}"
        )

    def _pulses(self, doubt_all: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pulses of each driven step that ran, and that ran or may have run."""
        known = np.zeros(self.job.lowered.block.n_steps, dtype=np.int64)
        for run in self.done:
            np.add.at(known, run.steps, run.repeat)
        possible = known.copy()
        if self.open is not None:
            np.add.at(possible, self.open.steps, self.open.repeat)
        return (np.zeros_like(known) if doubt_all else known), possible

    def left(
        self,
        taken: dict[str, ChannelReadings],
        simulated: bool,
        calibrate: Callable[[MeasurementBlock, Job], MeasurementBlock],
        cause: HilError | None,
    ) -> Unfinished:
        """Return what is known of the block.

        Args:
            taken: what the run that failed has left in the instruments.
            simulated: the instruments are emulated.
            calibrate: corrects readings.
            cause: an instrument lost its settings meanwhile, so that no pulse is sure.
        """
        job, collector = self.job, self.collector
        known, possible = self._pulses(cause is not None)
        if self.open is not None and taken:
            collector.add(self.open, taken, self.start_ns)
        step, _, pulse = reading_index(job.lowered.block)
        due = pulse < possible[step]
        collector.status[due & (pulse >= known[step])] |= np.uint32(Status.COUNT_UNKNOWN)
        collector.t_ns[collector.t_ns == 0] = self.start_ns
        rows = calibrate(collector.readings(simulated), job)
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[collector.asked_rows[~due]] = False
        asked_known, asked_possible = self._of_the_block(known, possible)
        rows.executed[:] = asked_known[rows.step]
        return Unfinished(
            job.asked, replace(job.delivered, repeat=possible, template=None), asked_known,
            asked_possible, MeasurementBlock(*(c[keep] for c in rows.columns().values())), cause,
        )  # fmt: skip

    def _of_the_block(
        self, known: NDArray[np.int64], possible: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pulses by steps as asked for: sure when every driven step of it is."""
        lowered, asked = self.job.lowered, self.job.asked
        sure = asked.repeat.copy()
        np.minimum.at(sure, lowered.origin, known // lowered.averages)
        may = np.zeros_like(sure)
        np.maximum.at(may, lowered.origin, -(-possible // lowered.averages))
        return sure, may
