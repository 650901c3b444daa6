"""Run the steps of a block while every device sees the levels of its own lines.

The loop hands a step back (``needs_solving``) when a line floats, a source or a select transistor
limits, or a device may form; then potentials have to be solved first (``hil_sim.dense``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.groups import drive_of, group_lines, intervals, sort_by_group
from hil_sim.kernels.law import (
    P_H_DOWN,
    P_H_UP,
    phi,
    pulses_of,
    tau_of,
)
from hil_sim.kernels.pulse import erase_row, pulse_row
from hil_sim.kernels.sense import coefficients, emit, line_currents

FLOAT, DRIVE = 0, 2
SIMULATED = np.uint32(1 << 10)
# Rows of the `rows` array: the line of each row that plays this part.
READ, WRITE, ERASE_PLUS, ERASE_MINUS = 0, 1, 2, 3


@njit(cache=True)
def step_width(width_s: Any, s: int) -> float:
    """Return the longest width of a step in seconds."""
    if width_s.shape[1] == 1:
        return float(width_s[s, 0])
    return float(width_s[s].max())


@njit(cache=True)
def _extremes(
    lines: Any, state: Any, level_v: Any, width_s: Any, s: int
) -> tuple[float, float, bool]:
    low = high = 0.0
    floats = False
    for n in range(lines.size):
        k = lines[n]
        if state[s, k] == FLOAT:
            floats = True
        level, _ = drive_of(state, level_v, width_s, s, k)
        low, high = min(low, level), max(high, level)
    return low, high, floats


@njit(cache=True)
def _may_limit(
    s: int, state: Any, level_v: Any, width_s: Any, rows: Any, cols: Any, gates: Any,
    compliance_a: Any, law: Any, g: Any, phi_max: float,
) -> bool:  # fmt: skip
    """Return True when a source or a select transistor could limit the current in this step."""
    for i in range(gates.size):
        gate_level, on_s = drive_of(state, level_v, width_s, s, gates[i])
        if (
            on_s > 0.0
            and gate_level > law.gate_v_t
            and law.gate_k * (gate_level - law.gate_v_t) < law.g_top * phi_max
        ):
            return True
    for i in range(rows.shape[1]):
        k = rows[READ, i]
        if (
            state[s, k] == DRIVE
            and compliance_a[k] < law.g_top * phi_max * cols.size
            and compliance_a[k] < g[i].sum() * phi_max
        ):
            return True
    for j in range(cols.size):
        k = cols[j]
        if (
            state[s, k] == DRIVE
            and compliance_a[k] < law.g_top * phi_max * rows.shape[1]
            and compliance_a[k] < g[:, j].sum() * phi_max
        ):
            return True
    return False


@njit(cache=True)
def _pulse_tables(
    n_rg: int, rg: Any, n_cg: int, cg: Any, law: Any, table: Any, n_up: Any, n_down: Any
) -> bool:
    """Fill (v1, tau1, v2, tau2) and nominal pulses per group pair; return whether any acts.

    Pulses are upper bounds (lowest threshold of the array) when devices differ in theirs.
    """
    acts = False
    for a in range(n_rg):
        for b in range(n_cg):
            v1, t1, v2, t2 = intervals(rg[0][a], rg[1][a], cg[0][b], cg[1][b], rg[2][a])
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
def _write_branch(
    row: int, up: bool, n: float, table: Any, members: Any, law: Any, nodes: Any, params: Any,
    g: Any, ordinal: Any, key: Any, chosen: Any, n_eff: Any, bits: Any, z: Any,
) -> None:  # fmt: skip
    if n <= 0.0:
        return
    if not law.per_device_law:
        for k in range(members.size):
            n_eff[k] = n
        pulse_row(
            row, members, n_eff, members.size, up, law, nodes, params, g, ordinal, key, bits, z
        )
        return
    count = 0
    for k in range(members.size):
        h = params[row, members[k], P_H_UP if up else P_H_DOWN]
        own = pulses_of(table[0], table[1], h, up, law) + pulses_of(table[2], table[3], h, up, law)
        if own > 0.0:
            chosen[count], n_eff[count] = members[k], own
            count += 1
    pulse_row(row, chosen, n_eff, count, up, law, nodes, params, g, ordinal, key, bits, z)


@njit(cache=True)
def _erase_pulses(
    s: int, state: Any, level_v: Any, width_s: Any, plus: int, minus: int, law: Any
) -> float:
    """Return nominal erase pulses of one row."""
    plus_v, plus_s = drive_of(state, level_v, width_s, s, plus)
    minus_v, minus_s = drive_of(state, level_v, width_s, s, minus)
    v1, t1, v2, t2 = intervals(plus_v, plus_s, minus_v, minus_s, np.inf)
    total = 0.0
    for v, t in ((v1, t1), (v2, t2 - t1)):
        if v > law.erase_v_th and t > 0.0:
            x = (v - law.erase_v_th) / (law.erase_v - law.erase_v_th)
            total += x**law.erase_shape * t / law.erase_t
    return total


@njit(cache=True)
def erase_rows(
    s: int, state: Any, level_v: Any, width_s: Any, rows: Any, law: Any, params: Any, g: Any,
    ordinal: Any,
) -> bool:  # fmt: skip
    """Apply the erase port of every row; return True when any row was erased."""
    any_erased = False
    for i in range(rows.shape[1]):
        n = _erase_pulses(
            s, state, level_v, width_s, rows[ERASE_PLUS, i], rows[ERASE_MINUS, i], law
        )
        if n > 0.0:
            erase_row(i, n, law, params, g, ordinal)
            any_erased = True
    return any_erased


@njit(cache=True)
def run_steps(
    first: int, last: int, state: Any, level_v: Any, width_s: Any, period_ns: Any, repeat: Any,
    sense: Any, compliance_a: Any, rows: Any, cols: Any, gates: Any, laws: Any, nodes_up: Any,
    nodes_down: Any, params: Any, g: Any, ordinal: Any, reads: Any, key: Any, clock_ns: int,
    at: int, out: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Run steps from ``first`` on; return (step reached, clock, readings written).

    The step reached is ``last``, or the first step whose potentials have to be solved.
    """
    law = laws[0]
    n_rows, n_cols = g.shape
    n_lines = state.shape[1]
    most = max(n_rows, n_cols)
    read_gid, col_gid = np.empty(n_rows, np.int64), np.empty(n_cols, np.int64)
    write_gid = read_gid if law.same_port else np.empty(n_rows, np.int64)
    read_groups = (np.empty(n_rows), np.empty(n_rows), np.empty(n_rows))
    write_groups = read_groups
    if not law.same_port:
        write_groups = (np.empty(n_rows), np.empty(n_rows), np.empty(n_rows))
    col_groups = (np.empty(n_cols), np.empty(n_cols), np.empty(n_cols))
    no_gates = np.empty(0, np.int64)
    order, starts = np.empty(n_cols, np.int64), np.empty(n_cols + 1, np.int64)
    chosen, n_eff = np.empty(most, np.int64), np.empty(most)
    bits, z = np.empty(most, np.uint64), np.empty(most)
    current, variance = np.zeros(n_lines), np.zeros(n_lines)
    current2, variance2 = np.zeros(n_lines), np.zeros(n_lines)
    delivered, status = np.zeros(n_lines), np.full(n_lines, SIMULATED, np.uint32)
    table = np.empty((1, 1, 4))
    n_up, n_down, coeff = np.empty((1, 1)), np.empty((1, 1)), np.empty((1, 1))
    read_rows = rows[READ]
    write_rows = rows[WRITE]

    for s in range(first, last):
        times = repeat[s]
        if times == 0:
            continue
        r_low, r_high, r_float = _extremes(read_rows, state, level_v, width_s, s)
        c_low, c_high, c_float = _extremes(cols, state, level_v, width_s, s)
        w_low, w_high = r_low, r_high
        erasing = False
        if not law.same_port:
            w_low, w_high, _ = _extremes(write_rows, state, level_v, width_s, s)
            if law.has_erase:
                _, e_high, _ = _extremes(rows[ERASE_PLUS], state, level_v, width_s, s)
                erasing = e_high - w_low > law.erase_v_th
        senses = False
        for k in range(n_lines):
            if sense[s, k]:
                senses = True
                break
        step_s = step_width(width_s, s)
        v_max, v_min = r_high - c_low, r_low - c_high
        live = v_max > 0.0 or v_min < 0.0
        phi_max = 0.0
        if live:
            phi_max = max(abs(phi(v_max, law)), abs(phi(v_min, law)))
            if (
                r_float
                or c_float
                or max(v_max * law.polarity, v_min * law.polarity) >= law.v_form_min
                or _may_limit(
                    s, state, level_v, width_s, rows, cols, gates, compliance_a, law, g, phi_max
                )
            ):
                return s, clock_ns, at

        n_rg = n_cg = n_wg = 0
        if live and senses:
            n_rg = group_lines(read_rows, gates, state, level_v, width_s, s, law.gate_v_t,
                               read_gid, read_groups)  # fmt: skip
            n_cg = group_lines(cols, no_gates, state, level_v, width_s, s, 0.0,
                               col_gid, col_groups)  # fmt: skip
        acts = False
        w_max, w_min = w_high - c_low, w_low - c_high
        tau = tau_of(0.0, step_s, law)
        if (
            pulses_of(w_max * law.polarity, tau, law.h_min_p, True, law) > 0.0
            or pulses_of(w_min * law.polarity, tau, law.h_min_p, True, law) > 0.0
            or pulses_of(w_max * law.polarity, tau, law.h_min_d, False, law) > 0.0
            or pulses_of(w_min * law.polarity, tau, law.h_min_d, False, law) > 0.0
        ):
            if n_rg == 0 or not law.same_port:
                n_wg = group_lines(write_rows, gates, state, level_v, width_s, s, law.gate_v_t,
                                   write_gid, write_groups)  # fmt: skip
            else:
                n_wg = n_rg
            if n_cg == 0:
                n_cg = group_lines(cols, no_gates, state, level_v, width_s, s, 0.0,
                                   col_gid, col_groups)  # fmt: skip
            table = np.empty((n_wg, n_cg, 4))
            n_up, n_down = np.empty((n_wg, n_cg)), np.empty((n_wg, n_cg))
            acts = _pulse_tables(n_wg, write_groups, n_cg, col_groups, law, table, n_up, n_down)
            if acts:
                sort_by_group(col_gid, n_cg, order, starts)

        if senses and live:
            coeff = np.empty((n_rg, n_cg))
            coefficients(n_rg, read_groups, n_cg, col_groups, step_s, law, coeff)
            line_currents(g, coeff, read_gid, col_gid, n_cg, read_rows, cols, sense[s], law,
                          current, variance)  # fmt: skip
        if senses:
            for k in range(n_lines):
                if sense[s, k]:
                    delivered[k], _ = drive_of(state, level_v, width_s, s, k)
                    if not live:
                        current[k] = variance[k] = 0.0
        if not (acts or erasing):
            for pulse in range(times if senses else 0):
                at = emit(s, pulse, times, clock_ns + pulse * period_ns[s], step_s, sense[s],
                          delivered, current, variance, status, reads, key, at, out)  # fmt: skip
            clock_ns += times * period_ns[s]
            continue

        for pulse in range(times):
            if acts:
                for i in range(n_rows):
                    a = write_gid[i]
                    for b in range(n_cg):
                        up, down = n_up[a, b], n_down[a, b]
                        if up <= 0.0 and down <= 0.0:
                            continue
                        members = order[starts[b] : starts[b + 1]]
                        row_table = table[a, b]
                        up_first = row_table[0] > 0.0 or (
                            row_table[1] == 0.0 and row_table[2] > 0.0
                        )
                        for turn in range(2):
                            is_up = up_first == (turn == 0)
                            _write_branch(
                                i, is_up, up if is_up else down, row_table, members, law,
                                nodes_up if is_up else nodes_down, params, g, ordinal, key,
                                chosen, n_eff, bits, z,
                            )  # fmt: skip
            if erasing:
                erase_rows(s, state, level_v, width_s, rows, law, params, g, ordinal)
            if senses:
                if live:
                    # The reading is the mean over the pulse: of before and after what it changed.
                    line_currents(g, coeff, read_gid, col_gid, n_cg, read_rows, cols, sense[s],
                                  law, current2, variance2)  # fmt: skip
                    for k in range(n_lines):
                        current[k] = 0.5 * (current[k] + current2[k])
                        variance[k] = 0.5 * (variance[k] + variance2[k])
                at = emit(s, pulse, times, clock_ns, step_s, sense[s], delivered, current,
                          variance, status, reads, key, at, out)  # fmt: skip
                if live:
                    current[:], variance[:] = current2, variance2
            clock_ns += period_ns[s]
    return last, clock_ns, at
