"""Devices to and from aihwkit; the export is loaded and pulsed in aihwkit where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from devices import MODELS, U, device
from hil_sim.models.device import load_device, preset_names
from hil_sim.models.electrical import VariationTable

from hil.errors import ConfigError
from hil.interchange.aihwkit import export, import_
from hil.interchange.aihwkit_steps import CLASSES, PIECES, completed, range_steps
from hil.interchange.aihwkit_text import read_config
from hil.interchange.converting import checked
from hil.interchange.exchange import Exported
from hil.interchange.steps import step

CLASS_OF = {
    "linear": "ConstantStepDevice", "exponential": "LinearStepDevice",
    "growing": "LinearStepDevice", "soft-bounds": "SoftBoundsDevice", "sloped": "LinearStepDevice",
    "querlioz": "PiecewiseStepDevice", "lookup": "PiecewiseStepDevice",
}  # fmt: skip


@pytest.mark.parametrize("syntax", ["python", "json"])
@pytest.mark.parametrize("model", list(MODELS))
def test_a_device_comes_back_from_the_nearest_class(model, syntax):
    before = device(model, step_d2d=0.2, step_d2d_branch=0.1, g_max_d2d=0.05, g_min_d2d=0.3)
    made = export(before, syntax)
    assert made.kind == CLASS_OF[model]
    after = import_(made.files[""], before)
    # Nodes of a PiecewiseStep are equally spaced, so bends between them are cut a little.
    off = 0.0 if model not in ("querlioz", "lookup") else 2e-2
    for up in (True, False):
        want = step(before, up, U)
        assert step(after.device, up, U) == pytest.approx(want, rel=1e-9, abs=off * want.max())
    if model == "sloped":  # LinearStep is as well an exponential with a whole number of pulses
        assert after.device.model == "soft-bounds"
    elif off == 0.0:
        assert after.device.model == before.model
        assert after.device.potentiation.states == before.potentiation.states
    for name in ("step_d2d", "step_d2d_branch", "g_max_d2d", "g_min_d2d"):
        got = getattr(after.device.variation, name)
        assert got == pytest.approx(getattr(before.variation, name), rel=1e-9), name


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_the_way_there_and_back(name):
    preset = load_device(name)
    after = import_(export(preset).files[""], preset).device
    off = 2e-2 if preset.model == "lookup" else 1e-9
    for up in (True, False):
        want = step(preset, up, U)
        assert step(after, up, U) == pytest.approx(want, abs=off * want.max())
    if preset.model != "lookup":  # whose spread is another kind of noise
        assert after.variation.step_c2c == preset.variation.step_c2c
        assert after.variation.range_c2c == pytest.approx(preset.variation.range_c2c, rel=1e-12)


def test_the_numbers_are_those_of_the_published_conversion():
    # Ag:a-Si as NeuroSim lists it, in aihwkit's terms: γ = tanh(1/2a), dw_min = coth(1/2a)(1 − k).
    like = load_device("ideal")
    ag = device("exponential").model_copy(update={"range": like.range})
    values = ag.model_dump(mode="json", by_alias=True, exclude_none=True)
    values["potentiation"] = {"states": 97, "nu": 1 / 0.5}
    values["depression"] = {"states": 100, "nu": 1 / 0.2}
    config = read_config(export(type(ag).model_validate(values)).files[""])
    assert config.device["gamma_up"] == pytest.approx(0.7616, abs=1e-4)
    assert config.device["gamma_down"] == pytest.approx(0.9866, abs=1e-4)
    assert config.device["dw_min"] == pytest.approx(0.04943, abs=1e-5)
    assert config.device["up_down"] == pytest.approx(-0.4579, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("PowStepDevice", {"pow_gamma": 1.7, "pow_up_down": 0.2, "up_down": 0.1}),
        ("PowStepDevice", {"pow_gamma": 0.8, "pow_up_down": -0.3, "up_down": -0.2}),
        ("ExpStepDevice", {}),
        ("ExpStepDevice", {"A_up": 0.3, "A_down": 0.1, "gamma_up": 2.0, "gamma_down": 4.0}),
    ],
    ids=["power", "power the other way", "exponential", "exponential, weak"],
)
def test_power_and_exponential_steps_become_tables_and_are_recognised_again(name, parameters):
    like = load_device("ideal")
    neutral = {"dw_min": 0.01, "dw_min_dtod": 0.0, "dw_min_std": 0.1, "up_down_dtod": 0.0,
               "w_max": 0.8, "w_min": -0.8, "w_max_dtod": 0.0, "w_min_dtod": 0.0}  # fmt: skip
    text = f"d = {name}({', '.join(f'{k}={v}' for k, v in (neutral | parameters).items())})"
    there = import_(text, like).device
    assert there.model == "lookup"
    full = completed(name, neutral | parameters)
    for up in (True, False):
        want = range_steps(name, full, up, U)
        assert step(there, up, U) == pytest.approx(want, abs=3e-3 * want.max())
    again = export(there)
    assert again.kind in (name, "PiecewiseStepDevice")
    chosen = export(there, class_name=name)
    found = read_config(chosen.files[""])
    back = completed(name, found.device)
    for up in (True, False):
        want = range_steps(name, full, up, U)
        assert range_steps(name, back, up, U) == pytest.approx(want, abs=5e-3 * want.max())


def test_what_aihwkit_cannot_hold_is_listed_and_stands_in_the_file():
    preset = load_device("hfox")
    for syntax in ("python", "json"):
        made = export(preset, syntax)
        for table in ("range", "pulse", "forming", "transistor", "drive"):
            assert any(line.startswith(f"[{table}]") for line in made.not_held), table
        assert any("read_noise" in line for line in made.not_held)
        flat = " ".join(made.files[""].replace("#", " ").split())
        for line in (*made.not_held, *made.approximate):
            assert " ".join(line.split()) in flat
    assert not any("step_c2c" in line for line in made.not_held)


@pytest.mark.parametrize("field", [f for f in VariationTable.model_fields if "stuck" not in f])
def test_no_variation_is_dropped_in_silence(field):
    value = {"step_d2d_law": "log-normal", "read_noise_siemens": "1 nS"}.get(field, 0.07)
    more = {"step_d2d": 0.1} if field == "step_d2d_law" else {}
    before = device("exponential", **{field: value}, **more)
    made = export(before)
    after = import_(made.files[""], before)
    kept = getattr(after.device.variation, field)
    same = kept == getattr(before.variation, field) or kept == pytest.approx(0.07, rel=1e-6)
    said = any(field in line for line in (*made.not_held, *made.approximate))
    assert same or said
    assert said == (field in ("threshold_d2d", "nu_d2d", "read_noise", "range_c2c")) or same


def test_stuck_devices_and_noise_of_tables_are_said_to_be_approximate():
    made = export(device("lookup", stuck_at_min=0.05, stuck_at_max=0.02))
    assert any("7.00%" in line for line in made.approximate)
    assert any("the table's spread" in line for line in made.approximate)
    assert "corrupt_devices_prob=0.07" in made.files[""]


def test_parameters_that_a_device_file_cannot_hold_are_listed_on_import():
    text = """
from aihwkit.simulator.configs import SingleRPUConfig, LinearStepDevice
rpu_config = SingleRPUConfig(device=LinearStepDevice(
    dw_min=0.02, gamma_up=0.3, gamma_down=0.4, lifetime=100.0, write_noise_std=0.5,
    drift=DriftParameter(nu=0.1)), forward=IOParameters(out_noise=0.1), mapping=m())
"""
    made = import_(text, load_device("ideal"))
    said = "\n".join(made.not_held)
    for part in ("lifetime = 100.0", "write_noise_std = 0.5", "DriftParameter", "out_noise",
                 "mapping"):  # fmt: skip
        assert part in said
    assumed = "\n".join(made.assumed)
    assert "dw_min_dtod = 0.3" in assumed
    assert "from ideal" in assumed
    for line in made.not_held:
        assert line.split()[0] in made.text()


BAD = {
    "nothing": ("x = 1", "needs one device"),
    "two devices": ("ConstantStepDevice(); LinearStepDevice()", "needs one device"),
    "no python": ("device = (", "neither Python nor JSON"),
    "no json": ("{", "no JSON"),
    "json without device": ("{}", '"device"'),
    "json list": ('{"rpu_config": [1]}', '"device"'),
    "unknown parameter": ("ConstantStepDevice(foo=1)", "no such parameter"),
    "call": ("ConstantStepDevice(dw_min=open('x'))", "finite|dw_min"),
    "name": ("ConstantStepDevice(dw_min=x)", "not a plain number"),
    "nan": ('{"device": {"class": "ConstantStepDevice", "dw_min": NaN}}', "finite"),
    "text": ('{"device": {"class": "ConstantStepDevice", "dw_min": "a"}}', "finite"),
    "no step": ("ConstantStepDevice(dw_min=0.0)", "above 0"),
    "one-sided": ("ConstantStepDevice(w_min=0.1)", "either side of 0"),
    "unequal nodes": ("PiecewiseStepDevice(piecewise_up=[1, 2])", "length"),
    "reversed": ("SoftBoundsDevice(reverse_up=True)", "cannot be imported"),
    "positional": ("ConstantStepDevice(1)", "named"),
    "stars": ("ConstantStepDevice(**x)", "not read"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_wrong_file_gets_a_clear_error(case):
    text, message = BAD[case]
    if case == "call":  # a nested call is listed, never executed
        made = import_(text, load_device("ideal"))
        assert any("open('x')" in line for line in made.not_held)
        return
    with pytest.raises(ConfigError, match=message):
        import_(text, load_device("ideal"), "file.py")


def test_a_class_that_does_not_suit_is_refused_or_its_error_said():
    with pytest.raises(ConfigError, match="none of"):
        export(device(), class_name="Foo")
    made = export(device("querlioz"), class_name="LinearStep")
    assert made.kind == "LinearStepDevice"
    assert "off by up to" in made.approximate[0]


# -- in aihwkit itself --------------------------------------------------------------------------

#: Loads configurations and prints what single pulses do: a list of curves per file.
PULSES = """
import importlib.util, json, sys
import torch
from aihwkit.simulator import configs
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.tiles import AnalogTile

out = []
for path in sys.argv[1:]:
    if path.endswith(".json"):
        spec = json.load(open(path))["rpu_config"]
        values = dict(spec["device"])
        rpu = SingleRPUConfig(device=getattr(configs, values.pop("class"))(**values))
    else:
        found = importlib.util.spec_from_file_location("config", path)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        rpu = module.rpu_config
    rpu.device.construction_seed = 1
    # One pulse per update: x = d = 1 with a train of one slot.
    rpu.update.desired_bl = 1
    rpu.update.update_bl_management = rpu.update.update_management = False
    curves = []
    for start, sign in ((-1.0, -1.0), (1.0, 1.0)):
        tile = AnalogTile(1, 1, rpu)
        tile.set_learning_rate(rpu.device.dw_min)
        tile.tile.set_weights(torch.tensor([[start]]))
        w = [start]
        for _ in range(40):
            tile.tile.update(torch.ones(1, 1), torch.full((1, 1), sign), False, False, False, False)
            w.append(float(tile.tile.get_weights()[0, 0]))
        curves.append(w)
    out.append(curves)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def aihwkit_python():
    """Return an interpreter that has aihwkit."""
    other = os.environ.get("HIL_AIHWKIT_PYTHON")
    if other is not None:
        assert shutil.which(other), f"HIL_AIHWKIT_PYTHON={other} is no interpreter"
        return other
    if importlib.util.find_spec("aihwkit") is None:
        pytest.skip(
            "aihwkit is not installed (pip install aihwkit, or HIL_AIHWKIT_PYTHON=interpreter)"
        )
    return sys.executable


def test_aihwkit_loads_the_exports_and_its_pulses_do_what_ours_do(aihwkit_python, tmp_path):
    files, steps = [], []
    for model in MODELS:
        for syntax, suffix in (("python", "py"), ("json", "json")):
            clean = device(model)
            made = export(clean, syntax)
            # The noise of a look-up table's spread is not what is compared.
            text = made.files[""]
            if model == "lookup":
                text = _without_noise(text, syntax)
            file = tmp_path / f"{model.replace('-', '_')}.{suffix}"
            file.write_text(text, encoding="utf-8")
            files.append(str(file))
            steps.append(clean)
    script = tmp_path / "pulses.py"
    script.write_text(PULSES, encoding="utf-8")
    environment = dict(os.environ)
    if aihwkit_python != sys.executable:
        environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [aihwkit_python, str(script), *files], cwd=tmp_path, env=environment, timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for clean, file, curves in zip(steps, files, json.loads(done.stdout), strict=True):
        for up, curve in zip((True, False), curves, strict=True):
            u = (np.array(curve) + 1) / 2 if up else (1 - np.array(curve)) / 2
            want = [0.0]
            for _ in u[1:]:
                moved = want[-1] + float(step(clean, up, np.array([want[-1]]))[0])
                want.append(min(max(moved, 0.0), 1.0))
            near = 2e-6 if clean.model not in ("querlioz", "lookup") else 3e-3
            assert u == pytest.approx(np.array(want), abs=near), file


def test_an_export_is_loaded_by_aihwkit_before_it_is_written():
    if importlib.util.find_spec("aihwkit") is None:
        assert checked(export(device()), "aihwkit") is None
        pytest.skip("aihwkit is not installed in this interpreter")
    for model in MODELS:
        for syntax in ("python", "json"):
            made = export(device(model, read_noise_siemens="1 nS"), syntax)
            assert checked(made, "aihwkit").startswith("aihwkit ")
    wrong = made.files[""].replace("piecewise_up", "piecewise_sideways")
    with pytest.raises(ConfigError, match=r"refuses|parameter"):
        checked(Exported({"": wrong}, "", [], []), "aihwkit")


def _without_noise(text: str, syntax: str) -> str:
    config = read_config(text)
    sigma = config.device["dw_min_std"]
    before, after = (
        (f"dw_min_std={sigma!r}", "dw_min_std=0.0")
        if syntax == "python"
        else (f'"dw_min_std": {sigma!r}', '"dw_min_std": 0.0')
    )
    assert before in text
    return text.replace(before, after)


def test_a_piecewise_export_has_no_more_nodes_than_a_gpu_takes():
    config = read_config(export(device("querlioz")).files[""])
    assert len(config.device["piecewise_up"]) == len(config.device["piecewise_down"]) == PIECES < 64
    assert set(config.device) <= {"drift", *CLASSES["PiecewiseStepDevice"], *completed(
        "PiecewiseStepDevice", {})}  # fmt: skip
