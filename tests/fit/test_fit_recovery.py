"""Known parameters come back: intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scenarios import SCENARIOS, coverage
from simulated_responses import device_of, measure

from hil.fit.estimate import fit_devices
from hil.fit.measured import Measured

#: One for each model; the others are for the longer gate.
EVERY_COMMIT = ["linear", "exponential", "querlioz", "soft-bounds", "lookup"]


def report(name: str, found: dict[str, tuple[int, int, float]]) -> None:
    print(f"\n{name}: parameter, intervals that hold the truth, mean error in standard errors")
    for parameter, (hits, n, bias) in found.items():
        print(f"  {parameter:32s} {hits / n:6.1%} of {n}   {bias:+.2f}")


@pytest.mark.parametrize("name", EVERY_COMMIT)
def test_intervals_hold_the_truth_in_most_of_twenty_arrays(name):
    found = coverage(SCENARIOS[name], range(20))
    report(name, found)
    # Of 20 intervals of 95 % fewer than 14 hold the truth once in 3 million.
    assert {p: hits for p, (hits, _, _) in found.items() if hits < 14} == {}
    hits, n = (sum(row[k] for row in found.values()) for k in (0, 1))
    assert hits / n > 0.88


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_intervals_hold_the_truth_in_90_to_99_percent_of_200_arrays(name):
    found = coverage(SCENARIOS[name], range(200))
    report(name, found)
    shares = {parameter: hits / n for parameter, (hits, n, _) in found.items()}
    assert {p: share for p, share in shares.items() if not 0.90 <= share <= 0.99} == {}


@pytest.mark.slow
def test_an_array_of_1024_devices_gives_shapes_within_a_tenth_and_spreads_within_a_tenth_part():
    device = device_of(
        "exponential", {"states": 100, "nu": 2.0}, {"states": 100, "nu": 3.0},
        range_c2c=0.02, step_c2c=0.4, read_noise=0.01, step_d2d=0.15, g_max_d2d=0.05,
    )  # fmt: skip
    measured = measure(device, 32, 32, cycles=5, pulses=128, seed=7).measured
    found = fit_devices(measured, models=["exponential"]).best.parameters
    assert found["potentiation.nu"].value == pytest.approx(2.0, abs=0.1)
    assert found["depression.nu"].value == pytest.approx(3.0, abs=0.1)
    for name, true in (
        ("variation.range_c2c", 0.02), ("variation.step_c2c", 0.4), ("variation.step_d2d", 0.15),
        ("variation.g_max_d2d", 0.05), ("variation.read_noise", 0.01),
    ):  # fmt: skip
        assert found[name].value == pytest.approx(true, rel=0.1), name


@pytest.mark.slow
def test_spreads_of_shape_and_of_a_branch_come_back_within_a_tenth_part_from_1024_devices():
    # Of this size; where they are half of it, their own errors are nearly a tenth.
    device = device_of(
        "exponential", {"states": 100, "nu": 2.0}, {"states": 100, "nu": 3.0},
        range_c2c=0.02, step_c2c=0.4, read_noise=0.01, step_d2d_branch=0.2, nu_d2d=0.2,
    )  # fmt: skip
    measured = measure(device, 32, 32, cycles=5, pulses=128, seed=7).measured
    found = fit_devices(measured, models=["exponential"]).best.parameters
    for name in ("variation.step_d2d_branch", "variation.nu_d2d"):
        assert found[name].value == pytest.approx(0.2, rel=0.1), name


def ordinary_regression(measured: Measured) -> dict[int, float]:
    """Return NeuroSim's labels by least squares of steps on conductance, rails and all."""
    from hil_sim.models.conversions import label_of_nu

    r = measured.responses
    low, high = r.after_siemens.min(), r.after_siemens.max()
    labels = {}
    for sign in (1, -1):
        rows = r.polarity == sign
        u = (r.before_siemens[rows] - low) / (high - low)
        step = (r.after_siemens - r.before_siemens)[rows] / (high - low)
        u, step = (u, step) if sign > 0 else (1.0 - u, -step)
        slope, first = np.polyfit(u, step, 1)
        nu = -np.log(max(1.0 + slope / first, 1e-6))
        labels[sign] = sign * label_of_nu(float(nu))
    return labels


def silver_in_silicon(seed: int) -> Measured:
    """Return responses of 16 devices like Ag:a-Si: labels 2.4 and −4.88, c2c 3.5 %, 10 cycles."""
    from hil_sim.models.conversions import nu_of_label

    device = device_of(
        "exponential", {"states": 97, "nu": nu_of_label(2.4)},
        {"states": 100, "nu": nu_of_label(-4.88, depression=True)}, 3.077e-9, 3.846e-8,
        range_c2c=0.035,
    )  # fmt: skip
    return measure(device, 4, 4, cycles=10, pulses=100, seed=seed).measured


def test_labels_of_a_noisy_device_come_back_where_regression_fails():
    from hil_sim.models.conversions import label_of_nu

    regression, labels, downs, inside = [], [], [], 0
    for seed in range(6):
        measured = silver_in_silicon(seed)
        regression.append(ordinary_regression(measured)[1])
        found = fit_devices(measured, models=["soft-bounds"], seed=seed, threads=1).best.parameters
        up, down = found["potentiation.slope"], found["depression.slope"]
        labels.append(label_of_nu(float(-np.log1p(-up.value))))
        downs.append(down.value)
        inside += (up.low <= 0.8651 <= up.high) + (down.low <= 0.9932 <= down.high)
        assert found["variation.range_c2c"].value == pytest.approx(0.035, rel=0.03)
    print(f"\nlabel 2.4: regression {np.mean(regression):.2f}, fit {np.mean(labels):.2f}")
    assert np.mean(regression) > 2.4 + 0.5
    assert np.mean(labels) == pytest.approx(2.4, abs=0.15)
    assert np.mean(downs) == pytest.approx(0.9932, abs=0.015)  # labels of -4.0 to beyond -6
    assert inside >= 8


@pytest.mark.parametrize("name", ["linear", "querlioz", "exponential"])
def test_the_model_that_made_the_data_is_chosen(name):
    scenario = SCENARIOS[name]
    device = device_of(
        scenario.model, scenario.potentiation, scenario.depression, **scenario.variation
    )  # fmt: skip
    measured = measure(device, 6, 4, cycles=4, pulses=90, seed=3).measured
    result = fit_devices(measured, threads=1)
    assert result.best.model == name
    assert sorted(one.aic for one in result.models) == [one.aic for one in result.models]
    quantiles = result.best.residual_quantiles
    assert quantiles[0.025] == pytest.approx(-1.96, abs=0.12)
    assert quantiles[0.975] == pytest.approx(1.96, abs=0.12)


def test_devices_that_are_alike_have_no_spread_although_their_estimates_differ():
    device = device_of(
        "exponential", {"states": 60, "nu": 1.0}, {"states": 60, "nu": 1.0}, range_c2c=0.05,
        read_noise=0.01,
    )  # fmt: skip
    lows = [
        fit_devices(
            measure(device, 4, 5, cycles=4, pulses=90, seed=seed).measured,
            models=["soft-bounds"], threads=1,
        ).best.parameters["variation.step_d2d"].low
        for seed in range(8)
    ]  # fmt: skip
    assert np.sum(np.array(lows) == 0.0) >= 7
