"""Where the search for a model's parameters begins: rough values from regression."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels
from hil.fit.laws import N_NODES, Law, start
from hil.fit.mixed import Chains, Mixed
from hil.fit.preparing import Rails

Floats = NDArray[np.float64]

_RATE_SPREAD: Final = 0.15
_INSIDE: Final = (0.05, 0.95)  # share of the range where rails hardly matter


def begin(
    chains: Chains, rails: Rails, devices: NDArray[np.int64], law: Law, varies: bool
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
        first, slope, residual = _regress(chains, rows, low, high, span, up)
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
        noise = chains.rel2 * float(np.mean(end)) ** 2 + chains.abs2
        if reached and noise > 0.0:
            random.append(k)
            variance.append(float(np.var(end)) + (0.02 * float(np.mean(end))) ** 2 + 0.1 * noise)
            stride[k] = max(2.0 * float(np.sqrt(noise)), 1e-4)
            lows[k] = float(end.min()) - 10 * float(np.sqrt(noise))
            highs[k] = float(end.max()) + 10 * float(np.sqrt(noise))
    total = max(float(np.mean(leftover)), 1e-8)
    theta[:, kernels.V_ADD] = 0.6 * total
    theta[:, kernels.V_MULT] = min(0.4 * total / float(np.mean(squares)), 1.0)
    for k, top in ((kernels.V_MULT, 9.0), (kernels.V_ADD, 1.0)):
        lows[k], highs[k] = 1e-6 * float(theta[0, k]), top
    order = np.argsort(random)
    columns = np.array(random, dtype=np.int64)[order]
    shared = [*shapes, kernels.V_MULT, kernels.V_ADD]
    if law.tabled:
        for up, at in ((True, kernels.N_PLAIN), (False, kernels.N_PLAIN + n_nodes)):
            if (chains.up == up).any():
                shared += range(at, at + n_nodes)
    return Mixed(
        theta, columns, np.array(shared, dtype=np.int64),
        theta[:, columns].mean(0), np.diag(np.array(variance)[order]), lows, highs, stride,
        held=held,
    )  # fmt: skip


def _regress(
    chains: Chains, rows: NDArray[np.bool_], low: Floats, high: Floats, span: Floats, up: bool
) -> tuple[float, float, float]:
    """Return first step, slope and residual variance of steps over u, as shares of the range.

    The place in the chain is the instrument of u: read noise in u itself would bias the slope.
    """
    d = chains.device[rows]
    width = span[rows]
    u = (chains.before[rows] - low[d]) / width
    step = (chains.after[rows] - chains.before[rows]) / width / chains.pulses[rows]
    if not up:
        u, step = 1.0 - u, -step
    inside = (u > _INSIDE[0]) & (u < _INSIDE[1])
    if inside.sum() < 10:
        inside = np.ones(u.size, dtype=np.bool_)
    u, step = u[inside], step[inside]
    place = _places(rows)[inside].astype(np.float64)
    place -= place.mean()
    along = float((place * (u - u.mean())).mean())
    slope = 0.0
    if along > 0.05 * float(u.std() * place.std()) > 0.0:
        slope = -float((place * (step - step.mean())).mean()) / along
    first = float(step.mean()) + slope * float(u.mean())
    if first <= 0.0 or first - slope < -0.3 * first:
        slope = min(slope, 0.9 * first) if first > 0.0 else 0.0
        first = float(step.mean()) + slope * float(u.mean())
    first = max(first, 1e-4)
    residual = float(np.var(step - first + slope * u))
    at = np.clip(u.mean(), 0.0, 1.0)
    g = float(np.mean(low) + (at if up else 1.0 - at) * np.mean(high - low))
    noise = (chains.rel2 * g * g + chains.abs2) / float(np.mean(width)) ** 2
    return first, slope, max(residual - 2.0 * noise, 0.05 * residual)


def _places(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return, for the chosen rows, how many chosen rows came just before without a break."""
    at = np.flatnonzero(rows)
    new = np.r_[True, np.diff(at) != 1]
    starts = np.maximum.accumulate(np.where(new, np.arange(at.size), 0))
    out: NDArray[np.int64] = np.arange(at.size) - starts
    return out
