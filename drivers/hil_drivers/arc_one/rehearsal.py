"""ArC ONE for a simulator to obey: the same cells in the same order, resistances as it sends them.

With it (``[twin] as_rig = true``) a closed loop on the simulator decides as on the board.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock
from hil.program import Phase, PulseBlock
from hil_drivers.arc_one.lowering import Job, Kind, Lowering
from hil_drivers.arc_one.plan import BoardChecker, board_capabilities


@dataclass(frozen=True, slots=True, eq=False)
class RehearsedBlock:
    """One block as the board would do it."""

    job: Job

    @property
    def block(self) -> PulseBlock:
        """The operations as steps, with the levels that the board gives."""
        return self.job.delivered

    def asked(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Return the steps asked for, rising, to which steps of :attr:`block` belong."""
        return tuple(sorted({int(self.job.step[step]) for step in steps}))

    def readings(self, taken: MeasurementBlock) -> MeasurementBlock:
        """Return what the board would report where ``taken`` are the true readings of ``block``."""
        job = self.job
        sensed = job.kind != Kind.PULSE
        current, t_ns = np.zeros(job.n_operations), np.zeros(job.n_operations, dtype=np.int64)
        status = np.zeros(job.n_operations, dtype=np.uint32)
        t_ns[sensed], status[sensed] = taken.t_ns, taken.status
        current[sensed] = -taken.current_a
        reads = job.kind == Kind.READ
        with np.errstate(divide="ignore"):
            ohm = (job.volts[reads] / current[reads]).astype(np.float32).astype(np.float64)
        current[reads] = job.volts[reads] / ohm
        current[job.kind == Kind.REST] = 0.0
        return job.readings(current, t_ns, status)


@dataclass(frozen=True, slots=True, eq=False)
class RehearsedIdle:
    """A wait: nothing is driven."""

    block: PulseBlock

    def asked(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Return them."""
        return tuple(sorted(steps))

    def readings(self, taken: MeasurementBlock) -> MeasurementBlock:
        """Return them: there are none."""
        return taken


class RehearsedArcOne:
    """A board that plans blocks and is never opened (``hil_sim.mimic.Mimic``)."""

    name = "rehearsed ArC ONE"

    def __init__(self, lowering: Lowering, limits: SafetyLimits) -> None:
        self.capabilities = board_capabilities(simulated=True)
        self._lowering = lowering
        self.checker = BoardChecker(lowering, limits, self.capabilities)

    def rehearse(self, block: PulseBlock) -> RehearsedBlock | RehearsedIdle:
        """Return what the board would do for ``block``.

        Raises:
            LimitError: it cannot do it.
        """
        if block.phase is Phase.IDLE:
            return RehearsedIdle(block)
        return RehearsedBlock(self._lowering.job(block))

    def rest(self) -> None:
        """Do nothing: a board that was reset does the next block as any other."""
