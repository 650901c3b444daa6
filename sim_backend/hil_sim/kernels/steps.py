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
    extremes,
    group_lines,
    intervals,
    sort_by_group,
)
from hil_sim.kernels.law import P_H_DOWN, P_H_UP, phi, pulses_of, tau_of
from hil_sim.kernels.pulse import erase_row, pulse_row
from hil_sim.kernels.sense import coefficients, emit, line_currents

SIMULATED = np.uint32(1 << 10)
# Rows of the `rows` array: the line of each row that plays this part.
READ, WRITE, ERASE_PLUS, ERASE_MINUS = 0, 1, 2, 3


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
def _may_write(high: float, low: float, tau: float, law: Any) -> bool:
    """Return True when a device could be moved by a voltage between ``low`` and ``high``."""
    for v in (high * law.polarity, low * law.polarity):
        if pulses_of(v, tau, law.h_min_p, True, law) > 0.0:
            return True
        if pulses_of(v, tau, law.h_min_d, False, law) > 0.0:
            return True
    return False


@njit(cache=True)
def _pulse_tables(
    n_rg: int, row_v: Any, row_s: Any, row_on: Any, n_cg: int, col_v: Any, col_s: Any, law: Any,
    table: Any, n_up: Any, n_down: Any,
) -> bool:  # fmt: skip
    """Fill (v1, tau1, v2, tau2) and nominal pulses per group pair; return whether any acts.

    Pulses are upper bounds (lowest threshold of the array) when devices differ in theirs.
    """
    acts = False
    for a in range(n_rg):
        for b in range(n_cg):
            v1, t1, v2, t2 = intervals(row_v[a], row_s[a], col_v[b], col_s[b], row_on[a])
            v1, v2 = v1 * law.polarity, v2 * law.polarity
            tau1, tau2 = tau_of(0.0, t1, law), tau_of(t1, t2, law)
            table[a, b, 0], table[a, b, 1] = v1, tau1
            table[a, b, 2], table[a, b, 3] = v2, tau2
            n_up[a, b] = pulses_of(v1, tau1, law.h_min_p, True, law) + pulses_of(
                v2, tau2, law.h_min_p, True, law
            )
            n_down[a, b] = pulses_of(v1, tau1, law.h_min_d, False, law) + pulses_of(
                v2, tau2, law.h_min_d, False, law
            )
            acts = acts or n_up[a, b] > 0.0 or n_down[a, b] > 0.0
    return acts


@njit(cache=True)
def _own_pulses(
    row: int, up: bool, table: Any, a: int, b: int, order: Any, start: int, stop: int, law: Any,
    params: Any, cols: Any, n_eff: Any,
) -> int:  # fmt: skip
    """List the devices above their own threshold with their pulses; return how many."""
    count = 0
    for k in range(start, stop):
        col = order[k]
        h = params[row, col, P_H_UP if up else P_H_DOWN]
        own = pulses_of(table[a, b, 0], table[a, b, 1], h, up, law) + pulses_of(
            table[a, b, 2], table[a, b, 3], h, up, law
        )
        if own > 0.0:
            cols[count], n_eff[count] = col, own
            count += 1
    return count


@njit(cache=True)
def _acting_rows(write_gid: Any, n_cg: int, n_up: Any, n_down: Any, acting: Any) -> int:
    """List the rows in which some device gets pulses in this step; return how many they are."""
    count = 0
    for i in range(write_gid.size):
        a = write_gid[i]
        for b in range(n_cg):
            if n_up[a, b] > 0.0 or n_down[a, b] > 0.0:
                acting[count] = i
                count += 1
                break
    return count


@njit(cache=True)
def _write_rows(
    acting: Any, n_acting: int, write_gid: Any, n_cg: int, order: Any, starts: Any, table: Any, n_up: Any, n_down: Any,
    law: Any, nodes_up: Any, nodes_down: Any, params: Any, g: Any, ordinal: Any, key: Any,
    cols: Any, n_eff: Any, bits: Any, z: Any,
) -> None:  # fmt: skip
    """Give every device its nominal pulses of this pulse, first those of the first interval."""
    for k_row in range(n_acting):
        i = acting[k_row]
        a = write_gid[i]
        for b in range(n_cg):
            if n_up[a, b] <= 0.0 and n_down[a, b] <= 0.0:
                continue
            v1_acts = table[a, b, 1] > 0.0 and table[a, b, 0] != 0.0
            up_first = table[a, b, 0] > 0.0 if v1_acts else table[a, b, 2] > 0.0
            for turn in range(2):
                up = up_first == (turn == 0)
                n = n_up[a, b] if up else n_down[a, b]
                if n <= 0.0:
                    continue
                if law.per_device_law:
                    count = _own_pulses(i, up, table, a, b, order, starts[b], starts[b + 1], law,
                                        params, cols, n_eff)  # fmt: skip
                else:
                    count = starts[b + 1] - starts[b]
                    for k in range(count):
                        cols[k], n_eff[k] = order[starts[b] + k], n
                pulse_row(i, cols, n_eff, count, up, law, nodes_up if up else nodes_down, params,
                          g, ordinal, key, bits, z)  # fmt: skip


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


@njit(cache=True, nogil=True)
def run_steps(
    first: int, last: int, state: Any, level_v: Any, width_s: Any, rise_s: Any, fall_s: Any,
    gap_s: Any, overhead_s: float, repeat: Any, sense: Any, compliance_a: Any, rows: Any,
    cols: Any, gates: Any, laws: Any, nodes_up: Any,
    nodes_down: Any, params: Any, g: Any, ordinal: Any, reads: Any, key: Any, clock_ns: int,
    at: int, out: Any, first_pulse: int, last_pulse: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Run steps from ``first`` on; return (step reached, clock, readings written).

    The step reached is ``last``, or the first step whose potentials have to be solved. Of each
    step's repeats, those from ``first_pulse`` to ``last_pulse`` (exclusive) are run.
    """
    law = laws[0]
    n_rows, n_cols = g.shape
    n_lines = state.shape[1]
    most = max(n_rows, n_cols)
    promises = out[0].size > 0
    n_limits = 0
    for k in range(n_lines):
        n_limits += compliance_a[k] < np.inf
    limits = n_limits > 0
    read_rows, write_rows, erase_plus = rows[READ], rows[WRITE], rows[ERASE_PLUS]
    no_gates = np.empty(0, np.int64)
    line_v, line_s = np.empty(n_lines), np.empty(n_lines)
    read_gid, col_gid = np.empty(n_rows, np.int64), np.empty(n_cols, np.int64)
    write_gid = read_gid if law.same_port else np.empty(n_rows, np.int64)
    read_v, read_s, read_on = np.empty(n_rows), np.empty(n_rows), np.empty(n_rows)
    write_v, write_s, write_on = read_v, read_s, read_on
    if not law.same_port:
        write_v, write_s, write_on = np.empty(n_rows), np.empty(n_rows), np.empty(n_rows)
    col_v, col_s, col_on = np.empty(n_cols), np.empty(n_cols), np.empty(n_cols)
    order, starts = np.empty(n_cols, np.int64), np.empty(n_cols + 1, np.int64)
    members, n_eff = np.empty(most, np.int64), np.empty(most)
    bits, z = np.empty(most, np.uint64), np.empty(most)
    acting, n_acting = np.empty(n_rows, np.int64), 0
    table = np.empty((1, 1, 4))
    n_up, n_down, coeff = np.empty((1, 1)), np.empty((1, 1)), np.empty((1, 1))
    n_sums = n_lines if promises else 0
    current, variance = np.zeros(n_sums), np.zeros(n_sums)
    current2, variance2 = np.zeros(n_sums), np.zeros(n_sums)
    status = np.full(n_sums, SIMULATED, np.uint32)

    for s in range(first, last):
        times = repeat[s]
        stop = min(times, last_pulse)
        if stop <= first_pulse:
            continue
        step_s, floats = delivered(state, level_v, width_s, s, line_v, line_s)
        period_ns = pulse_period_ns(step_s, rise_s[s], fall_s[s], gap_s[s], overhead_s)
        r_low, r_high = extremes(read_rows, line_v)
        c_low, c_high = extremes(cols, line_v)
        w_low, w_high = r_low, r_high
        erasing = False
        if not law.same_port:
            w_low, w_high = extremes(write_rows, line_v)
            if law.has_erase:
                _, e_high = extremes(erase_plus, line_v)
                erasing = e_high - w_low > law.erase_v_th
        senses = False
        if promises:
            for k in range(n_lines):
                if sense[s, k]:
                    senses = True
                    break
        v_max, v_min = r_high - c_low, r_low - c_high
        live = v_max > 0.0 or v_min < 0.0
        if live:
            phi_max = max(abs(phi(v_max, law)), abs(phi(v_min, law)))
            if (
                (floats and (_floats(state, s, read_rows) or _floats(state, s, cols)))
                or max(v_max * law.polarity, v_min * law.polarity) >= law.v_form_min
                or _may_limit(s, state, line_v, line_s, read_rows, cols, gates, compliance_a,
                              limits, law, g, phi_max)
            ):  # fmt: skip
                return s, clock_ns, at

        w_max, w_min = w_high - c_low, w_low - c_high
        acts = _may_write(w_max, w_min, tau_of(0.0, step_s, law), law)
        n_rg = n_cg = 0
        if acts or (live and senses):
            n_cg = group_lines(cols, no_gates, line_v, line_s, 0.0, col_gid, col_v, col_s, col_on)
        if (live and senses) or (acts and law.same_port):
            n_rg = group_lines(read_rows, gates, line_v, line_s, law.gate_v_t, read_gid, read_v,
                               read_s, read_on)  # fmt: skip
        if acts:
            n_wg = n_rg
            if not law.same_port:
                n_wg = group_lines(write_rows, gates, line_v, line_s, law.gate_v_t, write_gid,
                                   write_v, write_s, write_on)  # fmt: skip
            if n_wg > n_up.shape[0] or n_cg > n_up.shape[1]:
                table = np.empty((n_wg, n_cg, 4))
                n_up, n_down = np.empty((n_wg, n_cg)), np.empty((n_wg, n_cg))
            acts = _pulse_tables(n_wg, write_v, write_s, write_on, n_cg, col_v, col_s, law, table,
                                 n_up, n_down)  # fmt: skip
            if acts:
                sort_by_group(col_gid, n_cg, order, starts)
                n_acting = _acting_rows(write_gid, n_cg, n_up, n_down, acting)

        if senses:
            if live:
                if n_rg > coeff.shape[0] or n_cg > coeff.shape[1]:
                    coeff = np.empty((n_rg, n_cg))
                coefficients(n_rg, read_v, read_s, read_on, n_cg, col_v, col_s, step_s, law, coeff)
                line_currents(g, coeff, read_gid, col_gid, n_cg, read_rows, cols, sense, s, law,
                              current, variance)  # fmt: skip
            else:
                for k in range(n_sums):
                    current[k] = variance[k] = 0.0
        if not (acts or erasing):
            for pulse in range(first_pulse, stop if senses else first_pulse):
                start_ns = clock_ns + (pulse - first_pulse) * period_ns
                at = emit(s, pulse, times, start_ns, step_s, sense,
                          line_v, current, variance, status, reads, key, at, out)  # fmt: skip
            clock_ns += (stop - first_pulse) * period_ns
            continue

        for pulse in range(first_pulse, stop):
            if acts:
                _write_rows(
                    acting, n_acting, write_gid, n_cg, order, starts, table, n_up, n_down, law, nodes_up, nodes_down,
                    params, g, ordinal, key, members, n_eff, bits, z,
                )  # fmt: skip
            if erasing:
                erase_rows(line_v, line_s, rows, law, params, g, ordinal)
            if senses:
                if live:
                    # The reading is the mean over the pulse: of before and after what it changed.
                    line_currents(g, coeff, read_gid, col_gid, n_cg, read_rows, cols, sense, s,
                                  law, current2, variance2)  # fmt: skip
                    for k in range(n_sums):
                        current[k] = 0.5 * (current[k] + current2[k])
                        variance[k] = 0.5 * (variance[k] + variance2[k])
                at = emit(s, pulse, times, clock_ns, step_s, sense, line_v, current, variance,
                          status, reads, key, at, out)  # fmt: skip
                if live:
                    for k in range(n_sums):
                        current[k], variance[k] = current2[k], variance2[k]
            clock_ns += period_ns
    return last, clock_ns, at
