"""Generated stations of the four kinds of rig."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hil_drivers.rig_stations import station_text

from hil.cli.main import main
from hil.config.station import Station, wires
from hil.config.toml_file import validate_text
from hil.control.rig_clock import planning_rigs
from hil.errors import ConfigError
from hil.phases.reading import read_map

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
    assert hil("study", "show", "studies/rigs", "-n", "rig_seconds") == 0
    shown = capsys.readouterr().out.split()
    assert "rig_seconds" in shown
    assert float(shown[-1]) == pytest.approx(seconds["a"], rel=0.2)  # a seed of its own
    assert hil("init", "wrong", "--rig", "--array", "4") != 0
    assert hil("init", "wrong", "--kind", "a") != 0
    assert not (tmp_path / "wrong").exists()
