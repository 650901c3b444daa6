"""The time that a training would take on a rig, from a few of its blocks."""

from __future__ import annotations

import numpy as np
import pytest

from hil.cli.commands.init import starter_files
from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.config.training import load_training
from hil.control.rig_clock import RigClock, planning_rigs
from hil.control.session import open_session
from hil.record import open_run
from hil.units import format_duration

TRAINING = """
schema = 1
name = "small"
baseline = false
[dataset]
kind = "npz"
file = "data.npz"
[network]
hidden = []
[rule]
method = "{method}"
[schedule]
epochs = 2
[characterise]
devices = 2
pulses = 16
"""
#: What a rig with two channels behind a matrix can do.
TWIN = "[twin]\nparallel_sense = false\nper_line_width = false\n"


@pytest.fixture
def lab(tmp_path):
    starter = starter_files(rig=True)
    device = tmp_path / "device.toml"
    device.write_text(starter["device.toml"])
    text = starter["station.toml"].replace('"device.toml"', f'"{device.as_posix()}"')
    (tmp_path / "station.toml").write_text(text + "\n" + TWIN)
    (tmp_path / "training.toml").write_text(TRAINING.replace("{method}", "M3"))
    x = np.random.default_rng(0).random((90, 3)).round(1)
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    np.savez(tmp_path / "data.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return tmp_path


@pytest.mark.parametrize("method", ["M1", "M3"])
def test_a_few_blocks_of_each_kind_tell_what_all_of_them_take(lab, monkeypatch, method):
    (lab / "training.toml").write_text(TRAINING.replace("{method}", method))
    every = []
    add = RigClock.add

    def keep(clock, backend, block):
        every.append(block)
        add(clock, backend, block)

    monkeypatch.setattr(RigClock, "add", keep)
    with open_session(lab / "station.toml", sim=True, out=lab / "runs") as session:
        trained = session.train(lab / "training.toml")
        rig = planning_rigs(session.station, {"main"})["main"]
    exact_s = rig.predicted_s(every)
    print(f"{method}: {len(every)} blocks, {exact_s:.4g} s; from a few {trained.rig.seconds:.4g} s")
    assert trained.rig.why == ""
    assert trained.rig.seconds == pytest.approx(exact_s, rel=0.15)
    assert sum(trained.rig.by_phase.values()) == pytest.approx(trained.rig.seconds)
    (result,) = (e for e in open_run(trained.run).events if e["kind"] == "result")
    assert result["rig_seconds"] == pytest.approx(trained.rig.seconds)


def test_reads_that_were_simulated_at_once_are_timed_as_the_rig_takes_them(lab):
    found = []
    for twin in (TWIN, ""):
        station = (lab / "station.toml").read_text().replace(TWIN, twin)
        with open_session(
            validate_text(station, Station, lab / "station.toml"), sim=True, out=lab / "runs"
        ) as session:
            found.append(session.train(load_training(lab / "training.toml")).rig)
    assert found[1].why == ""
    assert found[1].seconds == pytest.approx(found[0].seconds, rel=0.15)


def test_a_training_that_the_rig_cannot_do_says_why(lab):
    station = (lab / "station.toml").read_text()
    station = station.replace('gap = "100 us"', 'gap = "100 us"\ninhibit = "v/3"')
    with open_session(
        validate_text(station, Station, lab / "station.toml"), sim=True, out=lab / "runs"
    ) as session:
        trained = session.train(load_training(lab / "training.toml"))
    assert trained.rig.seconds is None
    assert "separate potentials" in trained.rig.why


def test_a_station_without_instruments_has_no_rig_to_time(lab):
    (lab / "plain.toml").write_text('schema = 1\n[[array]]\nrows = 4\ncols = 4\ndevice = "ideal"\n')
    with open_session(lab / "plain.toml", sim=True, out=lab / "runs") as session:
        assert session.train(lab / "training.toml").rig is None


def test_times_are_said_as_people_say_them():
    said = [format_duration(s) for s in (0.0123, 12.3, 89.0, 100.0, 7200.0, 400_000.0)]
    assert said == ["12 ms", "12.3 s", "89 s", "2 min", "2 h 0 min", "4 d 15 h"]
