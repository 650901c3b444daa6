"""Look-up table ΔG(G, polarity) with its spread, straight from the responses: no model of a curve.

Everything is done in the share u of each device's range, seen from the start of the branch, and in
the change along the branch per pulse. Three effects would distort a plain table of Δ over G:

* **Read noise** stands in the conductance before *and*, with the other sign, in the change: low
  readings seem to step far. Pulses are sorted by ``u + wΔ`` with ``w = σ_r²/Var(Δ)``, whose noise
  does not correlate with that of Δ (w = ½, the mid-point as CrossSim takes it, where all noise is
  read noise; w = 0 where there is none); ``2σ_r²`` is taken off the variance of the steps.
* **Rails.** A step that ended at a bound was at least as large: mean and spread of a bin are those
  of a censored normal (EM) where the bounds are known.
* **Devices differ.** Each has a factor on its steps; the variance of what the factors' own error
  makes up is taken off the variance between the devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from hil.errors import FitError
from hil.fit.measured import DEPRESSION, POTENTIATION, Floats, Ints, Responses

LEVELS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_MOST_BINS, _LEAST_ROWS, _ROWS_OF_SHAPE = 32, 24, 400
_ROUNDS, _EM_ROUNDS, _STILL, _SETTLED = 6, 60, 1e-4, 0.1


@dataclass(frozen=True, eq=False)
class MeasuredTable:
    """One branch: change along the branch by one pulse, over the conductance before it.

    Attributes:
        g_siemens, delta_siemens, spread_siemens: (n,) rising conductance, mean and standard
            deviation of the change of one device, read noise taken off.
        quantiles_siemens: (n_levels, n) of the change at LEVELS; None where read noise makes up
            most of what varies.
        rows: (n,) pulses in each bin.
    """

    g_siemens: Floats
    delta_siemens: Floats
    spread_siemens: Floats
    quantiles_siemens: Floats | None
    rows: Ints


@dataclass(frozen=True, eq=False)
class Tables:
    """Both branches and how devices differ.

    Attributes:
        range_siemens: to which the tables refer.
        potentiation, depression: None where the data have no such pulse.
        read_siemens: standard deviation of a read as used.
        noisy: share of read noise in the variance of the steps.
        step_d2d, step_d2d_branch: between devices, of both branches together and of each.
        factor: (n_devices, 2) of each device's steps, NaN without data.
    """

    range_siemens: tuple[float, float]
    potentiation: MeasuredTable | None
    depression: MeasuredTable | None
    read_siemens: float
    noisy: float
    step_d2d: float
    step_d2d_branch: float
    factor: Floats


@dataclass(eq=False)
class _Branch:
    """Rows of one branch in normalised form, and what is known of them so far."""

    device: Ints
    start: Floats  # u before
    step: Floats  # change of u per pulse
    end: Floats  # u after
    noise: Floats  # σ_r as a share of the device's range
    pulses: int
    at_rail: NDArray[np.bool_]
    chain: Ints


def build_tables(
    responses: Responses,
    *,
    range_siemens: tuple[float, float] | None = None,
    low_siemens: Floats | None = None,
    high_siemens: Floats | None = None,
    read_noise: tuple[float, float] | None = None,
) -> Tables:
    """Return the tables of good rows; those of stuck devices are to be left out before.

    Args:
        responses: the rows.
        range_siemens: bounds of a typical device; by default the extremes of the reads.
        low_siemens, high_siemens: (n_devices,) bounds of each; they make Tobit means possible.
        read_noise: relative part and part in siemens; what successive steps tell where there are
            many, and by default.

    Raises:
        FitError: fewer than two bins of pulses in every branch.
    """
    r = responses.only(responses.good)
    if r.n < 2 * _LEAST_ROWS:
        raise FitError(f"{r.n} pulses are too few for a table; at least {2 * _LEAST_ROWS}")
    reads = np.concatenate([r.before_siemens, r.after_siemens])
    known = low_siemens is not None and high_siemens is not None
    g_min, g_max = range_siemens or tuple(np.quantile(reads, (0.0005, 0.9995)))
    low = np.full(r.n_devices, g_min) if low_siemens is None else low_siemens
    high = np.full(r.n_devices, g_max) if high_siemens is None else high_siemens
    low = np.where(np.isfinite(low), low, g_min)
    high = np.where(np.isfinite(high) & (high > low), high, np.maximum(g_max, 1.05 * low))
    branches = {
        name: _branch(r, sign, low, high, read_noise, known)
        for sign, name in ((1, POTENTIATION), (-1, DEPRESSION))
    }
    factor = np.full((r.n_devices, 2), np.nan)
    error = np.full((r.n_devices, 2), np.nan)
    tables: dict[str, MeasuredTable | None] = {}
    noise: list[float] = []
    shares: list[float] = []
    for k, (name, own) in enumerate(branches.items()):
        tables[name] = None
        if own is None:
            continue
        table, factor[:, k], error[:, k] = _measured(own, r.n_devices, g_min, g_max, k == 0)
        tables[name] = table
        noise.append(float(np.median(own.noise)) * (g_max - g_min))
        if table is not None:
            read = 2.0 * float(np.mean(own.noise**2)) * (g_max - g_min) ** 2 / own.pulses
            walked = float(np.average(table.spread_siemens**2, weights=table.rows))
            shares.append(read / max(read + walked, 1e-60))
    if not any(tables.values()):
        raise FitError("the pulses do not spread over enough conductances for a table")
    shared, branch = _between_devices(factor, error)
    return Tables(
        (float(g_min), float(g_max)), tables[POTENTIATION], tables[DEPRESSION],
        float(np.mean(noise)), float(np.mean(shares)), shared, branch, factor,
    )  # fmt: skip


def _branch(
    r: Responses, sign: int, low: Floats, high: Floats, read_noise: tuple[float, float] | None,
    rails: bool,
) -> _Branch | None:  # fmt: skip
    own = np.flatnonzero(r.polarity == sign)
    if own.size:
        counts, n = np.unique(r.pulses[own], return_counts=True)
        pulses = int(counts[np.argmax(n)])  # rows over a missing read span more pulses
        own = own[r.pulses[own] == pulses]
    if own.size < 2 * _LEAST_ROWS:
        return None
    device = r.device[own]
    span = (high - low)[device]
    before, after = r.before_siemens[own], r.after_siemens[own]
    edge = low[device] if sign > 0 else high[device]
    start, end = sign * (before - edge) / span, sign * (after - edge) / span
    branch = _Branch(
        device, start, (end - start) / pulses, end, np.zeros(own.size), pulses,
        np.zeros(own.size, dtype=np.bool_), r.chain[own],
    )  # fmt: skip
    mean = 0.5 * (before + after)
    averaged = 1.0 if read_noise is None else np.sqrt(r.reads)
    relative, absolute = read_noise or _read_noise(branch, mean, span)
    branch.noise = np.hypot(relative * mean, absolute) / averaged / span
    if rails:
        branch.at_rail = end >= 1.0 - 1.5 * branch.noise - 1e-6
    return branch


def _read_noise(branch: _Branch, mean_siemens: Floats, span: Floats) -> tuple[float, float]:
    """Return (relative part, part in siemens) of σ_r of single rows' reads.

    Successive steps share one read, with opposite signs: their covariance is −σ_r².
    """
    edges = np.quantile(branch.start, np.linspace(0.0, 1.0, _MOST_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, branch.start)
    n = np.bincount(bins, minlength=_MOST_BINS)
    mean = np.bincount(bins, branch.step, _MOST_BINS) / np.maximum(n, 1)
    residual = (branch.step - mean[bins]) * branch.pulses * span
    pair = np.flatnonzero(branch.chain[1:] == branch.chain[:-1])
    if pair.size < _LEAST_ROWS:
        return 0.0, 0.0
    from scipy.optimize import nnls

    g = mean_siemens[pair]
    unit = float(np.abs(g).max())
    variance = -residual[pair] * residual[pair + 1] / unit**2
    # Weighted: the scatter of a product of two normal deviates is that of the variance itself.
    kinds = np.stack([(g / unit) ** 2, np.ones(g.size)], axis=1)
    first = float(max(variance.mean(), 1e-30))
    weight = 1.0 / (first * (0.1 + kinds[:, 0] / kinds[:, 0].mean()))
    (relative, absolute), _ = nnls(kinds * weight[:, None], variance * weight)
    return float(np.sqrt(relative)), float(np.sqrt(absolute)) * unit


def _measured(
    own: _Branch, n_devices: int, g_min: float, g_max: float, up: bool
) -> tuple[MeasuredTable | None, Floats, Floats]:
    """Return the table of a branch, and factor and error of every device."""
    factor = np.ones(n_devices)
    error = np.full(n_devices, np.nan)
    noise = own.noise / own.pulses  # of one read, in the step per pulse
    weight = np.zeros(own.step.size)
    for _ in range(_ROUNDS):
        scale = factor[own.device]
        step = own.step / scale
        place = own.start + weight * own.step * own.pulses
        bins, n_bins = _bins(place)
        if n_bins < 2:
            return None, np.full(n_devices, np.nan), error
        mean, variance, centre = _moments(own, place, step, scale, bins, n_bins)
        line = np.interp(place, centre, mean)
        total = np.interp(place, centre, variance)
        weight = np.clip(noise**2 / np.maximum(total * scale**2, 1e-30), 0.0, 0.5)
        before = factor
        factor, error = _factors(own, line, total * scale**2, noise**2, n_devices)
        known = np.isfinite(error)
        if (np.abs(factor - before) <= _SETTLED * error)[known].all():
            break
    rows = np.bincount(bins, minlength=n_bins)
    read = np.bincount(bins, 2.0 * (noise / scale) ** 2, n_bins) / rows
    spread = np.sqrt(np.maximum(variance - read, 0.0) * own.pulses)
    # Where the bin's pulses began: the place without the share of the mean step.
    w = np.bincount(bins, weight, n_bins) / rows
    u = centre - w * mean * own.pulses
    quantiles = None
    if np.average(read / np.maximum(variance, 1e-30), weights=rows) < 0.5:
        free = ~own.at_rail
        shape = _shapes((step - line)[free] / np.sqrt(total[free]), bins[free], n_bins)
        quantiles = mean + spread * shape
    span = g_max - g_min
    order = slice(None) if up else slice(None, None, -1)
    g = g_min + u * span if up else g_max - u * span
    table = MeasuredTable(
        g[order], (span * mean)[order], (span * spread)[order],
        None if quantiles is None else (span * quantiles)[:, order], rows[order],
    )  # fmt: skip
    return (table if (np.diff(table.g_siemens) > 0).all() else None), factor, error


def _bins(place: Floats) -> tuple[Ints, int]:
    """Return the bin of every row and how many there are: equally wide, none with few rows."""
    low, high = np.quantile(place, (0.002, 0.998))
    edges = np.linspace(low, high, _MOST_BINS + 1)[1:-1]
    n = np.bincount(np.searchsorted(edges, place), minlength=_MOST_BINS)
    kept, rows = [], 0
    for k, more in enumerate(n[:-1]):
        rows += int(more)
        if rows >= _LEAST_ROWS:
            kept.append(edges[k])
            rows = 0
    if kept and rows + int(n[-1]) < _LEAST_ROWS:
        kept.pop()
    return np.searchsorted(kept, place), len(kept) + 1


def _moments(
    own: _Branch, place: Floats, step: Floats, scale: Floats, bins: Ints, n_bins: int
) -> tuple[Floats, Floats, Floats]:
    """Return mean and variance of the steps and the mean place of every bin, censored at rails."""
    rows = np.bincount(bins, minlength=n_bins)

    def average(values: Floats) -> Floats:
        out: Floats = np.bincount(bins, values, n_bins) / rows
        return out

    centre, mean = average(place), average(step)
    line = np.interp(place, centre, mean)
    variance = np.maximum(average((step - line) ** 2), 1e-30)
    share = average(own.at_rail.astype(np.float64))
    # A bin that lies at the bound altogether says nothing of where its steps would have led.
    partly = (share > 0.0) & (share < 0.8)
    hit = own.at_rail & partly[bins]
    if not hit.any():
        return mean, variance, centre
    within = line - mean[bins]  # what the place within its bin makes of the mean
    value, free, at = step - within, ~hit, bins[hit]
    limit = (1.0 - own.start[hit]) / own.pulses / scale[hit]
    limit = np.minimum(limit, step[hit]) - within[hit]
    first = np.bincount(bins[free], value[free], n_bins)
    second = np.bincount(bins[free], value[free] ** 2, n_bins)
    for _ in range(_EM_ROUNDS):
        m, s = mean[at], np.sqrt(variance[at])
        alpha = (limit - m) / s
        ratio = np.exp(-0.5 * alpha**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(-alpha))
        filled = m + s * ratio
        square = filled**2 + s**2 * np.maximum(1.0 + alpha * ratio - ratio**2, 0.0)
        now = (first + np.bincount(at, filled, n_bins)) / rows
        spread = (second + np.bincount(at, square, n_bins)) / rows - now**2
        moved = np.abs(now - mean)[partly] / np.sqrt(variance[partly])
        mean = np.where(partly, now, mean)
        variance = np.where(partly, np.maximum(spread, 1e-30), variance)
        if moved.max() < _STILL:
            break
    return mean, variance, centre


def _factors(
    own: _Branch, line: Floats, variance: Floats, noise: Floats, n_devices: int
) -> tuple[Floats, Floats]:
    """Return every device's factor (mean 1) and its standard error, from steps off the rails.

    ``variance`` is that of a row's step, ``noise`` of one read in it: along a chain only the first
    and the last read stay in the sum of the steps.
    """
    inside = ~own.at_rail & (own.start < 0.9) & (line > 0.0)
    if not inside.any():
        inside = line > 0.0
    device = own.device[inside]
    expected = np.bincount(device, line[inside], n_devices)
    got = np.bincount(device, own.step[inside], n_devices)
    begins = np.append(True, own.chain[inside][1:] != own.chain[inside][:-1])
    walked = np.maximum(variance - 2.0 * noise, 0.0)[inside] + 2.0 * begins * noise[inside]
    total = np.bincount(device, walked, n_devices)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor, error = got / expected, np.sqrt(total) / expected
    known = np.isfinite(factor) & (factor > 0.0)
    middle = float(np.median(factor[known])) if known.any() else 1.0
    factor = np.where(known, factor / middle, 1.0)
    return np.clip(factor, 0.05, 20.0), np.where(known, error / middle, np.nan)


def _shapes(residual: Floats, bins: Ints, n_bins: int) -> Floats:
    """Return (n_levels, n_bins) quantiles of standardised residuals, of mean 0 and variance 1."""
    pooled = np.quantile(residual, LEVELS)
    out = np.repeat(pooled[:, None], n_bins, axis=1)
    order = np.argsort(bins, kind="stable")
    first = np.searchsorted(bins[order], np.arange(n_bins + 1))
    for k in range(n_bins):
        own = residual[order[first[k] : first[k + 1]]]
        if own.size >= _ROWS_OF_SHAPE and own.std() > 0.0:
            out[:, k] = np.quantile((own - own.mean()) / own.std(), LEVELS)
    return out


def _between_devices(factor: Floats, error: Floats) -> tuple[float, float]:
    """Return standard deviations of the devices' factors: of both branches together, and of each.

    The variance of the estimates is taken off; what is common to both branches is their covariance.
    """
    both = np.isfinite(error).all(axis=1)
    if both.sum() >= 3:
        values, errors = factor[both], error[both]
        common = float(np.cov(values.T)[0, 1])
        own = float(values.var(axis=0, ddof=1).mean() - (errors**2).mean())
        common = float(np.clip(common, 0.0, max(own, 0.0)))
        return float(np.sqrt(common)), float(np.sqrt(max(own - common, 0.0)))
    one = np.isfinite(error)
    found = [
        float(factor[one[:, k], k].var(ddof=1) - (error[one[:, k], k] ** 2).mean())
        for k in range(2)
        if one[:, k].sum() >= 3
    ]
    return (float(np.sqrt(max(float(np.mean(found)), 0.0))) if found else 0.0), 0.0
