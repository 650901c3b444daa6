from __future__ import annotations

import io
import json

import numpy as np
import pytest

from hil.demo.run import demo_training, run_demo
from hil.errors import RunInterrupted
from hil.program import Phase
from hil.record import open_run


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A demo of one epoch of 120 samples, and what it reported on its way."""
    seen = {"progress": [], "backends": [], "folder": None}
    result = run_demo(
        tmp_path_factory.mktemp("runs"), epochs=1, samples=120,
        progress=lambda done, total=None, note="": seen["progress"].append((done, total, note)),
        watch=lambda backends: seen["backends"].extend(backends),
        started=lambda folder: seen.update(folder=folder),
    )  # fmt: skip
    return result, seen


def test_the_demo_reports_the_numbers_that_json_promises(short):
    result, _ = short
    out = json.loads(json.dumps(result.to_json()))
    assert set(out["accuracy"]) == {"m3", "m1", "float"}
    assert set(out["pulses"]) == {"write", "refresh"}
    assert out["pulses"]["write"] > 0
    assert out["seconds"] > 0
    assert out["run"] == str(result.run)


def test_the_demo_records_a_finished_run_that_verifies(short):
    result, seen = short
    assert seen["folder"] == result.run
    run = open_run(result.run)
    assert run.status == "done"
    assert run.problems == ()
    assert run.manifest["kind"] == "demo"
    assert run.manifest["simulated"] is True
    kinds = [event["kind"] for event in run.events]
    assert kinds.count("epoch") == 2
    assert (result.run / "config" / "m3.toml").is_file()


def test_characterisation_is_recorded_in_full_and_training_per_operation(short):
    result, _ = short
    run = open_run(result.run)
    phases = set(np.unique(run.pulses["phase"].to_numpy()))
    assert phases == {Phase.PROGRAM}
    ops = run.ops.to_pandas()
    updates = ops[ops["phase"] == Phase.UPDATE]
    history = (result.m3.history, result.m1.history)
    assert updates["n_pulses"].sum() == sum(h.total("write_pulses") for h in history)
    curve = result.curve.up_raw
    reads = ops[ops["phase"] == Phase.CALIBRATE]["n_readings"].sum()
    assert reads >= 2 * 2 * curve.shape[1] * curve.shape[2]


def test_m1_gets_the_same_devices_and_conditions_as_m3(short):
    result, seen = short
    m3, m1 = demo_training("m3"), demo_training("m1")
    for table in ("dataset", "network", "schedule", "characterise", "evaluation", "seed"):
        assert getattr(m3, table) == getattr(m1, table)
    assert m3.rule.model_copy(update={"method": "M1"}) == m1.rule
    assert (result.m3.curves[0].up_raw == result.m1.curves[0].up_raw).all()
    assert [b.geometry.shape for b in seen["backends"]] == [(65, 64), (33, 20)] * 2


def test_the_picture_is_a_png_with_four_panels_worth_of_ink(short):
    import matplotlib.image as image

    result, _ = short
    assert result.picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = image.imread(result.picture)
    assert pixels.shape[:2] == (1360, 1800)
    for rows in (slice(0, 680), slice(680, 1360)):
        for cols in (slice(0, 900), slice(900, 1800)):
            assert (pixels[rows, cols, :3].min(axis=2) < 0.9).mean() > 0.02


def test_the_table_has_one_row_per_method(short):
    from rich.console import Console

    result, _ = short
    assert [row[0][:2] for row in result.rows()] == ["M3", "M1", "fl"]
    console = Console(record=True, width=140, file=io.StringIO())
    console.print(result.table())
    assert "back-propagation" in console.export_text()


def test_progress_runs_from_start_to_end_without_going_back(short):
    _, seen = short
    done = [d for d, _, _ in seen["progress"]]
    assert done == sorted(done)
    assert done[-1] == seen["progress"][-1][1] == 240
    assert any("M1" in note for _, _, note in seen["progress"])


def test_a_stopped_demo_is_closed_as_interrupted(tmp_path):
    opened = []

    def stop(done, total=None, note=""):
        if done:
            opened[0].request_stop()

    with pytest.raises(RunInterrupted):
        run_demo(tmp_path, epochs=1, samples=200, watch=opened.extend, progress=stop)
    (folder,) = tmp_path.iterdir()
    assert open_run(folder).status == "interrupted"
    assert not any(backend.is_open for backend in opened)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 2, 3, 4])
def test_m3_reaches_ninety_four_percent_and_beats_m1(tmp_path, seed):
    result = run_demo(tmp_path, seed=seed)
    assert result.accuracy["m3"] >= 0.94
    assert result.accuracy["m3"] > result.accuracy["m1"]
    assert result.accuracy["float"] > result.accuracy["m3"]
