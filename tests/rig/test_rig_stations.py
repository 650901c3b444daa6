"""Generated stations of the four kinds of rig."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hil_drivers.rig_stations import station_text
from hil_sim.models.device import Device

from hil.cli.commands.init import rig_station, starter_files
from hil.cli.main import main
from hil.config.station import Station, wires
from hil.config.toml_file import validate_text
from hil.control.rig_clock import RigClock, planning_rigs
from hil.errors import ConfigError
from hil.phases.lowering import lower_for
from hil.phases.reading import read_map
from hil.program import LineState, Phase, PulseBlock

TRAINING = """
schema = 1
baseline = false
[dataset]
kind = "npz"
file = "data.npz"
[network]
hidden = []
[rule]
method = "M1"
[schedule]
epochs = 1
[characterise]
devices = 1
pulses = 16
"""

STUDY = """
schema = 1
name = "rigs"
station = "a/station.toml"
training = "training.toml"
seeds = [1]
[[case]]
name = "M1"
"""


def hil(*args):
    with pytest.raises(SystemExit) as done:
        main(list(args))
    return done.value.code


def station_of(kind, sizes):
    return validate_text(station_text(kind, sizes), Station, "station.toml")


@pytest.mark.parametrize("kind", list("abcd"))
def test_every_line_of_every_array_is_wired_and_a_rig_can_be_made(kind):
    station = station_of(kind, [(65, 64), (33, 20)])
    rigs = planning_rigs(station, {"layer-0", "layer-1"})
    op = station.drive.operating_point()
    for table in station.array:
        lines = {way.line for way in wires(station, table.name)}
        assert len(lines) == table.rows + table.cols
        points = [(w.matrix, w.crosspoint) for w in wires(station, table.name) if w.crosspoint]
        assert len(set(points)) == len(points)
        rig = rigs[table.name]
        blocks = list(read_map(rig.geometry, op, rig.capabilities, np.arange(2), np.arange(3)))
        assert rig.predicted_s(blocks) > 0


def test_arrays_take_as_many_matrices_as_they_have_lines_for():
    station = station_of("a", [(785, 400), (201, 20)])
    used = [{w.matrix for w in wires(station, name)} for name in ("layer-0", "layer-1")]
    assert [len(matrices) for matrices in used] == [17, 4]  # 707B: 72 lines each
    assert not used[0] & used[1]


@pytest.mark.parametrize(("kind", "sizes"), [("e", [(2, 2)]), ("a", []), ("a", [(0, 3)])],
                         ids=["kind", "none", "empty"])  # fmt: skip
def test_rigs_that_there_are_not_are_refused(kind, sizes):
    with pytest.raises(ConfigError):
        station_text(kind, sizes)


@pytest.mark.parametrize("kind", list("ad"))
def test_relays_that_a_write_left_elsewhere_move_once_before_a_long_read(kind):
    station = station_of(kind, [(24, 20)])
    rig = planning_rigs(station, {"main"})["main"]
    op = station.drive.operating_point()
    level = np.zeros((1, 44))
    level[0, :12], level[0, 24:34] = 1.0, -1.0
    state = np.where(level != 0.0, LineState.DRIVE, LineState.GROUND)
    write = PulseBlock.build(Phase.UPDATE, state, level, 200e-6, gap_s=100e-6)
    at_once = replace(rig.capabilities, parallel_sense=True)
    (read,) = read_map(rig.geometry, op, at_once)
    clock = RigClock({"main": rig}, {rig: "main"})
    clock.add(rig, write)
    clock.add(rig, read)
    lowered, _ = lower_for(read, rig.capabilities)
    assert read.n_steps < lowered.n_steps == 24 * 20
    exact_s = rig.predicted_s([write, lowered]) - rig.predicted_s([write])
    assert clock.time().by_phase["read"] == pytest.approx(exact_s, rel=0.01)


@pytest.mark.parametrize("kind", ["", *"abcd", "board"])
def test_the_starter_device_is_one_for_the_pulses_of_the_station(kind):
    station = rig_station(kind, ["4x4"]) if len(kind) == 1 else None
    texts = starter_files(rig=kind != "board", board=kind == "board", station=station)
    drive = tomllib.loads(texts["station.toml"])["drive"]
    device = tomllib.loads(texts["device.toml"])
    assert validate_text(texts["station.toml"], Station).array[0].device == "device.toml"
    assert validate_text(texts["device.toml"], Device).name == "nonlinear"
    assert device["drive"] == device["drive"] | {k: drive[k] for k in device["drive"] if k in drive}
    assert device["current"]["read_voltage"] == drive["read_voltage"]
    pulse = device["pulse"]
    assert (pulse["potentiate_voltage"], pulse["depress_voltage"], pulse["width"]) == (
        drive["potentiate_voltage"], drive["depress_voltage"], drive["write_width"]
    )  # fmt: skip


def test_a_simulated_training_on_a_written_station_says_how_long_its_rig_would_take(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((40, 3)).round(1)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    np.savez("data.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    (tmp_path / "training.toml").write_text(TRAINING)
    seconds = {}
    for kind in "ac":
        assert hil("init", kind, "--rig", "--kind", kind, "--array", "4x4") == 0
        capsys.readouterr()
        station = f"{kind}/station.toml"
        assert hil("train", "training.toml", "--station", station, "--sim", "--json") == 0
        seconds[kind] = json.loads(capsys.readouterr().out)["rig"]["seconds"]
    assert 0 < seconds["c"] < seconds["a"]
    (tmp_path / "study.toml").write_text(STUDY)
    assert hil("study", "study.toml", "--workers", "1") == 0
    capsys.readouterr()
    assert hil("study", "show", "studies/rigs", "-n", "half_selects", "-n", "rig_seconds") == 0
    shown = capsys.readouterr().out.split()
    assert "rig_seconds" in shown
    assert float(shown[-1]) == pytest.approx(seconds["a"], rel=0.2)  # a seed of its own
    assert hil("init", "wrong", "--rig", "--array", "4") != 0
    assert hil("init", "wrong", "--kind", "a") != 0
    assert not (tmp_path / "wrong").exists()
