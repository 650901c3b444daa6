"""`hil resume` as people use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from killing import HIL, lab, left

import hil
from hil.control.session import open_session
from hil.record import open_run

#: Who may touch what puts simulated devices back.
RESTORERS = {"backend.py", "characterise/folder.py", "control/checkpointing.py"}


def run_hil(*arguments, cwd):
    return subprocess.run(
        [*HIL, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to one process")
def test_a_training_stopped_by_ctrl_c_goes_on_and_tells_where(tmp_path):
    folder = lab(tmp_path, samples=200, chip="W3-D5")
    process = subprocess.Popen(
        [*HIL, "train", "training.toml", "-s", "station.toml", "--sim", "--checkpoint-every", "30"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and process.poll() is None:
        events = list((folder / "runs").glob("*/events.jsonl"))
        if events and events[0].read_bytes().count(b"state-") >= 3:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    run = next((folder / "runs").glob("*/manifest.json")).parent
    assert open_run(run).status == "interrupted"
    done = run_hil("resume", run, cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("backend: sim: ")
    assert re.fullmatch(r"chip W3-D5, array main: so far at most \d+ pulses on a device", lines[1])
    assert re.fullmatch(r"going on after sample \d+ of epoch [12]", lines[2])
    assert lines[3] == "the simulated devices are put back"
    assert any(line.startswith("test accuracy") for line in lines)
    whole = folder / "whole"
    with open_session(folder / "station.toml", sim=True, out=whole) as session:
        report = session.train(folder / "training.toml")
    assert left(run) == left(report.run)
    again = run_hil("resume", run, cwd=folder)
    assert again.returncode == 3
    assert "there is nothing to resume" in again.stderr


def test_only_checkpoints_put_devices_back():
    root = Path(hil.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"\bRestorable\b|\.snapshot\(", path.read_text(encoding="utf-8"))
    }
    assert found == RESTORERS


def test_a_simulated_chip_counts_apart_and_a_dry_run_knows_its_past(tmp_path):
    folder = lab(tmp_path, chip="A/1", more="[limits]\npulses_per_device = 40")
    (folder / "p.toml").write_text('schema = 1\nkind = "ltp-ltd"\ncells = [[0, 0]]\npulses = 15\n')
    assert run_hil("run", "p.toml", "-s", "station.toml", "--sim", cwd=folder).returncode == 0
    stored = sorted(p.name for p in (folder / "runs" / "chips").glob("*.npz"))
    assert len(stored) == 1
    assert re.fullmatch(r"A-1-[0-9a-f]{8}-sim\.npz", stored[0])
    for command in ("dry-run", "run"):
        refused = run_hil(command, "p.toml", "-s", "station.toml", "--sim", cwd=folder)
        assert refused.returncode == 4, refused.stdout
        assert "cell (0, 0): pulses over the device's life 41 pulses" in refused.stderr
        assert "30 of them in earlier runs" in refused.stderr
