"""Run the steps of a block while every device sees the levels of its own lines.

Plain loops stand where array expressions would do: those compile several times longer.
The loop hands a step back when a line floats, a source or a select transistor limits, or a device
may form; then potentials have to be solved first (``hil_sim.dense``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.groups import (
    DRIVE,
    FLOAT,
    delivered,
    driven_alike,
    extremes,
    group_lines,
    in_a_row,
    intervals,
    sort_by_group,
)
from hil_sim.kernels.law import phi, tau_of
from hil_sim.kernels.noise import new_noise
from hil_sim.kernels.philox import new_draws
from hil_sim.kernels.pulse import erase_row
from hil_sim.kernels.sense import (
    coefficients,
    currents_of_columns,
    currents_of_rows,
    driven_alone,
    emit,
    line_currents,
    sensed_lines,
)
from hil_sim.kernels.writes import (
    SECOND,
    acting_rows,
    crossing_alone,
    may_write,
    new_list,
    pulse_tables,
    write_devices,
)

SIMULATED = np.uint32(1 << 10)
# Rows of the `rows` array: the line of each row that plays this part.
READ, WRITE, ERASE_PLUS, ERASE_MINUS = 0, 1, 2, 3
# Which lines of a sensing step drive while the other side stays at 0 V.
NEITHER, ROWS, COLS = 0, 1, 2


def workspace(n_lines: int) -> tuple[Any, Any, Any]:
    """Return scratch of :func:`run_steps` that is kept from block to block; allocating takes long.

    It is floats, whole numbers, and the status of a reading whose line was driven as asked.
    """
    most = n_lines + 1
    return (
        np.zeros((18, most)), np.zeros((8, most), np.int64), np.full(most, SIMULATED, np.uint32)
    )  # fmt: skip


@njit(cache=True)
def pulse_period_ns(
    step_s: float, rise_s: float, fall_s: float, gap_s: float, overhead_s: float
) -> int:
    """Return the time from one pulse of a step to its next in whole ns, at least 1."""
    period_s = step_s + 0.5 * (rise_s + fall_s) + gap_s + overhead_s
    return max(int(np.rint(period_s * 1e9)), 1)


@njit(cache=True)
def _floats(state: Any, s: int, lines: Any) -> bool:
    n_float = 0
    for n in range(lines.size):
        n_float += state[s, lines[n]] == FLOAT
    return n_float > 0


@njit(cache=True)
def _sum(values: Any) -> float:
    total = 0.0
    for k in range(values.size):
        total += values[k]
    return total


@njit(cache=True)
def _may_limit(
    s: int, state: Any, line_v: Any, line_s: Any, read_rows: Any, cols: Any, gates: Any,
    compliance_a: Any, limits: bool, law: Any, g: Any, phi_max: float,
) -> bool:  # fmt: skip
    """Return True when a source or a select transistor could limit the current in this step."""
    for i in range(gates.size):
        overdrive = line_v[gates[i]] - law.gate_v_t
        if line_s[gates[i]] > 0.0 and 0.0 < overdrive * law.gate_k < law.g_top * phi_max:
            return True
    if not limits:
        return False
    for i in range(read_rows.size):
        k = read_rows[i]
        if (
            state[s, k] == DRIVE
            and compliance_a[k] < law.g_top * phi_max * cols.size
            and compliance_a[k] < _sum(g[i]) * phi_max
        ):
            return True
    for j in range(cols.size):
        k = cols[j]
        if (
            state[s, k] == DRIVE
            and compliance_a[k] < law.g_top * phi_max * read_rows.size
            and compliance_a[k] < _sum(g[:, j]) * phi_max
        ):
            return True
    return False


@njit(cache=True)
def erase_rows(
    line_v: Any, line_s: Any, rows: Any, law: Any, params: Any, g: Any, ordinal: Any
) -> bool:
    """Apply the erase port of every row; return True when any row was erased."""
    any_erased = False
    for i in range(rows.shape[1]):
        plus, minus = rows[ERASE_PLUS, i], rows[ERASE_MINUS, i]
        v1, t1, v2, t2 = intervals(line_v[plus], line_s[plus], line_v[minus], line_s[minus], np.inf)
        n = 0.0
        for v, t in ((v1, t1), (v2, t2 - t1)):
            if v > law.erase_v_th and t > 0.0:
                x = (v - law.erase_v_th) / (law.erase_v - law.erase_v_th)
                n += x**law.erase_shape * t / law.erase_t
        if n > 0.0:
            erase_row(i, n, law, params, g, ordinal)
            any_erased = True
    return any_erased


@njit(cache=True)
def _currents(
    alone: int, active: Any, drive: Any, n_active: int, g: Any, coeff: Any, read_gid: Any,
    col_gid: Any, read_rows: Any, cols: Any, sense: Any, s: int, law: Any, current: Any,
    variance: Any, sums: Any, squares: Any,
) -> None:  # fmt: skip
    """Write mean current and read-noise variance of every sensed line, the shortest way."""
    if alone == ROWS:
        currents_of_columns(g, active, drive, n_active, cols, sense, s, law, current, variance,
                            sums, squares)  # fmt: skip
    elif alone == COLS:
        currents_of_rows(g, active, drive, n_active, read_rows, sense, s, law, current, variance)
    else:
        line_currents(g, coeff, read_gid, col_gid, read_rows, cols, sense, s, law, current,
                      variance)  # fmt: skip


@njit(cache=True)
def _sensed(lines: Any, sense: Any, s: int) -> bool:
    count = 0
    for n in range(lines.size):
        count += sense[s, lines[n]]
    return count > 0


@njit(cache=True)
def _senses_as_before(sense: Any, s: int, before: int) -> bool:
    different = 0
    if before < 0:
        return False
    row, last = sense[s], sense[before]
    for k in range(row.size):
        different += row[k] != last[k]
    return different == 0


@njit(cache=True, nogil=True)
def run_steps(
    first: int, last: int, state: Any, level_v: Any, width_s: Any, rise_s: Any, fall_s: Any,
    gap_s: Any, overhead_s: float, repeat: Any, sense: Any, compliance_a: Any, rows: Any,
    cols: Any, gates: Any, laws: Any, nodes_up: Any,
    nodes_down: Any, params: Any, g: Any, ordinal: Any, reads: Any, key: Any, clock_ns: int,
    at: int, out: Any, first_pulse: int, last_pulse: int, work: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Run steps from ``first`` on; return (step reached, clock, readings written).

    The step reached is ``last``, or the first step whose potentials have to be solved. Of each
    step's repeats, those from ``first_pulse`` to ``last_pulse`` (exclusive) are run.
    """
    law = laws[0]
    n_rows, n_cols = g.shape
    n_lines = state.shape[1]
    promises = out[0].size > 0
    n_limits = 0
    for k in range(n_lines):
        n_limits += compliance_a[k] < np.inf
    limits = n_limits > 0
    read_rows, write_rows, erase_plus = rows[READ], rows[WRITE], rows[ERASE_PLUS]
    rows_together, cols_together = in_a_row(read_rows), in_a_row(cols)
    no_gates = np.empty(0, np.int64)
    floats, ints, status = work
    line_v, line_s = floats[0, :n_lines], floats[1, :n_lines]
    current, variance = floats[2, :n_lines], floats[3, :n_lines]
    current2, variance2 = floats[4, :n_lines], floats[5, :n_lines]
    current[:] = 0.0
    variance[:] = 0.0
    read_v, read_s, read_on = floats[6, :n_rows], floats[7, :n_rows], floats[8, :n_rows]
    write_v, write_s, write_on = read_v, read_s, read_on
    read_gid, col_gid = ints[0, :n_rows], ints[1, :n_cols]
    write_gid = read_gid
    if not law.same_port:
        write_v, write_s, write_on = floats[9, :n_rows], floats[10, :n_rows], floats[11, :n_rows]
        write_gid = ints[2, :n_rows]
    col_v, col_s, col_on = floats[12, :n_cols], floats[13, :n_cols], floats[14, :n_cols]
    drive, sums, squares = floats[15], floats[16, :n_cols], floats[17, :n_cols]
    order, starts, acting = ints[3, :n_cols], ints[4, : n_cols + 1], ints[5, :n_rows]
    sensed, active = ints[6], ints[7]
    listed, noise, draws = new_list(), new_noise(), new_draws()
    table, mask, coeff = np.empty((2, 2, 6)), np.empty((2, 2), np.int64), np.empty((1, 1))
    pair = np.full((6, 2), np.nan)  # of the last step of one group of rows and one of columns
    n_acting = passes = n_active = n_sensed = 0
    sense_step, alone = -1, NEITHER
    senses_rows = senses_cols = False

    for s in range(first, last):
        times = repeat[s]
        stop = min(times, last_pulse)
        if stop <= first_pulse:
            continue
        step_s, any_floats = delivered(state, level_v, width_s, s, line_v, line_s)
        period_ns = pulse_period_ns(step_s, rise_s[s], fall_s[s], gap_s[s], overhead_s)
        r_low, r_high = extremes(read_rows, rows_together, line_v)
        c_low, c_high = extremes(cols, cols_together, line_v)
        w_low, w_high = r_low, r_high
        erasing = False
        if not law.same_port:
            w_low, w_high = extremes(write_rows, False, line_v)
            if law.has_erase:
                _, e_high = extremes(erase_plus, False, line_v)
                erasing = e_high - w_low > law.erase_v_th
        if promises and not _senses_as_before(sense, s, sense_step):
            n_sensed, sense_step = sensed_lines(sense, s, sensed), s
            senses_rows, senses_cols = _sensed(read_rows, sense, s), _sensed(cols, sense, s)
        senses = n_sensed > 0
        v_max, v_min = r_high - c_low, r_low - c_high
        live = v_max > 0.0 or v_min < 0.0
        if live:
            phi_max = max(abs(phi(v_max, law)), abs(phi(v_min, law)))
            if (
                (any_floats and (_floats(state, s, read_rows) or _floats(state, s, cols)))
                or max(v_max * law.polarity, v_min * law.polarity) >= law.v_form_min
                or _may_limit(s, state, line_v, line_s, read_rows, cols, gates, compliance_a,
                              limits, law, g, phi_max)
            ):  # fmt: skip
                return s, clock_ns, at

        w_max, w_min = w_high - c_low, w_low - c_high
        acts = may_write(w_max, w_min, tau_of(0.0, step_s, law), law)
        alone = NEITHER
        if live and senses:
            if c_low == 0.0 and c_high == 0.0 and not senses_rows:
                alone = ROWS
            elif r_low == 0.0 and r_high == 0.0 and gates.size == 0 and not senses_cols:
                alone = COLS
        grouped = live and senses and alone == NEITHER
        n_rg = n_cg = 0
        passes = -1
        if acts and not grouped and law.same_port and gates.size == 0:
            n_acting = driven_alike(read_rows, rows_together, line_v, line_s, acting)
            n_order = driven_alike(cols, cols_together, line_v, line_s, order)
            if n_acting >= 0 and n_order >= 0:
                passes, n_cg = crossing_alone(
                    read_rows, acting, n_acting, cols, order, n_order, line_v, line_s, law,
                    write_gid, starts, table, mask, pair,
                ), 1  # fmt: skip
        regroup = acts and passes < 0
        if regroup:
            pair[5, 0] = np.nan  # the tables are about to be those of other groups
        if regroup or grouped:
            n_cg = group_lines(cols, no_gates, line_v, line_s, 0.0, col_gid, col_v, col_s, col_on)
        if grouped or (regroup and law.same_port):
            n_rg = group_lines(read_rows, gates, line_v, line_s, law.gate_v_t, read_gid, read_v,
                               read_s, read_on)  # fmt: skip
        if regroup:
            n_wg = n_rg
            if not law.same_port:
                n_wg = group_lines(write_rows, gates, line_v, line_s, law.gate_v_t, write_gid,
                                   write_v, write_s, write_on)  # fmt: skip
            if n_wg > mask.shape[0] or n_cg > mask.shape[1]:
                most = max(n_wg, 2), max(n_cg, 2)
                table, mask = np.empty((most[0], most[1], 6)), np.empty(most, np.int64)
            passes = pulse_tables(n_wg, write_v, write_s, write_on, n_cg, col_v, col_s, law, table,
                                  mask)  # fmt: skip
            if passes:
                sort_by_group(col_gid, n_cg, order, starts)
                n_acting = acting_rows(write_gid, n_cg, mask, acting)
        acts = acts and passes != 0

        if grouped:
            if n_rg > coeff.shape[0] or n_cg > coeff.shape[1]:
                coeff = np.empty((n_rg, n_cg))
            coefficients(n_rg, read_v, read_s, read_on, n_cg, col_v, col_s, step_s, law, coeff)
        elif alone == ROWS:
            n_active = driven_alone(read_rows, gates, line_v, line_s, law.gate_v_t, 1.0, step_s,
                                    law, active, drive)  # fmt: skip
        elif alone == COLS:
            n_active = driven_alone(cols, no_gates, line_v, line_s, 0.0, -1.0, step_s, law, active,
                                    drive)  # fmt: skip
        many = acts and not senses and not erasing and not passes & SECOND
        for pulse in range(first_pulse, stop):
            if senses and live and pulse == first_pulse:
                _currents(alone, active, drive, n_active, g, coeff, read_gid, col_gid, read_rows,
                          cols, sense, s, law, current, variance, sums, squares)  # fmt: skip
            elif senses and not live:
                for k in range(n_lines):
                    current[k] = variance[k] = 0.0
            if acts:
                write_devices(
                    stop - first_pulse if many else 1, passes, acting, n_acting, write_gid, n_cg,
                    order, starts, table, mask, law, nodes_up, nodes_down, params, g, ordinal, key,
                    listed, noise,
                )  # fmt: skip
            if erasing:
                erase_rows(line_v, line_s, rows, law, params, g, ordinal)
            if many or not (acts or erasing or senses):
                clock_ns += (stop - first_pulse) * period_ns
                break
            moved = live and (acts or erasing)
            if senses:
                if moved:
                    # The reading is the mean over the pulse: of before and after what it changed.
                    _currents(alone, active, drive, n_active, g, coeff, read_gid, col_gid,
                              read_rows, cols, sense, s, law, current2, variance2, sums,
                              squares)  # fmt: skip
                    for k in range(n_lines):
                        current[k] = 0.5 * (current[k] + current2[k])
                        variance[k] = 0.5 * (variance[k] + variance2[k])
                at = emit(s, pulse, times, clock_ns, step_s, sensed, n_sensed, line_v, current,
                          variance, status, reads, key, at, out, draws)  # fmt: skip
                if moved:
                    for k in range(n_lines):
                        current[k], variance[k] = current2[k], variance2[k]
            clock_ns += period_ns
    return last, clock_ns, at
