"""Calibrations that `hil calibrate` and runs refuse."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from calibration_lab import Wrapped, changed
from command import error_line, write

pytest.importorskip("lupa")


@pytest.mark.parametrize("command", ["run read-map", "train small.toml"])
def test_a_file_of_other_instruments_gives_one_clear_line(calibrated, made, command):
    write(calibrated, "small.toml", 'schema = 1\n[dataset]\nkind = "digits"\n')
    text = changed(made[0], "instruments", "smu", "serial", to="4242424")
    write(calibrated, "calibration.json", text)
    said = error_line(*command.split(), "-s", "used.toml", "--virtual", cwd=calibrated, code=5)
    assert "instrument smu: the file has Keithley Instruments Inc. 2636B, serial 4242424" in said
    assert "serial 1400001, firmware 3.4.2 answered; calibrate again" in said
    assert not (calibrated / "runs").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[: len(text) // 2], "no whole calibration file"),
        (lambda text: "", "no whole calibration file"),
        (lambda text: changed(text, "schema", to=2), "schema"),
        (lambda text: changed(text, "date", to="2026-01-01T00:00:00"), "date"),
        (lambda text: changed(text, "channels", "smu.a", 0, "gain", to=9.0), "gain"),
        (lambda text: changed(text, "surplus", to=1), "surplus"),
        (lambda text: changed(text, "array", to="other"), "is of array 'other', not of 'main'"),
        (lambda text: changed(text, "wiring_sha256", to="0"), "have changed since"),
        (None, "cannot be read: No such file"),
    ],
    ids=["half", "empty", "schema", "no zone", "gain", "surplus", "array", "wiring", "none"],
)
def test_a_damaged_or_wrong_file_gives_one_clear_line(refused, lab, made, change, says):
    if change is not None:
        write(lab, "calibration.json", change(made[0]))
    said = refused(3, "run", "read-map", "-s", "used.toml", "--virtual")
    assert said.startswith("hil: calibration.json: ")
    assert says in said
    assert not (lab / "runs").exists()


@pytest.mark.parametrize(
    ("code", "flags", "says"),
    [
        (3, "--step zeal", "no step 'zeal'; there are zero, open, short, reference"),
        (3, "--reference 5V", "'5V' is a voltage; expected a resistance"),
        (3, "--reference -5", "-5 is no resistor"),
        (4, "--volts 0", "must not be 0 V"),
        (4, "--reference 2", "no range suits it; give another --reference, --volts or --range"),
        (3, "--short-at 9,0", "not on the 2 x 3 array"),
        (3, "--short-at x", "is no place; write row,column"),
        (3, "--from missing.json", "missing.json: calibration: cannot be read"),
        (2, "--averages 0", "Invalid value for '--averages'"),
    ],
)
def test_a_wish_that_cannot_be_gives_one_line_and_no_file(refused, lab, code, flags, says):
    said = refused(code, "calibrate", "station.toml", "--virtual", *flags.split())
    assert says in said
    assert not (lab / "calibration.json").exists()


def test_an_existing_file_is_kept_unless_forced(refused, here, calibrated, made):
    said = refused(3, "calibrate", "station.toml", "--virtual")
    assert said == "hil: calibration.json: --output: already there; --force replaces it"
    assert (calibrated / "calibration.json").read_text(encoding="utf-8") == made[0]
    refused(3, "calibrate", "used.toml", "--virtual")  # the file that the station names
    code, _, err = here("calibrate", "station.toml", "--virtual", "--step", "zero", "--force")
    assert code == 0, err
    assert (calibrated / "calibration.json").read_text(encoding="utf-8") != made[0]
    assert not list(calibrated.glob("*.partial"))


def test_what_has_no_instruments_is_not_calibrated(refused, lab):
    write(lab, "sim.toml", 'schema = 1\nbackend = "sim"\n[[array]]\nrows = 2\ncols = 2\n')
    assert "no instruments to calibrate" in refused(
        3, "calibrate", "sim.toml", "--virtual", "-o", "x.json"
    )
    assert "no instruments to calibrate" in refused(3, "check", "sim.toml", "--probe")


def test_an_implausible_result_is_refused_with_value_and_limit(refused, lab, monkeypatch):
    wrapped = Wrapped(monkeypatch, lambda bench, g: np.where(g < 1.0, g / 2, g))  # 200 kohm
    said = refused(5, "calibrate", "station.toml", "--virtual")
    assert "WL0 smu.a: current through the reference" in said
    assert "against limit" in said
    assert "wrong resistor or broken path); nothing was written" in said
    assert wrapped.bench.safe
    assert not (lab / "calibration.json").exists()


def test_ctrl_c_in_the_middle_leaves_the_rig_safe_and_no_file(refused, lab, monkeypatch):
    def connect(bench, g):
        if g.max() > 1.0:  # the short is connected; the signal comes during the next run
            bench.faults.during_run = lambda *_: signal.raise_signal(signal.SIGINT)
        return g

    # The bench answers in threads; a signal is handled in the main one all the same.
    wrapped = Wrapped(monkeypatch, connect)
    said = refused(130, "calibrate", "station.toml", "--virtual")
    assert "in the safe state" in said
    assert wrapped.bench.safe
    assert not list(lab.glob("calibration*"))
