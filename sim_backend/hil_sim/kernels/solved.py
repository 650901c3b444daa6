"""Loops over all devices once their own voltages are known (solved potentials)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.law import P_H_DOWN, P_H_UP, phi, phi_inverse, phi_slope, pulses_of
from hil_sim.kernels.noise import new_noise
from hil_sim.kernels.pulse import pulse_devices

_SATURATED = 1e-9  # slope of a limited transistor over its device's, so that Newton can step


@njit(cache=True)
def device_currents(
    row_v: Any, col_v: Any, g: Any, cap_a: Any, laws: Any, current: Any, slope: Any
) -> None:
    """Fill current (A, plus to minus) and slope (S) of every device between solved line potentials.

    ``cap_a`` is the largest current of a row's select transistors: inf without, 0 when off.
    """
    law = laws[0]
    for i in range(g.shape[0]):
        cap = cap_a[i]
        for j in range(g.shape[1]):
            if cap == 0.0:
                current[i, j] = slope[i, j] = 0.0
                continue
            v = row_v[i] - col_v[j]
            amps = g[i, j] * phi(v, law)
            siemens = g[i, j] * phi_slope(v, law)
            if abs(amps) > cap:
                v_cap = phi_inverse(math.copysign(cap, amps) / g[i, j], law)
                amps = math.copysign(cap, amps) + _SATURATED * g[i, j] * (v - v_cap)
                siemens = _SATURATED * g[i, j]
            current[i, j] = amps
            slope[i, j] = siemens


@njit(cache=True)
def device_voltages(row_v: Any, col_v: Any, g: Any, cap_a: Any, laws: Any, voltage: Any) -> None:
    """Fill the voltage across every device itself: less where its transistor limits."""
    law = laws[0]
    for i in range(g.shape[0]):
        cap = cap_a[i]
        for j in range(g.shape[1]):
            v = row_v[i] - col_v[j]
            if cap == 0.0:
                v = 0.0
            elif abs(g[i, j] * phi(v, law)) > cap:
                v = phi_inverse(math.copysign(cap, v) / g[i, j], law)
            voltage[i, j] = v


@njit(cache=True)
def add_pulses(
    voltage: Any, tau: float, laws: Any, params: Any, n_up: Any, n_down: Any, down_first: Any
) -> bool:
    """Add what an interval is worth to every device's nominal pulses; return True when any acts."""
    law = laws[0]
    acts = False
    for i in range(voltage.shape[0]):
        for j in range(voltage.shape[1]):
            v = voltage[i, j] * law.polarity
            if v == 0.0:
                continue
            up = v > 0.0
            n = pulses_of(v, tau, params[i, j, P_H_UP if up else P_H_DOWN], up, law)
            if n <= 0.0:
                continue
            acts = True
            if up:
                n_up[i, j] += n
            else:
                if n_up[i, j] == 0.0:
                    down_first[i, j] = True
                n_down[i, j] += n
    return acts


@njit(cache=True)
def apply_pulses(
    n_up: Any, n_down: Any, down_first: Any, laws: Any, nodes_up: Any, nodes_down: Any, params: Any,
    g: Any, ordinal: Any, key: Any,
) -> None:  # fmt: skip
    """Apply the nominal pulses of one pulse to every device, in the order of their polarities."""
    law = laws[0]
    n_cols = g.shape[1]
    rows, cols, n_eff = np.empty(n_cols, np.int64), np.empty(n_cols, np.int64), np.empty(n_cols)
    noise = new_noise()
    for i in range(g.shape[0]):
        rows[:] = i
        # down where it came first, then up, then the other downs
        for turn in range(3):
            up = turn == 1
            count = 0
            for j in range(n_cols):
                n = n_up[i, j] if up else n_down[i, j]
                if n > 0.0 and (up or down_first[i, j] == (turn == 0)):
                    cols[count], n_eff[count] = j, n
                    count += 1
            if count:
                pulse_devices(rows, cols, n_eff, count, 1, up, law, nodes_up if up else nodes_down,
                              params, g, ordinal, key, noise)  # fmt: skip


@njit(cache=True)
def drifted(
    written: Any, written_ns: Any, nu: Any, t0_s: float, now_ns: int, span: Any, g: Any
) -> None:
    """Fill ``g`` with ``written · (age/t0)^−ν``; devices younger than t0 keep what was written."""
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            age = (now_ns - written_ns[i, j]) * 1e-9 / t0_s
            g[i, j] = written[i, j]
            if age > 1.0 and span[i, j] > 0.0:
                g[i, j] *= age ** -nu[i, j]


@njit(cache=True)
def stamp_written(
    before: Any, ordinal: Any, g: Any, now_ns: int, written: Any, written_ns: Any
) -> None:
    """Keep conductance and time of the devices that a step has pulsed."""
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            if ordinal[i, j] != before[i, j]:
                written[i, j] = g[i, j]
                written_ns[i, j] = now_ns
