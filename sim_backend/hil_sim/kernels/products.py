"""Products: many lines of one side drive by width while the other side stays at 0 V and is sensed.

What a template's levels can do is looked at once; a block filled from it then costs the sums, the
noise of its readings and little else. Every reading is that of ``steps.run_steps``, bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil._kernels import largest_of
from hil_sim.kernels.groups import DRIVE
from hil_sim.kernels.law import phi, tau_of
from hil_sim.kernels.philox import BATCH, READ_NOISE, draw_normals
from hil_sim.kernels.sense import _column_sums, _row_sums
from hil_sim.kernels.steps import pulse_period_ns
from hil_sim.kernels.writes import may_write

_NO_ROW = np.uint64(0xFFFFFFFF)
_LOW, _HIGH, _EIGHT = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(8)


@njit(cache=True)
def survey_products(
    state: Any, level_v: Any, width_s: Any, repeat: Any, sense: Any, compliance_a: Any,
    driving: Any, sensed: Any, sign: float, laws: Any, volts: Any,
) -> float:  # fmt: skip
    """Look at a template; return the highest voltage along the device's polarity, or NaN.

    NaN: lines but those of ``driving`` are not all at 0 V, a pulse of it could write, or a source
    could limit. ``sensed`` are the lines of the other side; ``sign`` is that of the device voltage
    to a driven level. ``volts`` gets φ of every driving line, which is the same in every step.
    """
    law = laws[0]
    highest = -np.inf
    n_lines = state.shape[1]
    drives = np.zeros(n_lines, np.bool_)
    for n in range(driving.size):
        drives[driving[n]] = True
    for s in range(state.shape[0]):
        if repeat[s] != 1:
            return np.nan
        longest = 0.0
        for k in range(n_lines):
            if state[s, k] != state[0, k] or level_v[s, k] != level_v[0, k]:
                return np.nan
            if state[s, k] == 0 or (not drives[k] and state[s, k] == DRIVE and level_v[s, k] != 0):
                return np.nan
            longest = max(longest, width_s[s, k] if width_s.shape[1] > 1 else width_s[s, 0])
        for n in range(driving.size):
            k = driving[n]
            if sense[s, k]:
                return np.nan
            v = sign * level_v[s, k] if state[s, k] == DRIVE else 0.0
            volts[n] = phi(v, law)
            top = law.g_top * abs(volts[n])
            if state[s, k] == DRIVE and compliance_a[k] < top * sensed.size:
                return np.nan
            for m in range(sensed.size):
                at = sensed[m]
                if state[s, at] == DRIVE and compliance_a[at] < top * driving.size:
                    return np.nan
            if may_write(max(v, 0.0), min(v, 0.0), tau_of(0.0, longest, law), law):
                return np.nan
            highest = max(highest, v * law.polarity)
    return highest


@njit(cache=True, nogil=True)
def run_products(
    by_rows: bool, driving: Any, volts: Any, width_s: Any, rise_s: Any, fall_s: Any, gap_s: Any,
    overhead_s: float, chosen: Any, lines: Any, g: Any, laws: Any, reads: Any, key: Any,
    clock_ns: int, work: Any, draws: Any, t_ns: Any, widths: Any, current_a: Any,
) -> int:  # fmt: skip
    """Read ``lines``, which are rows or columns ``chosen``, at every step; return the clock.

    ``by_rows``: rows drive and columns are sensed. ``width_s`` is (n_steps, n_lines); ``driving``
    the lines of all rows (columns) and ``volts`` their φ. The three last arrays are filled.
    ``work`` is scratch of ``steps.workspace``, ``draws`` of ``philox.new_draws``.
    """
    law = laws[0]
    rel2, abs2 = law.read_rel**2, law.read_abs**2
    noisy = rel2 > 0.0 or abs2 > 0.0
    counters, z = draws[0], draws[2]
    floats, ints, _ = work
    c, active, total, square = floats[0], ints[0], floats[1], floats[2]
    n, n_cols = chosen.size, g.shape[1]
    at = 0
    for s in range(width_s.shape[0]):
        step_s = largest_of(width_s[s])
        count = 0
        for q in range(driving.size):  # without branches: which lines are on is not to be guessed
            active[count] = q
            count += (width_s[s, driving[q]] > 0.0) & (volts[q] != 0.0)
        volts2 = 0.0
        for k in range(count):
            q = active[k]
            c[k] = volts[q] * width_s[s, driving[q]] / step_s
            volts2 += c[k] * c[k]
        abs_noise = abs2 * volts2
        current = current_a[at : at + n]
        if by_rows:
            total[:n_cols] = 0.0
            square[:n_cols] = 0.0
            _column_sums(g, active, c, count, total, square)
            for j in range(n):
                current[j] = -total[chosen[j]]
                total[j] = square[chosen[j]]  # chosen[j] >= j: nothing is lost that is needed
        else:
            for j in range(n):
                current[j], total[j] = _row_sums(g[chosen[j]], active, c, count)
        t_ns[at : at + n] = clock_ns
        widths[at : at + n] = step_s
        clock_ns += pulse_period_ns(step_s, rise_s[s], fall_s[s], gap_s[s], overhead_s)
        for start in range(0, n if noisy and count else 0, BATCH):
            size = min(n - start, BATCH)
            for k in range(size):
                ordinal = reads[lines[start + k]]
                counters[0, k] = np.uint64(lines[start + k])
                counters[1, k] = _NO_ROW
                counters[2, k] = ordinal & _LOW
                counters[3, k] = np.uint64(READ_NOISE) | ((ordinal >> _HIGH) << _EIGHT)
            draw_normals(key, size, draws)
            for k in range(size):
                current[start + k] += math.sqrt(rel2 * total[start + k] + abs_noise) * z[k]
        for j in range(n):
            reads[lines[j]] += np.uint64(1)
        at += n
    return clock_ns
