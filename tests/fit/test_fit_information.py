"""Score and information of the filter at the true parameters, over many simulated devices."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels import law as lw
from scenarios import SCENARIOS
from simulated_responses import Simulated, device_of, measure

from hil.fit import kernels
from hil.fit.chains import Likelihood
from hil.fit.laws import LAWS
from hil.fit.preparing import chains_of

ARRAYS = 60
SCALE = 9e-6


def true_theta(simulated: Simulated) -> np.ndarray:
    """Return what the filter takes, (n_devices, 10), of the simulator's own devices."""
    params = simulated.population.params.reshape(-1, 8)
    v = simulated.device.variation
    theta = np.zeros((len(params), kernels.N_PLAIN))
    for k, branch, of_a, of_b in (
        (kernels.RATE_UP, simulated.device.potentiation, lw.P_A_UP, lw.P_B_UP),
        (kernels.RATE_DOWN, simulated.device.depression, lw.P_A_DOWN, lw.P_B_DOWN),
    ):
        a, b = params[:, of_a], params[:, of_b]
        if simulated.device.model == "querlioz":
            theta[:, k] = a * b / np.expm1(b)
            theta[:, k + 1] = branch.beta
        else:
            fading = b > 1e-12
            theta[:, k] = a * np.where(fading, -np.expm1(-b) / np.where(fading, b, 1.0), 1.0)
            theta[:, k + 1] = b / a
    theta[:, kernels.LOW] = params[:, lw.P_MIN] / SCALE
    theta[:, kernels.HIGH] = params[:, lw.P_MAX] / SCALE
    theta[:, kernels.V_MULT], theta[:, kernels.V_ADD] = v.step_c2c**2, v.range_c2c**2
    theta[:, kernels.READ_REL] = v.read_noise**2
    return theta


@pytest.mark.parametrize("name", ["linear", "exponential", "querlioz", "soft-bounds"])
def test_scores_scatter_over_devices_by_what_the_information_says(name):
    scenario = SCENARIOS[name]
    device = device_of(
        scenario.model, scenario.potentiation, scenario.depression, **scenario.variation
    )  # fmt: skip
    law = LAWS[scenario.model]
    scores, total = [], np.zeros((kernels.N_PLAIN, kernels.N_PLAIN))
    for seed in range(ARRAYS):
        simulated = measure(
            device, *scenario.array, cycles=scenario.cycles, pulses=scenario.pulses,
            seed=100_000 + seed,
        )  # fmt: skip
        theta = true_theta(simulated)
        chains = chains_of(
            simulated.measured.responses, np.arange(len(theta)), SCALE, by_chain=False
        )  # fmt: skip
        terms = Likelihood(chains, law.model, 0, 1)(theta)
        scores.append(terms.score)
        total += terms.information.sum(0)
    columns = [kernels.RATE_UP, kernels.RATE_DOWN, kernels.V_ADD, kernels.READ_REL]
    columns += [kernels.V_MULT] if device.variation.step_c2c > 0.0 else []
    columns += [kernels.SHAPE_UP, kernels.SHAPE_DOWN] if law.shape else []
    score = np.concatenate(scores)[:, columns]
    covariance = np.linalg.inv(total[np.ix_(columns, columns)])
    # Errors of the estimates by the information, and by the scatter of the scores.
    told = np.sqrt(np.diag(covariance))
    scatter = np.sqrt(np.diag(covariance @ (score.T @ score) @ covariance))
    n = len(score)
    print(name, dict(zip(columns, np.round(scatter / told, 3).tolist(), strict=True)))
    # A standard deviation of n draws is off by 1/√(2n), here 1.6 %, more for heavier tails.
    assert scatter / told == pytest.approx(1.0, abs=6.0 / np.sqrt(2.0 * n))
    off = covariance @ score.sum(0) / told
    # In errors of these many devices; of one array's estimates an eighth of it.
    print(name, "off by", np.round(off, 2).tolist())
    assert np.abs(off).max() < 4.5
