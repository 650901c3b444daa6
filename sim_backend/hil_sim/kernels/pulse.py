"""Apply pulses to devices: response, variation from cycle to cycle, bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.law import (
    AFFINE,
    P_A_DOWN,
    P_A_UP,
    P_B_DOWN,
    P_B_UP,
    P_MAX,
    P_MIN,
    lookup_deviate,
    lookup_spread,
    mean_change,
    mean_pulse,
)
from hil_sim.kernels.noise import LARGEST, PULSES, Z, draw_for_devices, draw_for_pulses

_TRAIN = 64  # pulses of one device whose deviates are drawn at once: it may be at its bound soon


@njit(cache=True)
def pulse_devices(
    rows: Any, cols: Any, n_eff: Any, count: int, times: int, up: bool, law: Any, nodes: Any,
    params: Any, g: Any, ordinal: Any, key: Any, noise: Any,
) -> None:  # fmt: skip
    """Give device (rows[k], cols[k]) ``times`` pulses of ``n_eff[k]`` nominal ones, k < count.

    No device may be listed twice. Cycle-to-cycle variation is one deviate ξ per pulse and device:
    the change becomes ``Δ(1 + σ_m ξ)`` and gets ``σ_a √n ξ'`` of the range; the two are drawn as
    one normal deviate of the summed variance. A pulse never takes a device out of its range; one
    that drifted out of it stays outside until a pulse moves it back.
    """
    if law.model == AFFINE and not (law.noisy and law.range_c2c > 0.0):
        if times == 1:
            for start in range(0, count, PULSES):
                _affine_once(rows, cols, n_eff, start, min(count, start + PULSES), up, law, params,
                             g, ordinal, key, noise)  # fmt: skip
        else:
            for k in range(count):
                _affine_train(rows[k], cols[k], n_eff[k], times, up, law, params, g, ordinal, key,
                              noise)  # fmt: skip
        return
    for _ in range(times):
        for start in range(0, count, PULSES):
            _general(rows, cols, n_eff, start, min(count, start + PULSES), up, law, nodes, params,
                     g, ordinal, key, noise)  # fmt: skip


@njit(cache=True, inline="always")
def bounded(value: float, g: float, low: float, high: float) -> float:
    """Return ``value`` kept in the range, or between it and ``g`` where that is outside."""
    return min(max(value, min(g, low)), max(g, high))


@njit(cache=True)
def affine_step(of_a: float, of_b: float, span: float, n: float, law: Any) -> tuple[float, float]:
    """Return (A, B) of the change A − B·(way gone from the end) by ``n`` pulses, in siemens.

    In single precision where pulses are noisy: half the memory to go through, and 1e-7 of a step
    is nothing beside its noise.
    """
    gain = mean_pulse(of_b, n)
    a, b = of_a * span * gain, of_b * gain
    if law.noisy:
        return float(np.float32(a)), float(np.float32(b))
    return a, b


@njit(cache=True)
def _affine_once(
    rows: Any, cols: Any, n_eff: Any, start: int, stop: int, up: bool, law: Any, params: Any,
    g: Any, ordinal: Any, key: Any, noise: Any,
) -> None:  # fmt: skip
    """Give devices ``start`` to ``stop`` a pulse of ``dg/dn = a·span − b·(g − low)``."""
    z, spread = noise[Z], 0.0
    if law.noisy:
        spread = law.step_c2c
        draw_for_devices(key, rows, cols, start, stop - start, ordinal, noise)
    of_a, of_b = (P_A_UP, P_B_UP) if up else (P_A_DOWN, P_B_DOWN)
    for k in range(start, stop):
        row, col = rows[k], cols[k]
        ordinal[row, col] += 1
        low, high, here = params[row, col, P_MIN], params[row, col, P_MAX], g[row, col]
        if high <= low:
            continue
        a, b = affine_step(
            params[row, col, of_a], params[row, col, of_b], high - low, n_eff[k], law
        )
        change = a - b * (here - low if up else high - here)
        if law.noisy:
            change *= 1.0 + spread * z[k - start]
        g[row, col] = bounded(here + change if up else here - change, here, low, high)


@njit(cache=True)
def _affine_train(
    row: int, col: int, n: float, times: int, up: bool, law: Any, params: Any, g: Any,
    ordinal: Any, key: Any, noise: Any,
) -> None:  # fmt: skip
    """Give one device a train of pulses; the same steps as one by one, in the same arithmetic."""
    first = int(ordinal[row, col])
    ordinal[row, col] = np.uint32(first + times)
    low, high, here = params[row, col, P_MIN], params[row, col, P_MAX], g[row, col]
    if high <= low:
        return
    of_a, of_b = (P_A_UP, P_B_UP) if up else (P_A_DOWN, P_B_DOWN)
    a, b = affine_step(params[row, col, of_a], params[row, col, of_b], high - low, n, law)
    z, spread = noise[Z], law.step_c2c if law.noisy else 0.0
    # No deviate turns a pulse round then: a device at its bound stays there.
    rests = spread * LARGEST < 1.0 and a - b * (high - low) >= 0.0
    done = 0
    while done < times:
        if rests and (here == high if up else here == low):
            break
        count = min(times - done, _TRAIN)
        if law.noisy:
            draw_for_pulses(key, row, col, first + done, count, noise)
        for k in range(count):
            change = a - b * (here - low if up else high - here)
            if law.noisy:
                change *= 1.0 + spread * z[k]
            here = bounded(here + change if up else here - change, here, low, high)
        done += count
    g[row, col] = here


@njit(cache=True)
def _general(
    rows: Any, cols: Any, n_eff: Any, start: int, stop: int, up: bool, law: Any, nodes: Any,
    params: Any, g: Any, ordinal: Any, key: Any, noise: Any,
) -> None:  # fmt: skip
    """Give devices ``start`` to ``stop`` a pulse of any law; u is the share of the range."""
    z = noise[Z]
    if law.noisy:
        draw_for_devices(key, rows, cols, start, stop - start, ordinal, noise)
    c_mult, c_add = law.step_c2c, law.range_c2c
    lookup = law.model > 1
    of_a, of_b = (P_A_UP, P_B_UP) if up else (P_A_DOWN, P_B_DOWN)
    for k in range(start, stop):
        row, col, n = rows[k], cols[k], n_eff[k]
        ordinal[row, col] += 1
        low, high = params[row, col, P_MIN], params[row, col, P_MAX]
        span = high - low
        if span <= 0.0:
            continue
        u = (g[row, col] - low if up else high - g[row, col]) / span
        change = mean_change(u, n, params[row, col, of_a], params[row, col, of_b], nodes, law)
        if law.noisy and c_add == 0.0 and not lookup:
            change *= 1.0 + c_mult * z[k - start]
        elif law.noisy:
            add, deviate = c_add * c_add * n, z[k - start]
            if lookup:
                s = lookup_spread(u, nodes)
                add += s * s * n * params[row, col, of_a]
                if nodes.shape[0] > 3:
                    deviate = lookup_deviate(u, deviate, nodes)
            change += math.sqrt(c_mult * c_mult * change * change + add) * deviate
        u = bounded(u + change, u, 0.0, 1.0)
        g[row, col] = low + u * span if up else high - u * span


@njit(cache=True)
def erase_row(row: int, n: float, law: Any, params: Any, g: Any, ordinal: Any) -> None:
    """Give every device of a row ``n`` nominal erase pulses: u falls by n/pulses, down to g_min."""
    for col in range(g.shape[1]):
        low, high = params[row, col, P_MIN], params[row, col, P_MAX]
        ordinal[row, col] += 1
        if high > low and g[row, col] > low:
            g[row, col] = max(g[row, col] - n / law.erase_pulses * (high - low), low)
