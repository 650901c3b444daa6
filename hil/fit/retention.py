"""Retention from reads over time at rest: the exponent of ``g(t) = g·(t/t0)^−ν``."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.intervals import t_quantile, variance_interval
from hil.fit.measured import Retentions
from hil.fit.noise import ReadNoise
from hil.fit.result import Estimate

Floats = NDArray[np.float64]

_CYCLES: Final = 50


def retention(measured: Retentions, noise: ReadNoise) -> tuple[dict[str, Estimate], list[str]]:
    """Return ``drift.nu``, ``drift.nu_d2d`` and ``drift.t0``, and warnings.

    Every device's ν is the slope of ln g over ln t, weighted by the read noise; the spread between
    devices has the variance of the slopes taken off (restricted maximum likelihood).
    """
    keep = np.isfinite(measured.g_siemens) & (measured.g_siemens > 0.0) & (measured.wait_s > 0.0)
    g, t = measured.g_siemens[keep], measured.wait_s[keep]
    device = measured.device[keep]
    _, group = np.unique(measured.group[keep], return_inverse=True)
    slopes: list[float] = []
    variances: list[float] = []
    residuals: list[float] = []
    for own in np.unique(device):
        rows = device == own
        slope, variance, residual = _slope(g[rows], t[rows], group[rows], noise)
        if np.isfinite(slope):
            slopes.append(slope)
            variances.append(variance)
            residuals += residual
    if not slopes:
        return {}, [
            "drift.nu: no device was read at two times or more; the protocol retention over two "
            "decades of time would tell"
        ]
    # Residuals beyond the read noise (1/f noise, relaxation) widen every slope's error.
    excess = max(float(np.sum(residuals)) / max(len(residuals) - 2 * len(slopes), 1), 1.0)
    nu, own_variance = np.array(slopes), np.array(variances) * excess
    mean, error, spread, spread_error = pooled(nu, own_variance)
    quantile = t_quantile(nu.size) if nu.size > 1 else 1.96
    out = {
        "drift.nu": Estimate(mean, mean - quantile * error, mean + quantile * error),
        "drift.t0": Estimate(float(t.min()), float(t.min()), float(t.min()), unit="s",
                             note="the first read; a convention, not a measurement"),
    }  # fmt: skip
    warnings = []
    if nu.size > 1:
        low, high = variance_interval(spread, spread_error, nu.size)
        out["drift.nu_d2d"] = Estimate(
            float(np.sqrt(spread)), float(np.sqrt(low)), float(np.sqrt(high))
        )
    if excess > 3.0:
        warnings.append(
            f"drift.nu: readings scatter {np.sqrt(excess):.1f} times as much as read noise about a "
            "power law of time; the drift may follow another law"
        )
    return out, warnings


def _slope(
    g: Floats, t: Floats, group: NDArray[np.int64], noise: ReadNoise
) -> tuple[float, float, list[float]]:
    """Return ν of one device, its variance, and the squared standardised residuals."""
    y, x = np.log(g), np.log(t)
    variance = np.maximum(noise.variance(g) / g**2, 1e-12)
    weight = 1.0 / variance
    total = np.bincount(group, weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        x_mean = np.bincount(group, weight * x) / total
        y_mean = np.bincount(group, weight * y) / total
    dx, dy = x - x_mean[group], y - y_mean[group]
    information = float((weight * dx * dx).sum())
    if information <= 1e-12 * float(weight.sum()):
        return np.nan, np.nan, []
    slope = float((weight * dx * dy).sum()) / information
    return -slope, 1.0 / information, (weight * (dy - slope * dx) ** 2).tolist()


def pooled(values: Floats, variances: Floats) -> tuple[float, float, float, float]:
    """Return mean, its error, the variance between values, and the error of that (REML)."""
    n = values.size
    if n < 2:
        return float(values[0]), float(np.sqrt(variances[0])), 0.0, 0.0
    between = max(float(values.var(ddof=1) - variances.mean()), 0.0)
    for _ in range(_CYCLES):
        weight = 1.0 / (between + variances + 1e-300)
        mean = float((weight * values).sum() / weight.sum())
        share = weight / weight.sum()
        leverage = weight - weight * share
        score = 0.5 * float((weight**2 * (values - mean) ** 2).sum() - leverage.sum())
        information = 0.5 * float((weight**2).sum())
        new = max(between + score / information, 0.0)
        if abs(new - between) <= 1e-9 * (between + float(variances.mean())):
            between = new
            break
        between = new
    weight = 1.0 / (between + variances + 1e-300)
    mean = float((weight * values).sum() / weight.sum())
    error = float(np.sqrt(1.0 / weight.sum()))
    spread_error = float(np.sqrt(2.0 / (weight**2).sum() * n / (n - 1.0)))
    return mean, error, between, spread_error
