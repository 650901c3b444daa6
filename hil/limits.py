"""Safety limits, and the one check that every backend's every step goes through.

Nothing is clamped: a request out of range raises :class:`~hil.errors.LimitError` naming step, line
or cell, value, limit and unit, before it is driven. Capabilities of the backend (its own ranges)
are checked in the same pass, the stricter of the two wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Capabilities, Range
from hil.errors import EnduranceError, LimitError, SafetyTrip
from hil.geometry import ArrayGeometry, PortLines
from hil.ledger import Ledger
from hil.measurement import MeasurementBlock, Status
from hil.program import READING_PHASES, Phase, PulseBlock


@dataclass(frozen=True, slots=True)
class SafetyLimits:
    """Limits of a station, in SI units; ``inf`` where none is set.

    Attributes:
        level_v: allowed line levels; ``group_level_v`` overrides it per line group (``GL``, ``PW``)
            and ``line_level_v`` per line (``WL3``).
        slew_v_per_s: largest |level| / min(rise, fall).
        width_s: allowed pulse widths; a resolution other than 0 demands multiples of it.
        compliance_a: largest compliance a pulse may ask for.
        device_v: voltage that a device may see between its write (and read) terminals.
        half_select_v: largest |voltage| of a device that is not selected, in write phases.
        erase_v: voltage of the erase port of a three-terminal cell.
        energy_joule: bound V · I_compliance · t per pulse and line.
        pulses_per_device: selected write pulses per device over its life, see :meth:`Ledger.carry`.
        compliance_trips: writing steps of one run in which a device, selected, may be written at
            the current limit.
    """

    level_v: Range = field(default_factory=Range)
    group_level_v: Mapping[str, Range] = field(default_factory=dict)
    line_level_v: Mapping[str, Range] = field(default_factory=dict)
    slew_v_per_s: float = math.inf
    width_s: Range = field(default_factory=lambda: Range(0.0, math.inf))
    compliance_a: float = math.inf
    device_v: Range = field(default_factory=Range)
    half_select_v: float = math.inf
    erase_v: Range = field(default_factory=Range)
    energy_joule: float = math.inf
    pulses_per_device: float = math.inf
    compliance_trips: float = math.inf


def check_geometry(limits: SafetyLimits, geometry: ArrayGeometry) -> None:
    """Raise GeometryError when limits name a line or group that the array does not have."""
    for name in limits.line_level_v:
        geometry.line_index(name)
    for group in limits.group_level_v:
        if group not in geometry.groups:
            geometry.line_index(f"{group}?")


class LimitChecker:
    """Checks blocks of one array against its limits and its backend's capabilities."""

    def __init__(
        self, geometry: ArrayGeometry, limits: SafetyLimits, capabilities: Capabilities
    ) -> None:
        check_geometry(limits, geometry)
        self.geometry, self.limits, self.capabilities = geometry, limits, capabilities
        lo = np.full(geometry.n_lines, limits.level_v.min)
        hi = np.full(geometry.n_lines, limits.level_v.max)
        for group, span in geometry.groups.items():
            if group in limits.group_level_v:
                lo[span], hi[span] = (
                    limits.group_level_v[group].min,
                    limits.group_level_v[group].max,
                )
        for name, allowed in limits.line_level_v.items():
            line = geometry.line_index(name)
            lo[line], hi[line] = allowed.min, allowed.max
        self._lo = np.maximum(lo, capabilities.level_v.min)
        self._hi = np.minimum(hi, capabilities.level_v.max)
        self._gates = geometry.gate_lines
        read = geometry.read_lines
        self._conducting = np.unique(np.concatenate([read.plus, read.minus]))
        self._kernels: Any = None

    def check(self, block: PulseBlock, index: int | None = None) -> None:
        """Raise LimitError when any step of ``block`` is out of range; see the module docstring."""
        template = block.template
        if template is not None:
            if self not in template.checked_by:
                for corner in template.corners:
                    self._check(corner, corner.level_v, corner.level_v, False, index)
                if not template.corners:
                    lo_v, hi_v = template.level_lo_v, template.level_hi_v
                    self._check(template.block, lo_v, hi_v, True, index)
                for one in template.corners or (template.block,):
                    self._check_able(one, index)
                template.checked_by.add(self)
            return
        self._check(block, block.level_v, block.level_v, block.width_s.ndim == 2, index)
        self._check_able(block, index)

    def _check_able(self, block: PulseBlock, index: int | None) -> None:
        """Raise LimitError when a backend cannot do a block that is within the limits.

        For a backend's own checker: called once for a template, with each of its corners.
        """

    def _check(
        self, block: PulseBlock, lo_v: Any, hi_v: Any, zero: bool, index: int | None
    ) -> None:
        if self._kernels is None:
            from hil import _kernels

            self._kernels = _kernels
        limits, caps, geometry = self.limits, self.capabilities, self.geometry
        if block.n_lines != geometry.n_lines:
            raise LimitError(
                "lines in the block", block.n_lines, geometry.n_lines, "lines", block=index
            )
        if block.n_steps > caps.max_steps:
            raise LimitError(
                "steps in one block", block.n_steps, caps.max_steps, "steps", block=index
            )
        if block.phase is not Phase.IDLE and block.duration_s > caps.max_block_s * (1 + 1e-9):
            raise LimitError(
                "duration of one block", block.duration_s, caps.max_block_s, "s", block=index
            )
        code, step, line, value, limit = self._kernels.check_lines(
            block.state, lo_v, hi_v, block.widths_2d, block.rise_s, block.fall_s,
            block.compliance_a, block.repeat, self._lo, self._hi, limits.slew_v_per_s,
            max(limits.width_s.min, caps.width_s.min), min(limits.width_s.max, caps.width_s.max),
            limits.width_s.resolution, limits.compliance_a, limits.energy_joule,
            caps.rise_s.min, caps.rise_s.max, caps.can_float, caps.per_line_width,
        )  # fmt: skip
        if code:
            raise self._line_error(code, step, line, value, limit, index)
        if not caps.limits_current and np.isfinite(block.compliance_a).any():
            where = geometry.line_name(int(np.flatnonzero(np.isfinite(block.compliance_a))[0]))
            raise LimitError(
                "compliance",
                float(block.compliance_a.min()),
                math.inf,
                "A",
                block=index,
                where=where,
                note="this backend cannot limit current",
            )
        if not caps.parallel_sense:
            steps = np.flatnonzero(block.sense) // max(block.n_lines, 1)
            sensed = np.bincount(steps, minlength=block.n_steps)
            if (sensed > 1).any():
                raise LimitError(
                    "lines sensed at once", int(sensed.max()), 1, "lines", block=index,
                    step=int((sensed > 1).argmax()), note="this backend senses one line at a time",
                )  # fmt: skip
        self._check_ports(block, lo_v, hi_v, zero, index)

    def _check_ports(
        self, block: PulseBlock, lo_v: Any, hi_v: Any, zero: bool, index: int | None
    ) -> None:
        limits, geometry = self.limits, self.geometry
        half = math.inf if block.phase in READING_PHASES else limits.half_select_v
        ports: list[tuple[str, PortLines, Range, float]] = [
            ("device voltage", geometry.write_lines, limits.device_v, half)
        ]
        if geometry.cell.read != geometry.cell.write:
            ports.append(("device read voltage", geometry.read_lines, limits.device_v, math.inf))
        if geometry.erase_lines is not None:
            ports.append(("device erase voltage", geometry.erase_lines, limits.erase_v, math.inf))
        erasing = block.phase is Phase.ERASE and geometry.erase_lines is not None
        for name, lines, allowed, half_max in ports:
            if erasing and name == "device voltage":
                continue  # an erase drives gates and wells; its stress is the erase port's
            if allowed.min == -math.inf and allowed.max == math.inf and half_max == math.inf:
                continue
            code, step, a, b, value, limit = self._kernels.check_port(
                block.state, lo_v, hi_v, block.selected, block.repeat, lines.plus, lines.minus,
                self._gates, self._conducting, lines.plus_by_row == lines.minus_by_row, zero,
                allowed.min, allowed.max, half_max,
            )  # fmt: skip
            if code:
                row, col = (a, b) if lines.plus_by_row else (b, a)
                where = (
                    f"row {row}"
                    if lines.plus_by_row == lines.minus_by_row
                    else f"cell ({row}, {col})"
                )
                half_selected = code == self._kernels.HALF_SELECT
                raise LimitError(
                    "half-selected " + name if half_selected else name,
                    value, math.copysign(limit, value) if half_selected else limit, "V",
                    block=index, step=step, where=where,
                )  # fmt: skip

    def _line_error(
        self, code: int, step: int, line: int, value: float, limit: float, index: int | None
    ) -> LimitError:
        k = self._kernels
        what = {
            k.LEVEL_LO: ("line level", "V"), k.LEVEL_HI: ("line level", "V"),
            k.SLEW: ("slew", "V/s"),
            k.WIDTH_LO: ("pulse width", "s"), k.WIDTH_HI: ("pulse width", "s"),
            k.WIDTH_GRID: ("pulse width off the grid:", "s"), k.COMPLIANCE: ("compliance", "A"),
            k.ENERGY: ("energy bound V·I·t", "J"), k.STATE_FLOAT: ("floating lines", ""),
            k.PER_LINE_WIDTH: ("width per line: narrowest", "s"), k.RISE: ("rise time", "s"),
        }  # fmt: skip
        quantity, unit = what[code]
        note = {
            k.STATE_FLOAT: "this backend cannot float a line",
            k.PER_LINE_WIDTH: "this backend has one width per step; slice the widths",
            k.WIDTH_GRID: "widths must be multiples of the limit",
        }.get(code)
        where = self.geometry.line_name(line) if line >= 0 else None
        return LimitError(
            quantity, value, limit, unit, block=index, step=step, where=where, note=note
        )


class PulseBudget:
    """Keeps selected pulses per device within ``SafetyLimits.pulses_per_device`` over their life.

    A cheap upper bound decides nearly always; only when it exceeds the limit are the devices
    counted one by one.
    """

    def __init__(self, limits: SafetyLimits, ledger: Ledger) -> None:
        self._limit = limits.pulses_per_device
        self._ledger = ledger

    def check_block(self, block: PulseBlock, index: int | None = None) -> None:
        """Raise EnduranceError when ``block``, driven now, would take a device over its budget."""
        if self._limit == math.inf or not _writes(block):
            return
        if self._ledger.most_pulses_bound + int(block.repeat.sum()) <= self._limit:
            return
        self._ledger.most_pulses_bound = int(self._ledger.life().max())
        planned = self._ledger.copy()
        planned.add(block)
        self._raise_if_over(planned, index)

    def check_programme(self, programme: Iterable[PulseBlock]) -> None:
        """Raise EnduranceError when all of a re-iterable ``programme`` would exceed the budget."""
        if self._limit == math.inf:
            return
        bound = self._ledger.most_pulses_bound
        bound += sum(int(block.repeat.sum()) for block in programme if _writes(block))
        if bound <= self._limit:
            return
        planned = self._ledger.copy()
        for index, block in enumerate(programme):
            if _writes(block):
                planned.add(block)
                self._raise_if_over(planned, index)

    def check_left(self) -> None:
        """Raise EnduranceError when a device that is not dead has no pulse left."""
        left = self._limit - self._ledger.life()
        if self._ledger.geometry.dead is not None:
            left = np.where(self._ledger.geometry.dead, np.inf, left)
        if left.min() < 1:
            self._refuse(int(left.argmin()), self._ledger, None)

    def _raise_if_over(self, planned: Ledger, index: int | None) -> None:
        counts = planned.life()
        if counts.max() > self._limit:
            self._refuse(int(counts.argmax()), planned, index)

    def _refuse(self, cell: int, ledger: Ledger, index: int | None) -> None:
        row, col = divmod(cell, ledger.geometry.n_cols)
        before = 0 if ledger.carried is None else int(ledger.carried[row, col])
        raise EnduranceError(
            "pulses over the device's life" if before else "pulses over the run",
            int(ledger.life()[row, col]), self._limit, "pulses", block=index,
            where=f"cell ({row}, {col})",
            note=f"{before} of them in earlier runs" if before else None,
        )  # fmt: skip


class ComplianceTrips:
    """Counts the writing steps of a run in which the current limit was reached, per device.

    A step counts once for every device that it selects, whatever its repeats: which of the lines
    was limited is known, of which of its devices is not.
    """

    def __init__(self, limits: SafetyLimits, geometry: ArrayGeometry) -> None:
        self._limit = limits.compliance_trips
        self._ledger = Ledger(geometry)
        self.steps = 0  #: writing steps that were limited

    def clear(self) -> None:
        """Begin a new run."""
        self._ledger = Ledger(self._ledger.geometry)
        self.steps = 0

    @property
    def count(self) -> NDArray[np.int64]:
        """(n_rows, n_cols) steps that were limited, per selected device."""
        return self._ledger.selected()

    def add(self, block: PulseBlock, readings: MeasurementBlock, unsensed: tuple[int, ...]) -> None:
        """Count a block that was driven; ``unsensed`` are steps limited on a line not sensed."""
        if not (unsensed or len(readings.step)) or not _writes(block):
            return
        limited = readings.step[(readings.status & np.uint32(Status.I_COMPLIANCE)) != 0]
        steps = sorted({*unsensed, *limited.tolist()})
        if not steps:
            return
        once = np.zeros(block.n_steps, dtype=np.int64)
        once[steps] = 1
        self._ledger.add(replace(block, repeat=once, template=None))
        self.steps += len(steps)

    def check(self) -> None:
        """Raise SafetyTrip when a device was written at the limit more often than allowed."""
        if self._limit == math.inf or self.steps <= self._limit:
            return
        count = self.count
        row, col = divmod(int(count.argmax()), count.shape[1])
        if count[row, col] > self._limit:
            raise SafetyTrip(
                f"cell ({row}, {col}) was written at the current limit in {count[row, col]} steps "
                f"of this run against limits.compliance_trips {self._limit:g}; {self.steps} steps "
                f"were limited on {int((count > 0).sum())} cells. Look for a short there"
            )


def _writes(block: PulseBlock) -> bool:
    return block.phase not in READING_PHASES and block.phase is not Phase.IDLE
