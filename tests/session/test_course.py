"""What a run notes of its course, for those who watch it."""

from __future__ import annotations

import numpy as np
import pytest

from hil.control import course
from hil.control.session import open_session
from hil.record import RunFolder, open_run

STATION = """
schema = 1
[[array]]
rows = 8
cols = 8
device = "nonlinear"
"""


@pytest.fixture
def station(tmp_path):
    path = tmp_path / "station.toml"
    path.write_text(STATION)
    return path


def test_a_static_protocol_says_beforehand_how_long_it_takes(station, tmp_path):
    with open_session(station, sim=True, out=tmp_path / "runs") as session:
        run = open_run(session.run_protocol("ltp-ltd").run)
    kinds = [event["kind"] for event in run.events]
    assert kinds.index("plan") < kinds.index("op")
    plan = run.events[kinds.index("plan")]
    assert plan["seconds"] == pytest.approx(sum(run.ops["duration_s"].to_pylist()), rel=1e-6)


def test_targets_are_in_the_run_before_the_first_pulse(station, tmp_path):
    with open_session(station, sim=True, out=tmp_path / "runs") as session:
        run = open_run(session.run_protocol("write-verify").run)
    files = [event["file"] for event in run.events if event["kind"] == "checkpoint"]
    assert files[0] == "targets.npz"
    kept = {checkpoint.name: checkpoint.load() for checkpoint in run.checkpoints}
    targets = kept["targets"]["target_siemens"]
    np.testing.assert_array_equal(targets, kept["outcome"]["target_siemens"])
    assert np.isfinite(targets).all()


def test_a_protocol_without_targets_notes_none(station, tmp_path):
    with open_session(station, sim=True, out=tmp_path / "runs") as session:
        run = open_run(session.run_protocol("read-map").run)
    assert "targets" not in [checkpoint.name for checkpoint in run.checkpoints]


def test_progress_is_noted_now_and_then_and_passed_on(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(course.time, "monotonic", lambda: now[0])
    heard, noted = [], []
    monkeypatch.setattr(RunFolder, "event", lambda self, kind, **fields: noted.append(fields))
    folder = RunFolder.__new__(RunFolder)
    progress = course.noting_progress(folder, lambda *told: heard.append(told), "samples")
    for done in range(0, 1000, 50):
        progress(done, 1000)
        now[0] += 1.0
    assert heard == [(done, 1000) for done in range(0, 1000, 50)]
    assert [note["done"] for note in noted] == [250, 500, 750]
    assert noted[0] == {"done": 250, "total": 1000, "unit": "samples"}
    course.noting_progress(folder, None, "samples")(1, 2)
