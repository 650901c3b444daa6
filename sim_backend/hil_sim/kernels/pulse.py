"""Apply pulses to devices of one row: response, variation from cycle to cycle, bounds."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from hil_sim.kernels.law import (
    AFFINE,
    P_A_DOWN,
    P_A_UP,
    P_B_DOWN,
    P_B_UP,
    P_MAX,
    P_MIN,
    affine_change,
    lookup_spread,
    mean_change,
)
from hil_sim.kernels.philox import C2C, fill_normals


@njit(cache=True)
def pulse_row(
    row: int, cols: Any, n_eff: Any, count: int, up: bool, law: Any, nodes: Any, params: Any,
    g: Any, ordinal: Any, key: Any, bits: Any, z: Any,
) -> None:  # fmt: skip
    """Give device (row, cols[k]) ``n_eff[k]`` nominal pulses of one branch as one pulse, k < count.

    Cycle-to-cycle variation is one deviate ξ per pulse and device: the change becomes
    ``Δ(1 + σ_m ξ)`` and gets ``σ_a √n ξ'`` of the range; the two are drawn as one normal deviate of
    the summed variance. A pulse never takes a device out of its range; one that drifted out of it
    stays outside until a pulse moves it back.
    """
    if law.noisy:
        fill_normals(key, row, cols, count, ordinal, C2C, bits, z)
    c_mult, c_add = law.step_c2c, law.range_c2c
    lookup = law.model > 1
    plain = law.noisy and c_add == 0.0 and not lookup
    for k in range(count):
        col = cols[k]
        n = n_eff[k]
        low, high = params[row, col, P_MIN], params[row, col, P_MAX]
        span = high - low
        ordinal[row, col] += 1
        if span <= 0.0:
            continue
        if up:
            u = (g[row, col] - low) / span
            a, b = params[row, col, P_A_UP], params[row, col, P_B_UP]
        else:
            u = (high - g[row, col]) / span
            a, b = params[row, col, P_A_DOWN], params[row, col, P_B_DOWN]
        if law.model == AFFINE:
            change = affine_change(u, a, b, n)
        else:
            change = mean_change(u, n, a, b, nodes, law)
        if plain:
            change *= 1.0 + c_mult * z[k]
        elif law.noisy:
            add = c_add * c_add * n
            if lookup:
                s = lookup_spread(u, nodes)
                add += s * s * n
            change += math.sqrt(c_mult * c_mult * change * change + add) * z[k]
        u = min(max(u + change, min(u, 0.0)), max(u, 1.0))
        g[row, col] = low + u * span if up else high - u * span


@njit(cache=True)
def erase_row(row: int, n: float, law: Any, params: Any, g: Any, ordinal: Any) -> None:
    """Give every device of a row ``n`` nominal erase pulses: u falls by n/pulses, down to g_min."""
    for col in range(g.shape[1]):
        low, high = params[row, col, P_MIN], params[row, col, P_MAX]
        ordinal[row, col] += 1
        if high > low and g[row, col] > low:
            g[row, col] = max(g[row, col] - n / law.erase_pulses * (high - low), low)
