"""Where the search for a model's parameters begins: rough values from regression."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels
from hil.fit.chains import Chains
from hil.fit.laws import N_NODES, Law, start
from hil.fit.mixed import Mixed
from hil.fit.noise import ReadNoise
from hil.fit.preparing import Rails

Floats = NDArray[np.float64]

_RATE_SPREAD: Final = 0.15
_INSIDE: Final = 0.9  # share of the range where rails hardly matter


def begin(
    chains: Chains,
    rails: Rails,
    devices: NDArray[np.int64],
    law: Law,
    noise: ReadNoise,
    varies: bool,
) -> Mixed:
    """Return the state that a search begins with; all devices start with the same response.

    ``varies`` gives every device a shape of its own; otherwise they share one per branch.
    """
    low = rails.low[devices] / chains.scale
    high = rails.high[devices] / chains.scale
    high = np.maximum(high, low + 1e-3)
    n_nodes = N_NODES if law.tabled else 0
    n = kernels.N_PLAIN + 2 * n_nodes
    theta = np.zeros((devices.size, n))
    theta[:, kernels.LOW], theta[:, kernels.HIGH] = low, high
    lows, highs, stride = np.full(n, -np.inf), np.full(n, np.inf), np.full(n, np.inf)
    random: list[int] = []
    variance: list[float] = []
    leftover, squares = [], []
    shapes: list[int] = []
    held: set[int] = set()
    span = (high - low)[chains.device]
    for up, k in ((True, kernels.RATE_UP), (False, kernels.RATE_DOWN)):
        rows = chains.up == up
        if not rows.any():
            continue
        first, slope, residual = _regress(chains, rows, low, high, span, up, noise)
        rate, shape = start(law, first, slope)
        if law.tabled:
            nodes = np.maximum(first - slope * np.linspace(0.0, 1.0, n_nodes), 0.02 * first)
            at = kernels.N_PLAIN + (0 if up else n_nodes)
            held.add(at + n_nodes // 2)  # the unit of the rates
            theta[:, at : at + n_nodes] = nodes
            stride[at : at + n_nodes] = 0.5 * first
            rate = 1.0
        theta[:, k], theta[:, k + 1] = rate, shape
        lows[k], highs[k], stride[k] = 0.02 * rate, 50.0 * rate, 0.6 * rate
        random.append(k)
        variance.append((_RATE_SPREAD * rate) ** 2)
        if law.shape:
            lows[k + 1], highs[k + 1], stride[k + 1] = law.low, law.high, law.stride
            if varies:
                random.append(k + 1)
                variance.append(law.spread**2)
            else:
                shapes.append(k + 1)
        leftover.append(residual)
        squares.append(max(first - 0.5 * slope, 0.2 * first) ** 2)
    for k, end, reached in (
        (kernels.LOW, low, rails.reached_low),
        (kernels.HIGH, high, rails.reached_high),
    ):
        at_end = noise.rel2 * float(np.mean(end)) ** 2 + noise.abs2
        if reached and at_end > 0.0:
            random.append(k)
            variance.append(float(np.var(end)) + (0.02 * float(np.mean(end))) ** 2 + 0.1 * at_end)
            stride[k] = max(2.0 * float(np.sqrt(at_end)), 1e-4)
            lows[k] = float(end.min()) - 10 * float(np.sqrt(at_end))
            highs[k] = float(end.max()) + 10 * float(np.sqrt(at_end))
    total = max(float(np.mean(leftover)), 1e-8)
    theta[:, kernels.V_ADD] = 0.6 * total
    theta[:, kernels.V_MULT] = min(0.4 * total / float(np.mean(squares)), 1.0)
    for k, top in ((kernels.V_MULT, 9.0), (kernels.V_ADD, 1.0)):
        lows[k], highs[k] = 1e-6 * float(theta[0, k]), top
    theta[:, kernels.READ_REL], theta[:, kernels.READ_ABS] = noise.rel2, noise.abs2
    order = np.argsort(random)
    columns = np.array(random, dtype=np.int64)[order]
    shared = [*shapes, kernels.V_MULT, kernels.V_ADD, kernels.READ_REL, kernels.READ_ABS]
    if noise.rel2 + noise.abs2 <= 0.0:
        held |= {kernels.READ_REL, kernels.READ_ABS}
    else:
        total = noise.rel2 + noise.abs2
        for k in (kernels.READ_REL, kernels.READ_ABS):
            theta[:, k] = np.maximum(theta[:, k], 1e-3 * total)
            lows[k], highs[k] = 1e-7 * total, 1e3 * total
    if law.tabled:
        for up, at in ((True, kernels.N_PLAIN), (False, kernels.N_PLAIN + n_nodes)):
            if (chains.up == up).any():
                shared += range(at, at + n_nodes)
    if devices.size == 1:  # no other device to differ from
        shared = [*columns.tolist(), *shared]
        columns, order = columns[:0], order[:0]
    known: Floats | None = None
    precision: Floats | None = None
    if noise.precision is not None:
        known, precision = np.zeros(len(shared)), np.zeros((len(shared), len(shared)))
        where = [shared.index(kernels.READ_REL), shared.index(kernels.READ_ABS)]
        known[where] = noise.rel2, noise.abs2
        precision[np.ix_(where, where)] = noise.precision
    return Mixed(
        theta, columns, np.array(shared, dtype=np.int64),
        theta[:, columns].mean(0), np.diag(np.array(variance)[order]), lows, highs, stride,
        held=held, known=known, precision=precision,
    )  # fmt: skip


def begin_from(mixed: Mixed, earlier: Mixed) -> None:
    """Put the state of a search where one with the same columns, on other devices, ended."""
    mixed.held = set(earlier.held)
    plain = np.setdiff1d(np.arange(mixed.theta.shape[1]), [kernels.LOW, kernels.HIGH])
    rails = np.isin(earlier.random, [kernels.LOW, kernels.HIGH])
    mixed.theta[:, plain] = earlier.theta.mean(0)[plain]
    mixed.theta[:, earlier.random[~rails]] = earlier.mean[~rails]
    mixed.mean, mixed.covariance = earlier.mean.copy(), earlier.covariance.copy()
    mixed.paces = earlier.paces


def _regress(
    chains: Chains,
    rows: NDArray[np.bool_],
    low: Floats,
    high: Floats,
    span: Floats,
    up: bool,
    noise: ReadNoise,
) -> tuple[float, float, float]:
    """Return first step, slope and residual variance of steps over u, as shares of the range.

    Steps and u are averaged over all devices by their place in the branch, which takes off most of
    the noise; the place is also the instrument of u, whose noise would bias the slope.
    """
    d = chains.device[rows]
    width = span[rows]
    u = (chains.before[rows] - low[d]) / width
    step = (chains.after[rows] - chains.before[rows]) / width / chains.pulses[rows]
    if not up:
        u, step = 1.0 - u, -step
    place = _places(rows, chains.fresh, chains.device)
    n = np.bincount(place)
    mean_u, mean_step = np.bincount(place, u) / n, np.bincount(place, step) / n
    # the first stretch of the branch, before the rail
    late = np.flatnonzero((mean_u > _INSIDE) | (n < 0.2 * n[0]))
    stop = max(int(late[0]) if late.size else n.size, 1)
    weight = n[:stop] / n[:stop].sum()
    at, x, y = np.arange(stop, dtype=np.float64), mean_u[:stop], mean_step[:stop]
    first = float((weight * y).sum())
    slope, centre = 0.0, float((weight * x).sum())
    if stop >= 4:
        at -= float((weight * at).sum())
        along = float((weight * at * (x - centre)).sum())
        if along > 0.0:
            slope = -float((weight * at * (y - first)).sum()) / along
    # at the least what takes the branch as far as it came
    least = 0.3 * max(float(mean_u[:stop].max() - mean_u[0]), 0.05) / stop
    first = max(first + slope * centre, least)
    slope = float(np.clip(slope, -0.5 * first, 0.97 * first))
    residual = float(np.var(step - mean_step[place]))
    g = float(np.mean(low) + (centre if up else 1.0 - centre) * np.mean(high - low))
    reading = (noise.rel2 * g * g + noise.abs2) / float(np.mean(width)) ** 2
    return first, slope, max(residual - 2.0 * reading, 0.05 * residual)


def _places(
    rows: NDArray[np.bool_], fresh: NDArray[np.bool_], device: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return, for the chosen rows, how many chosen rows came just before without a break."""
    at = np.flatnonzero(rows)
    new = np.r_[True, (np.diff(at) != 1) | (np.diff(device[at]) != 0)] | fresh[at]
    starts = np.maximum.accumulate(np.where(new, np.arange(at.size), 0))
    out: NDArray[np.int64] = np.arange(at.size) - starts
    return out
