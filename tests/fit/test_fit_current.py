"""The current–voltage law from sweeps: which law, its value, and what the data do not tell."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from recorded import bench, hil_json, run

from hil.fit.current import agrees, current_law
from hil.fit.measured import Sweeps

ONE_WAY = np.concatenate([np.arange(1, 11), np.arange(9, 0, -1)]) * 0.05
BOTH_WAYS = np.array([-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
LAWS = {
    "sinh": ("current.scale", 0.6, lambda v: np.sinh(v / 0.6)),
    "saturating": ("current.scale", 0.4, lambda v: np.tanh(v / 0.4)),
    "rectifying": ("current.ratio", 30.0, lambda v: np.where(v > 0, v, v / 30.0)),
}


def sweeps(phi, *, volts=BOTH_WAYS, devices=16, noise=0.01, seed=1):
    rng = np.random.default_rng(seed)
    g = rng.uniform(1e-6, 2e-5, devices)
    current = phi(volts)[:, None] * g * (1 + noise * rng.standard_normal((volts.size, devices)))
    device = np.tile(np.arange(devices), volts.size)
    return Sweeps(device, np.repeat(volts, devices), current.ravel(), device)


@pytest.mark.parametrize("law", LAWS)
def test_the_law_and_its_value_are_found(law):
    name, truth, phi = LAWS[law]
    found = current_law(sweeps(phi))
    assert found.law == law
    assert found.estimates[name].value == pytest.approx(truth, rel=0.1)
    assert found.estimates[name].low < truth < found.estimates[name].high
    assert not found.warnings


@pytest.mark.parametrize(("devices", "noise"), [(1, 0.01), (3, 0.01), (12, 0.02)])
def test_the_intervals_hold_the_truth_as_often_as_they_say(devices, noise):
    """95 % intervals over 100 data sets each, so 89 … 99 % within 2.5 standard errors."""
    hits = 0
    for seed in range(100):
        data = sweeps(LAWS["sinh"][2], volts=ONE_WAY, devices=devices, noise=noise, seed=seed)
        hits += 1 / 0.6**2 in current_law(data).estimates["derived.current_curvature"]
    assert 89 <= hits <= 100


def test_an_ohmic_device_is_ohmic_and_the_least_scale_is_told():
    found = current_law(sweeps(lambda v: v, volts=ONE_WAY, noise=0.02))
    assert found.law == "ohmic"
    assert "current.scale" not in found.estimates
    assert 0.0 in found.estimates["derived.current_curvature"]
    assert any("v0 of sinh above" in text and "iv-sweep" in text for text in found.warnings)


def test_a_device_that_switches_in_its_sweep_is_left_out():
    data = sweeps(LAWS["sinh"][2], volts=ONE_WAY)
    back = np.repeat(np.arange(ONE_WAY.size) >= 12, 16)
    switched = (data.device < 3) & back
    data.current_a[switched] *= 3.0
    found = current_law(data)
    assert any(text.startswith("current: 3 devices changed") for text in found.warnings)
    assert found.estimates["current.scale"].value == pytest.approx(0.6, rel=0.1)


def test_two_voltages_do_not_tell_a_law():
    found = current_law(sweeps(LAWS["sinh"][2], volts=np.array([0.1, 0.2])))
    assert found.law == ""
    assert any("fewer than 3 voltages" in text for text in found.warnings)


def test_currents_of_the_wrong_sign_or_none_are_no_law():
    data = sweeps(lambda v: -v, volts=ONE_WAY)
    assert current_law(data).law == ""


def test_a_law_that_misses_the_currents_is_told():
    found = current_law(sweeps(lambda v: np.sign(v) * np.abs(v) ** 3, volts=ONE_WAY))
    assert any("misses the measured currents by up to" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("table", "expected"),
    [({"law": "sinh", "scale": "0.6 V"}, True), ({"law": "sinh", "scale": "0.3 V"}, False),
     ({"law": "ohmic"}, False), ({"law": "saturating", "scale": "0.6 V"}, False),
     ({"law": "rectifying", "ratio": 5.0}, False)],
    ids=["sinh", "other sinh", "ohmic", "saturating", "rectifying"],
)  # fmt: skip
def test_a_law_agrees_within_what_was_measured(table, expected):
    assert agrees(table, current_law(sweeps(LAWS["sinh"][2])).estimates) is expected


def test_a_sweep_beside_the_curves_is_written_into_the_device_file(tmp_path):
    """The simulated devices have sinh with 0.7 V; the sweep goes to 0.5 V."""
    folder = bench(tmp_path, variation="step_c2c = 0.1\nread_noise = 0.003")
    curves = run(folder, "ltp-ltd", cycles=3, pulses=20)
    volts = [f"{v:.2f} V" for v in np.arange(0.05, 0.51, 0.05)]
    sweep = run(folder, "iv-sweep", cells="all", there_and_back=True, voltages=volts)
    found = hil_json("fit", curves, sweep, "-o", "f.toml", "--bootstrap", 20, cwd=folder)
    scale = found["common"]["current.scale"]
    assert scale["low"] < 0.7 < scale["high"] < scale["low"] + 0.05
    made = tomllib.loads((folder / "f.toml").read_text(encoding="utf-8"))
    assert made["current"]["law"] == "sinh"
    assert "[current]" not in made["provenance"]
    assert made["fit"]["interval"]["current.scale"][0].endswith("V")
