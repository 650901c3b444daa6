"""Points are run, skipped when done, and cost no more than themselves when something dies."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from studies import RULE, hil, write_study

import hil as hil_package
from hil.errors import ConfigError, LockedError
from hil.locks import held
from hil.study.engines import LocalEngine
from hil.study.file import load_study
from hil.study.folder import PointFolder, StudyFolder
from hil.study.run import run_study
from hil.study.table import export, rows
from hil.study.work import run_point

TWO_RATES = """
seeds = [1, 2]
[grid]
"training.schedule.eta" = [0.05, 0.15]
"""


def run(file, workers=1):
    return run_study(load_study(file), file.parent / "out", LocalEngine(workers))


def test_every_point_is_an_ordinary_run_and_is_run_once(tmp_path):
    file = write_study(tmp_path, TWO_RATES)
    first = run(file, workers=2)
    assert (first.ran, first.skipped, first.failed) == (4, 0, {})
    listed = first.folder.listed()
    for point in listed:
        opened = hil_package.open_run(first.folder.point(point.id).done)
        assert opened.status == "done"
        assert opened.verify() == ()
        assert opened.manifest["seeds"]["devices"] == point.seed
    second = run(file)
    assert (second.ran, second.skipped) == (0, 4)
    more = write_study(tmp_path, TWO_RATES.replace("0.05", "0.02, 0.05"))
    third = run(more)
    assert (third.ran, third.skipped) == (2, 4)


def test_points_that_are_done_take_the_settings_of_a_study_that_sweeps_more_now(tmp_path):
    file = write_study(tmp_path, 'seeds = [1]\n[set]\n"training.schedule.eta" = 0.05')
    assert run(file).ran == 1
    wider = write_study(tmp_path, 'seeds = [1]\n[grid]\n"training.schedule.eta" = [0.05, 0.15]')
    outcome = run(wider)
    assert (outcome.ran, outcome.skipped) == (1, 1)
    found = [row.settings for row in rows(outcome.folder)]
    assert found == [{"training.schedule.eta": 0.05}, {"training.schedule.eta": 0.15}]


def test_result_depends_neither_on_workers_nor_on_order(tmp_path):
    file = write_study(tmp_path, TWO_RATES)
    many = run(file, workers=2).folder
    found = {p.id: many.numbers(p.id) for p in many.listed()}
    alone = run_study(load_study(file), tmp_path / "alone", LocalEngine(1)).folder
    for point in alone.listed():
        numbers = alone.numbers(point.id)
        assert numbers.pop("seconds") > 0
        assert numbers == {k: v for k, v in found[point.id].items() if k != "seconds"}


def test_failing_point_does_not_stop_the_others_and_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_rule.py").write_text(RULE)
    file = write_study(
        tmp_path,
        """
        [set]
        "training.rule.rule" = "failing_rule:Rule"
        [grid]
        "training.rule.options.fails" = [true, false]
        """,
    )
    outcome = run(file)
    assert (outcome.ran, len(outcome.failed)) == (2, 1)
    line = RULE.splitlines().index('            raise RuntimeError("no way")') + 1
    assert list(outcome.failed) == ["rule.options.fails = True, seed = 1"]
    (error,) = outcome.failed.values()
    assert "RuntimeError: no way" in error
    assert f"{tmp_path / 'failing_rule.py'}:{line}" in error
    states = sorted(outcome.folder.point(p.id).state for p in outcome.folder.listed())
    assert states == ["done", "failed"]
    again = run(file)
    assert (again.ran, again.skipped, len(again.failed)) == (1, 1, 1)


@pytest.mark.parametrize("kind", [RuntimeError, AttributeError, NameError, AssertionError])
def test_whatever_a_point_raises_is_kept_with_its_place(tmp_path, monkeypatch, kind):
    def broken(*args, **options):
        raise kind("no way")

    monkeypatch.setattr("hil.control.session.open_session", broken)
    line = broken.__code__.co_firstlineno + 1
    error = run_point(tmp_path, 1, sim=True, level="off")
    assert error == f"{kind.__name__}: no way ({__file__}:{line})"
    assert PointFolder(tmp_path).failure == error


def test_ctrl_c_in_a_point_ends_the_study(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = RULE.replace('RuntimeError("no way")', "KeyboardInterrupt")
    (tmp_path / "interrupted_rule.py").write_text(source)
    file = write_study(
        tmp_path,
        """
        seeds = [1, 2]
        [set]
        "training.rule.rule" = "interrupted_rule:Rule"
        "training.rule.options.fails" = true
        """,
    )
    with pytest.raises(KeyboardInterrupt):
        run(file)
    folder = StudyFolder(tmp_path / "out" / "small")
    assert [folder.point(p.id).failure for p in folder.listed()] == [None, None]


def test_tuning_picks_the_best_mean_and_counts_with_it(tmp_path):
    file = write_study(
        tmp_path,
        'seeds = [1]\n[tune]\nseeds = 2\ngrid = {"training.schedule.eta" = [1e-6, 0.1]}',
        samples=150,
    )
    outcome = run(file)
    assert outcome.ran == 5
    (row,) = rows(outcome.folder)
    assert row.tuned == {"training.schedule.eta": 0.1}
    tuning = [p for p in outcome.folder.listed() if p.stage == "tune"]
    by_rate = {}
    for p in tuning:
        accuracy = outcome.folder.numbers(p.id)["test_accuracy"]
        by_rate.setdefault(p.tuned["training.schedule.eta"], []).append(accuracy)
    assert sum(by_rate[0.1]) > sum(by_rate[1e-6])


def test_protocol_is_swept_too(tmp_path):
    head = 'schema = 1\nname = "p"\nstation = "station.toml"\nprotocol = "read-map"\n'
    file = write_study(tmp_path, '[grid]\n"device.variation.step_d2d" = [0.0, 0.3]', head=head)
    outcome = run(file)
    assert outcome.failed == {}
    assert len(rows(outcome.folder)) == 2


def test_second_study_on_a_folder_is_refused(tmp_path):
    file = write_study(tmp_path, TWO_RATES)
    study = load_study(file)
    folder = StudyFolder.create(tmp_path / "out", study)
    folder.keep(study)
    write_study(tmp_path, TWO_RATES.replace("0.05", "0.02"))
    with held(folder.path / "study.lock", "study small"):
        with pytest.raises(LockedError) as caught:
            run(file)
        where = f"study small in {folder.path} is in use by process {os.getpid()}"
        assert where in str(caught.value)
        assert "0.02" not in (folder.path / "study.toml").read_text(), "that of the running study"


def test_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no folder of a study"):
        StudyFolder(tmp_path)


def _wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def _running(folder):
    """Manifests of points that are being run, by the process that wrote them."""
    return [
        (int(json.loads((m.parent / "env" / "host.json").read_text())["pid"]), m)
        for m in folder.glob("points/*/*/manifest.json")
        if not (m.parent / "stop.json").exists() and (m.parent / "env" / "host.json").exists()
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_worker_costs_its_point_only_a_second_try(tmp_path):
    file = write_study(tmp_path, TWO_RATES, samples=400)
    with hil("study", file, "--workers", 2, "--out", tmp_path / "out") as process:
        pid, _ = _wait_for(lambda: _running(tmp_path / "out" / "small"))[0]
        assert pid != process.pid
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    folder = StudyFolder(tmp_path / "out" / "small")
    assert [folder.point(p.id).state for p in folder.listed()] == ["done"] * 4


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_study_stopped_at_any_moment_goes_on_with_what_is_open(tmp_path, number):
    file = write_study(tmp_path, TWO_RATES, samples=300)
    out = tmp_path / "out"
    with hil("study", file, "--workers", 1, "--out", out) as process:
        _wait_for(lambda: list((out / "small").glob("points/*/*/stop.json")))
        _wait_for(lambda: _running(out / "small"))
        (os.killpg if number == "SIGKILL" else os.kill)(process.pid, getattr(signal, number))
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == "SIGTERM" else -signal.SIGKILL), err
    folder = StudyFolder(out / "small")
    done = [p.id for p in folder.listed() if folder.point(p.id).state == "done"]
    assert 1 <= len(done) < 4
    outcome = run(file)
    assert outcome.skipped == len(done)
    assert [folder.point(p.id).state for p in folder.listed()] == ["done"] * 4


def test_export_has_one_row_per_point(tmp_path):
    import pandas as pd

    folder = run(write_study(tmp_path, TWO_RATES)).folder
    for name, read in (("a.parquet", pd.read_parquet), ("a.csv", pd.read_csv)):
        assert export(folder, tmp_path / name) == 4
        frame = read(tmp_path / name)
        assert set(frame["seed"]) == {1, 2}
        assert set(frame["training.schedule.eta"]) == {0.05, 0.15}
        assert frame["test_accuracy"].between(0, 1).all()
        assert (frame["state"] == "done").all()
        assert (frame["write_pulses_per_device"] * frame["devices"]).to_numpy() == pytest.approx(
            frame["write_pulses"].to_numpy()
        )
        for name in ("refresh_pulses", "half_selects", "most_pulses_on_a_device", "energy_joule"):
            assert (frame[name] >= 0).all(), name
        assert (frame["energy_joule"] > frame["selected_joule"]).all()
    with pytest.raises(ConfigError, match="neither"):
        export(folder, tmp_path / "a.xlsx")
