"""`--virtual`, `hil bench up` and `--wire-log` with real processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from command import HIL, hil, hil_json, write

from hil.cli.commands.init import starter_files
from hil.cli.main import main
from hil.control.session import open_session
from hil.record import open_run

PULSES = """
schema = 1
kind = "ltp-ltd"
cells = [[1, 2]]
cycles = 1
pulses = 3
"""

TRAINING = """
schema = 1
name = "small"
baseline = false
[dataset]
kind = "npz"
file = "data.npz"
train_limit = 12
test_limit = 2
[network]
hidden = []
[schedule]
epochs = 1
[characterise]
devices = 1
pulses = 8
"""


@pytest.fixture
def lab(tmp_path):
    for name, text in starter_files(rig=True).items():
        write(tmp_path, name, text)
    write(tmp_path, "pulses.toml", PULSES)
    return tmp_path


def test_init_writes_the_station_of_a_rig(lab):
    done = hil("init", "new", "--rig", cwd=lab)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(" --virtual")
    assert (lab / "new" / "station.toml").read_bytes() == (lab / "station.toml").read_bytes()


def exchanges(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_virtual_run_says_so_first_and_in_the_run_folder(lab):
    done = hil("run", "pulses.toml", "-s", "station.toml", "--virtual", "--wire-log", cwd=lab)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("backend: rig on the virtual bench: smu: Keithley")
    assert "batched: all pulses" in done.stdout  # the plan, before the first pulse
    run = open_run(lab / second.removeprefix("run: "))
    manifest = run.manifest
    assert (manifest["backend"], manifest["simulated"]) == ("rig on the virtual bench", True)
    assert run.verify() == ()
    assert run.reads.num_rows == 7  # one before the first pulse
    assert all("127.0.0.1" in i["resource"] for i in manifest["instruments"])
    assert (run.path / "config" / "station.toml").read_bytes() == (
        lab / "station.toml"
    ).read_bytes()
    # The whole session, from the identification to the safe state after the run was closed.
    log = exchanges(run.path / "wire.jsonl")
    assert [line["n"] for line in log] == list(range(len(log)))
    assert log[0]["sent"] == "*IDN?"
    assert Counter(line["instrument"] for line in log).keys() == {"smu", "mux"}
    assert 'channel.open("allslots")' in log[-1]["sent"]
    assert not any("error" in line for line in log)
    # The log goes on after the stop record; its digest is beside it, and `verify` reads it.
    beside = (run.path / "wire.jsonl.sha256").read_text(encoding="utf-8")
    content = (run.path / "wire.jsonl").read_bytes()
    assert beside == f"{hashlib.sha256(content).hexdigest()}  wire.jsonl\n"
    (run.path / "wire.jsonl").write_bytes(content + b"\n")
    assert run.verify() == ("wire.jsonl: its sha256 is not the one noted",)


def test_virtual_and_simulated_runs_agree_on_a_read(lab):
    bench = hil_json("run", "read-map", "-s", "station.toml", "--seed", "3", "--virtual", cwd=lab)
    with open_session(lab / "station.toml", sim=True, seed=3, out=lab / "sim") as session:
        sim = session.run_protocol("read-map")
    assert bench["simulated"]
    assert bench["backend"] != sim.backend
    g_siemens = sim.result.outcome["g_siemens"]
    np.testing.assert_allclose(bench["outcome"]["g_siemens"], g_siemens, rtol=0.05)
    assert not list((lab / "runs").rglob("wire.jsonl"))


def test_a_network_learns_on_the_virtual_bench(lab):
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    np.savez(lab / "data.npz", x_train=x, y_train=(x[:, 0] > x[:, 1]).astype(np.int64))
    write(lab, "small.toml", TRAINING)
    found = hil_json(
        "train", "small.toml", "-s", "station.toml", "--virtual", "--wire-log", cwd=lab
    )
    assert found["simulated"]
    run = open_run(lab / found["run"])
    assert (run.status, run.manifest["backend"]) == ("done", "rig on the virtual bench")
    assert found["pulses"]["write"] > 0
    assert len(exchanges(run.path / "wire.jsonl")) > 100


@pytest.mark.parametrize("virtual", [True, False])
def test_a_dry_run_prints_the_plan_of_a_rig(lab, virtual):
    flags = ["--virtual"] if virtual else []
    done = hil_json("dry-run", "pulses.toml", "-s", "station.toml", *flags, cwd=lab)
    name = "rig on the virtual bench" if virtual else "rig"
    assert (done["backend"], done["simulated"]) == (name, virtual)
    assert done["plan"][0].startswith(f"{name}: ")
    assert any(line.startswith("batched: ") for line in done["plan"])
    assert any(line.startswith("predicted time: ") for line in done["plan"])
    assert not (lab / "runs").exists()


@pytest.fixture
def refused(lab, monkeypatch, capsys):
    """Run a command that must fail with a code; return the line that says why."""
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards

    def run(code, *arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == code
        assert not (lab / "runs").exists()
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("command", ["run read-map", "train training.toml", "dry-run read-map"])
def test_sim_and_virtual_exclude_each_other(refused, command):
    said = refused(2, *command.split(), "-s", "station.toml", "--virtual", "--sim")
    assert "--sim and --virtual exclude each other" in said


def test_what_has_no_instruments_has_no_bench_and_no_wire_log(lab, refused):
    array = '[[array]]\nrows = 2\ncols = 2\ndevice = "nonlinear"\n'
    write(lab, "sim.toml", f'schema = 1\nbackend = "sim"\n{array}')
    write(lab, "bare.toml", f"schema = 1\n{array}")
    said = refused(3, "run", "read-map", "-s", "sim.toml", "--virtual")
    assert "backend 'sim' has no instruments to emulate" in said
    said = refused(3, "run", "read-map", "-s", "station.toml", "--sim", "--wire-log")
    assert "no instruments whose exchanges could be logged" in said
    assert "needs [[instrument]] tables" in refused(3, "bench", "up", "bare.toml")


def test_without_lupa_the_extra_is_named(lab):
    code = (
        "import sys\nsys.modules['lupa'] = None\nfrom hil.cli.main import main\n"
        "main(['run', 'read-map', '--station', 'station.toml', '--virtual'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=lab, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert 'pip install "synapse-hil[bench]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_wire_log_of_a_session_that_could_not_begin_is_kept(lab):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            link, _ = server.accept()
            with link:
                link.recv(64)
                link.sendall(b"Somebody Else,Model 1,2,3\n")
                link.recv(64)

        other = threading.Thread(target=answer)
        other.start()
        text = (lab / "station.toml").read_text(encoding="utf-8")
        write(lab, "other.toml", text.replace("192.168.0.5::5025", f"127.0.0.1::{port}"))
        done = hil("run", "read-map", "-s", "other.toml", "--wire-log", cwd=lab)
        other.join(20)
    assert done.returncode == 5
    assert "'Somebody Else,Model 1,2,3'" in done.stderr
    (kept,) = (lab / "runs").glob("*.jsonl")  # the log, and no run
    assert not any(path.is_dir() for path in (lab / "runs").iterdir())
    assert f"wire log: runs{os.sep}{kept.name}" in done.stderr
    assert exchanges(kept)[0]["reply"] == "Somebody Else,Model 1,2,3"


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to one process alone on Windows")
def test_ctrl_c_leaves_the_virtual_rig_safe_and_the_run_closed(lab):
    write(lab, "long.toml", PULSES.replace("cycles = 1", "cycles = 200"))
    process = subprocess.Popen(
        [*HIL, "run", "long.toml", "-s", "station.toml", "--virtual", "--wire-log"], cwd=lab,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        folder = None
        for line in process.stdout:
            folder = line.removeprefix("run: ").strip() if line.startswith("run: ") else folder
            if line.startswith("batched: "):
                break
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stderr
    run = open_run(lab / folder)
    assert (run.status, run.problems) == ("interrupted", ())
    *_, outputs, relays = exchanges(run.path / "wire.jsonl")
    assert "source.output" in outputs["sent"]
    assert {float(value) for value in outputs["reply"].split()} == {0.0}
    assert relays["reply"].startswith("nil")  # no crosspoint is closed


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to one process alone on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_bench_that_is_up_answers_on_its_resources_until_it_is_stopped(lab, number):
    process = subprocess.Popen(
        [*HIL, "bench", "up", "station.toml", "--json"], cwd=lab, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        resources = json.loads(process.stdout.readline())
        assert resources.keys() == {"smu", "mux"}
        for name, model in (("smu", "26"), ("mux", "707B")):
            _, host, port, _ = resources[name].split("::")
            with socket.create_connection((host, int(port)), timeout=10) as link:
                link.sendall(b"*IDN?\n")
                assert model in link.makefile().readline()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert stdout == ""
    assert "Traceback" not in stderr
