"""Obey a real rig's rules: its grids, its order of steps, the resolution and range of its meters.

A :class:`Mimic` says for every block what the rig would drive and what it would report. A rig says
so itself (``rehearse``, found through the registry); :class:`GridMimic` makes do with capabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from hil.capabilities import Capabilities
from hil.errors import LimitError
from hil.geometry import ArrayGeometry
from hil.limits import LimitChecker, SafetyLimits
from hil.measurement import MeasurementBlock, Status
from hil.program import LineState, PulseBlock

if TYPE_CHECKING:
    from hil.config.station import ArrayTable, Station


class Rehearsed(Protocol):
    """One block as a rig would do it."""

    @property
    def block(self) -> PulseBlock:
        """The steps in the order driven, levels and widths on the rig's grids."""

    def readings(self, taken: MeasurementBlock) -> MeasurementBlock:
        """Return what the rig would report of the true readings of :attr:`block`."""

    def asked(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Return the steps asked for, rising, to which steps of :attr:`block` belong."""


class Mimic(Protocol):
    """A rig that is planned and not driven."""

    @property
    def name(self) -> str:
        """What is obeyed, for the identity of a run."""

    @property
    def capabilities(self) -> Capabilities:
        """What the rig can do."""

    @property
    def checker(self) -> LimitChecker:
        """The rig's own check of limits, wiring and instruments."""

    def rehearse(self, block: PulseBlock) -> Rehearsed:
        """Return what the rig would do for ``block`` after all blocks before it.

        Raises:
            LimitError: it cannot do it.
        """

    def rest(self) -> None:
        """Go to the safe state, in which every relay is open."""


@runtime_checkable
class Rehearsing(Protocol):
    """A factory of backends that can be rehearsed."""

    def rehearse(self, station: Station, array: ArrayTable) -> Mimic:
        """Return the backend of one array of a station for a simulator to obey."""


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


@dataclass(frozen=True, slots=True, eq=False)
class GridRehearsed:
    """A block on the grids of ``rig``."""

    block: PulseBlock
    rig: Capabilities

    def asked(self, steps: Iterable[int]) -> tuple[int, ...]:
        """Return them: a grid changes no steps."""
        return tuple(sorted(steps))

    def readings(self, taken: MeasurementBlock) -> MeasurementBlock:
        """Round currents to the rig's resolution; beyond its range full scale is read, flagged."""
        if not len(taken):
            return taken
        block, rig = self.block, self.rig
        low, high = rig.sense_a.min, rig.sense_a.max
        if block.sensing.range_a is not None:
            low, high = max(low, -block.sensing.range_a), min(high, block.sensing.range_a)
        current = rig.sense_a.quantise(taken.current_a)
        over = (current < low) | (current > high)
        status = np.where(over, taken.status | np.uint32(Status.OVERFLOW), taken.status)
        return replace(taken, current_a=np.clip(current, low, high), status=status)


class GridMimic:
    """A rig that is known by its capabilities alone: one grid each for levels, widths, currents."""

    name = "grids"

    def __init__(
        self, geometry: ArrayGeometry, capabilities: Capabilities, limits: SafetyLimits | None
    ) -> None:
        self.capabilities = capabilities
        self.checker: LimitChecker = MimicChecker(
            geometry, SafetyLimits() if limits is None else limits, capabilities
        )

    def rehearse(self, block: PulseBlock) -> GridRehearsed:
        """Return the block on the rig's level and width grids; readings record what it delivers."""
        rig = self.capabilities
        if rig.level_v.resolution == 0.0 and rig.width_s.resolution == 0.0:
            return GridRehearsed(block, rig)
        delivered = replace(
            block,
            level_v=rig.level_v.quantise(block.level_v),
            width_s=rig.width_s.quantise(block.width_s),
        )
        return GridRehearsed(delivered, rig)

    def rest(self) -> None:
        """A rig without relays is at rest between blocks."""
