"""Compiled updates of a belief that is clipped at the rails of a device's range."""

from __future__ import annotations

import math
from typing import Any

from numba import njit

LOG_2PI = 1.8378770664093453
_TIE = 1e-6  # of the range: readings this near to a rail are at it, where reads are free of noise


@njit(cache=True, nogil=True)
def _log_tail(x: float) -> tuple[float, float]:
    """Return ln Φ(−x) and the hazard φ(x)/Φ(−x)."""
    if x < 5.0:
        tail = 0.5 * math.erfc(x * 0.7071067811865476)
        return math.log(tail), 0.3989422804014327 * math.exp(-0.5 * x * x) / tail
    # continued fraction (Abramowitz and Stegun 26.2.14)
    h = x + 1.0 / (x + 2.0 / (x + 3.0 / (x + 4.0 / (x + 5.0 / x))))
    return -0.5 * x * x - 0.5 * LOG_2PI - math.log(h), h


@njit(cache=True, nogil=True)
def _between(lower: float, upper: float) -> tuple[float, float, float, float]:
    """Return Z = Φ(upper) − Φ(lower), φ(lower)/Z, φ(upper)/Z and ln Z."""
    pl = 0.3989422804014327 * math.exp(-0.5 * lower * lower)
    pu = 0.3989422804014327 * math.exp(-0.5 * upper * upper)
    if lower > 0.0:
        z = 0.5 * (math.erfc(lower * 0.7071067811865476) - math.erfc(upper * 0.7071067811865476))
    else:
        z = 0.5 * (math.erfc(-upper * 0.7071067811865476) - math.erfc(-lower * 0.7071067811865476))
    if z < 1e-290:
        return 0.0, 0.0, 0.0, -1e300
    return z, pl / z, pu / z, math.log(z)


@njit(cache=True, nogil=True)
def rail_update(
    m: float, p: float, y: float, low: float, high: float, rel2: float, abs2: float, out: Any
) -> None:
    """Update a belief N(m, p), clipped to the rails, with a reading ``y``.

    ``out``: ln density; its slopes by m, p, low, high; the new mean and variance; the new mean's
    slopes by m, low, high; the factor of the variance's sensitivity; the density's slopes by the
    two parts of the read noise.
    """
    at = min(max(m, low), high)
    r = rel2 * at * at + abs2
    root = math.sqrt(p)
    a_high, a_low = (high - m) / root, (m - low) / root
    t_high, h_high = _log_tail(a_high)
    t_low, h_low = _log_tail(a_low)
    if r <= 0.0:
        tie = _TIE * (high - low)
        out[5], out[6], out[7], out[8], out[9], out[10] = y, 0.0, 0.0, 0.0, 0.0, 0.0
        out[3], out[4], out[11], out[12] = 0.0, 0.0, 0.0, 0.0
        if y >= high - tie:
            out[0], out[1], out[2] = t_high, h_high / root, 0.5 * h_high * a_high / p
        elif y <= low + tie:
            out[0], out[1], out[2] = t_low, -h_low / root, 0.5 * h_low * a_low / p
        else:
            e = y - m
            out[0] = -0.5 * (LOG_2PI + math.log(p) + e * e / p)
            out[1], out[2] = e / p, 0.5 * (e * e / p - 1.0) / p
        return
    s = p + r
    gain = p / s
    e = y - m
    mu = m + gain * e
    v = p * r / s
    sd = math.sqrt(v)
    lo, up = (low - mu) / sd, (high - mu) / sd
    _, q_lo, q_up, log_z = _between(lo, up)
    r_low, r_high = rel2 * low * low + abs2, rel2 * high * high + abs2
    l_mid = -0.5 * (LOG_2PI + math.log(s) + e * e / s) + log_z
    e_low, e_high = y - low, y - high
    l_low = -0.5 * (LOG_2PI + math.log(r_low) + e_low * e_low / r_low) + t_low
    l_high = -0.5 * (LOG_2PI + math.log(r_high) + e_high * e_high / r_high) + t_high
    top = max(l_mid, l_low, l_high)
    w_mid, w_low, w_high = math.exp(l_mid - top), math.exp(l_low - top), math.exp(l_high - top)
    total = w_mid + w_low + w_high
    w_mid, w_low, w_high = w_mid / total, w_low / total, w_high / total
    out[0] = top + math.log(total)
    # slopes of each part
    keep = 1.0 - gain
    d_mid_m = e / s + (q_lo - q_up) * keep / sd
    # μ and sd move with p: dμ/dp = (r/s²)·e, dsd/dp = ½ r²/(s² sd)
    dmu, dsd = r * e / (s * s), 0.5 * r * r / (s * s * sd)
    d_mid_p = 0.5 * (e * e / s - 1.0) / s
    d_mid_p += (-q_up * (dmu + up * dsd) + q_lo * (dmu + lo * dsd)) / sd
    out[1] = w_mid * d_mid_m - w_low * h_low / root + w_high * h_high / root
    out[2] = (w_mid * d_mid_p + w_low * 0.5 * h_low * a_low / p
              + w_high * 0.5 * h_high * a_high / p)  # fmt: skip
    out[3] = -w_mid * q_lo / sd + w_low * (
        e_low / r_low + h_low / root + (e_low * e_low / r_low - 1.0) * rel2 * low / r_low
    )
    out[4] = w_mid * q_up / sd + w_high * (
        e_high / r_high - h_high / root + (e_high * e_high / r_high - 1.0) * rel2 * high / r_high
    )
    # and with r: dμ/dr = −p·e/s², dsd/dr = ½ p²/(s² sd)
    dmu, dsd = -p * e / (s * s), 0.5 * p * p / (s * s * sd)
    d_mid_r = 0.5 * (e * e / s - 1.0) / s
    d_mid_r += (-q_up * (dmu + up * dsd) + q_lo * (dmu + lo * dsd)) / sd
    d_mid_r *= w_mid
    d_low_r = w_low * 0.5 * (e_low * e_low / r_low - 1.0) / r_low
    d_high_r = w_high * 0.5 * (e_high * e_high / r_high - 1.0) / r_high
    out[11] = d_mid_r * at * at + d_low_r * low * low + d_high_r * high * high
    out[12] = d_mid_r + d_low_r + d_high_r
    shift = q_lo - q_up
    mid = mu + sd * shift
    v_mid = v * max(1.0 + (lo * q_lo if q_lo > 0.0 else 0.0) - (up * q_up if q_up > 0.0 else 0.0)
                    - shift * shift, 0.0)  # fmt: skip
    mean = w_mid * mid + w_low * low + w_high * high
    out[5] = mean
    out[6] = (w_mid * (v_mid + (mid - mean) ** 2) + w_low * (low - mean) ** 2
              + w_high * (high - mean) ** 2)  # fmt: skip
    # ∂E[x|y]/∂m is the covariance of x with the unclipped value, over p
    beyond, below = m + root * h_high, m - root * h_low
    slope = (w_mid * (v_mid + (mid - mean) * mid) + w_high * (high - mean) * beyond
             + w_low * (low - mean) * below) / p  # fmt: skip
    out[7] = min(max(slope, 0.0), 1.0)
    out[8], out[9] = w_low, w_high
    out[10] = w_mid * keep * keep


@njit(cache=True, nogil=True)
def first_reading(y: float, low: float, high: float, rel2: float, abs2: float, out: Any) -> None:
    """Fill in the belief after a reading of a new chain.

    Before it a device is as likely at a rail as between the rails. ``out``: mean, variance, weights
    of the lower and upper rail, ln density and its slopes by the rails, and the variance's slope
    by the read noise.
    """
    at = min(max(y, low), high)
    r = rel2 * at * at + abs2
    if r <= 0.0:
        out[:8] = 0.0
        out[0] = at
        return
    sd = math.sqrt(r)
    lo, up = (low - y) / sd, (high - y) / sd
    _, q_lo, q_up, log_z = _between(lo, up)
    l_mid = log_z - math.log(2.0 * (high - low))
    r_low, r_high = rel2 * low * low + abs2, rel2 * high * high + abs2
    l_low = -0.5 * (LOG_2PI + math.log(r_low) + (y - low) ** 2 / r_low) - math.log(4.0)
    l_high = -0.5 * (LOG_2PI + math.log(r_high) + (y - high) ** 2 / r_high) - math.log(4.0)
    top = max(l_mid, l_low, l_high)
    w_mid, w_low, w_high = math.exp(l_mid - top), math.exp(l_low - top), math.exp(l_high - top)
    total = w_mid + w_low + w_high
    w_mid, w_low, w_high = w_mid / total, w_low / total, w_high / total
    shift = q_lo - q_up
    mid = y + sd * shift if w_mid > 0.0 else y
    v_mid = 0.0
    if w_mid > 0.0:
        v_mid = r * max(1.0 + lo * q_lo - up * q_up - shift * shift, 0.0)
    mean = w_mid * mid + w_low * low + w_high * high
    out[0] = mean
    out[1] = (w_mid * (v_mid + (mid - mean) ** 2) + w_low * (low - mean) ** 2
              + w_high * (high - mean) ** 2)  # fmt: skip
    out[2], out[3], out[7] = w_low, w_high, out[1] / r
    e_low, e_high, span = y - low, y - high, high - low
    out[4] = top + math.log(total)
    out[5] = w_mid * (1.0 / span - q_lo / sd) + w_low * (
        e_low / r_low + (e_low * e_low / r_low - 1.0) * rel2 * low / r_low
    )
    out[6] = w_mid * (q_up / sd - 1.0 / span) + w_high * (
        e_high / r_high + (e_high * e_high / r_high - 1.0) * rel2 * high / r_high
    )
