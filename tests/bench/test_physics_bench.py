"""Speed of the simulated array beside a bare Numba loop of the same run; ratios are printed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hil_sim.models.device import Device, load_device
from numba import njit

from hil.control.array import SynapseArray
from hil.geometry import ArrayGeometry
from hil.learning.methods import PairRule
from hil.learning.triggers import StochasticCoincidence
from hil.operating import OperatingPoint
from hil.pairs import PairMap
from hil.program import LineState, Phase, PulseBlock, line_levels
from hil.template import BlockTemplate

V_WRITE, WIDTH_S = 2.0, 1e-6


def best_of(action: Callable[[], Any], repeats: int = 9, inner: int = 1) -> float:
    """Return the median time of one call in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            action()
        times.append((time.perf_counter() - start) / inner)
    return float(np.median(times))


def device(soft: bool = False) -> Device:
    preset = load_device("nonlinear")
    if not soft:
        return preset
    pulse = preset.pulse.model_copy(update={
        "law": "sinh", "potentiate_threshold": None, "depress_threshold": None,
        "potentiate_scale": 0.15, "depress_scale": 0.15, "floor": 1e-9,
    })  # fmt: skip
    return preset.model_copy(update={"pulse": pulse})


@njit
def bare_update(
    g: Any, factor: Any, row_bits: Any, col_bits: Any, low: float, high: float, k: float,
    g_inf: float, sigma: float,
) -> int:  # fmt: skip
    """The same arithmetic on the same devices: affine step, own factor, noise, clip."""
    span = high - low
    done = 0
    for i in range(g.shape[0]):
        if not row_bits[i]:
            continue
        for j in range(g.shape[1]):
            if col_bits[j]:
                u = (g[i, j] - low) / span
                step = (g_inf - u) * (1.0 - np.exp(k * factor[i, j]))
                xi = np.random.standard_normal()  # noqa: NPY002 - what Numba compiles
                u += step * (1.0 + sigma * xi)
                g[i, j] = low + span * min(max(u, 0.0), 1.0)
                done += 1
    return done


@njit
def bare_forward(g: Any, v: Any, out: Any) -> None:
    out[:] = 0.0
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            out[j] += v[i] * g[i, j]


def bare_arguments(rows: int, cols: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    nu, states = 3.0, 256
    return (np.full((rows, cols), 2e-5), rng.normal(1.0, 0.1, (rows, cols)), 1e-6, 1e-4,
            -nu / states, 1.0 / (1.0 - np.exp(-nu)), 0.02)  # fmt: skip


def update_template(geometry: ArrayGeometry) -> BlockTemplate:
    state, level = line_levels(geometry, 1)
    state[:] = LineState.DRIVE
    level[:, : geometry.n_rows] = V_WRITE / 2
    level[:, geometry.n_rows :] = -V_WRITE / 2
    return BlockTemplate.around(PulseBlock.build(Phase.UPDATE, state, level, WIDTH_S, gap_s=1e-6))


def report(what: str, ours_s: float, bare_s: float | None, aim: str) -> None:
    line = f"\n{what:46s} {ours_s * 1e6:10.1f} us"
    if bare_s is not None:
        line += f"  bare loop {bare_s * 1e6:10.1f} us  ratio {ours_s / bare_s:5.2f}"
    print(f"{line}  (aim {aim})")


@pytest.mark.parametrize("soft", [False, True], ids=["hard-threshold", "half-select-disturb"])
def test_half_bias_programme_of_2000_steps_on_64_x_64(soft: bool) -> None:
    n, steps = 64, 2000
    rng = np.random.default_rng(1)
    geometry = ArrayGeometry(n, n)
    state, level = line_levels(geometry, steps)
    state[:] = LineState.DRIVE
    rows = np.arange(steps) % n
    bits = rng.random((steps, n)) < 0.5
    level[np.arange(steps), rows] = V_WRITE / 2
    level[:, n:] = np.where(bits, -V_WRITE / 2, 0.0)
    block = PulseBlock.build(Phase.UPDATE, state, level, WIDTH_S, gap_s=1e-6)
    g, factor, *law = bare_arguments(n, n)
    one_row = np.zeros((steps, n), dtype=np.bool_)
    one_row[np.arange(steps), rows] = True

    def bare() -> int:
        return sum(bare_update(g, factor, one_row[s], bits[s], *law) for s in range(steps))

    with SimBackend(geometry, device(soft), seed=1) as backend:
        before = backend.true_conductance_siemens()
        backend.run_block(block)
        assert (backend.true_conductance_siemens() > before).all()
        assert backend.ledger.device_pulses == bits.sum() == bare()
        ours = best_of(lambda: backend.run_block(block))
        physics = best_of(lambda: backend.array.run(block, 0))
    label = "64x64 half bias, 2000 steps, disturb " + ("on" if soft else "off")
    report(label, ours, best_of(bare), "250 ms" if soft else "30 ms")
    report("  physics alone", physics, None, "")


@pytest.mark.parametrize("col_share", [0.1, 0.3, 0.5])
def test_coincidence_update_of_785_x_400(col_share: float) -> None:
    geometry = ArrayGeometry(785, 400)
    rng = np.random.default_rng(2)
    template = update_template(geometry)
    base = template.block
    bits = [(rng.random(785) < 0.2, rng.random(400) < col_share) for _ in range(20)]
    g, factor, *law = bare_arguments(785, 400)

    def bare() -> int:
        return sum(bare_update(g, factor, r, c, *law) for r, c in bits)

    def ours() -> None:
        for r, c in bits:
            on = np.concatenate([r, c])[None, :]
            state = np.where(on, LineState.DRIVE, LineState.GROUND).astype(np.uint8)
            backend.run_block(template.fill(state=state, selected=on))

    with SimBackend(geometry, device(), seed=1) as backend:
        ours()
        assert backend.ledger.device_pulses == bare()
        assert base.n_readings == 0
        name = f"785x400 update, {col_share:.0%} of columns"
        report(name, best_of(ours) / 20, best_of(bare) / 20, "ratio 5")


@pytest.mark.parametrize("error_share", [0.1, 0.5])
@pytest.mark.parametrize("kappa", [0.5, 2.6])  # 2.6: MNIST at the prototype's learning rate
def test_update_of_785_x_400_devices_by_the_rule(error_share: float, kappa: float) -> None:
    geometry = ArrayGeometry(785, 400)
    rng = np.random.default_rng(4)
    xs = rng.random((20, 785)) * (rng.random((20, 785)) < 0.2)
    deltas = rng.uniform(-1.0, 1.0, (20, 200)) * (rng.random((20, 200)) < error_share)
    rule = PairRule("M3", StochasticCoincidence(0.02 * kappa, 0.02), dead_zone=0.05)
    g, factor, *law = bare_arguments(785, 400)
    bits: list[tuple[np.ndarray, np.ndarray]] = []

    def record(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for x, delta in zip(xs, deltas, strict=True):
            for part in rule.slots(x, delta, draw):
                cols = np.zeros(400, dtype=np.bool_)
                cols[0::2], cols[1::2] = part.plus[0], part.minus[0]
                bits.append((part.rows[0], cols))

    def bare() -> int:
        return sum(bare_update(g, factor, r, c, *law) for r, c in bits)

    with SimBackend(geometry, device(), seed=1) as backend:
        op = OperatingPoint(
            potentiate_v=V_WRITE,
            depress_v=-V_WRITE,
            write_s=WIDTH_S,
            g_min_siemens=1e-6,
            g_max_siemens=1e-4,
        )
        array = SynapseArray(backend, op, PairMap.build("adjacent", geometry, 785, 200))

        def ours() -> int:
            draw = np.random.default_rng(7)
            return sum(array.update(x, d, rule, draw) for x, d in zip(xs, deltas, strict=True))

        record(7)
        assert ours() == bare()
        name = f"785x400 update(x, d), T3, kappa {kappa}, {error_share:.0%} of errors"
        report(name, best_of(ours) / 20, best_of(bare) / 20, "ratio 5")


def test_forward_of_785_x_200_and_an_empty_run() -> None:
    geometry = ArrayGeometry(785, 200)
    rng = np.random.default_rng(3)
    state, level = line_levels(geometry, 1)
    state[:, :785] = LineState.DRIVE
    level[:, :785] = 0.2
    sense = np.zeros(state.shape, dtype=np.bool_)
    sense[:, 785:] = True
    width = np.full(state.shape, 1e-5)
    coded = BlockTemplate.around(PulseBlock.build(Phase.FORWARD, state, level, width, sense=sense))
    amplitude = BlockTemplate.around(
        PulseBlock.build(Phase.FORWARD, state, level, 1e-5, sense=sense)
    )
    widths = np.concatenate([rng.random(785) * 1e-5, np.full(200, 1e-5)])[None, :].copy()
    levels = np.concatenate([rng.random(785) * 0.2, np.zeros(200)])[None, :].copy()
    out = np.empty(200)
    g = np.full((785, 200), 1e-5)
    v = levels[0, :785]
    bare_forward(g, v, out)
    with SimBackend(geometry, device(), seed=1) as backend:
        m = backend.run_block(amplitude.fill(level_v=levels))
        expected = v @ backend.true_conductance_siemens()
        assert -m.current_a == pytest.approx(expected, rel=0.01)
        bare = best_of(lambda: bare_forward(g, v, out), inner=50)
        for name, fill in (
            ("width", lambda: coded.fill(width_s=widths)),
            ("amplitude", lambda: amplitude.fill(level_v=levels)),
        ):
            backend.run_block(fill())
            ours = best_of(lambda fill=fill: backend.run_block(fill()), inner=50)
            report(f"785x200 forward, {name} coded", ours, bare, "100 us")
        template = BlockTemplate.around(
            PulseBlock.build(Phase.UPDATE, *line_levels(geometry, 1), WIDTH_S)
        )
        grounded = template.fill()
        none = PulseBlock.build(Phase.UPDATE, *line_levels(geometry, 0), WIDTH_S)
        for name, action in (
            ("empty templated run_block", lambda: backend.run_block(grounded)),
            ("empty templated run", lambda: list(backend.run([grounded]))),
            ("block without steps, no template", lambda: backend.run_block(none)),
        ):
            report(name, best_of(action, inner=500), None, "10 us")
