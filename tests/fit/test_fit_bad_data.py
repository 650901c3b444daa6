"""What a fit says of data that does not hold what it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_responses import device_of, measure

from hil.errors import FitError
from hil.fit.estimate import fit_devices
from hil.fit.measured import COMPLIANCE, Measured
from hil.fit.result import GOOD, STUCK_HIGH, STUCK_LOW

DEVICE = device_of(
    "exponential", {"states": 40, "nu": 2.0}, {"states": 40, "nu": 2.0},
    range_c2c=0.02, read_noise=0.01, step_d2d=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(DEVICE, 4, 4, cycles=4, pulses=60, seed=5).measured


def changed(measured: Measured, **columns: np.ndarray) -> Measured:
    return replace(measured, responses=replace(measured.responses, **columns))


def fit(measured: Measured, model: str = "soft-bounds"):
    return fit_devices(measured, models=[model], threads=1)


def test_without_a_depression_branch_only_potentiation_is_fitted_and_said(measured):
    only_up = measured.responses.only(measured.responses.polarity > 0)
    result = fit(replace(measured, responses=only_up), "exponential")
    assert result.best.parameters["potentiation.nu"].value == pytest.approx(2.0, abs=0.4)
    assert not any(name.startswith("depression") for name in result.best.parameters)
    assert any("no depression pulses" in text and "ltp-ltd" in text for text in result.warnings)


def test_one_device_gives_its_parameters_and_no_spread_between_devices(measured):
    alone = measured.responses.only(measured.responses.device == 3)
    result = fit(replace(measured, responses=alone), "exponential")
    estimate = result.best.parameters["potentiation.states"]
    assert estimate.low < 42
    assert estimate.high > 38
    assert not any(name.endswith("_d2d") for name in result.best.parameters)
    assert any("one device only" in text for text in result.warnings)


def test_few_devices_still_have_finite_intervals(measured):
    few = measured.responses.only(measured.responses.device < 3)
    estimate = fit(replace(measured, responses=few)).best.parameters["potentiation.states"]
    assert estimate.low < estimate.value < estimate.high < np.inf


def test_devices_that_never_answer_are_refused_with_the_noise_they_show(measured):
    r = measured.responses
    rng = np.random.default_rng(1)
    still = 2e-6 * (1 + 0.01 * rng.standard_normal(r.n + 1))
    with pytest.raises(FitError, match=r"none of the 16 devices answers .* pulse-map"):
        fit(changed(measured, before_siemens=still[:-1], after_siemens=still[1:]))


def test_stuck_devices_are_left_out_and_counted_with_an_interval(measured):
    r = measured.responses
    before, after = r.before_siemens.copy(), r.after_siemens.copy()
    rng = np.random.default_rng(2)
    for own, g in ((2, 1e-6), (9, 1e-5)):
        rows = r.device == own
        reads = g * (1 + 0.01 * rng.standard_normal(rows.sum() + 1))
        before[rows], after[rows] = reads[:-1], reads[1:]
    result = fit(changed(measured, before_siemens=before, after_siemens=after))
    assert result.stuck[2] == STUCK_LOW
    assert result.stuck[9] == STUCK_HIGH
    assert (np.delete(result.stuck, [2, 9]) == GOOD).all()
    fraction = result.common["variation.stuck_at_max"]
    assert fraction.value == 1 / 16
    assert 0.0 < fraction.low < 1 / 16 < fraction.high < 0.35


def test_readings_that_are_not_numbers_and_compliance_are_left_out_and_counted(measured):
    r = measured.responses
    after = r.after_siemens.copy()
    after[100:150] = np.nan
    flag = r.flag.copy()
    flag[1000:1030] |= COMPLIANCE
    result = fit(changed(measured, after_siemens=after, flag=flag))
    assert result.left_out["not read"] == 50
    assert result.left_out["compliance met"] == 30
    assert result.best.n_transitions == r.n - 80
    whole = fit(measured).best.parameters["potentiation.states"].value
    assert result.best.parameters["potentiation.states"].value == pytest.approx(whole, rel=0.02)


def test_nothing_but_missing_reads_is_refused_with_the_count(measured):
    nothing = np.full(measured.responses.n, np.nan)
    with pytest.raises(FitError, match=r"none of the \d+ pulses can be used \(\d+ not read\)"):
        fit(changed(measured, after_siemens=nothing))


def test_pulses_of_mixed_amplitude_are_refused_with_what_to_do(measured):
    r = measured.responses
    volts = r.amplitude_v * np.random.default_rng(3).choice([0.8, 0.9, 1.0], r.n)
    with pytest.raises(FitError, match=r"potentiation pulses of 3 kinds .* pulse-map"):
        fit(changed(measured, amplitude_v=volts))


def test_a_few_pulses_of_another_amplitude_are_left_out(measured):
    volts = measured.responses.amplitude_v.copy()
    volts[:7] *= 0.8
    assert fit(changed(measured, amplitude_v=volts)).left_out["another amplitude or width"] == 7


def test_without_reads_at_rest_the_read_noise_comes_from_the_pulses(measured):
    result = fit(replace(measured, rests=None), "exponential")
    estimate = result.common["variation.read_noise"]
    assert estimate.low < 0.01 < estimate.high
    assert any("protocol read-noise" in text for text in result.warnings)


def test_what_was_not_measured_is_named_with_the_protocol_that_would(measured):
    text = " ".join(fit(measured).warnings)
    assert "pulse-map" in text
    assert "protocol retention" in text


def test_ends_that_were_not_reached_are_marked_as_not_identifiable():
    device = device_of(
        "linear", {"states": 200}, {"states": 200}, step_c2c=0.1, read_noise=0.005, step_d2d=0.1
    )  # fmt: skip
    result = fit(measure(device, 4, 4, cycles=3, pulses=60, seed=1).measured, "linear")
    end = result.best.parameters["range.g_max"]
    assert not end.identifiable
    assert end.high == np.inf
    assert any("did not reach the upper end" in text for text in result.warnings)


def test_an_unknown_model_is_refused_with_those_there_are(measured):
    with pytest.raises(FitError, match="no model cubic; there are linear, exponential"):
        fit(measured, "cubic")


def test_results_do_not_depend_on_the_number_of_threads(measured):
    one = fit_devices(measured, models=["exponential"], threads=1).best
    two = fit_devices(measured, models=["exponential"], threads=2).best
    assert one.parameters == two.parameters
