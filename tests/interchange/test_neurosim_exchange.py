"""Devices to and from NeuroSim's values."""

from __future__ import annotations

import re

import numpy as np
import pytest
from devices import MODELS, U, device
from hil_sim.models.conversions import label_of_nu, nu_of_label
from hil_sim.models.device import load_device, preset_names
from hil_sim.models.electrical import VariationTable

from hil.errors import ConfigError
from hil.interchange.neurosim import export, import_
from hil.interchange.steps import step


def values_of(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = ([^;]+);", text, flags=re.MULTILINE))


NAMED = [n for n in preset_names() if load_device(n).model in ("linear", "exponential")]


@pytest.mark.parametrize("name", NAMED)
def test_a_preset_with_labels_survives_the_way_there_and_back(name):
    preset = load_device(name)
    after = import_(export(preset).files[""], preset).device
    assert after.model == preset.model
    assert after.range == preset.range
    for branch in ("potentiation", "depression"):
        got, want = getattr(after, branch), getattr(preset, branch)
        assert got.states == want.states
        assert got.nu == (want.nu and pytest.approx(want.nu, rel=1e-9))
    for table in ("pulse", "current", "drive"):
        got, want = getattr(after, table).model_dump(), getattr(preset, table).model_dump()
        if table == "drive":  # the window follows the range
            for field in ("g_min", "g_max"):
                got.pop(field), want.pop(field)
        assert got == want
    for field in ("range_c2c", "read_noise", "g_min_d2d", "g_max_d2d"):
        assert getattr(after.variation, field) == pytest.approx(getattr(preset.variation, field))


@pytest.mark.parametrize("model", list(MODELS))
def test_a_response_comes_back_by_labels_or_by_measured_arrays(model):
    before = device(model)
    made = export(before)
    after = import_(made.files[""], before).device
    by_labels = model not in ("querlioz", "lookup")
    assert (made.kind == "RealDevice") == (model not in ("querlioz", "lookup"))
    if model in ("querlioz", "lookup", "soft-bounds", "sloped"):
        assert any("off by up to" in line for line in made.approximate)
    for up in (True, False):
        want = step(before, up, U)
        # Labels are of whole numbers of pulses; arrays bend where the curve's own points are.
        near = {"linear": 1e-9, "growing": 1e-9}.get(model, 1e-2)
        inside = (U > 0.02) & (U < 0.98) if not by_labels else U >= 0
        error = np.abs(step(after, up, U) - want)[inside].max() / want.max()
        assert error <= near, (up, error)


def test_labels_are_the_published_ones():
    # Woo et al. 2016 as the NeuroSim manual lists it: 40 states, labels 1.94 and -0.61, c2c 5 %.
    values = values_of(export(load_device("hfox")).files[""])
    assert float(values["NL_LTP"]) == pytest.approx(1.94, abs=5e-5)
    assert float(values["NL_LTD"]) == pytest.approx(-0.61, abs=5e-5)
    assert values["maxNumLevelLTP"] == "40"
    span = float(values["maxConductance"]) - float(values["minConductance"])
    assert float(values["sigmaCtoC"]) == pytest.approx(0.05 * span)
    assert values["cmosAccess"] == "true"


def test_the_spread_of_labels_is_that_of_devices_drawn_with_nu_d2d():
    before = device("exponential", nu_d2d=0.1)
    values = values_of(export(before).files[""])
    nus = before.potentiation.nu * (1 + 0.1 * np.random.default_rng(0).standard_normal(4000))
    others = before.depression.nu * (1 + 0.1 * np.random.default_rng(1).standard_normal(4000))
    drawn = [np.std([label_of_nu(nu) for nu in branch]) for branch in (nus, others)]
    assert float(values["sigmaDtoD"]) == pytest.approx(np.mean(drawn), rel=0.05)
    after = import_(export(before).files[""], before)
    assert after.device.variation.nu_d2d == pytest.approx(0.1, rel=5e-3)  # 63.5 pulses become 64


CELL_CPP = """
/* Ideal device */
IdealDevice::IdealDevice(int x, int y) { maxConductance = 5e-6; maxNumLevelLTP = 64; }
RealDevice::RealDevice(int x, int y) {
	this->x = x; this->y = y;	// location = column, row
	maxConductance = 1/100e3;		// Maximum cell conductance (S)
	minConductance = maxConductance / 10;	// Minimum
	readVoltage = 0.5;
	writeVoltageLTP = 3.2;	writeVoltageLTD = 2.8;
	writePulseWidthLTP = 300e-6;	writePulseWidthLTD = 300e-6;
	maxNumLevelLTP = 97; maxNumLevelLTD = 100;
	nonlinearIV = false;
	if (nonlinearIV) {
		double Vr_exp = readVoltage;
		maxConductance = NonlinearConductance(maxConductance, NL, writeVoltageLTP);
	}
	readNoise = true; sigmaReadNoise = 0.02;
	NL_LTP = 2.4;	// LTP nonlinearity
	NL_LTD = -4.88;	// LTD nonlinearity
	sigmaCtoC = 0.035 * (maxConductance - minConductance);
	cmosAccess = true;
	resistanceAccess = 15e3;
}
MeasuredDevice::MeasuredDevice(int x, int y) { readVoltage = 0.1; maxNumLevelLTP = 5; }
"""


def test_a_cell_cpp_is_read_without_being_compiled():
    made = import_(CELL_CPP, load_device("ideal"), "Cell.cpp")
    d = made.device
    assert d.range.g_max == pytest.approx(1e-5)
    assert d.range.g_min == pytest.approx(1e-6)
    assert d.potentiation.nu == pytest.approx(nu_of_label(2.4))
    assert d.depression.nu == pytest.approx(nu_of_label(-4.88, depression=True))
    assert d.depression.nu > 4
    assert (d.potentiation.states, d.depression.states) == (97, 100)
    assert d.variation.range_c2c == pytest.approx(0.035)
    assert d.variation.read_noise == pytest.approx(0.02)
    assert d.pulse.potentiate_voltage == pytest.approx(3.2)
    assert d.pulse.depress_voltage == pytest.approx(-2.8)
    # ideal's threshold of 1.2 V at 2 V keeps its place.
    assert d.pulse.potentiate_threshold == pytest.approx(1.2 * 1.6)
    assert any("RealDevice" in line for line in made.assumed)
    assert any("potentiate_threshold" in line for line in made.approximate)
    assert any("select device" in line for line in made.approximate)


def test_arguments_of_the_training_script_are_read_too():
    text = """
args.max_level = 32           # Maximum number of conductance states
args.nonlinearityLTP = 1.75   # nonlinearity in LTP
args.nonlinearityLTD = 1.46
args.c2cVari = 0.003
args.d2dVari = 0.0
"""
    d = import_(text, load_device("taox")).device
    assert (d.potentiation.states, d.depression.states) == (32, 32)
    assert d.potentiation.nu == pytest.approx(nu_of_label(1.75))
    assert d.depression.nu == pytest.approx(nu_of_label(1.46, depression=True))
    assert d.depression.nu < 0  # the sign of labels: this one grows towards its end
    assert d.variation.range_c2c == pytest.approx(0.003)
    assert d.range == load_device("taox").range


@pytest.mark.parametrize("field", [f for f in VariationTable.model_fields if "stuck" not in f])
def test_no_variation_is_dropped_in_silence(field):
    value = {"step_d2d_law": "log-normal", "read_noise_siemens": "1 nS"}.get(field, 0.07)
    before = device("exponential", **{field: value})
    made = export(before)
    after = getattr(import_(made.files[""], before).device.variation, field)
    wanted = getattr(before.variation, field)
    kept = after == wanted or (field != "step_d2d_law" and after == pytest.approx(wanted, rel=0.01))
    said = any(field in line for line in (*made.not_held, *made.approximate))
    assert kept or said
    assert said == (field not in ("range_c2c", "read_noise", "g_min_d2d", "g_max_d2d"))
    flat = " ".join(made.files[""].replace("//", " ").split())
    for line in (*made.not_held, *made.approximate):
        assert " ".join(line.split()) in flat


def test_small_and_uneven_labels_are_said_to_be_cut():
    made = export(device("exponential"))
    assert any("cuts it to" in line for line in made.approximate)
    assert not any("cuts it to" in line for line in export(load_device("taox")).approximate)
    made = export(device("growing").model_copy(
        update={"potentiation": MODELS_NEARLY_LINEAR}))  # fmt: skip
    assert any("table begins at 0.01" in line for line in made.approximate)


MODELS_NEARLY_LINEAR = type(device("growing").potentiation)(states=40.0, nu=1e-3)

BAD = {
    "nothing": ("x = 1;", "none of NeuroSim's values"),
    "no levels": ("NL_LTP = 1; NL_LTD = -1;", "maxNumLevelLTP: is missing"),
    "no label": ("maxNumLevelLTP = 5; NL_LTP = 1; maxNumLevelLTD = 5;", "NL_LTD: is missing"),
    "fraction": ("maxNumLevelLTP = 5.5; NL_LTP = 1; maxNumLevelLTD = 5; NL_LTD = -1;", "whole"),
    "steep": ("maxNumLevelLTP = 5; NL_LTP = 12; maxNumLevelLTD = 5; NL_LTD = -1;", "no curve"),
    "text": ("maxNumLevelLTP = five;", "not a number"),
    "division": ("maxConductance = 1/0;", "not a number"),
    "call": ("maxConductance = system(1);", "not a number"),
    "one end": (
        "maxConductance = 1e-5; maxNumLevelLTP = 5; NL_LTP = 1; maxNumLevelLTD = 5; NL_LTD = -1;",
        "go together",
    ),
    "falling": ("double rawDataConductanceLTP[] = {1e-6, 3e-6, 2e-6};"
                "double rawDataConductanceLTD[] = {3e-6, 2e-6, 1e-6};", "must rise"),
    "ends": ("double rawDataConductanceLTP[] = {1e-6, 2e-6, 3e-6};"
             "double rawDataConductanceLTD[] = {4e-6, 2e-6, 1e-6};", "same ends"),
    "short": ("double rawDataConductanceLTP[] = {1e-6, 2e-6};", "at least 3"),
    "zero": ("double rawDataConductanceLTP[] = {0, 2e-6, 3e-6};"
             "double rawDataConductanceLTD[] = {3e-6, 2e-6, 0};", "above 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_a_wrong_file_gets_a_clear_error(case):
    text, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        import_(text, load_device("ideal"), "file.txt")
