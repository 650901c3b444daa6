"""What a simulated array has found out about blocks of reads and products, and keeps.

Most columns of its readings are the same at every run; they are made once and shared, read-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock, Status, reading_index
from hil.program import PulseBlock, frozen
from hil_sim.kernels import philox, products, rowreads

if TYPE_CHECKING:
    from hil_sim.sim_array import SimArray


@dataclass(frozen=True, slots=True, eq=False)
class ReadPlan:
    """Rows read alone: see :func:`hil_sim.kernels.rowreads.survey`.

    Attributes:
        highest_v: the highest device voltage along the device's polarity.
        overhead_s: of every pulse, as the periods count it.
        row_of_step, volts, period_ns: (n_steps,).
        cols, lines: columns and lines that every step senses.
        readings: all columns but the times and currents of a run.
    """

    highest_v: float
    overhead_s: float
    row_of_step: NDArray[np.int64]
    volts: NDArray[np.float64]
    period_ns: NDArray[np.int64]
    cols: NDArray[np.int64]
    lines: NDArray[np.int64]
    readings: MeasurementBlock
    draws: tuple[Any, ...]

    def run(self, array: SimArray, block: PulseBlock) -> MeasurementBlock:
        """Read, advance the array's clock and return the readings."""
        known = self.readings
        t_ns, current_a = np.empty(len(known), np.int64), np.empty(len(known))
        array.clock_ns = rowreads.read_rows_alone(
            self.row_of_step, self.volts, self.period_ns, self.cols, self.lines, array.g,
            array.population.law, array.reads, array.key, array.clock_ns, self.draws, t_ns,
            current_a,
        )  # fmt: skip
        return MeasurementBlock(
            known.step, known.line, known.pulse, t_ns, known.level_v, known.width_s, current_a,
            known.range_a, known.executed, known.status,
        )  # fmt: skip


def plan_reads(array: SimArray, block: PulseBlock) -> ReadPlan | None:
    """Return the plan of a block that reads rows alone, None for any other."""
    if not array.readout.lines_are_nodes or array.gates.size or array.erases:
        return None
    n_steps, n_lines = block.state.shape
    row_of_step, period_ns = np.zeros(n_steps, np.int64), np.zeros(n_steps, np.int64)
    volts, overhead_s = np.zeros(n_steps), array.step_overhead_s
    cols = np.flatnonzero(block.sense[0, array.col_lines])
    highest_v = rowreads.survey(
        block.state, block.level_v, block.widths_2d, block.rise_s, block.fall_s, block.gap_s,
        overhead_s, block.repeat, block.sense, block.compliance_a, array.rows, array.col_lines,
        array.population.law, np.zeros(n_lines), np.zeros(n_lines), row_of_step, volts, period_ns,
    )  # fmt: skip
    lines = array.col_lines[cols]
    if np.isnan(highest_v) or not cols.size or not (np.diff(lines) > 0).all():
        return None
    if int(block.sense.sum()) != n_steps * cols.size:
        return None  # other lines than those of rows and columns are sensed, too
    return ReadPlan(
        highest_v, overhead_s, row_of_step, volts, period_ns, cols, lines,
        _constant(block), philox.new_draws(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ProductPlan:
    """Blocks of one template that differ in widths alone: see :mod:`hil_sim.kernels.products`.

    Attributes:
        highest_v: the highest device voltage along the device's polarity.
        by_rows: rows drive and columns are sensed.
        driving: lines of all rows (of all columns).
        volts: φ of each.
        chosen, lines: rows or columns that every step senses, and their lines.
        readings: all columns but times, widths and currents.
    """

    highest_v: float
    by_rows: bool
    driving: NDArray[np.int64]
    volts: NDArray[np.float64]
    chosen: NDArray[np.int64]
    lines: NDArray[np.int64]
    readings: MeasurementBlock
    draws: tuple[Any, ...]

    def run(self, array: SimArray, block: PulseBlock) -> MeasurementBlock:
        """Read, advance the array's clock and return the readings."""
        known = self.readings
        n = len(known)
        t_ns, width_s, current_a = np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n)
        array.clock_ns = products.run_products(
            self.by_rows, self.driving, self.volts, block.width_s, block.rise_s, block.fall_s,
            block.gap_s, array.step_overhead_s, self.chosen, self.lines, array.g,
            array.population.law, array.reads, array.key, array.clock_ns, array.work, self.draws,
            t_ns, width_s, current_a,
        )  # fmt: skip
        return MeasurementBlock(
            known.step, known.line, known.pulse, t_ns, known.level_v, width_s, current_a,
            known.range_a, known.executed, known.status,
        )  # fmt: skip


def plan_products(array: SimArray, block: PulseBlock) -> ProductPlan | None:
    """Return the plan of all blocks with the levels of ``block`` but other widths, None if none."""
    if (
        not array.readout.lines_are_nodes or array.gates.size or array.erases
        or block.width_s.ndim != 2 or not array.population.law[0]["same_port"]
    ):  # fmt: skip
        return None
    sense = block.sense
    by_rows = bool(sense[0, array.col_lines].any())
    driving, sensed = array.read_rows, array.col_lines
    if not by_rows:
        driving, sensed = sensed, driving
    chosen = np.flatnonzero(sense[0, sensed])
    lines, volts = sensed[chosen], np.zeros(driving.size)
    highest_v = products.survey_products(
        block.state, block.level_v, block.template.block.width_s if block.template else
        block.width_s, block.repeat, sense, block.compliance_a, driving, sensed,
        1.0 if by_rows else -1.0, array.population.law, volts,
    )  # fmt: skip
    if np.isnan(highest_v) or not chosen.size or not (np.diff(lines) > 0).all():
        return None
    if (sense != sense[0]).any() or int(sense[0].sum()) != lines.size:
        return None
    return ProductPlan(
        highest_v, by_rows, driving, volts, chosen, lines, _constant(block), philox.new_draws()
    )


def _constant(block: PulseBlock) -> MeasurementBlock:
    """Return the readings that ``block`` gives at every run, but for their times and currents."""
    step, line, pulse = reading_index(block)
    known = MeasurementBlock.empty(step.size)
    known.step[:], known.line[:], known.pulse[:] = step, line, pulse
    known.level_v[:] = 0.0  # a sensed column is at 0 V
    known.width_s[:] = block.step_width_s[step]
    known.range_a[:] = np.nan if block.sensing.range_a is None else block.sensing.range_a
    known.executed[:] = 1
    known.status[:] = Status.SIMULATED
    for column in known.columns().values():
        frozen(column)
    return known
