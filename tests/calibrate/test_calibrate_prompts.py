"""What `hil calibrate` asks a person at the instruments."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from calibration_lab import station_text
from command import HIL, write

pytest.importorskip("lupa")


@pytest.fixture
def up(lab):
    """Serve the station's instruments in another process; return the station that reaches them."""
    process = subprocess.Popen(
        [*HIL, "bench", "up", "station.toml", "--json"], cwd=lab, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        resources = json.loads(process.stdout.readline())
        text = station_text()
        for old, name in (("192.168.0.5::5025", "smu"), ("192.168.0.6::5025", "mux")):
            _, host, port, _ = resources[name].split("::")
            text = text.replace(old, f"{host}::{port}")
        write(lab, "real.toml", text)
        yield lab
    finally:
        process.kill()
        process.communicate()


def calibrate_with(folder, answers, *flags):
    return subprocess.run(
        [*HIL, "calibrate", "real.toml", *flags], cwd=folder, input=answers, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_person_is_told_what_to_connect_and_asked(up):
    done = calibrate_with(up, "\n", "--step", "open")
    assert done.returncode == 0, done.stderr
    assert "open: outputs are off and relays open\nopen: connect nothing" in done.stdout
    assert "press Enter when it is connected" in done.stderr
    assert "note: reference was not measured" in done.stdout
    assert (up / "calibration.json").exists()


def test_without_anybody_to_answer_nothing_is_measured(up):
    done = calibrate_with(up, "", "--step", "open")
    assert done.returncode == 3
    assert "nobody answers (standard input has ended); give --reference and --yes" in done.stderr
    done = calibrate_with(up, "", "--yes", "--reference", "100 kohm")
    assert done.returncode == 3
    assert "more than one thing has to be connected" in done.stderr
    done = calibrate_with(up, "", "--yes", "--step", "zero")
    assert done.returncode == 0, done.stderr
    done = calibrate_with(
        up, "", "-y", "--step", "open", "--from", "calibration.json", "-o", "2.json"
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads((up / "2.json").read_text())["steps"]) == {"zero", "open"}


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to one process alone on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_ctrl_c_at_a_prompt_ends_at_once_without_a_file(up, number):
    process = subprocess.Popen(
        [*HIL, "calibrate", "real.toml", "--step", "open"], cwd=up, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.startswith("open: connect nothing"):
                break
        process.stderr.read(len("press Enter"))
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "hil: stopped while outputs were off; no file was written" in stderr
    assert not (up / "calibration.json").exists()
