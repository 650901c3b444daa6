"""Thresholds, widths and retention come back from simulated pulse maps and reads over time."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from simulated_responses import device_of, measure, pulse_map, retention_reads

from hil.fit.estimate import fit_devices
from hil.fit.measured import Disturbs
from hil.fit.noise import ReadNoise
from hil.fit.result import FitResult
from hil.fit.retention import retention

VOLTS = {"power": [0.6, 0.7, 0.8, 0.9, 1.0, 1.1], "sinh": [0.2, 0.35, 0.5, 0.7, 0.85, 1.0]}
WIDTHS = [0.5, 1.0, 2.0]


def device(law: str):
    made = device_of(
        "exponential", {"states": 40, "nu": 2.0}, {"states": 40, "nu": 2.0},
        range_c2c=0.01, read_noise=0.005, step_d2d=0.1, threshold_d2d=0.05,
    )  # fmt: skip
    pulse = {
        "potentiate_voltage": "2 V", "depress_voltage": "-1.8 V", "width": "1 us", "law": law,
        "time_exponent": 0.7,
    } | (
        {"potentiate_threshold": "1.1 V", "depress_threshold": "-0.9 V",
         "potentiate_exponent": 2.0, "depress_exponent": 1.5}
        if law == "power" else {"potentiate_scale": "0.5 V", "depress_scale": "0.6 V"}
    )  # fmt: skip
    values = made.model_dump(by_alias=True) | {"pulse": pulse}
    values["drive"] |= {"potentiate_voltage": "2 V", "depress_voltage": "-1.8 V"}
    return type(made).model_validate({k: v for k, v in values.items() if v is not None})


@cache
def fitted(law: str, seed: int = 3) -> FitResult:
    simulated = measure(device(law), 5, 5, cycles=4, pulses=70, seed=seed)
    maps = pulse_map(simulated, VOLTS[law], WIDTHS, pulses=12, seed=seed)
    return fit_devices(
        replace(simulated.measured, pulse_maps=maps), models=["exponential"], threads=1
    )


@pytest.mark.parametrize("law", ["power", "sinh"])
def test_the_amplitude_law_is_recognised(law):
    assert fitted(law).pulse_law == law


@pytest.mark.parametrize(
    ("law", "name", "true"),
    [
        ("power", "pulse.potentiate_threshold", 1.1),
        ("power", "pulse.depress_threshold", -0.9),
        ("power", "pulse.potentiate_exponent", 2.0),
        ("power", "pulse.depress_exponent", 1.5),
        ("power", "pulse.time_exponent", 0.7),
        ("power", "variation.threshold_d2d", 0.05),
        ("sinh", "pulse.potentiate_scale", 0.5),
        ("sinh", "pulse.depress_scale", 0.6),
        ("sinh", "pulse.time_exponent", 0.7),
    ],
)
def test_a_pulse_map_gives_the_sensitivity_back(law, name, true):
    estimate = fitted(law).common[name]
    assert estimate.low <= true <= estimate.high
    assert abs(estimate.value / true - 1) < (0.4 if name.startswith("variation") else 0.1)


@pytest.mark.parametrize(("moved", "law"), [(0.0, "power"), (1e-5, "sinh")], ids=["still", "moved"])
def test_devices_that_half_selection_does_not_move_have_a_threshold(moved, law):
    """The pulse map is that of a law without one; what half-selected devices did decides."""
    simulated = measure(device("sinh"), 5, 5, cycles=3, pulses=70, seed=3)
    maps = pulse_map(simulated, VOLTS["sinh"], [1.0], pulses=12, seed=3)
    n = np.arange(20)
    g = 2e-5 * (1 + 0.001 * np.sin(np.arange(40.0))) + moved * np.tile([0.0, 1.0], 20)
    watched = Disturbs("half-select", np.repeat(n, 2), np.tile([0, 99], 20), g, np.ones(40, bool))
    measured = replace(simulated.measured, pulse_maps=maps, disturbs=(watched,))
    assert fit_devices(measured, models=["exponential"], threads=1).pulse_law == law


def test_a_map_of_two_amplitudes_says_that_three_are_needed():
    simulated = measure(device("power"), 3, 3, cycles=3, pulses=70, seed=2)
    maps = pulse_map(simulated, [0.9, 1.0], [1.0], seed=2)
    result = fit_devices(
        replace(simulated.measured, pulse_maps=maps), models=["soft-bounds"], threads=1
    )
    assert "pulse.potentiate_threshold" not in result.common
    assert any("fewer than 3 amplitudes" in text for text in result.warnings)


def test_retention_gives_the_exponent_and_its_spread_without_the_estimation_variance():
    times = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    inside = []
    for seed in range(40):
        reads = retention_reads(24, 0.03, 0.004, 0.01, times, seed)
        found, _ = retention(reads, ReadNoise(1e-4, 0.0, {}))
        inside.append([
            found["drift.nu"].low <= 0.03 <= found["drift.nu"].high,
            found["drift.nu_d2d"].low <= 0.004 <= found["drift.nu_d2d"].high,
        ])  # fmt: skip
    assert (np.sum(inside, axis=0) >= 34).all()


def test_devices_that_drift_alike_have_no_spread_of_the_exponent():
    times = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    values = [
        retention(retention_reads(24, 0.03, 0.0, 0.01, times, seed), ReadNoise(1e-4, 0.0, {}))[0][
            "drift.nu_d2d"
        ].low
        for seed in range(20)
    ]
    assert np.sum(np.array(values) == 0.0) >= 17


def test_reads_at_one_time_say_nothing_of_drift():
    found, warnings = retention(
        retention_reads(5, 0.03, 0.0, 0.01, np.array([1.0]), 1), ReadNoise(1e-4, 0.0, {})
    )
    assert not found
    assert "protocol retention" in warnings[0]
