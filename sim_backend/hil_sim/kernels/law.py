"""Laws of one device in compiled form: current, sensitivity to a pulse, response to it.

``law`` is a record of :data:`LAW`; equations and sources are in ``models.response`` and
``models.electrical``. Per-device numbers are rows of eight floats, see the ``P_*`` columns: one
cache line per device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

LAW = np.dtype([
    ("model", "i8"), ("law", "i8"), ("per_device_law", "i8"), ("iv", "i8"), ("has_erase", "i8"),
    ("has_gate", "i8"), ("same_port", "i8"), ("noisy", "i8"), ("n_rows", "i8"), ("n_cols", "i8"),
    ("polarity", "f8"), ("v_th_p", "f8"), ("v_nom_p", "f8"), ("shape_p", "f8"),
    ("v_th_d", "f8"), ("v_nom_d", "f8"), ("shape_d", "f8"), ("t_nom", "f8"), ("m", "f8"),
    ("floor", "f8"), ("h_min_p", "f8"), ("h_min_d", "f8"), ("step_c2c", "f8"), ("range_c2c", "f8"),
    ("read_rel", "f8"), ("read_abs", "f8"), ("iv_scale", "f8"), ("iv_norm", "f8"),
    ("gate_v_t", "f8"), ("gate_k", "f8"), ("g_top", "f8"), ("v_form_min", "f8"),
    ("erase_v", "f8"), ("erase_v_th", "f8"), ("erase_t", "f8"), ("erase_shape", "f8"),
    ("erase_pulses", "f8"),
])  # fmt: skip

P_MIN, P_MAX, P_A_UP, P_B_UP, P_A_DOWN, P_B_DOWN, P_H_UP, P_H_DOWN = 0, 1, 2, 3, 4, 5, 6, 7
OHMIC, SINH, SATURATING, RECTIFYING = 0, 1, 2, 3
POWER, EXPONENTIAL = 0, 1
AFFINE, QUERLIOZ = 0, 1


@njit(cache=True)
def phi(v: float, law: Any) -> float:
    """Return φ(v) in volts; the current is g·φ(v), positive from plus to minus terminal."""
    if law.iv == OHMIC:
        return v
    if law.iv == SINH:
        return float(law.iv_norm * math.sinh(v / law.iv_scale))
    if law.iv == SATURATING:
        return float(law.iv_norm * math.tanh(v / law.iv_scale))
    return v if v >= 0.0 else v / law.iv_scale


@njit(cache=True)
def phi_slope(v: float, law: Any) -> float:
    """Return dφ/dv."""
    if law.iv == OHMIC:
        return 1.0
    if law.iv == SINH:
        return float(law.iv_norm / law.iv_scale * math.cosh(v / law.iv_scale))
    if law.iv == SATURATING:
        c = math.cosh(min(abs(v) / law.iv_scale, 300.0))
        return float(law.iv_norm / law.iv_scale / (c * c))
    return 1.0 if v >= 0.0 else 1.0 / law.iv_scale


@njit(cache=True)
def phi_inverse(y: float, law: Any) -> float:
    """Return the voltage at which φ is ``y``; infinite where a saturating law never gets there."""
    if law.iv == OHMIC:
        return y
    if law.iv == SINH:
        return float(law.iv_scale * math.asinh(y / law.iv_norm))
    if law.iv == SATURATING:
        ratio = y / law.iv_norm
        if abs(ratio) >= 1.0:
            return math.copysign(np.inf, y)
        return float(law.iv_scale * math.atanh(ratio))
    return y if y >= 0.0 else y * law.iv_scale


@njit(cache=True)
def strength(v: float, h: float, up: bool, law: Any) -> float:
    """Return a(v), nominal pulses per nominal width, of a voltage along the branch's polarity.

    ``v`` > 0 is the magnitude along the branch; ``h`` the device's own threshold factor: it
    multiplies the threshold (power law) or the voltage scale (soft laws).
    """
    v_nom = law.v_nom_p if up else law.v_nom_d
    shape = law.shape_p if up else law.shape_d
    if law.law == POWER:
        v_th = law.v_th_p if up else law.v_th_d
        if v <= v_th * h:
            return 0.0
        x = (v - v_th * h) / (v_nom - v_th)
        return float(x if shape == 1.0 else x**shape)
    if law.law == EXPONENTIAL:
        return math.expm1(v / h / shape) / math.expm1(v_nom / shape)
    return math.sinh(v / h / shape) / math.sinh(v_nom / shape)


@njit(cache=True)
def pulses_of(v: float, tau: float, h: float, up: bool, law: Any) -> float:
    """Return the nominal pulses that voltage ``v`` (device polarity) is worth in branch ``up``.

    ``tau`` is ``(t2^m − t1^m)/t_nom^m`` of the interval; 0 when v points the other way.
    """
    along = v if up else -v
    if along <= 0.0 or tau <= 0.0:
        return 0.0
    n = strength(along, h, up, law) * tau
    return n if n > law.floor else 0.0


@njit(cache=True)
def tau_of(start_s: float, stop_s: float, law: Any) -> float:
    """Return ``(stop^m − start^m)/t_nom^m``; times count from the start of the step."""
    if stop_s <= start_s:
        return 0.0
    if law.m == 1.0:
        return float((stop_s - start_s) / law.t_nom)
    return float((stop_s**law.m - start_s**law.m) / law.t_nom**law.m)


@njit(cache=True)
def mean_pulse(b: float, n: float) -> float:
    """Return (1 − e^(−b·n))/b: n pulses of a rate that fades by b per pulse, in whole pulses."""
    x = b * n
    if abs(x) < 0.02:
        return n * (1.0 - x * (0.5 - x * (1 / 6 - x * (1 / 24 - x * (1 / 120 - x / 720)))))
    return -math.expm1(-x) / b


@njit(cache=True)
def affine_change(u: float, a: float, b: float, n: float) -> float:
    """Return the change of u by n pulses of ``du/dn = a − b·u``, exactly."""
    return (a - b * u) * mean_pulse(b, n)


@njit(cache=True)
def _node_before(x: Any, u: float) -> int:
    """Return the last k with x[k] <= u, for x[0] <= u; ``np.searchsorted`` compiles for seconds."""
    low, high = 0, int(x.size)
    while high - low > 1:
        middle = (low + high) // 2
        if x[middle] <= u:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True)
def lookup_change(u: float, n: float, nodes: Any) -> float:
    """Return the change of u by n pulses of a rate that is linear between ``nodes``."""
    x, rate = nodes[0], nodes[1]
    last = x.size - 1
    start = u
    while n > 0.0:
        if u < x[0] or u >= x[last]:
            # Outside the table: the rate of its end, constant.
            r = rate[0] if u < x[0] else rate[last]
            if u < x[0] and r > 0.0 and u + r * n > x[0]:
                n -= (x[0] - u) / r
                u = x[0]
                continue
            u += r * n
            break
        k = _node_before(x, u)
        b = -(rate[k + 1] - rate[k]) / (x[k + 1] - x[k])
        a = rate[k] + b * x[k]
        r = a - b * u
        if r < 0.0 and u == x[k]:
            if k == 0:
                u += r * n
                break
            k -= 1
            b = -(rate[k + 1] - rate[k]) / (x[k + 1] - x[k])
            a = rate[k] + b * x[k]
            r = a - b * u
        if r == 0.0:
            break
        moved = u + affine_change(u, a, b, n)
        edge = x[k + 1] if r > 0.0 else x[k]
        if (moved - edge) * (1.0 if r > 0.0 else -1.0) <= 0.0:
            u = moved
            break
        at_edge = a - b * edge
        if at_edge * r <= 0.0:  # the edge is a fixed point: only rounding took u past it
            u = edge
            break
        used = (edge - u) / r if abs(b) < 1e-12 else -math.log(at_edge / r) / b
        n -= max(used, 1e-12)
        u = edge
    return u - start


@njit(cache=True)
def lookup_spread(u: float, nodes: Any) -> float:
    """Return the standard deviation of one pulse's change, interpolated at ``u``."""
    x, spread = nodes[0], nodes[2]
    last = x.size - 1
    if u <= x[0]:
        return float(spread[0])
    if u >= x[last]:
        return float(spread[last])
    k = _node_before(x, u)
    share = (u - x[k]) / (x[k + 1] - x[k])
    return float(spread[k] + share * (spread[k + 1] - spread[k]))


@njit(cache=True)
def lookup_deviate(u: float, z: float, nodes: Any) -> float:
    """Return the deviate of a table with quantiles (mean 0, variance 1) for a normal deviate z.

    Rows 3 on of ``nodes`` are its values at 13 deviates from −3 to 3; z = ±4 lies on the line
    through the last two.
    """
    x = nodes[0]
    k = min(_node_before(x, u), x.size - 2) if u > x[0] else 0
    share = min(max((u - x[k]) / (x[k + 1] - x[k]), 0.0), 1.0)
    place = 2.0 * (z + 3.0)
    m = min(max(math.floor(place), 0), 11)
    along = place - m
    low = nodes[3 + m, k] + along * (nodes[4 + m, k] - nodes[3 + m, k])
    high = nodes[3 + m, k + 1] + along * (nodes[4 + m, k + 1] - nodes[3 + m, k + 1])
    return float(low + share * (high - low))


@njit(cache=True)
def mean_change(u: float, n: float, a: float, b: float, nodes: Any, law: Any) -> float:
    """Return the noiseless change of u, seen from the start of the branch, by n pulses."""
    if law.model == AFFINE:
        return affine_change(u, a, b, n)
    if law.model == QUERLIOZ:
        return math.log1p(a * b * n * math.exp(-b * u)) / b
    return lookup_change(u, a * n, nodes)
