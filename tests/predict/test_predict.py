"""`hil predict`: what a device would be worth, from its file to figures."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from hil.cli.commands.init import starter_files
from hil.cli.main import main
from hil.predict.inputs import RATE, RATES, Wishes, pulses_of
from hil.predict.results import curves_of
from hil.predict.run import predict
from hil.predict.variation import variation_of
from hil.report.pulse_curves import LtpLtd
from hil.study.engines import LocalEngine
from hil.study.folder import StudyFolder

DEVICE = """
schema = 1
name = "made up"
description = "for pulses of 200 us"
provenance = "no device: an ideal with variation"
cell = "1R"
model = "exponential"
[range]
g_min = "1 uS"
g_max = "100 uS"
[potentiation]
states = 24
nu = 2.0
[depression]
states = 24
nu = 2.0
[pulse]
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
width = "200 us"
law = "power"
potentiate_threshold = "1 V"
depress_threshold = "-1 V"
[variation]
step_d2d = 0.1
step_c2c = 0.05
[drive]
read_voltage = "0.2 V"
potentiate_voltage = "1.5 V"
depress_voltage = "-1.5 V"
write_width = "200 us"
"""
TRAINING = """
schema = 1
name = "small"
[dataset]
kind = "npz"
file = "data.npz"
[network]
hidden = []
[refresh]
every = 10
[schedule]
epochs = 2
[characterise]
devices = 1
pulses = 30
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device.toml").write_text(DEVICE)
    (tmp_path / "training.toml").write_text(TRAINING)
    x = np.random.default_rng(0).random((80, 3)).round(1)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    np.savez(tmp_path / "data.npz", x_train=x[:50], y_train=y[:50], x_test=x[50:], y_test=y[50:])
    return tmp_path


def called(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments, "--training", "training.toml", "--workers", "1",
              "--no-tune"])  # fmt: skip
    said = capsys.readouterr()
    assert (ended.value.code or 0) == code, said.err
    return said


def test_one_command_gives_numbers_and_the_figures_of_a_device_paper(lab, capsys):
    said = called(capsys, "device.toml", "--seeds", "2", "--devices", "16", "--json")
    found = json.loads(said.out)
    assert (found["device"], found["network"], found["epochs"]) == ("made up", "3-2", 2)
    folder = lab / "predictions" / "device"
    for name in ("ltp-ltd", "variation", "accuracy", "pulses", "confusion"):
        for suffix, magic in (("svg", b"<?xml"), ("png", b"\x89PNG")):
            assert (folder / "figures" / f"{name}.{suffix}").read_bytes().startswith(magic)
    page = (folder / "prediction.html").read_text()
    assert "made up" in page
    assert page.count("<figure") == 5
    for method in ("M1", "M3"):
        numbers = found["methods"][method]["numbers"]
        assert numbers["test_accuracy"]["n"] == 2
        assert 0.5 <= numbers["test_accuracy"]["mean"] <= 1.0
        assert numbers["float_accuracy"]["mean"] > 0.8
        assert numbers["energy_joule"]["mean"] > 0
        assert numbers["pulse_seconds"]["mean"] > 0
        assert "rig_seconds" not in numbers
    m1, m3 = (found["methods"][m]["numbers"]["refresh_pulses_per_device"]["mean"]
              for m in ("M1", "M3"))  # fmt: skip
    assert m1 == 0 < m3
    kept = json.loads((folder / "prediction.json").read_text())
    assert [m["method"] for m in kept["methods"]] == ["M1", "M3"]
    with (folder / "prediction.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["seed"]) for r in rows] == [
        ("M1", "1"), ("M1", "2"), ("M3", "1"), ("M3", "2")
    ]  # fmt: skip
    values = [float(r["test_accuracy"]) for r in rows if r["method"] == "M3"]
    assert np.mean(values) == pytest.approx(
        found["methods"]["M3"]["numbers"]["test_accuracy"]["mean"]
    )


def test_what_is_done_is_not_run_again(lab):
    wishes = Wishes(
        "device.toml", training=lab / "training.toml", seeds=(1,), devices=4, tune=False
    )
    first = predict(wishes, lab / "p", LocalEngine(1))
    runs = sorted((lab / "p").glob("*/points/*/*/manifest.json"))
    assert len(runs) == 3
    second = predict(wishes, lab / "p", LocalEngine(1))
    assert sorted((lab / "p").glob("*/points/*/*/manifest.json")) == runs
    assert [m.trained[0].numbers for m in first.methods] == [
        m.trained[0].numbers for m in second.methods
    ]


def test_the_time_on_the_rig_of_a_station_is_predicted(lab, capsys):
    (lab / "station.toml").write_text(starter_files(rig=True)["station.toml"])
    said = called(capsys, "device.toml", "-s", "station.toml", "--seeds", "1", "--devices", "4",
                  "--epochs", "1")  # fmt: skip
    assert "time on the station's rig" in said.out
    numbers = json.loads((lab / "predictions/device/prediction.json").read_text())["methods"]
    for method in numbers:
        (run,) = method["runs"]
        assert run["rig_seconds"] > run["pulse_seconds"] > 0
        assert method["rig_note"] == ""


def test_every_method_gets_the_rate_that_a_validation_part_likes_best(lab):
    wishes = Wishes("device.toml", training=lab / "training.toml", seeds=(1,), devices=4)
    found = predict(wishes, lab / "p", LocalEngine(1))
    study = StudyFolder(lab / "p" / "trainings")
    tuning = [p for p in study.listed() if p.stage == "tune"]
    assert len(tuning) == 2 * len(RATES)
    for method in found.methods:
        tried = {p.tuned[RATE]: study.numbers(p.id)["test_accuracy"] for p in tuning
                 if p.settings["case"] == method.name}  # fmt: skip
        assert tried[method.tuned[RATE]] == max(tried.values())
    assert "learning rate chosen" in (lab / "p" / "prediction.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nothing.toml",), "cannot be read"),
        (("hfoxx",), "no device preset"),
        (("device.toml", "--hidden", "8"), "does not fit|needs|rows"),
        (("device.toml", "--hidden", "a"), "are no layers"),
        (("gated-schottky",), "cells 1R, the device is 3T"),
        (("device.toml", "--mnist", "nowhere"), "nowhere"),
    ],
    ids=["file", "preset", "too-large", "hidden", "cell", "mnist"],
)
def test_bad_input_is_one_line(lab, capsys, arguments, text):
    (lab / "station.toml").write_text(starter_files(rig=True)["station.toml"])
    said = called(
        capsys, *arguments, "-s", "station.toml", "--seeds", "1", "--devices", "4", code=3
    )
    (line,) = [line for line in said.err.splitlines() if line.startswith("hil: ")]
    assert re.search(text, line), line
    assert "Traceback" not in said.err


def test_variation_is_told_apart_between_devices_and_cycles():
    rng = np.random.default_rng(1)
    pulse = np.arange(41)
    branch = np.concatenate([np.linspace(0, 1, 21), np.linspace(1, 0, 21)[1:]])
    top = 1.0 + 0.05 * rng.standard_normal(400)  # device to device
    g = branch[None, :, None] * top + 0.02 * rng.standard_normal((6, 41, 400))
    found = variation_of(LtpLtd(pulse, 20, 1e-6 * (1 + g), np.zeros((400, 2), np.int64)))
    assert found.c2c_share.mean() == pytest.approx(0.02, rel=0.05)
    assert found.high_share.std() == pytest.approx(np.hypot(top.std(), 0.02 / np.sqrt(5)), rel=0.05)
    assert found.low_share.std() < 0.015
    assert np.median(found.label_up) < 0.5  # linear but for noise


def test_the_nonlinearity_label_is_that_of_neurosim():
    """NeuroSim's table gives A = 0.5 (of the pulses) for the label 2.4: Ag:a-Si potentiation."""
    pulse = np.arange(401)
    x = np.linspace(0, 1, 201)
    up = (1 - np.exp(-x / 0.5)) / (1 - np.exp(-1 / 0.5))
    g = np.concatenate([up, up[::-1][1:]])[None, :, None] * np.ones((3, 1, 2))
    found = variation_of(LtpLtd(pulse, 200, 1e-6 * (1 + g), np.zeros((2, 2), np.int64)))
    np.testing.assert_allclose(found.label_up, 2.4, atol=0.06)


def test_curves_are_as_long_as_the_device_has_states(lab):
    assert pulses_of({"potentiation": {"states": 24.4}, "depression": {"states": 40}}) == 40
    assert pulses_of({"potentiation": {"states": 10_000}}) == 512
    assert pulses_of({"model": "lookup"}) == 100
    wishes = Wishes(
        "device.toml", training=lab / "training.toml", seeds=(1,), devices=4, tune=False
    )
    predict(wishes, lab / "p", LocalEngine(1))
    curve = curves_of(StudyFolder(lab / "p" / "curves"))
    assert curve.g_siemens.shape == (5, 49, 4)


def test_a_station_that_is_too_small_is_told_also_where_the_rate_is_tuned(lab, capsys):
    (lab / "small.toml").write_text(
        'schema = 1\nbackend = "sim"\n[[array]]\nrows = 2\ncols = 2\ndevice = "device.toml"\n'
    )
    said = called(
        capsys, "device.toml", "-s", "small.toml", "--seeds", "1", "--devices", "4", code=3
    )
    assert "training.placement.layers" in said.err
    assert "need 4 rows and 4 columns" in said.err
    assert "Traceback" not in said.err
