"""Compiled loops of the fit: a filter over the hidden conductance of one device after the other.

The hidden conductance x moves by ``x + Δ(x) + √(v_m Δ² + v_a span²)·ξ`` per pulse and is clipped
at the rails L and H; a read is x with read noise of variance R. The belief in x is Gaussian
(assumed-density filter): prediction and update are those of Kalman, and near a rail the clipped
belief is an atom at the rail beside a truncated Gaussian, whose moments are taken. Without read
noise this is the Tobit likelihood of one-pulse transitions (Tobin, Econometrica 26, 24, 1958).

Scores are sums of martingale differences, the derivative of every reading's conditional density by
the predicted moments times the moments' sensitivities; information is Fisher's away from the rails
and the outer product of the score near them.

Columns of ``theta``: rate and shape of potentiation, of depression, L, H, v_m, v_a, the relative
and absolute parts of R, then the nodes of the tables of the look-up model, potentiation first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hil.fit.rail_kernels import LOG_2PI, first_reading, rail_update

LINEAR, AFFINE, QUERLIOZ, POWER, LOOKUP = 0, 1, 2, 3, 4
RATE_UP, SHAPE_UP, RATE_DOWN, SHAPE_DOWN, LOW, HIGH, V_MULT, V_ADD = 0, 1, 2, 3, 4, 5, 6, 7
READ_REL, READ_ABS = 8, 9
N_PLAIN = 10
_FAR = 4.5  # standard deviations beyond which a rail does not matter


@njit(cache=True, nogil=True)
def mean_step(model: int, u: float, rate: float, shape: float) -> tuple[float, ...]:
    """Return δ(u) of one pulse as a share of the range, and its slopes by u, rate and shape.

    The affine law is ``rate·(1 − shape·u)``: exponential and soft bounds, both exactly.
    """
    if model == QUERLIOZ:
        # α = rate (e^β − 1)/β
        if abs(shape) < 1e-3:
            return rate, 0.0, 1.0, rate * (0.5 - u)
        grown = math.expm1(shape)
        e = math.exp(-shape * u)
        z = rate * grown * e
        if z <= -0.999:
            z = -0.999
        delta = math.log1p(z) / shape
        share = 1.0 / (1.0 + z)
        return (delta, -z * share, grown * e * share / shape,
                (rate * e * (grown + 1.0 - u * grown) * share - delta) / shape)  # fmt: skip
    if model == AFFINE:
        return rate * (1.0 - shape * u), -rate * shape, 1.0 - shape * u, -rate * u
    if model == POWER:
        left = max(1.0 - u, 1e-3)
        p = left**shape
        return rate * p, -rate * shape * p / left, p, rate * p * math.log(left)
    return rate, 0.0, 1.0, 0.0


@njit(cache=True, nogil=True)
def _predict(
    model: int, up: bool, theta: Any, n_nodes: int, m: float, p: float, dm: Any, dp: Any,
    by: Any, parts: Any,
) -> tuple[float, float]:  # fmt: skip
    """Move a belief by one pulse; ``dm``, ``dp`` are its sensitivities to ``theta``, moved with it.

    ``by`` is room for the slopes of the step; ``parts`` gets the two variances that were added.
    """
    low, high, v_m, v_a = theta[LOW], theta[HIGH], theta[V_MULT], theta[V_ADD]
    span = high - low
    u = (m - low if up else high - m) / span
    k_rate = RATE_UP if up else RATE_DOWN
    rate, shape = theta[k_rate], theta[k_rate + 1]
    n = dm.size
    for k in range(n):
        by[k] = 0.0
    if model == LOOKUP:
        first = N_PLAIN if up else N_PLAIN + n_nodes
        at = min(max(u, 0.0), 1.0) * (n_nodes - 1)
        node = min(int(at), n_nodes - 2)
        w = at - node
        left, right = theta[first + node], theta[first + node + 1]
        table = left + w * (right - left)
        delta, d_rate, d_shape = rate * table, table, 0.0
        slope = rate * (right - left) * (n_nodes - 1) if 0.0 <= u <= 1.0 else 0.0
        by[first + node], by[first + node + 1] = rate * (1.0 - w), rate * w
    else:
        delta, slope, d_rate, d_shape = mean_step(model, u, rate, shape)
    by[k_rate], by[k_rate + 1] = d_rate, d_shape
    sign = 1.0 if up else -1.0
    q_m, q_a = v_m * delta * delta * span * span, v_a * span * span
    keep = 1.0 + slope
    q_by = 2.0 * v_m * delta * span * span  # slope of the added variance by δ
    # u also moves with the mean and the rails
    u_low, u_high = ((u - 1.0) / span, -u / span) if up else (u / span, (1.0 - u) / span)
    u_m = sign / span
    p_new = max(keep * keep * p + q_m + q_a, 1e-14 * span * span)
    d_keep_p = 2.0 * keep * p  # slope's own derivative is left out: it matters to second order
    for k in range(n):
        moved = by[k] + slope * u_m * dm[k]
        if k == LOW:
            moved += slope * u_low
        elif k == HIGH:
            moved += slope * u_high
        dm[k] += sign * span * moved
        dp[k] = keep * keep * dp[k] + q_by * moved
    # the slope of the step falls with its rate (and shape), which scales the variance carried over
    if rate != 0.0:
        dp[k_rate] += d_keep_p * slope / rate
    dm[LOW] -= sign * delta
    dm[HIGH] += sign * delta
    spread = 2.0 * (v_m * delta * delta + v_a) * span
    dp[LOW] -= spread
    dp[HIGH] += spread
    dp[V_MULT] += delta * delta * span * span
    dp[V_ADD] += span * span
    parts[0] += q_m
    parts[1] += q_a
    return m + sign * span * delta, p_new


@njit(cache=True, nogil=True)
def _forget(dm: Any, dp: Any) -> None:
    """Drop what is left of sensitivities to nodes of a table that were passed long ago."""
    for k in range(N_PLAIN, dm.size):
        if abs(dm[k]) < 1e-8 and abs(dp[k]) < 1e-8:
            dm[k], dp[k] = 0.0, 0.0


@njit(cache=True, nogil=True)
def filter_devices(
    model: int, n_nodes: int, start: int, stop: int, device: Any, unit: Any, fresh: Any, up: Any,
    pulses: Any, before: Any, after: Any, theta: Any, slopes: bool,
    out_ll: Any, out_grad: Any, out_info: Any, out_share: Any, out_z: Any,
) -> None:  # fmt: skip
    """Run over the transitions ``start`` to ``stop``; add to the rows of their units.

    ``theta`` is (n_devices, n) in units of the readings. ``out_ll`` (n_units,), ``out_grad``
    (n_units, n) and ``out_info`` (n_units, n, n) are log-likelihood, score and information;
    ``out_share`` (n_units, 3) how much of the predictive variance is multiplicative, additive, and
    the count; ``out_z`` (n,) the standardised residuals, NaN at the rails, empty for none.
    ``slopes`` = False leaves score and information out.
    """
    n = theta.shape[1]
    dm, dp, by, score = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    new = np.zeros(13)
    parts = np.zeros(2)
    m = p = 0.0
    for t in range(start, stop):
        own, here = theta[device[t]], unit[t]
        low, high, rel2, abs2 = own[LOW], own[HIGH], own[READ_REL], own[READ_ABS]
        if fresh[t]:
            first_reading(before[t], low, high, rel2, abs2, new)
            m, p = new[0], new[1]
            dm[:] = 0.0
            dp[:] = 0.0
            dm[LOW], dm[HIGH] = new[2], new[3]
            dp[READ_REL], dp[READ_ABS] = new[7] * m * m, new[7]
            out_ll[here] += new[4]
            if slopes:
                s_low, s_high = new[5], new[6]
                out_grad[here, LOW] += s_low
                out_grad[here, HIGH] += s_high
                out_info[here, LOW, LOW] += s_low * s_low
                out_info[here, HIGH, HIGH] += s_high * s_high
        parts[:] = 0.0
        for k in range(pulses[t]):
            if k > 0:
                m = min(max(m, low), high)
            m, p = _predict(model, up[t], own, n_nodes, m, p, dm, dp, by, parts)
        y = after[t]
        at = min(max(m, low), high)
        r = rel2 * at * at + abs2
        s = p + r
        e = y - m
        gain = p / s
        mu, root, sd = m + gain * e, math.sqrt(p), math.sqrt(p * r / s)
        out_share[here, 0] += parts[0] / s
        out_share[here, 1] += parts[1] / s
        out_share[here, 2] += 1.0
        wide = max(_FAR * root, 1e-6 * (high - low))
        if (m + wide < high and m - wide > low and mu + _FAR * sd < high
                and mu - _FAR * sd > low):  # fmt: skip
            out_ll[here] += -0.5 * (LOG_2PI + math.log(s) + e * e / s)
            if out_z.size:
                out_z[t] = e / math.sqrt(s)
            keep = 1.0 - gain
            if slopes:
                r_m = 2.0 * rel2 * at  # the read's own variance moves with the mean
                a, b = e / s, 0.5 * (e * e / s - 1.0) / s
                i_m, i_s = 1.0 / s, 0.5 / (s * s)
                for k in range(n):
                    ds = dp[k] + r_m * dm[k]
                    if k == READ_REL:
                        ds += at * at
                    elif k == READ_ABS:
                        ds += 1.0
                    by[k] = ds
                    out_grad[here, k] += a * dm[k] + b * ds
                for k in range(n):
                    x, w = i_m * dm[k], i_s * by[k]
                    if x == 0.0 and w == 0.0:
                        continue
                    for j in range(n):
                        out_info[here, k, j] += x * dm[j] + w * by[j]
                carried, lost = keep * a, keep * keep
                for k in range(n):
                    dm[k] = keep * dm[k] + carried * dp[k]
                    dp[k] *= lost
                dm[READ_REL] -= gain * a * at * at
                dm[READ_ABS] -= gain * a
                dp[READ_REL] += gain * gain * at * at
                dp[READ_ABS] += gain * gain
                _forget(dm, dp)
            m, p = mu, p * keep
            continue
        rail_update(m, p, y, low, high, rel2, abs2, new)
        out_ll[here] += new[0]
        if out_z.size:
            out_z[t] = np.nan
        if slopes:
            for k in range(n):
                score[k] = new[1] * dm[k] + new[2] * dp[k]
            score[LOW] += new[3]
            score[HIGH] += new[4]
            score[READ_REL] += new[11]
            score[READ_ABS] += new[12]
            for k in range(n):
                out_grad[here, k] += score[k]
                if score[k] != 0.0:
                    for j in range(n):
                        out_info[here, k, j] += score[k] * score[j]
            for k in range(n):
                dm[k] *= new[7]
                dp[k] *= new[10]
            dm[LOW] += new[8]
            dm[HIGH] += new[9]
            _forget(dm, dp)
        m, p = new[5], new[6]
