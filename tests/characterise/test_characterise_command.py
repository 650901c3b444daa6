"""`hil characterise` as people run it: killed, in two processes, on a virtual bench, in JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from characterising import SUITE, go, lab

from hil.cli.commands.init import starter_files
from hil.cli.main import main
from hil.errors import LockedError
from hil.locks import held
from hil.record import open_run
from hil.record.characterisation import open_characterisation

HIL = [sys.executable, "-m", "hil.cli.main"]
COMMAND = ["characterise", "station.toml", "--sim", "--suite", "suite.toml"]


def called(capsys, *arguments, code=0):
    """Return what `hil` printed and what it said on standard error."""
    with pytest.raises(SystemExit) as ended:
        main([*COMMAND, *arguments])
    assert (ended.value.code or 0) == code
    return capsys.readouterr()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(lab(tmp_path))
    return tmp_path


def test_the_plan_comes_first_and_drives_nothing(here, capsys):
    text = called(capsys, "--plan").out
    assert "nothing was driven" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert lines["curves"][1] == "24"
    assert lines["curves"][4:7] == [str(24 * 120), "120", str(3 * 120)]  # three other rows
    assert lines["in"][1] == "all"
    assert "stuck: moves by less than 5%" in text
    assert not (here / "runs").exists()


def test_one_json_object_says_what_was_done_and_where(here, capsys):
    found = json.loads(called(capsys, "--json", "--cells", "0-1,0-1").out)
    assert [part["name"] for part in found["parts"]] == ["noise", "curves", "map", "disturb", "end"]
    assert all(open_run(part["run"]).status == "done" for part in found["parts"])
    assert (found["devices"], found["left"], found["left_out"]) == (4, 4, [])
    assert found["in_all"]["device_pulses"] == sum(p["device_pulses"] for p in found["plan"])


def test_when_no_device_is_left_the_exit_code_says_so(here, capsys):
    lab(here, more="stuck_at_max = 1.0")
    said = called(capsys, code=6)
    assert "0 of 24 devices are left: 24 stuck" in said.out
    assert "every device tripped a stop rule" in said.err


def test_a_suite_that_is_not_there_is_refused(here, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["characterise", "station.toml", "--sim", "--suite", "standart"])
    assert ended.value.code == 3
    assert "did you mean 'standard'" in capsys.readouterr().err


def test_two_processes_do_not_work_on_one_folder(here, capsys):
    go(here)
    folder = next((here / "runs" / "characterisations").iterdir())
    with held(folder / "characterise.lock", "x"), pytest.raises(LockedError, match="in use by"):
        go(here)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_kill_costs_the_open_part_at_most(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    suite = SUITE.replace("cycles = 40", "cycles = 200000, pulses = 1")
    _, _, whole = go(lab(tmp_path / "whole", SUITE))
    folder = lab(tmp_path / "killed", suite)
    process = subprocess.Popen(
        [*HIL, *COMMAND, "--seed", "5"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("end: "):
            time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    (path,) = (folder / "runs" / "characterisations").iterdir()
    index = open_characterisation(path)
    assert [part.run is not None for part in index.parts] == [True] * 4 + [False]
    assert len(index.parts[4].runs) == 1
    # The same, with an end that is short; all else is done.
    text = (path / "suite.toml").read_text().replace("200000, pulses = 1", "40")
    for file in (path / "suite.toml", folder / "suite.toml"):
        file.write_text(text)
    index.about["suite"] = text
    index.write()
    _, told, index = go(folder)
    assert told.begun == ["end"]
    assert len(index.parts[4].runs) == 2
    one, other = (
        np.load(found.parts[4].run / "checkpoints" / "outcome.npz")["g_siemens"]
        for found in (whole, index)
    )
    np.testing.assert_array_equal(one, other)


def test_a_device_that_trips_the_stations_limit_is_left_out_and_the_part_begins_again(tmp_path):
    # Short trains, and devices that share no line: only the stuck one draws more than 170 uA.
    suite = SUITE.replace("pulses = 30", 'pulses = 12, together = "cell"').split(
        '[[part]]\nname = "map"'
    )[0]
    lab(tmp_path, suite, more="stuck_at_max = 0.1")
    _, _, index = go(tmp_path)
    ((row, col),) = {(e.row, e.col) for e in index.left_out}  # one, by the seed
    others = [((row + k) % 4, (col + k) % 6) for k in (1, 2, 3)]
    device = (tmp_path / "device.toml").read_text()
    (tmp_path / "device.toml").write_text(
        device.replace('inhibit = "v/2"', 'inhibit = "v/2"\ncompliance = "170 uA"')
    )
    with (tmp_path / "station.toml").open("a") as file:
        file.write("compliance_trips = 4\n")
    cells = tuple(f"{r},{c}" for r, c in [(row, col), *others])
    _, told, index = go(tmp_path, cells=cells, name="limited")
    assert [(e.row, e.col, e.part, e.rule) for e in index.left_out] == [
        (row, col, "curves", "compliance")
    ]
    first, second = (open_run(run) for run in index.parts[1].runs)
    assert first.stop["error"].startswith("SafetyTrip")
    assert second.status == "done"
    assert told.begun == ["noise", "curves", "curves"]


QUICK = """
schema = 1
name = "bench"
[[part]]
name = "noise"
protocol = "read-noise"
set = { reads = 3 }
[[part]]
name = "curves"
protocol = "ltp-ltd"
set = { cycles = 2, pulses = 6 }
"""


def test_a_rig_on_the_virtual_bench_is_characterised_by_the_same_suite(tmp_path, monkeypatch):
    pytest.importorskip("lupa")
    monkeypatch.chdir(tmp_path)
    for name, text in starter_files(rig=True).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "suite.toml").write_text(QUICK)
    with pytest.raises(SystemExit) as ended:
        main(["characterise", "station.toml", "--virtual", "--suite", "suite.toml", "--cells",
              "0,0-1"])  # fmt: skip
    assert not ended.value.code
    index = open_characterisation(tmp_path / "runs/characterisations/bench-main-bench-virtual")
    assert index.about["backend"] == "rig on the virtual bench"
    for part in index.parts:
        run = open_run(part.run)
        assert run.status == "done"
        plan = next(e["seconds"] for e in run.events if e["kind"] == "plan")
        assert plan > 0
    with np.load(index.parts[1].run / "checkpoints" / "outcome.npz") as outcome:
        assert outcome["g_siemens"].shape == (26, 2)
        assert np.isfinite(outcome["g_siemens"]).all()
