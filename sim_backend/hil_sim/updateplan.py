"""What a simulated array has found out about the coincidence updates of a template, and keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState, PulseBlock
from hil_sim.kernels import crossings
from hil_sim.kernels import law as lw
from hil_sim.kernels.noise import new_noise, places_of_rows
from hil_sim.kernels.steps import pulse_period_ns
from hil_sim.kernels.writes import may_write

if TYPE_CHECKING:
    from hil.template import BlockTemplate
    from hil_sim.sim_array import SimArray


@dataclass(frozen=True, slots=True, eq=False)
class UpdatePlan:
    """Blocks of one template that differ in which lines are on: see ``kernels.crossings``.

    Attributes:
        highest_v: the highest device voltage along the device's polarity.
        version: of the devices' parameters that ``table`` was made from.
        overhead_s: of every pulse, as the period counts it.
        period_ns: of a step.
        up: the direction of the pulses.
        table: what a pulse does to each device, None where none does anything.
        all_pulsed: every device of the table is pulsed.
        one_range: all its devices have the same range.
        places: of the devices of as many rows as are drawn for at once.
        noise: scratch of the kernel.
    """

    highest_v: float
    version: int
    overhead_s: float
    period_ns: int
    up: bool
    table: tuple[NDArray[Any], ...] | None
    all_pulsed: bool
    one_range: bool
    places: NDArray[np.uint32]
    noise: tuple[Any, ...]

    def run(self, array: SimArray, block: PulseBlock) -> None:
        """Pulse the devices and advance the array's clock."""
        if self.table is not None:
            crossings.pulse_crossings(
                block.selected, array.read_rows, array.col_lines, self.up, self.table,
                self.all_pulsed, self.one_range, array.population.law, array.g, array.ordinal,
                array.key, self.places, array.work[1], self.noise,
            )  # fmt: skip
        array.clock_ns += self.period_ns * block.n_steps


def plan_updates(array: SimArray, template: BlockTemplate) -> UpdatePlan | None:
    """Return the plan of a template whose lines are switched on and off, None if there is none.

    There is one where all chosen rows, and all chosen columns, are driven alike, nothing floats,
    only devices where the two cross can be written, and no source can limit.
    """
    base, law = template.block, array.population.law[0]
    affine = law["model"] == lw.AFFINE and not (law["noisy"] and law["range_c2c"] > 0.0)
    if (
        not affine or not array.readout.lines_are_nodes or array.gates.size or array.erases
        or not law["same_port"] or base.width_s.ndim != 1 or template.n_readings
    ):  # fmt: skip
        return None
    if any(np.ptp(c) for c in (base.width_s, base.rise_s, base.fall_s, base.gap_s)):
        return None
    off_state, off_v = template.off_state, template.off_level_v
    if off_state is None or off_v is None:
        off_state = np.full(base.state.shape, LineState.GROUND, np.uint8)
        off_v = np.zeros(base.level_v.shape)
    floats = (base.state == LineState.FLOAT).any() or (off_state == LineState.FLOAT).any()
    if floats or (base.repeat != 1).any():
        return None
    on_v = np.where(base.state == LineState.DRIVE, base.level_v, 0.0)
    off_v = np.where(off_state == LineState.DRIVE, off_v, 0.0)
    levels = []
    for lines in (array.read_rows, array.col_lines):
        chosen = base.selected[:, lines]
        on, off = np.unique(on_v[:, lines][chosen]), np.unique(off_v[:, lines])
        if on.size != 1 or off.size != 1 or (on_v[:, lines][~chosen] != off[0]).any():
            return None
        levels.append((float(on[0]), float(off[0])))
    width_s = float(base.width_s[0])
    tau = lw.tau_of(0.0, width_s, law)
    polarity = float(law["polarity"])
    seen = [(row - col, k) for k, (row, col) in enumerate(
        (levels[0][a], levels[1][b]) for a, b in ((0, 0), (0, 1), (1, 0), (1, 1))
    )]  # fmt: skip
    if any(k and may_write(max(v, 0.0), min(v, 0.0), tau, law) for v, k in seen):
        return None
    top = float(law["g_top"]) * max(abs(float(lw.phi(v, law))) for v, _ in seen)
    for lines, others in ((array.read_rows, array.col_lines), (array.col_lines, array.read_rows)):
        if (base.compliance_a[lines] < top * others.size).any():
            return None
    v = seen[0][0] * polarity
    table = None
    if may_write(max(seen[0][0], 0.0), min(seen[0][0], 0.0), tau, law):
        table = array.pulse_table(v, float(tau))
    all_pulsed = one_range = False
    if table is not None:
        low, high = table[crossings.T_MIN], table[crossings.T_MAX]
        all_pulsed, one_range = bool((high >= low).all()), not (np.ptp(low) or np.ptp(high))
    period_ns = pulse_period_ns(
        width_s, float(base.rise_s[0]), float(base.fall_s[0]), float(base.gap_s[0]),
        array.step_overhead_s,
    )  # fmt: skip
    return UpdatePlan(
        max(voltage * polarity for voltage, _ in seen), array.version, array.step_overhead_s,
        int(period_ns), v > 0.0, table, all_pulsed,
        one_range, places_of_rows(array.g.shape[1]), new_noise(),
    )  # fmt: skip
