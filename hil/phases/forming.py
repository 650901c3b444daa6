"""Forming: a voltage ramp with a current limit that stops for each cell once it has formed.

One cell is pulsed at a time (the limit of a line is then the limit of the cell); all cells that are
not yet formed get the same ramp level in one block, then they are read. The current is limited per
line (``compliance_a``) or by the gate level of a 1T1R cell, whose transistor saturates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.errors import LimitError, ProtocolError
from hil.limits import LimitChecker
from hil.phases.cells import CellRead, pieces
from hil.phases.schemes import write_levels
from hil.procedure import ArrayContext, Steps
from hil.program import BoolArray, FloatArray, Phase, PulseBlock

MAX_LEVELS = 10_000


class FormOutcome(StrEnum):
    """How a cell ended; ``limit`` = the next ramp level would exceed a safety limit."""

    OK = "ok"
    NOT_FORMED = "not_formed"
    LIMIT = "limit"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Forming:
    """Settings of a forming ramp; what is left None is the operating point's.

    Attributes:
        start_v, stop_v, step_v: device voltages of the ramp; None = half of the operating point's
            forming voltage, the forming voltage, and a 25th of it.
        width_s: width of a forming pulse.
        pulses_per_level: pulses at each level before the read.
        compliance_a: current limit of every line, ``inf`` = none.
        gate_v: gate level of a 1T1R cell during the pulse.
        formed_siemens: a cell that reads at least this has formed; None = half of g_min.
        read_repeat: readings averaged after each level.
    """

    start_v: float | None = None
    stop_v: float | None = None
    step_v: float | None = None
    width_s: float | None = None
    pulses_per_level: int = 1
    compliance_a: float | None = None
    gate_v: float | None = None
    formed_siemens: float | None = None
    read_repeat: int = 1


def form(
    context: ArrayContext, mask: ArrayLike | None = None, settings: Forming | None = None
) -> Steps:
    """Return the steps that form the cells of ``mask`` (boolean (n_rows, n_cols), None = all).

    Returns:
        A generator; its value has arrays (n_rows, n_cols) ``outcome`` (:class:`FormOutcome`),
        ``formed_v`` (device voltage of the pulse that formed the cell, 0 for a cell that was
        formed already, NaN otherwise), ``g_after_siemens``, ``pulses`` and ``peak_a`` (largest
        mean current of a pulse), and the numbers ``n_cells``, ``n_ok``.

    Raises:
        ProtocolError: cells that need no forming, a missing forming voltage or threshold.
        LimitError: the first level is already out of range.
    """
    return _Ramp(context, mask, settings or Forming()).run()


class _Ramp:
    def __init__(self, context: ArrayContext, mask: ArrayLike | None, s: Forming) -> None:
        self.context, self.op = context, context.op
        geometry, op = context.geometry, context.op
        if geometry.cell.erase is not None:
            raise ProtocolError(f"{geometry.cell.name} cells need no forming", field="kind")
        if op.inhibit == "ground":
            raise ProtocolError(
                "the ground scheme writes whole rows; cells cannot be formed one by one",
                field="inhibit",
            )
        if s.gate_v is not None and geometry.cell.select is None:
            raise ProtocolError(f"{geometry.cell.name} cells have no gate", field="gate_voltage")
        chosen = np.ones(geometry.shape, bool) if mask is None else np.asarray(mask)
        if chosen.shape != geometry.shape or chosen.dtype != np.bool_:
            raise ProtocolError(
                f"needs booleans of shape {geometry.shape}, got {chosen.dtype} {chosen.shape}",
                field="mask",
            )
        self.mask: BoolArray = chosen & ~geometry.dead_mask
        self.levels_v = ramp_levels(op.form_v, s)
        self.width_s = s.width_s or op.form_s
        if self.width_s <= 0:
            raise ProtocolError("the operating point has no forming width; give it", field="width")
        self.compliance_a = op.form_compliance_a if s.compliance_a is None else s.compliance_a
        gate_v = s.gate_v if s.gate_v is not None else op.gate_form_v
        self.gate_v = gate_v
        if geometry.cell.select is not None and gate_v == 0.0:
            raise ProtocolError(
                "the gates would stay closed; give the gate voltage", field="gate_voltage"
            )
        if self.compliance_a == math.inf and geometry.cell.select is None:
            raise ProtocolError(
                "forming without a current limit breaks cells down; give a compliance",
                field="compliance",
            )
        formed = op.g_min_siemens / 2 if s.formed_siemens is None else s.formed_siemens
        if not formed > 0:
            raise ProtocolError(
                "the operating point has no conductance window; give the conductance of a formed "
                "cell",
                field="formed",
            )
        self.formed_siemens = formed
        self.repeat, self.read_repeat = s.pulses_per_level, s.read_repeat
        self.checker = LimitChecker(geometry, context.limits, context.capabilities)
        if self.mask.any():
            for piece in self._pulses(self.levels_v[0], np.argwhere(self.mask)):
                self.checker.check(piece)

    def _pulses(self, v: float, cells: NDArray[np.int64]) -> list[PulseBlock]:
        """Return blocks that pulse the given (row, col) cells one after the other."""
        geometry, op = self.context.geometry, self.op
        steps = np.arange(len(cells))
        rows = np.zeros((len(cells), geometry.n_rows), dtype=np.bool_)
        cols = np.zeros((len(cells), geometry.n_cols), dtype=np.bool_)
        rows[steps, cells[:, 0]] = True
        cols[steps, cells[:, 1]] = True
        state, level, selected = write_levels(geometry, op.inhibit, rows, cols, v, self.gate_v)
        sense = np.zeros(state.shape, dtype=np.bool_)
        sense[steps, geometry.write_lines.minus[cells[:, 1]]] = True
        block = PulseBlock.build(
            Phase.FORM, state, level, self.width_s, rise_s=op.rise_s, fall_s=op.fall_s,
            gap_s=op.gap_s, compliance_a=self.compliance_a, repeat=self.repeat, sense=sense,
            selected=selected, sensing=op.sensing,
            target=cells[:, 0] * geometry.n_cols + cells[:, 1],
        )  # fmt: skip
        return pieces(block, self.context.capabilities)

    def _allowed(self, v: float, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        def alone(part: NDArray[np.int64]) -> bool:
            try:
                for piece in self._pulses(v, part):
                    self.checker.check(piece)
            except LimitError:
                return False
            return True

        if alone(cells):
            return np.ones(len(cells), dtype=np.bool_)
        return np.array([alone(cell[None, :]) for cell in cells], dtype=np.bool_)

    def run(self) -> Steps:
        context = self.context
        shape = context.geometry.shape
        outcome = np.where(self.mask, "", FormOutcome.SKIPPED.value).astype("<U10")
        g: FloatArray = np.full(shape, np.nan)
        formed_v = np.full(shape, np.nan)
        pulses = np.zeros(shape, dtype=np.int64)
        peak_a = np.full(shape, np.nan)
        for v in (0.0, *self.levels_v):
            cells = np.argwhere(outcome == "")
            if v != 0.0 and len(cells):
                fits = self._allowed(v, cells)
                outcome[tuple(cells[~fits].T)] = FormOutcome.LIMIT
                cells = cells[fits]
                for block in self._pulses(v, cells) if len(cells) else ():
                    readings = yield block
                    at = np.unravel_index(block.target[readings.step], shape)
                    np.fmax.at(peak_a, at, np.abs(readings.current_a))
                pulses[tuple(cells.T)] += self.repeat
            if not len(cells):
                break
            read = CellRead(
                context.geometry, self.op, context.capabilities, outcome == "", phase=Phase.VERIFY,
                repeat=self.read_repeat,
            )  # fmt: skip
            for block in read.blocks:
                read.add(block, (yield block))
            now = read.siemens()
            g = np.where(np.isfinite(now), now, g)
            done = (outcome == "") & (now >= self.formed_siemens)
            outcome[done] = FormOutcome.OK
            formed_v[done] = v
        outcome[outcome == ""] = FormOutcome.NOT_FORMED
        return {
            "outcome": outcome,
            "formed_v": formed_v,
            "g_after_siemens": g,
            "pulses": pulses,
            "peak_a": peak_a,
            "n_cells": int(self.mask.sum()),
            "n_ok": int((outcome == FormOutcome.OK).sum()),
        }


def ramp_levels(form_v: float, s: Forming) -> tuple[float, ...]:
    """Return the device voltages of the ramp, the last one included.

    Raises:
        ProtocolError: no forming voltage, or a ramp that does not rise.
    """
    stop = form_v if s.stop_v is None else s.stop_v
    if stop <= 0:
        raise ProtocolError(
            "the operating point has no forming voltage; give the end of the ramp",
            field="stop_voltage",
        )
    start = stop / 2 if s.start_v is None else s.start_v
    step = stop / 25 if s.step_v is None else s.step_v
    if not (0 < start <= stop and step > 0):
        raise ProtocolError(
            f"the ramp {start:g} … {stop:g} V in steps of {step:g} V does not rise",
            field="start_voltage",
        )
    n = math.floor((stop - start) / step + 1e-9) + 1
    if n > MAX_LEVELS:
        raise ProtocolError(
            f"the ramp has {n} levels, at most {MAX_LEVELS} are allowed", field="step"
        )
    levels = [start + k * step for k in range(n)]
    if stop - levels[-1] > 1e-9 * stop:
        levels.append(stop)
    else:
        levels[-1] = stop
    return tuple(levels)
