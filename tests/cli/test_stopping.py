"""Ctrl-C with real processes and real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from command import HIL, write

from hil.record import open_run

STATION = """
schema = 1
[[array]]
rows = 80
cols = 24
device = "nonlinear"
"""
# Far longer than the test waits; neither is ever let to finish.
LONG = 'schema = 1\nkind = "ltp-ltd"\nsample = 16\npulses = 500\ncycles = 6\n'
TRAINING = "schema = 1\n[network]\nhidden = [8]\n[schedule]\nepochs = 500\n"

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="a test cannot send Ctrl-C to one process alone on Windows"
)


@pytest.fixture
def started(tmp_path):
    """Start a command and wait until its run folder is there."""
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            [*HIL, *arguments, "--station", "station.toml", "--sim", "--json"], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        guard = threading.Timer(120, process.kill)
        guard.start()
        for line in process.stderr:
            if line.startswith("run: runs"):
                guard.cancel()
                return process, tmp_path / line.removeprefix("run: ").strip()
        raise AssertionError(f"no run was started: {process.stdout.read()}")

    write(tmp_path, "station.toml", STATION)
    write(tmp_path, "long.toml", LONG)
    write(tmp_path, "training.toml", TRAINING)
    yield start
    for process in running:
        process.kill()
        process.communicate()


def wait_for_rows(folder):
    deadline = time.monotonic() + 60
    while not list(folder.glob("ops/*.arrows")) and time.monotonic() < deadline:
        time.sleep(0.05)


def finished(process, folder):
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    error = json.loads(stdout)["error"]
    assert error["exit_code"] == 130
    assert error["run"].endswith(folder.name)
    run = open_run(folder)
    assert run.status == "interrupted"
    assert run.problems == ()
    assert run.verify() == ()
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_first_signal_finishes_the_block_and_closes_the_run(started, number):
    process, folder = started("run", "long.toml")
    wait_for_rows(folder)
    process.send_signal(number)
    run = finished(process, folder)
    assert run.ops.num_rows == run.stop["rows"]["ops"] > 0
    assert [event["kind"] for event in run.events][-1] == "stop"


def test_a_second_signal_stops_at_once_and_still_closes_the_run(started):
    process, folder = started("run", "long.toml")
    wait_for_rows(folder)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    finished(process, folder)


def test_a_training_is_interrupted_between_its_blocks(started):
    process, folder = started("train", "training.toml")
    wait_for_rows(folder)
    process.send_signal(signal.SIGINT)
    run = finished(process, folder)
    assert run.manifest["kind"] == "train"


def test_a_stop_before_the_first_pulse_leaves_no_run(tmp_path):
    write(tmp_path, "station.toml", STATION)
    write(tmp_path, "long.toml", LONG.replace("cycles = 6", "cycles = 2000"))
    arguments = ("run", "long.toml", "--station", "station.toml", "--sim", "--json")
    process = subprocess.Popen(
        [*HIL, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith("backend: ")  # it now compiles and checks
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(stdout)["error"]["exit_code"] == 130
    assert not (tmp_path / "runs").exists()


def test_an_interrupt_in_the_middle_of_an_import_ends_with_the_exit_code_of_one(tmp_path):
    write(
        tmp_path,
        "entry.py",
        """
from hil.cli import failures, main

def interrupted(args, as_json):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return failures.INTERRUPTED

main._run = interrupted
main.main([])
""",
    )
    done = subprocess.run([sys.executable, "-m", "entry"], cwd=tmp_path, check=False)
    assert done.returncode == 130
