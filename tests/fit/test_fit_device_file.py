"""From a fit to a device file: what is written, what stands in, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.models.device import Device
from hil_sim.models.text import device_toml

from hil.config.toml_file import validate_text
from hil.errors import FitError
from hil.fit.device_file import fitted_device, model_named
from hil.fit.measured import Disturbs, Measured, PulseMaps, Responses
from hil.fit.reading import Source, SourceRun
from hil.fit.result import DeviceEstimates, Estimate, FitResult, ModelFit, StepTable

OP = {"read_v": 0.1, "read_s": 1e-5, "potentiate_v": 1.2, "depress_v": -1.0, "write_s": 1e-6,
      "gap_s": 1e-6, "compliance_a": "inf", "inhibit": "v/2", "coding": "width"}  # fmt: skip
BASE = """schema = 1
name = "base"
model = "linear"
range = { g_min = "1 uS", g_max = "9 uS" }
potentiation = { states = 10 }
depression = { states = 10 }
pulse = { potentiate_voltage = "1.2 V", depress_voltage = "-1 V", width = "1 us", \
potentiate_threshold = "0.7 V", depress_threshold = "-0.65 V" }
current = { law = "sinh", scale = "0.5 V" }
drive = {}
"""


def exact(value, low=None, high=None, **more):
    return Estimate(value, value if low is None else low, value if high is None else high, **more)


EXPONENTIAL = {
    "range.g_min": exact(2e-6, 1.9e-6, 2.1e-6, unit="S"),
    "range.g_max": exact(20e-6, 19e-6, 21e-6, unit="S"),
    "potentiation.states": exact(47.3, 45, 50), "potentiation.nu": exact(2.1, 1.9, 2.3),
    "depression.states": exact(39.6, 38, 41), "depression.nu": exact(4.2, 4.0, 4.4),
    "variation.step_c2c": exact(0.1, 0.09, 0.11), "variation.step_d2d": exact(0.2, 0.1, 0.3),
    "derived.asymmetry": exact(0.3, 0.2, 0.4),
}  # fmt: skip


def model_fit(name="exponential", parameters=None, aic=-10.0):
    g = np.linspace(2e-6, 20e-6, 5)
    curve = StepTable(g, np.full(5, 4e-7), np.full(5, 5e-8))
    nothing = DeviceEstimates((), np.empty((2, 0)), np.empty((2, 0)))
    return ModelFit(
        name, EXPONENTIAL if parameters is None else parameters, 6, 100, -0.5 * aic, aic, aic, {},
        {"potentiation": curve, "depression": curve}, nothing, {}, True,
    )  # fmt: skip


def result(*models, common=None, law="", **more):
    return FitResult(models or (model_fit(),), common or {}, {}, np.zeros(2, np.int8), **more,
                     pulse_law=law)  # fmt: skip


def responses(v=(1.2, -1.0), width=(1e-6, 1e-6)):
    n = 8
    sign = np.tile([1, -1], n // 2)
    up = sign > 0
    return Responses(
        np.array([[0, 0], [0, 1]]), np.zeros(n, np.int64), np.zeros(n, np.int64), sign,
        np.ones(n, np.int64), np.where(up, *v), np.where(up, *width),
        np.full(n, 2e-6), np.where(up, 20e-6, 2e-6), np.arange(n), np.zeros(n, np.uint8),
    )  # fmt: skip


def source(base=BASE, measured=None, **more):
    one = SourceRun("runs/x", "id", "ltp-ltd", "ltp-ltd", "0" * 64, False, "done")
    return Source(measured or Measured(responses(**more)), (one,), dict(OP), base, "1R", 5)


def test_parameters_stand_where_the_device_file_has_them():
    made = fitted_device(result(), source(), None, "mine")
    d = made.device
    assert (d.name, d.model) == ("mine", "exponential")
    assert (d.range.g_min, d.potentiation.states, d.depression.nu) == (2e-6, 47.3, 4.2)
    assert (d.variation.step_c2c, d.variation.step_d2d) == (0.1, 0.2)
    assert d.current.law == "sinh"
    assert d.pulse.potentiate_threshold == 0.7
    assert "not fitted" in d.provenance


def test_the_text_is_read_back_as_the_same_device():
    made = fitted_device(result(), source(), None, "mine")
    assert validate_text(made.text, Device) == made.device
    assert "nu = 2.1  # 1.9 … 2.3" in made.text
    assert made.device.fit.interval["range.g_min"] == ("1.9 uS", "2.1 uS")
    assert made.device.fit.derived["asymmetry"] == (0.3, 0.2, 0.4)


def test_every_preset_is_read_back_from_its_text():
    from hil_sim.models.device import load_device, preset_names

    for name in preset_names():
        device = load_device(name)
        assert validate_text(device_toml(device, ["a comment"]), Device) == device


def test_a_spread_that_may_be_zero_is_zero_and_that_is_said():
    some = {**EXPONENTIAL, "variation.step_d2d": exact(0.2, 0.0, 0.5)}
    made = fitted_device(result(model_fit(parameters=some)), source(), None, "mine")
    assert made.device.variation.step_d2d == 0.0
    assert any("not told from zero" in text and "step_d2d" in text for text in made.warnings)
    assert made.device.fit.interval["variation.step_d2d"] == (0.0, 0.5)


def test_one_kind_of_cycle_to_cycle_spread_stays_when_neither_is_told_from_zero():
    some = {**EXPONENTIAL, "variation.step_c2c": exact(0.01, 0.0, 0.3),
            "variation.range_c2c": exact(0.03, 0.0, 0.04)}  # fmt: skip
    v = fitted_device(result(model_fit(parameters=some)), source(), None, "m").device.variation
    assert (v.step_c2c, v.range_c2c) == (0.0, 0.03)


def test_parameters_that_are_not_identifiable_are_noted_not_used():
    some = {**EXPONENTIAL, "variation.nu_d2d": exact(9.0, 1.0, 20.0, identifiable=False)}
    made = fitted_device(result(model_fit(parameters=some)), source(), None, "mine")
    assert made.device.variation.nu_d2d == 0.0
    assert "variation.nu_d2d" in made.device.fit.derived


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("power", {}),
        ("querlioz", {"potentiation.beta": exact(-2.0), "depression.beta": exact(1.0)}),
        ("soft-bounds", {"potentiation.slope": exact(1.2), "depression.slope": exact(0.5)}),
    ],
)  # fmt: skip
def test_a_model_that_a_file_cannot_hold_is_written_as_its_table(name, some):
    made = fitted_device(
        result(model_fit(name, {**EXPONENTIAL, **some})), source(), None, "mine"
    )  # fmt: skip
    assert made.device.model == "lookup"
    assert made.device.potentiation.delta_g == pytest.approx([4e-7] * 5)
    assert any("look-up table" in text for text in made.warnings)


def test_a_missing_branch_is_stood_in_for():
    some = {k: e for k, e in EXPONENTIAL.items() if not k.startswith("depression")}
    device = fitted_device(result(model_fit(parameters=some)), source(), None, "mine").device
    assert device.depression == device.potentiation


def test_pulses_are_those_that_were_delivered():
    made = fitted_device(result(), source(v=(1.3, -0.9), width=(2e-6, 3e-6)), None, "mine")
    d = made.device
    assert (d.pulse.potentiate_voltage, d.pulse.depress_voltage, d.pulse.width) == (1.3, -0.9, 2e-6)
    assert (d.drive.potentiate_voltage, d.drive.write_width) == (1.3, 2e-6)
    assert any("differ in width" in text for text in made.warnings)
    assert any("thresholds are assumed" in text for text in made.warnings)  # another pulse


def test_fitted_thresholds_are_written():
    common = {"pulse.potentiate_threshold": exact(0.8, 0.75, 0.85, unit="V"),
              "pulse.time_exponent": exact(0.9, 0.8, 1.0)}  # fmt: skip
    p = fitted_device(result(common=common, law="power"), source(), None, "mine").device.pulse
    assert (p.potentiate_threshold, p.depress_threshold, p.time_exponent) == (0.8, -0.8, 0.9)


SOFT = {"pulse.potentiate_scale": exact(0.2, 0.1, 0.3, unit="V"),
        "pulse.depress_scale": exact(0.3, 0.2, 0.4, unit="V")}  # fmt: skip


def watched(moved):
    """Pulse maps, and 20 half-selected devices that moved by ``moved`` siemens."""
    n = np.arange(20)
    disturb = Disturbs(
        "half-select", np.repeat(n, 2), np.tile([0, 1000], 20),
        2e-6 + np.tile([0.0, 1.0], 20) * (moved + 1e-8 * np.sin(np.repeat(n, 2))),
        np.ones(40, dtype=bool),
    )  # fmt: skip
    empty = np.empty(0, np.int64)
    maps = PulseMaps(empty, empty, np.empty(0), np.empty(0), empty, np.empty(0), empty)
    return Measured(responses(), pulse_maps=maps, disturbs=(disturb,))


def test_a_law_without_threshold_is_written_where_half_selected_devices_moved():
    made = fitted_device(
        result(common=SOFT, law="sinh"), source(measured=watched(2e-6)), None, "mine"
    )  # fmt: skip
    assert (made.device.pulse.law, made.device.pulse.potentiate_scale) == ("sinh", 0.2)


def test_a_law_without_threshold_gives_way_where_half_selected_devices_stayed():
    made = fitted_device(
        result(common=SOFT, law="sinh"), source(measured=watched(0.0)), None, "mine"
    )  # fmt: skip
    assert (made.device.pulse.law, made.device.pulse.potentiate_threshold) == ("power", 0.7)
    assert any("were not seen to move" in text for text in made.warnings)


def test_without_a_device_file_of_the_station_thresholds_are_assumed():
    d = fitted_device(result(), source(base=""), None, "mine").device
    assert (d.pulse.potentiate_threshold, d.pulse.depress_threshold) == (0.72, -0.6)
    assert (d.current.law, d.current.read_voltage) == ("ohmic", 0.1)


@pytest.mark.parametrize(
    ("nu", "spread", "written"),
    [(exact(0.001, -0.001, 0.003), exact(0.001, 0.0, 0.002), False),
     (exact(0.02, 0.01, 0.03), exact(0.0, 0.0, 0.002), True),
     (exact(0.001, -0.001, 0.003), exact(0.01, 0.005, 0.02), True)],
    ids=["not told from none", "drift", "only some drift"],
)  # fmt: skip
def test_drift_is_written_where_the_data_tells_it_from_none(nu, spread, written):
    common = {"drift.nu": nu, "drift.nu_d2d": spread, "drift.t0": exact(1.0, unit="s")}
    made = fitted_device(result(common=common), source(), None, "mine")
    assert (made.device.drift is not None) is written


CURVATURE = "derived.current_curvature"


def test_a_current_law_that_the_sweeps_neither_show_nor_exclude_is_kept():
    fits = {CURVATURE: exact(2.0, -1.0, 5.0)}  # the station's device has 1/(0.5 V)² = 4
    made = fitted_device(result(common=fits, current_law="ohmic"), source(), None, "mine")
    assert (made.device.current.law, made.device.current.scale) == ("sinh", 0.5)
    assert "[current] from the device file of the station" in made.device.provenance


def test_a_current_law_that_the_sweeps_exclude_is_not_kept():
    fits = {CURVATURE: exact(0.1, -1.0, 1.2)}
    made = fitted_device(result(common=fits, current_law="ohmic"), source(), None, "mine")
    assert made.device.current.law == "ohmic"
    assert "not fitted" not in made.device.provenance


def test_a_model_that_was_not_fitted_is_refused():
    with pytest.raises(FitError, match="no model 'linear' was fitted; there are exponential"):
        model_named(result(), "linear")


def test_estimates_that_make_no_device_are_refused_with_the_field():
    some = {**EXPONENTIAL, "range.g_max": exact(1e-6)}
    with pytest.raises(FitError, match=r"no device: .*g_max"):
        fitted_device(result(model_fit(parameters=some)), source(), None, "mine")
