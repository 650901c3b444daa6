"""Write-verify: read, pulse towards the target, read again, for all cells of an array at once.

Every iteration reads the rows that hold unfinished cells and then drives one block of write pulses:
potentiation of the cells below their target, then depression of those above, row after row. An
overshoot is answered by the other polarity.

Strategies: ``fixed`` pulses (several between two reads when the observed step allows it), ``ispp``
(incremental step pulse programming: the amplitude rises while a cell needs further pulses) and
``width`` (the width grows). A ramp starts again when a cell overshoots.

Cells that pulses cannot depress (a flash-like three-terminal cell that only a block erase resets)
need ``erase_first``; an overshoot of such a cell then stays and ends as ``stuck``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import LimitError, ProtocolError
from hil.limits import LimitChecker
from hil.phases.cells import CellRead, joined, pieces
from hil.phases.verify_settings import (
    Outcome,
    Strategy,
    WriteVerify,
    checked_targets,
    outcome_counts,
)
from hil.phases.verify_state import VerifyState
from hil.phases.writing import erase_rows, program_counts
from hil.procedure import ArrayContext, Procedure, Steps
from hil.program import BoolArray, FloatArray, Phase, PulseBlock

__all__ = [
    "Outcome",
    "Strategy",
    "WriteVerify",
    "WriteVerifyProcedure",
    "checked_targets",
    "outcome_counts",
    "write_verify",
]
_MISREADS = 3  # readings without a number before a cell is given up


def write_verify(
    context: ArrayContext,
    targets_siemens: ArrayLike,
    mask: ArrayLike | None = None,
    settings: WriteVerify | None = None,
    *,
    phase: Phase = Phase.PROGRAM,
) -> Steps:
    """Return the steps that bring the cells of ``mask`` to their targets in siemens.

    Args:
        context: the array.
        targets_siemens: one value, or (n_rows, n_cols); values outside the mask are not looked at.
        mask: boolean (n_rows, n_cols), None = every cell. Dead cells are skipped.
        settings: tolerance, budget and strategy.
        phase: recorded phase of the write pulses.

    Returns:
        A generator; its value has arrays (n_rows, n_cols) ``outcome`` (:class:`Outcome`),
        ``pulses``, ``g_start_siemens``, ``g_final_siemens``, ``target_siemens`` (NaN where skipped)
        and the numbers ``n_cells``, ``n_ok``, ``iterations``.

    Raises:
        ProtocolError: shapes, NaN, targets outside the conductance window, a scheme that writes
            whole rows; raised here, before any step.
        LimitError: the very first pulse would be out of range.
    """
    return _Loop(context, targets_siemens, mask, settings or WriteVerify(), phase).run()


class _Loop:
    def __init__(
        self, context: ArrayContext, targets: ArrayLike, mask: ArrayLike | None, s: WriteVerify,
        phase: Phase,
    ) -> None:  # fmt: skip
        self.phase = phase
        self.context, self.settings, self.op = context, s, context.op
        geometry, op = context.geometry, context.op
        if op.inhibit == "ground":
            raise ProtocolError(
                "the ground scheme writes whole rows; cells cannot be verified one by one",
                field="inhibit",
            )
        chosen = np.ones(geometry.shape, bool) if mask is None else np.asarray(mask)
        if chosen.shape != geometry.shape or chosen.dtype != np.bool_:
            raise ProtocolError(
                f"needs booleans of shape {geometry.shape}, got {chosen.dtype} {chosen.shape}",
                field="mask",
            )
        self.mask = chosen & ~geometry.dead_mask
        self.targets = checked_targets(context, targets, self.mask)
        window = op.g_max_siemens - op.g_min_siemens
        if s.tolerance_siemens is not None:
            self.tolerance = s.tolerance_siemens
        elif window > 0:
            self.tolerance = s.tolerance_fraction * window
        else:
            raise ProtocolError(
                "the operating point has no conductance window (g_min, g_max); give the tolerance "
                "in siemens",
                field="tolerance",
            )
        self.checker = LimitChecker(geometry, context.limits, context.capabilities)
        self.cells = VerifyState.of(self.mask, self.targets)
        self.erase = self._erase() if s.erase_first else None
        for sign in (1, -1):
            if self.mask.any():
                for piece in pieces(self._pulses(sign, 0, self.mask), context.capabilities):
                    self.checker.check(piece)

    def _erase(self) -> PulseBlock:
        geometry = self.context.geometry
        rows = np.flatnonzero(self.mask.any(axis=1))
        block = erase_rows(geometry, self.op, rows)
        lines = geometry.erase_lines
        if lines is not None:
            erased = block.selected[0][lines.plus][:, None] & ~geometry.dead_mask
            lost = np.argwhere(erased & ~self.mask)
            if lost.size:
                raise ProtocolError(
                    f"the block erase would also clear cell ({lost[0][0]}, {lost[0][1]}), which "
                    f"has no target ({len(lost)} such cells); choose whole blocks",
                    field="erase_first",
                )
        self.checker.check(block)
        return block

    # -- pulses -----------------------------------------------------------------------------

    def _amplitude(self, sign: int, level: int) -> tuple[float, float]:
        """Return (device voltage, width) of a pulse at ramp ``level``."""
        s, op = self.settings, self.op
        nominal = op.potentiate_v if sign > 0 else op.depress_v
        start, _ = s.scales
        if s.strategy == "width":
            return nominal, self._on_grid(op.write_s * start * s.width_factor**level)
        step = 0.01 * abs(nominal) if s.step_v is None else s.step_v
        return nominal * start + sign * step * level, op.write_s

    def _on_grid(self, width_s: float) -> float:
        grid = max(
            self.context.limits.width_s.resolution, self.context.capabilities.width_s.resolution
        )
        return width_s if grid == 0.0 else max(round(width_s / grid), 1) * grid

    def _last_level(self, sign: int) -> int:
        """Return the last level of the ramp, at which it stays."""
        s = self.settings
        start, stop = s.scales
        if s.strategy == "fixed":
            return 0
        if s.strategy == "width":
            return math.floor(math.log(stop / start) / math.log(s.width_factor) + 1e-9)
        nominal = abs(self.op.potentiate_v if sign > 0 else self.op.depress_v)
        return math.floor((stop - start) * nominal / (s.step_v or 0.01 * nominal) + 1e-9)

    def _pulses(self, sign: int, level: int, counts: NDArray[np.generic]) -> PulseBlock:
        v, width = self._amplitude(sign, level)
        return program_counts(
            self.context.geometry,
            self.op,
            counts.astype(np.int64),
            v_write=v,
            width_s=width,
            phase=self.phase,
        )

    def _allowed(self, block: PulseBlock) -> bool:
        try:
            for piece in pieces(block, self.context.capabilities):
                self.checker.check(piece)
        except LimitError:
            return False
        return True

    def _write_blocks(self, count: NDArray[np.int64]) -> list[PulseBlock]:
        """Return the write blocks of ``count`` pulses per cell; sets ``limit`` outcomes."""
        c, s = self.cells, self.settings
        count = self._within_budget(count)
        out = []
        for sign in (1, -1):
            mine = (count > 0) & (c.sign == sign)
            level = np.minimum(c.held // s.hold, self._last_level(sign))
            for k in np.unique(level[mine]):
                group = np.flatnonzero(mine & (level == k))
                block = self._group(sign, int(k), group, count)
                if not self._allowed(block):
                    alone = [
                        self._allowed(self._group(sign, int(k), g, count)) for g in group[:, None]
                    ]
                    over = group[~np.array(alone)]
                    c.outcome[over] = Outcome.LIMIT
                    count[over] = 0
                    group = group[np.array(alone)]
                    if not group.size:
                        continue
                    block = self._group(sign, int(k), group, count)
                out.append(block)
        c.pulses[:] += count
        c.held[:] += count
        c.mark_pulses[:] += count
        c.burst[:] = count
        return [] if not out else pieces(joined(out), self.context.capabilities)

    def _group(
        self, sign: int, level: int, group: NDArray[np.int64], count: NDArray[np.int64]
    ) -> PulseBlock:
        counts = np.zeros(self.mask.shape, dtype=np.int64)
        counts[self.cells.row[group], self.cells.col[group]] = count[group]
        return self._pulses(sign, level, counts)

    def _within_budget(self, count: NDArray[np.int64]) -> NDArray[np.int64]:
        most = self.context.limits.pulses_per_device
        c = self.cells
        over = (count > 0) & (c.pulses + count > most)
        c.outcome[over] = Outcome.LIMIT
        return np.where(over, 0, count)

    # -- decisions --------------------------------------------------------------------------

    def _judge(self, g: FloatArray) -> NDArray[np.int64]:
        """Take the verify readings; settle finished cells; return pulses to give per cell."""
        c, s = self.cells, self.settings
        active = c.outcome == ""
        readable = active & np.isfinite(g)
        c.misreads[active] = np.where(readable[active], 0, c.misreads[active] + 1)
        c.outcome[active & (c.misreads >= _MISREADS)] = Outcome.STUCK
        moved = np.where(c.burst > 0, c.sign * (g - c.g) / np.maximum(c.burst, 1), 0.0)
        seen = readable & (c.burst > 0) & np.isfinite(c.g)
        c.step[seen] = np.maximum(np.where(c.step > 0, (c.step + moved) / 2, moved), 0.0)[seen]
        c.g[readable] = g[readable]
        error = c.target - c.g
        c.outcome[readable & (np.abs(error) <= self.tolerance)] = Outcome.OK
        c.outcome[(c.outcome == "") & (c.pulses >= s.max_pulses)] = Outcome.MAX_PULSES

        sign = np.where(error > 0, 1, -1)
        turned = readable & (sign != c.sign)
        c.sign[turned] = sign[turned]
        c.held[turned], c.step[turned] = 0, 0.0
        self._new_window(turned)
        c.low_g[readable] = np.minimum(c.low_g, c.g)[readable]
        c.high_g[readable] = np.maximum(c.high_g, c.g)[readable]
        full = (c.outcome == "") & (c.mark_pulses >= s.stuck_after)
        # Neither a net move nor a random walk: read noise alone stays within such a band.
        still = c.sign * (c.g - c.mark_g) < self.tolerance / 2
        c.outcome[full & still & (c.high_g - c.low_g < 1.5 * self.tolerance)] = Outcome.STUCK
        self._new_window(full)

        go = (c.outcome == "") & readable
        count = np.where(go, 1, 0)
        if s.strategy == "fixed":
            known = go & (c.step > 0)
            # Seven tenths of the estimated need: an overshoot costs more than another read.
            need = 0.7 * np.abs(error[known]) / c.step[known]
            count[known] = np.clip(np.floor(need), 1, s.burst)
            unmoved = go & ~known & (c.burst > 0)
            count[unmoved] = np.minimum(2 * c.burst[unmoved], s.burst)
            count = np.where(go, np.minimum(count, s.max_pulses - c.pulses), 0)
        return count

    def _new_window(self, cells: BoolArray) -> None:
        c = self.cells
        for values in (c.mark_g, c.low_g, c.high_g):
            values[cells] = c.g[cells]
        c.mark_pulses[cells] = 0

    def run(self) -> Steps:
        context, c = self.context, self.cells
        if self.erase is not None:
            yield self.erase
        started: FloatArray | None = None
        iterations = 0
        while (c.outcome == "").any():
            todo = np.zeros(self.mask.shape, dtype=np.bool_)
            active = c.outcome == ""
            todo[c.row[active], c.col[active]] = True
            read = CellRead(
                context.geometry, self.op, context.capabilities, todo, phase=Phase.VERIFY,
                repeat=self.settings.read_repeat,
            )  # fmt: skip
            for block in read.blocks:
                read.add(block, (yield block))
            g = read.siemens()[c.row, c.col]
            if started is None:
                started = g
            iterations += 1
            for block in self._write_blocks(self._judge(g)):
                yield block
        return {
            "outcome": self._map(c.outcome, Outcome.SKIPPED, "<U10"),
            "pulses": self._map(c.pulses, 0, np.int64),
            "g_start_siemens": self._map(started, np.nan, np.float64),
            "g_final_siemens": self._map(c.g, np.nan, np.float64),
            "target_siemens": self._map(c.target, np.nan, np.float64),
            "n_cells": int(c.row.size),
            "n_ok": int((c.outcome == Outcome.OK).sum()),
            "iterations": iterations,
        }

    def _map(self, values: ArrayLike | None, fill: object, dtype: object) -> NDArray[np.generic]:
        out: NDArray[np.generic] = np.full(self.mask.shape, fill, dtype=dtype)  # type: ignore[call-overload]
        if values is not None:
            out[self.cells.row, self.cells.col] = values
        return out


class WriteVerifyProcedure(Procedure):
    """Write-verify of given targets as a procedure, see :func:`write_verify`."""

    adaptive = True

    def __init__(
        self,
        targets_siemens: ArrayLike,
        mask: ArrayLike | None = None,
        settings: WriteVerify | None = None,
        name: str = "write",
    ) -> None:
        self.name, self.kind = name, "write-verify"
        self._targets, self._mask, self._settings = targets_siemens, mask, settings

    def steps(self, context: ArrayContext) -> Steps:
        """Return the generator; see :func:`write_verify`."""
        return write_verify(context, self._targets, self._mask, self._settings)
