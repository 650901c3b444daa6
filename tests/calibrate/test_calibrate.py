"""`hil calibrate` and runs with a calibration, as people use them."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest
from calibration_lab import TRUE_SIEMENS, changed, station_text
from command import error_line, hil_json, write

from hil.record import open_run

pytest.importorskip("lupa")


@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
def test_100_kohm_reads_within_two_per_mille_after_calibration_and_not_before(
    calibrated, told, sign
):
    stations = ["station.toml", "used.toml"]
    for name in stations if sign < 0 else ():
        text = (calibrated / name).read_text(encoding="utf-8")
        write(calibrated, name, text.replace('read_voltage = "0.2 V"', 'read_voltage = "-0.2 V"'))
    before, after = (
        np.array(told("run", "read-map", "-s", name, "--virtual")[0]["outcome"]["g_siemens"])
        for name in stations
    )
    assert np.abs(before / TRUE_SIEMENS - 1).min() > 0.01
    assert np.abs(after / TRUE_SIEMENS - 1).max() < 0.002


def test_the_command_says_first_what_it_applies_and_then_what_it_found(made):
    text, printed = made
    lines = printed.splitlines()
    assert lines[0].startswith("backend: rig on the virtual bench: smu: Keithley")
    announced = lines.index("will apply:")
    for k, step in enumerate(("zero: 0 V", "open: +200 mV and -200 mV", "short: +10 mV and -10 mV",
                              "reference: up to +200 mV and -200 mV across 100 kohm")):  # fmt: skip
        assert lines[announced + 1 + k].startswith(f"  {step}")
    connect = [line for line in lines if "virtual bench: " in line and "connect" in line]
    assert connect[0].startswith("open: ")
    assert lines.index(connect[0]) > announced + 4
    assert "reference: virtual bench: connect 100 kohm between WL0 and BL0" in printed
    for head in ("meter", "source", "route", "line"):
        assert any(line.startswith(f"{head} ") for line in lines)
    assert "calibration: calibration.json" in lines
    assert 'calibration = "calibration.json"' in lines[-1]
    found = json.loads(text)
    assert set(found["steps"]) == {"zero", "open", "short", "reference"}
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert found["instruments"]["smu"]["serial"] == "1400001"
    assert found["instruments"]["mux"]["firmware"]
    assert {"leaks_siemens", "paths_ohm", "reference_ohm", "wiring_sha256"} <= found.keys()


def test_json_carries_the_whole_file(lab, told):
    found, _ = told("calibrate", "station.toml", "--virtual", "--step", "zero", "-o", "new.json")
    file = json.loads((lab / "new.json").read_text(encoding="utf-8"))
    assert found["calibration"] == file
    assert set(file["steps"]) == {"zero"}
    assert file["sources"] == {}


def test_a_run_notes_its_calibration_or_that_there_was_none(calibrated, told):
    ran = hil_json("run", "read-map", "-s", "used.toml", "--virtual", cwd=calibrated)
    run = open_run(calibrated / ran["run"])
    facts = run.manifest["meta"]["calibration"]["main"]
    file = json.loads((calibrated / "calibration.json").read_text(encoding="utf-8"))
    assert facts["used"]
    assert facts["date"] == file["date"]
    assert facts["instruments"] == file["instruments"]
    assert facts["sha256"] == run.manifest["config"]["calibration.json"]["sha256"]
    copied = (run.path / "config" / "calibration.json").read_bytes()
    assert copied == (calibrated / "calibration.json").read_bytes()
    assert facts["sha256"][:12] in ran["identity"]
    without, _ = told("run", "read-map", "-s", "station.toml", "--virtual")
    meta = open_run(calibrated / without["run"]).manifest["meta"]
    assert meta["calibration"] == {"main": {"used": False}}


def test_an_old_calibration_is_used_with_a_warning(calibrated, made, told):
    old = "2024-02-03T04:05:06+01:00"
    write(calibrated, "calibration.json", changed(made[0], "steps", "open", to=old))
    write(
        calibrated, "aged.toml",
        station_text("calibration.json", extra='calibration_max_age = "30 d"\n'),
    )  # fmt: skip
    _, said = told("run", "read-map", "-s", "aged.toml", "--virtual")
    assert "hil: warning: the calibration calibration.json is " in said
    assert "days old; the station's calibration_max_age is 30 days" in said
    _, said = told("run", "read-map", "-s", "used.toml", "--virtual")
    assert "warning" not in said


def test_training_uses_and_notes_the_calibration(calibrated, here, told):
    rng = np.random.default_rng(0)
    x = rng.random((40, 1))
    np.savez(calibrated / "data.npz", x_train=x, y_train=(x[:, 0] > 0.5).astype(np.int64))
    write(
        calibrated, "small.toml",
        'schema = 1\nname = "small"\nbaseline = false\n[dataset]\nkind = "npz"\nfile = "data.npz"\n'
        "train_limit = 4\ntest_limit = 2\n[network]\nhidden = []\n[schedule]\nepochs = 1\n"
        "[characterise]\ndevices = 1\npulses = 8\n",
    )  # fmt: skip
    used = (calibrated / "used.toml").read_text(encoding="utf-8")
    write(calibrated, "used.toml", used.replace("rows = 2\ncols = 3", "rows = 2\ncols = 4")
          .replace('"BL0:3"', '"BL0:4"'))  # fmt: skip
    said = error_line("train", "small.toml", "-s", "used.toml", "--virtual", cwd=calibrated, code=3)
    assert "wiring or instrument settings of the station have changed" in said
    code, _, err = here("calibrate", "used.toml", "--virtual", "--force", "--averages", 1)
    assert code == 0, err
    found, _ = told("train", "small.toml", "-s", "used.toml", "--virtual")
    manifest = open_run(calibrated / found["run"]).manifest
    assert manifest["meta"]["calibration"]["main"]["used"]


def test_explain_shows_the_plan_of_a_rig_on_the_bench(told):
    found, _ = told("explain", "read-map", "-s", "station.toml", "--virtual")
    assert found["backend"] == "rig on the virtual bench"
    assert any(line.startswith("batched: ") for line in found["plan"])
    assert found["events"]
