"""Parts of a fit: read noise, correlations between parameters, trains of pulses, score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_responses import device_of, measure

from hil.fit import kernels
from hil.fit.chains import Likelihood
from hil.fit.estimate import fit_devices
from hil.fit.laws import LAWS, curve
from hil.fit.measured import Responses, Rests
from hil.fit.noise import noise_of_pulses, read_noise
from hil.fit.preparing import chains_of


def rests(relative: float, absolute: float, seed: int) -> Rests:
    rng = np.random.default_rng(seed)
    level = np.repeat(np.geomspace(1e-6, 1e-4, 30), 20)
    group = np.repeat(np.arange(30), 20)
    sigma = np.hypot(relative * level, absolute)
    return Rests(group, level + sigma * rng.standard_normal(level.size), group)


def test_reads_at_rest_give_both_parts_of_the_read_noise():
    inside = []
    for seed in range(100):
        found = read_noise(rests(0.01, 1e-7, seed)).estimates
        inside.append([
            found["variation.read_noise"].low <= 0.01 <= found["variation.read_noise"].high,
            found["variation.read_noise_siemens"].low <= 1e-7
            <= found["variation.read_noise_siemens"].high,
        ])  # fmt: skip
    assert (np.sum(inside, axis=0) >= 88).all()


def test_reads_at_one_conductance_do_not_tell_the_parts_apart():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(5), 20)
    found = read_noise(Rests(group, 1e-5 * (1 + 0.01 * rng.standard_normal(100)), group))
    assert not found.estimates["variation.read_noise_siemens"].identifiable
    assert "protocol read-noise" in found.warnings[0]


def test_pulses_alone_give_the_order_of_the_read_noise():
    device = device_of("linear", {"states": 60}, {"states": 60}, range_c2c=0.01, read_noise=0.02)
    r = measure(device, 4, 4, pulses=80, seed=1).measured.responses
    noise = noise_of_pulses(r)
    g = float(np.sqrt(np.mean(r.after_siemens**2)))
    assert np.sqrt(noise.variance(np.array([g])))[0] == pytest.approx(0.02 * g, rel=0.3)


@pytest.mark.parametrize(("shared", "own", "low", "high"), [(0.2, 0.0, 0.8, 1.01),
                                                            (0.0, 0.2, -0.5, 0.5)])  # fmt: skip
def test_correlations_between_parameters_are_those_of_the_devices(shared, own, low, high):
    device = device_of(
        "linear", {"states": 50}, {"states": 50}, step_c2c=0.3, read_noise=0.005,
        step_d2d=shared, step_d2d_branch=own,
    )  # fmt: skip
    measured = measure(device, 8, 5, cycles=3, pulses=80, seed=2).measured
    found = fit_devices(measured, models=["linear"], threads=1).correlations
    assert low < found["potentiation.rate", "depression.rate"] < high


def pairs_of_rows(r: Responses) -> Responses:
    """Return the same pulses with every other read left out."""
    first, second = slice(0, None, 2), slice(1, None, 2)
    every = r.only(np.arange(r.n) % 2 == 0)
    return replace(
        every, pulses=every.pulses * 2, before_siemens=r.before_siemens[first],
        after_siemens=r.after_siemens[second],
    )  # fmt: skip


def test_two_pulses_between_reads_give_the_same_response():
    device = device_of(
        "exponential", {"states": 80, "nu": 1.5}, {"states": 80, "nu": 1.5}, range_c2c=0.01,
        read_noise=0.01, step_d2d=0.1,
    )  # fmt: skip
    measured = measure(device, 5, 5, cycles=4, pulses=120, seed=3).measured
    thinned = replace(measured, responses=pairs_of_rows(measured.responses))
    found = fit_devices(thinned, models=["exponential"], threads=1).best.parameters
    for name, true in (("potentiation.states", 80), ("potentiation.nu", 1.5),
                       ("depression.states", 80), ("depression.nu", 1.5)):  # fmt: skip
        assert found[name].value == pytest.approx(true, rel=0.08), name
    assert found["variation.range_c2c"].value == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("name", ["linear", "soft-bounds", "querlioz", "power", "lookup"])
def test_the_score_is_the_slope_of_the_log_likelihood(name):
    law = LAWS[name]
    made_by, branch, rate, shape = {
        "linear": ("linear", {"states": 20}, 0.05, 0.0),
        "querlioz": ("querlioz", {"states": 40, "beta": 2.0}, 0.025, 2.0),
    }.get(name, ("exponential", {"states": 40, "nu": 2.0}, 0.05, 0.8))
    device = device_of(made_by, branch, branch, range_c2c=0.03, step_c2c=0.2, read_noise=0.01)
    r = measure(device, 2, 2, cycles=2, pulses=50, seed=4).measured.responses
    chains = chains_of(r, np.arange(4), 9e-6, by_chain=False)
    n_nodes = 5 if law.tabled else 0
    theta = np.zeros((4, kernels.N_PLAIN + 2 * n_nodes))
    theta[:, :10] = [rate, shape, rate, shape, 1 / 9, 10 / 9, 0.04, 9e-4, 1e-4, 1e-5]
    if law.tabled:
        theta[:, [0, 2]] = 1.0
        theta[:, 10:] = np.tile(np.linspace(0.05, 0.01, 5), 2)
    likelihood = Likelihood(chains, law.model, n_nodes, 1)
    terms = likelihood(theta)
    for k in (0, 1, 2, 3, 7, 8, *range(10, theta.shape[1])):
        if not law.shape and k in (1, 3):
            continue
        h = 1e-4 * theta[0, k]
        values = []
        for sign in (1, -1):
            moved = theta.copy()
            moved[:, k] += sign * h
            values.append(likelihood(moved, slopes=False).log_likelihood.sum())
        slope = (values[0] - values[1]) / (2 * h)
        error = np.sqrt(terms.information[:, k, k].sum())
        # Near the rails the belief's own slopes are approximate, by a fraction of a standard error:
        # up to 0.35 of it for the relative read noise over six seeds of the data, else 0.02.
        part = 0.4 if k == 8 else 0.1
        assert abs(terms.score[:, k].sum() - slope) < part * error + 0.08 * abs(slope), k


def test_two_halves_of_the_affine_law_are_the_exponential_curve_of_the_simulator():
    from hil_sim.kernels.law import affine_change
    from hil_sim.models.response import BranchTable, affine_rate

    a, b = affine_rate("exponential", BranchTable(states=60, nu=2.5), 2.5)
    first = affine_change(0.0, float(a), float(b), 1.0)
    theta = np.zeros(kernels.N_PLAIN)
    theta[0], theta[1] = first, -np.expm1(-2.5)
    u = np.linspace(0.0, 1.0, 11)
    expected = [affine_change(x, float(a), float(b), 1.0) for x in u]
    assert curve(LAWS["exponential"], theta, 0, True, u) == pytest.approx(expected, rel=1e-12)
