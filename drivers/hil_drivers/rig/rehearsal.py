"""A rig without its instruments: what they would deliver, in which order, and what would be read.

A simulator that obeys a rehearsed rig (``[twin] as_rig = true``) drives the same lowered steps on
the same grids and sees currents with the same resolution, so that closed loops decide alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendError, ConfigError
from hil.measurement import MeasurementBlock, Status
from hil.program import PulseBlock
from hil_drivers.instrument import ChannelCapabilities
from hil_drivers.rig.backend import RigBackend
from hil_drivers.rig.job import Collector, Job


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """The channel and range that take some of a block's readings.

    Attributes:
        can: the channel.
        range_a: full scale in amperes; NaN = not known.
        rows: the readings, as rows of the lowered block.
    """

    can: ChannelCapabilities
    range_a: float
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsed:
    """One block as the rig would drive and read it.

    Attributes:
        job: the plan.
        meters: who takes which reading.
    """

    job: Job
    meters: tuple[Meter, ...]

    @property
    def block(self) -> PulseBlock:
        """The steps in the order driven, levels and widths on the instruments' grids."""
        return self.job.delivered

    def asked(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Return the steps asked for, rising, to which steps of :attr:`block` belong."""
        return tuple(sorted({int(self.job.lowered.origin[step]) for step in steps}))

    def readings(self, taken: MeasurementBlock) -> MeasurementBlock:
        """Return what the rig would report where ``taken`` are the true readings of ``block``.

        Rounded to each meter's resolution, averaged and added up, as rows of the block asked for.
        """
        if not len(taken):
            return taken
        collector = Collector(self.job)
        collector.current_a[:] = taken.current_a
        collector.status[:] = taken.status
        collector.t_ns[:] = taken.t_ns
        for meter in self.meters:
            if math.isnan(meter.range_a):
                continue
            shown = meter.can.shown_a(taken.current_a[meter.rows], meter.range_a)
            collector.current_a[meter.rows] = shown
            collector.range_a[meter.rows] = meter.range_a
            collector.status[meter.rows[np.isnan(shown)]] |= np.uint32(Status.OVERFLOW)
        return collector.readings(simulated=True)


class RehearsedRig(RigBackend):
    """A rig that plans blocks and is never opened.

    It keeps the closures that the blocks so far would have left, because they decide which channel
    the next block uses.
    """

    def rehearse(self, block: PulseBlock) -> Rehearsed:
        """Return what the rig would do for ``block`` next; it counts as done.

        Raises:
            LimitError: wiring or instruments cannot do it.
        """
        job = self.job(block)
        self._map = job.plan.after
        return Rehearsed(job, tuple(self._meters(job)))

    def _open(self) -> None:
        raise BackendError(f"{self.name} is only planned; it has no instruments to open")

    def rest(self) -> None:
        """Take every relay for open, as after the safe state."""
        self._map = self._open_map()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return which channel every line is joined to, (n_lines,)."""
        return {"closed": self._map.copy()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take relays for closed as they were; ConfigError for those of another rig."""
        closed = arrays.get("closed")
        if closed is None or closed.shape != self._map.shape:
            raise ConfigError("is not a snapshot of this rig", field="closed")
        self._map = closed.copy()

    def _meters(self, job: Job) -> Iterator[Meter]:
        """Yield who takes which reading of the lowered block."""
        block = job.delivered
        sensed = block.sense.sum(axis=1)
        first = np.concatenate([[0], np.cumsum(sensed * block.repeat)])
        rank = np.cumsum(block.sense, axis=1) - 1
        for run in (run for runs in job.runs for run in runs if run.sensed):
            delivered = self.rack.delivered(run)
            for name, lines in run.sensed.items():
                instrument, _, channel = name.partition(".")
                measured = delivered[instrument][channel]
                at = np.flatnonzero(measured.measure)
                again, repeat = np.repeat(at, run.repeat[at]), run.repeat[at]
                # Pulses 0 … repeat - 1 of each step: a running count minus each step's first.
                pulse = np.arange(again.size) - np.repeat(np.cumsum(repeat) - repeat, repeat)
                step = run.steps[again]
                rows = first[step] + (run.first_pulse[again] + pulse) * sensed[step]
                yield Meter(self._limits[name], measured.range_a, rows + rank[step, lines[again]])
