"""Obey a real rig's rules: its grids, its features, the resolution and range of its meters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.capabilities import Capabilities
from hil.errors import LimitError
from hil.limits import LimitChecker
from hil.measurement import MeasurementBlock, Status
from hil.program import LineState, PulseBlock


class MimicChecker(LimitChecker):
    """The limit check of a rig that cannot drive or sense all lines at once."""

    def check(self, block: PulseBlock, index: int | None = None) -> None:
        """Raise LimitError when the rig could not do a step; see :class:`LimitChecker`."""
        template = block.template
        if template is None or self not in template.checked_by:
            self._check_parallel(block if template is None else template.block, index)
        super().check(block, index)

    def _check_parallel(self, block: PulseBlock, index: int | None) -> None:
        caps = self.capabilities
        live = block.repeat > 0
        for allowed, what, counts in (
            (caps.parallel_sense, "lines sensed at once", block.sense.sum(axis=1)),
            (caps.parallel_drive, "lines driven at once",
             ((block.state == LineState.DRIVE) & (block.level_v != 0.0)).sum(axis=1)),
        ):  # fmt: skip
            if allowed:
                continue
            over = np.flatnonzero(live & (counts > 1))
            if over.size:
                step = int(over[0])
                raise LimitError(what, int(counts[step]), 1, "lines", block=index, step=step,
                                 note="this rig does one line after the other")  # fmt: skip


def deliver(block: PulseBlock, rig: Capabilities) -> PulseBlock:
    """Return the block on the rig's level and width grids; readings record what was delivered."""
    if rig.level_v.resolution == 0.0 and rig.width_s.resolution == 0.0:
        return block
    return replace(
        block,
        level_v=rig.level_v.quantise(block.level_v),
        width_s=rig.width_s.quantise(block.width_s),
    )


def digitise(readings: MeasurementBlock, block: PulseBlock, rig: Capabilities) -> MeasurementBlock:
    """Round currents to the rig's resolution; beyond its range they read full scale, flagged."""
    if not len(readings):
        return readings
    low, high = rig.sense_a.min, rig.sense_a.max
    if block.sensing.range_a is not None:
        low, high = max(low, -block.sensing.range_a), min(high, block.sensing.range_a)
    current = rig.sense_a.quantise(readings.current_a)
    over = (current < low) | (current > high)
    status = np.where(over, readings.status | np.uint32(Status.OVERFLOW), readings.status)
    return replace(readings, current_a=np.clip(current, low, high), status=status)
