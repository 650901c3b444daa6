"""Runs that cannot be resumed say why, and are left as they were."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from killing import HIL, lab

from hil.control.resume import open_resumption
from hil.control.session import open_session
from hil.errors import ConfigError, LockedError, RunInterrupted, StoreError
from hil.locks import held
from hil.record import open_run


@pytest.fixture
def stopped(tmp_path):
    """A training that was stopped in its second epoch, and its folder."""
    folder = lab(tmp_path)
    with open_session(folder / "station.toml", sim=True, out=folder / "runs") as session:

        def stop(done, total):
            if done >= 90:
                raise RunInterrupted("enough")

        with pytest.raises(RunInterrupted):
            session.train(folder / "training.toml", on_progress=stop)
    return folder, next((folder / "runs").glob("*/manifest.json")).parent


def hil(*arguments):
    done = subprocess.run(
        [*HIL, *map(str, arguments), "--json"], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def test_a_run_that_is_done_is_refused(stopped):
    _, run = stopped
    code, answer = hil("resume", run)
    assert (code, answer["status"]) == (0, "done")
    before = sorted(p.name for p in run.iterdir())
    code, answer = hil("resume", run)
    assert code == 3
    assert "is done; there is nothing to resume" in answer["error"]["message"]
    assert sorted(p.name for p in run.iterdir()) == before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        with (
            pytest.raises(StoreError, match=r"not a run folder|no such folder"),
            open_resumption(path),
        ):
            pass


@pytest.mark.parametrize("name", ["station.toml", "training.toml"])
def test_a_file_that_has_changed_is_refused(stopped, name):
    folder, run = stopped
    path = folder / name
    path.write_text(path.read_text() + "\n# one more word\n")
    with (
        pytest.raises(ConfigError, match=f"{name}: has changed since"),
        open_resumption(run) as resumption,
    ):
        resumption.train()
    assert open_run(run).status == "interrupted"


def test_a_device_file_that_has_changed_is_refused(tmp_path):
    from hil_sim.models.device import preset_text

    folder = lab(tmp_path)
    device = folder / "mine.toml"
    device.write_text(preset_text("nonlinear"))
    station = folder / "station.toml"
    station.write_text(station.read_text().replace('"nonlinear"', '"mine.toml"'))
    with open_session(station, sim=True, out=folder / "runs") as session:
        session.backends["main"].request_stop()
        with pytest.raises(RunInterrupted):
            session.train(folder / "training.toml")
    run = next((folder / "runs").glob("*/manifest.json")).parent
    device.write_text(device.read_text() + "\n# thicker oxide\n")
    with pytest.raises(ConfigError, match=r"mine.toml: has changed since"), open_resumption(run):
        pass


def test_files_that_are_gone_are_taken_from_the_run(stopped):
    folder, run = stopped
    for name in ("station.toml", "training.toml"):
        (folder / name).unlink()
    with open_resumption(run) as resumption:
        resumption.train()
    assert open_run(run).status == "done"


@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_makes_way_for_the_one_before(stopped, both):
    folder, run = stopped
    states = [c for c in open_run(run).checkpoints if c.name.startswith("state")]
    assert len(states) == 2
    for checkpoint in states if both else states[-1:]:
        content = bytearray(checkpoint.path.read_bytes())
        content[len(content) // 2] ^= 1
        checkpoint.path.write_bytes(content)
    with open_session(folder / "station.toml", sim=True, out=folder / "whole") as session:
        whole = session.train(folder / "training.toml").run
    with open_resumption(run) as resumption:
        resumption.train()
    (resumed,) = (e for e in open_run(run).events if e["kind"] == "resumed")
    assert resumed["damaged"] == [c.name for c in reversed(states)][: 1 + both]
    assert resumed["checkpoint"] == (None if both else states[0].name)
    with (
        np.load(whole / "checkpoints" / "weights.npz") as expected,
        np.load(run / "checkpoints" / "weights.npz") as found,
    ):
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_checkpoint_of_another_version_is_refused(stopped, monkeypatch):
    _, run = stopped
    from hil.control import checkpointing

    monkeypatch.setattr(checkpointing, "FORMAT", 0)
    with pytest.raises(StoreError, match="newer version; update"), open_resumption(run):
        pass
    assert open_run(run).status == "interrupted"


def test_a_run_that_is_being_recorded_or_resumed_is_refused(stopped):
    _, run = stopped
    for lock in ("run.lock", "resume.lock"):
        with (
            held(run / lock, "it"),
            pytest.raises(LockedError, match=f"{run.name} is in use by process"),
            open_resumption(run),
        ):
            pass
    with (
        open_resumption(run),
        pytest.raises(LockedError, match="resuming run"),
        open_resumption(run),
    ):
        pass


def test_other_data_are_refused(tmp_path):
    folder = lab(tmp_path)
    rng = np.random.default_rng(1)
    x, y = rng.random((40, 6)), np.arange(40) % 3
    data = {"x_train": x[:30], "y_train": y[:30], "x_test": x[30:], "y_test": y[30:]}
    np.savez(folder / "data.npz", **data)
    text = (folder / "training.toml").read_text()
    (folder / "training.toml").write_text(text + '[dataset]\nkind = "npz"\nfile = "data.npz"\n')
    with open_session(folder / "station.toml", sim=True, out=folder / "runs") as session:

        def stop(done, total):
            if done >= 30:
                raise RunInterrupted("enough")

        with pytest.raises(RunInterrupted):
            session.train(folder / "training.toml", on_progress=stop)
    run = next((folder / "runs").glob("*/manifest.json")).parent
    np.savez(folder / "data.npz", **{**data, "x_train": x[:30][::-1]})
    with (
        pytest.raises(ConfigError, match="data set is not the one"),
        open_resumption(run) as resumption,
    ):
        resumption.train()


def test_a_training_that_came_from_no_file_is_refused(tmp_path):
    from hil.config.training import load_training

    folder = lab(tmp_path)
    training = load_training(folder / "training.toml").model_copy(update={"path": None})
    with open_session(folder / "station.toml", sim=True, out=folder / "runs") as session:
        session.backends["main"].request_stop()
        with pytest.raises(RunInterrupted):
            session.train(training)
    run = next((folder / "runs").glob("*/manifest.json")).parent
    with (
        pytest.raises(ConfigError, match="was not run from a training file"),
        open_resumption(run) as resumption,
    ):
        resumption.train()


def test_a_run_on_the_virtual_bench_is_refused(stopped):
    _, run = stopped
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["meta"]["bench"] = "virtual bench"
    (run / "manifest.json").write_text(json.dumps(manifest))
    with (
        pytest.raises(ConfigError, match="virtual bench, whose devices ended"),
        open_resumption(run),
    ):
        pass
