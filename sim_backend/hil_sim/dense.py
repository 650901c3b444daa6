"""One step with solved potentials: floating lines, limiting sources and transistors, forming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.measurement import Status
from hil.program import LineState, PulseBlock
from hil_sim.kernels import law as lw
from hil_sim.kernels import philox, sense, solved, steps
from hil_sim.nodes import Network
from hil_sim.readout import Solution

if TYPE_CHECKING:
    from hil_sim.sim_array import SimArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class _Lines:
    """What the lines of one step do: (n_lines,) arrays."""

    level_v: FloatArray
    width_s: FloatArray
    floating: BoolArray
    driven: BoolArray
    step_s: float
    edges_s: FloatArray

    @classmethod
    def of(cls, block: PulseBlock, step: int) -> _Lines:
        driven = block.state[step] == LineState.DRIVE
        level = np.where(driven, block.level_v[step], 0.0)
        per_line = block.width_s.ndim == 2
        width = block.width_s[step] if per_line else np.full(level.size, block.width_s[step])
        active = driven & (level != 0.0) & (width > 0.0)
        step_s = float(width.max(initial=0.0))
        edges = np.unique(np.append(width[active], step_s))
        floating = block.state[step] == LineState.FLOAT
        level, width = np.where(active, level, 0.0), np.where(active, width, 0.0)
        return cls(level, width, floating, driven, step_s, edges[edges > 0.0])

    def at(self, time_s: float) -> FloatArray:
        """Return the levels of all lines just after ``time_s``."""
        return np.where(self.width_s > time_s, self.level_v, 0.0)


@dataclass(slots=True, eq=False)
class _Means:
    """Time means over one pulse: device currents, line potentials; and which sources limited."""

    device_a: FloatArray
    line_v: FloatArray
    line_a: FloatArray
    limited: BoolArray


class DenseStep:
    """Runs one step of a block by solving potentials interval by interval."""

    def __init__(self, array: SimArray, block: PulseBlock, step: int) -> None:
        self.array, self.block, self.step = array, block, step
        self.lines = _Lines.of(block, step)
        limits = np.where(self.lines.driven, block.compliance_a, np.inf)
        self.row_limit, self.col_limit = limits[array.read_rows], limits[array.col_lines]

    def run(self, pulses: range, clock_ns: int, at: int, out: Any) -> tuple[int, int]:
        """Drive the given repeats; return the clock and the next free reading row."""
        array, block, step = self.array, self.block, self.step
        times = int(block.repeat[step])
        period_ns = steps.pulse_period_ns(
            self.lines.step_s, block.rise_s[step], block.fall_s[step], block.gap_s[step],
            array.step_overhead_s,
        )  # fmt: skip
        senses = bool(block.sense[step].any())
        means: _Means | None = None
        for pulse in pulses:
            acted, during = (False, means) if means is not None else self._pulse()
            if during is not None and (during.limited & ~block.sense[step]).any():
                array.tripped.add(step)
            if senses and during is not None:
                at = self._emit(during, pulse, times, clock_ns, at, out)
            # A pulse that changed nothing leaves the next one with the same potentials.
            means = None if acted else during
            clock_ns += period_ns
            if means is not None and not senses:
                clock_ns += (pulses.stop - pulse - 1) * period_ns
                break
        return clock_ns, at

    def _pulse(self) -> tuple[bool, _Means]:
        """Drive one pulse; return whether any device was touched, and its means."""
        array, lines = self.array, self.lines
        shape = array.g.shape
        n_up, n_down = np.zeros(shape), np.zeros(shape)
        down_first = np.zeros(shape, dtype=np.bool_)
        formed = np.zeros(shape, dtype=np.bool_)
        before = self._blank()
        start_s, acts = 0.0, False
        law = array.population.law[0]
        for stop_s in lines.edges_s:
            solution = self._solve_and_form(start_s, formed)
            self._add(before, solution, stop_s - start_s)
            tau = float(lw.tau_of(start_s, float(stop_s), law))
            write_v = self._write_voltage(solution, start_s)
            acts |= solved.add_pulses(write_v, tau, array.population.law, array.population.params,
                                      n_up, n_down, down_first)  # fmt: skip
            start_s = float(stop_s)
        if acts:
            n_up[formed], n_down[formed] = 0.0, 0.0  # forming was this pulse's doing
            p = array.population
            solved.apply_pulses(n_up, n_down, down_first, p.law, p.nodes_up, p.nodes_down,
                                p.params, array.g, array.ordinal, array.key)  # fmt: skip
        erased = False
        if array.erases:
            erased = steps.erase_rows(
                lines.level_v, lines.width_s, array.rows, law, array.population.params, array.g,
                array.ordinal,
            )  # fmt: skip
        acted = bool(acts or erased or formed.any())
        if acted and self.block.sense[self.step].any():
            after = self._blank()
            start_s = 0.0
            for stop_s in lines.edges_s:
                self._add(after, self._solve(start_s), stop_s - start_s)
                start_s = float(stop_s)
            for name in ("device_a", "line_v", "line_a"):
                setattr(before, name, 0.5 * (getattr(before, name) + getattr(after, name)))
            before.limited |= after.limited
        return acted, before

    def _blank(self) -> _Means:
        n_lines = self.block.n_lines
        return _Means(np.zeros(self.array.g.shape), np.zeros(n_lines), np.zeros(n_lines),
                      np.zeros(n_lines, dtype=np.bool_))  # fmt: skip

    def _caps(self, level_v: FloatArray) -> FloatArray:
        """Return the largest current of each row's select transistors in amperes."""
        array = self.array
        law = array.population.law[0]
        if not law["has_gate"]:
            return np.full(array.geometry.n_rows, np.inf)
        overdrive = level_v[array.gates] - law["gate_v_t"]
        return np.asarray(np.maximum(overdrive, 0.0) * float(law["gate_k"]))

    def _solve(self, time_s: float) -> Solution:
        array, lines = self.array, self.lines
        level = lines.at(time_s)
        rows, cols = array.read_rows, array.col_lines
        return array.readout.solve(
            Network(array.g, array.population.law, level[rows], level[cols], lines.floating[rows],
                    lines.floating[cols], self.row_limit, self.col_limit, self._caps(level))
        )  # fmt: skip

    def _solve_and_form(self, time_s: float, formed: BoolArray) -> Solution:
        """Solve, let the devices that see their forming voltage form, and solve again."""
        array = self.array
        while True:
            solution = self._solve(time_s)
            if not array.pristine.any():
                return solution
            v = solution.device_v * float(array.population.law[0]["polarity"])
            forming = array.pristine & (v >= array.population.v_form)
            if not forming.any():
                return solution
            limit = np.minimum(self.row_limit, self._caps(self.lines.at(time_s)))[:, None]
            array.form(forming, np.minimum(limit, self.col_limit[None, :]))
            formed |= forming

    def _write_voltage(self, solution: Solution, time_s: float) -> FloatArray:
        array = self.array
        if array.population.law[0]["same_port"]:
            return solution.device_v
        level = self.lines.at(time_s)
        return np.asarray(level[array.rows[steps.WRITE]][:, None] - solution.col_v[None, :])

    def _add(self, means: _Means, solution: Solution, dt_s: float) -> None:
        array = self.array
        share = dt_s / self.lines.step_s
        rows, cols = array.read_rows, array.col_lines
        means.device_a += share * solution.device_a
        means.line_v[rows] += share * solution.row_v
        means.line_v[cols] += share * solution.col_v
        means.line_a[rows] += share * solution.device_a.sum(axis=1)
        means.line_a[cols] -= share * solution.device_a.sum(axis=0)
        means.limited[rows] |= solution.row_limited
        means.limited[cols] |= solution.col_limited

    def _emit(self, means: _Means, pulse: int, times: int, clock_ns: int, at: int, out: Any) -> int:
        array = self.array
        law = array.population.law[0]
        noise2 = (float(law["read_rel"]) * means.device_a) ** 2
        if law["read_abs"] > 0.0:
            noise2 += (float(law["read_abs"]) * means.device_a / array.g) ** 2
        variance = np.zeros(self.block.n_lines)
        variance[array.read_rows] = noise2.sum(axis=1)
        variance[array.col_lines] = noise2.sum(axis=0)
        current = np.where(self.lines.floating, 0.0, means.line_a)
        variance[self.lines.floating] = 0.0
        solved_v = self.lines.floating | means.limited
        level = np.where(solved_v, means.line_v, self.lines.level_v)
        status = np.full(self.block.n_lines, Status.SIMULATED, dtype=np.uint32)
        status[means.limited] |= np.uint32(Status.I_COMPLIANCE)
        sensed = np.flatnonzero(self.block.sense[self.step])
        return int(
            sense.emit(self.step, pulse, times, clock_ns, self.lines.step_s, sensed, sensed.size,
                       level, current, variance, status, array.reads, array.key, at, out,
                       philox.new_draws())
        )  # fmt: skip
