"""Online training on MNIST through the full path beside a bare loop of the same arithmetic.

The folder with MNIST's four files is named by ``HIL_MNIST``. CPU time of the process is compared,
writer thread of the recording included, because the cores may be shared; nothing is asserted on it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hil_sim.kernels import law as lw
from mnist_training import ETA, Prepared, cpu_s, prepared
from numba import njit

from hil.control.preparation import RESET_GRID
from hil.learning.neuron import one_hot

EVERY, DEAD_ZONE, THRESHOLD, FLOOR, MARGIN = 100, 0.05, 0.5, 0.2, 1.5
SETTLED, TIMED = 500, 3000  # samples before the clock starts, and while it runs

# -- the bare loop: shares u of each device's own range, and nothing but arithmetic ---------------


@njit
def bare_forward(plus: Any, minus: Any, x: Any, noise: float, out: Any, var: Any) -> None:
    """Write Σ x (g⁺ − g⁻) with read noise per output, exact in distribution."""
    out[:] = 0.0
    var[:] = 0.0
    for i in range(x.size):
        if x[i] == 0.0:
            continue
        for j in range(out.size):
            p, m = plus[i, j] * x[i], minus[i, j] * x[i]
            out[j] += p - m
            var[j] += p * p + m * m
    for j in range(out.size):
        out[j] += noise * math.sqrt(var[j]) * np.random.standard_normal()  # noqa: NPY002


@njit
def bare_backward(plus: Any, minus: Any, d: Any, noise: float, out: Any) -> None:
    for i in range(out.size):
        total = var = 0.0
        for j in range(d.size):
            p, m = plus[i, j] * d[j], minus[i, j] * d[j]
            total += p - m
            var += p * p + m * m
        out[i] = total + noise * math.sqrt(var) * np.random.standard_normal()  # noqa: NPY002


@njit
def bare_pulse(g: Any, i: int, j: int, limit: float, up: bool, n: int, rest: Any) -> None:
    """Give one device ``n`` pulses: affine step, own gain, noise per pulse, bounds."""
    gains, low, span, c2c = rest
    gain, u = gains[i, j], (g[i, j] - low) / span
    u = u if up else 1.0 - u
    for _ in range(n):
        u += (limit - u) * gain * (1.0 + c2c * np.random.standard_normal())  # noqa: NPY002
        u = min(max(u, 0.0), 1.0)
    g[i, j] = low + span * (u if up else 1.0 - u)


@njit
def bare_update(
    plus: Any, minus: Any, x: Any, d: Any, root: float, limit: float, of_plus: Any,
    of_minus: Any, rows: Any,
) -> int:  # fmt: skip
    n_rows = done = 0
    for i in range(x.size):
        if np.random.random() < root * x[i]:  # noqa: NPY002
            rows[n_rows] = i
            n_rows += 1
    for j in range(d.size):
        size = abs(d[j])
        if size <= DEAD_ZONE or np.random.random() >= root * size:  # noqa: NPY002
            continue
        for k in range(n_rows):
            if d[j] > 0.0:
                bare_pulse(plus, rows[k], j, limit, True, 1, of_plus)
            else:
                bare_pulse(minus, rows[k], j, limit, True, 1, of_minus)
        done += n_rows
    return done


@njit
def bare_refresh(
    plus: Any, minus: Any, noise: float, limit: float, of_plus: Any, of_minus: Any,
    up: Any, down: Any,
) -> int:  # fmt: skip
    """Read all pairs; reset those that are due and programme their difference, open loop.

    ``up`` and ``down`` hold the pulses from an end of the range for equidistant shares.
    """
    low, span = of_plus[1], of_plus[2]
    grid = max(int(down[-1]) // RESET_GRID, 1)
    top, done = up.size - 1, 0
    for i in range(plus.shape[0]):
        for j in range(plus.shape[1]):
            zp, zm = np.random.standard_normal(), np.random.standard_normal()  # noqa: NPY002
            p = (plus[i, j] * (1.0 + noise * zp) - low) / span
            m = (minus[i, j] * (1.0 + noise * zm) - low) / span
            if not (max(p, m) > THRESHOLD and min(p, m) > FLOOR):
                continue
            for side in range(2):
                g, rest, u = (plus, of_plus, p) if side == 0 else (minus, of_minus, m)
                n = MARGIN * max(down[min(max(int(u * top), 0), top)], 1.0)
                n_reset = math.ceil(n / grid) * grid
                target = max(p - m if side == 0 else m - p, 0.0)
                n_set = int(up[min(int(target * top), top)])
                bare_pulse(g, i, j, limit, False, n_reset, rest)
                bare_pulse(g, i, j, limit, True, n_set, rest)
                done += n_reset + n_set
    return done


@njit
def bare_train(
    x: Any, y: Any, order: Any, layers: Any, scales: Any, roots: Any, noise: float,
    limit: float, up: Any, down: Any, every: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Train one pass of ``order``; return (pulses of updates, of refresh, samples right)."""
    (p1, m1, f1p, f1m), (p2, m2, f2p, f2m) = layers
    hidden, outputs = p1.shape[1], p2.shape[1]
    x1, x2 = np.ones(p1.shape[0]), np.ones(p2.shape[0])
    s1, s2, v1, v2 = np.empty(hidden), np.empty(outputs), np.empty(hidden), np.empty(outputs)
    d1, d2, back = np.empty(hidden), np.empty(outputs), np.empty(p2.shape[0])
    rows = np.empty(p1.shape[0], np.int64)
    written = refreshed = right = 0
    span = f1p[2]
    for n in range(order.size):
        k = order[n]
        x1[:-1] = x[k]
        bare_forward(p1, m1, x1, noise, s1, v1)
        for j in range(hidden):
            s1[j] *= scales[0] / span
            x2[j] = min(max(0.25 * s1[j] + 0.5, 0.0), 1.0)
        bare_forward(p2, m2, x2, noise, s2, v2)
        for j in range(outputs):
            s2[j] = min(max(0.25 * s2[j] * scales[1] / span + 0.5, 0.0), 1.0)
            d2[j] = (1.0 if y[k] == j else 0.0) - s2[j]
        right += s2.argmax() == y[k]
        bare_backward(p2, m2, d2, noise, back)
        for j in range(hidden):
            d1[j] = 0.25 * back[j] * scales[1] / span if abs(s1[j]) < 2.0 else 0.0
        written += bare_update(p1, m1, x1, d1, roots[0], limit, f1p, f1m, rows)
        written += bare_update(p2, m2, x2, d2, roots[1], limit, f2p, f2m, rows)
        if (n + 1) % every == 0:
            refreshed += bare_refresh(p1, m1, noise, limit, f1p, f1m, up, down)
            refreshed += bare_refresh(p2, m2, noise, limit, f2p, f2m, up, down)
    return written, refreshed, right


def bare_arguments(prep: Prepared) -> dict[str, Any]:
    """Return arguments of :func:`bare_train` that start from the arrays' conductances."""
    layers = []
    for layer, backend in zip(prep.learner.network.layers, prep.backends, strict=True):
        pairs = layer.context.pairs
        device = backend.device
        nu = device.potentiation.nu
        # One pulse of du/dn = f (a − b u), a = b/(1 − e^−ν), takes u to its limit a/b by the share
        # 1 − e^−(f b).
        gains = -np.expm1(-backend.array.population.params[..., lw.P_B_UP])
        low, high = device.range.g_min, device.range.g_max
        plus, minus, of_plus, of_minus = (
            np.ascontiguousarray(values[np.ix_(pairs.rows, cols)])
            for values in (backend.true_conductance_siemens(), gains)
            for cols in (pairs.plus_cols, pairs.minus_cols)
        )
        rest = (low, high - low, device.variation.step_c2c)
        layers.append((plus, minus, (of_plus, *rest), (of_minus, *rest)))
    curve = prep.curves[0]
    shares = np.linspace(0.0, 1.0, 1024)
    roots = [
        math.sqrt(ETA / (scale * c.step_up))
        for scale, c in zip(prep.scales, prep.curves, strict=True)
    ]
    return {
        "layers": tuple(layers), "scales": np.array(prep.scales), "roots": np.array(roots),
        "noise": device.variation.read_noise, "limit": -1.0 / math.expm1(-nu),
        "up": curve.pulses_up(curve.low, shares).astype(np.float64),
        "down": curve.pulses_down(shares, np.full_like(shares, curve.down[curve.full_down]))
        .astype(np.float64),
    }  # fmt: skip


@pytest.mark.parametrize("every", [EVERY, 10**6], ids=["refresh-every-100", "no-refresh"])
def test_online_training_of_784_200_10(mnist, tmp_path, show, every):
    rng = np.random.default_rng(0)
    orders = rng.permutation(len(mnist.x_train))[: SETTLED + TIMED]
    settled, timed = orders[:SETTLED], orders[SETTLED:]
    targets = one_hot(mnist.y_train, 10)
    with prepared(tmp_path, mnist, every=every) as prep:
        learner = prep.learner

        def learn(order: np.ndarray) -> int:
            return sum(
                int(learner.learn(mnist.x_train[k], targets[k]).argmax() == mnist.y_train[k])
                for k in order
            )

        learn(settled)
        bare = bare_arguments(prep)
        before = learner.work.copy()
        ours_s, right = cpu_s(lambda: learn(timed))
        work = learner.work
        inference_s, accuracy = cpu_s(lambda: learner.accuracy(mnist))
    x, y = mnist.x_train, mnist.y_train
    bare_train(x, y, timed[:1], every=every, **bare)
    bare_s, (written, refreshed, bare_right) = cpu_s(
        lambda: bare_train(x, y, timed, every=every, **bare)
    )
    n = len(timed)
    show(
        f"per sample: {ours_s / n * 1e6:.0f} us, bare loop {bare_s / n * 1e6:.0f} us, ratio "
        f"{ours_s / bare_s:.1f} (aim 5, then 2); an epoch of 60 000: {ours_s / n * 6e4:.1f} s, "
        f"{bare_s / n * 6e4:.1f} s"
    )
    show(
        f"pulses per sample by updates {(work.write - before.write) / n:.0f} ({written / n:.0f}), "
        f"by refresh {(work.refresh - before.refresh) / n:.0f} ({refreshed / n:.0f}); right while "
        f"learning {100 * right / n:.1f} % ({100 * bare_right / n:.1f} %)"
    )
    show(f"10 000 test images: {inference_s:.2f} s (aim 1), {100 * accuracy:.1f} % right\n")
    assert abs(right - bare_right) < 0.15 * n
