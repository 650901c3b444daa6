from __future__ import annotations

import json
import time

import numpy as np
import pytest
from following import followed, unpacked, wait_for
from live import STATION, Pulses, start

from hil.errors import StoreError
from hil.measurement import Status
from hil.monitor.board import Board
from hil.monitor.estimate import progress_of, status_of
from hil.monitor.feed import Feed
from hil.monitor.newest import newest_run
from hil.monitor.views import (
    cell_view,
    cells_view,
    curve_view,
    events_view,
    health_view,
    iv_view,
    learning_view,
    map_view,
    progress_view,
    run_view,
)
from hil.program import Phase


def test_the_map_is_that_of_the_rows(tmp_path):
    with start(tmp_path, n=16) as folder:
        source = Pulses(folder, 16)
        source.append(5000)
        folder.barrier()
        feed = followed(folder.path)
        view = map_view(feed.arrays["main"], feed)
        expected = source.g.astype(np.float32).reshape(16, 16)
        np.testing.assert_array_equal(unpacked(view["g"], "<f4", (16, 16)), expected)
        assert (view["rows"], view["cols"], view["seq"]) == (16, 16, 5000)
        source.append(100)
        folder.barrier()
        assert feed.poll()
        assert map_view(feed.arrays["main"], feed)["seq"] == 5100
        assert not feed.poll()


def test_names_come_as_they_were_written(tmp_path):
    with start(tmp_path) as folder:
        view = run_view(followed(folder.path))
    assert view["station"] == "bench <b>7</b> & <script>window.hacked = 1</script>"
    assert view["arrays"] == [{"name": "main", "rows": 16, "cols": 16}]
    assert view["simulated"] is True


def test_dead_and_limited_cells_are_told_apart(tmp_path):
    with start(tmp_path, n=16) as folder:
        Pulses(folder, 16).append(400)
        folder.barrier()
        feed = followed(folder.path)
    view = cells_view(feed.arrays["main"], feed)
    failed = unpacked(view["failed"], "u1", (16, 16))
    assert set(zip(*np.nonzero(failed), strict=True)) == {(1, 2), (3, 3)}
    status = unpacked(view["status"], "<u4", (16, 16))
    assert status[0, 5] == Status.I_COMPLIANCE
    assert np.count_nonzero(status) == 1
    assert (view["g_min"], view["g_max"]) == (1e-6, 100e-6)
    assert health_view(feed)["statuses"] == {"I_COMPLIANCE": 2}


def test_no_trace_has_more_than_2000_points(tmp_path):
    with start(tmp_path, n=2) as folder:
        Pulses(folder, 2, pulses_per_branch=3000).append(40_000)
        for epoch in range(5000):
            if epoch % 1000 < 3:  # enough to see that all are counted
                folder.event("epoch", epoch=epoch, test_accuracy=0.5)
    feed = followed(folder.path)
    feed.epochs[""] = [{"epoch": k, "test_accuracy": 0.5} for k in range(7000)]
    feed.outcome = {"voltage_v": np.linspace(0, 1, 9000), "current_a": np.ones((9000, 40))}
    traces = [
        *curve_view(feed)["arrays"][0].values(), *cell_view(feed.arrays["main"], 0, 0).values(),
        *learning_view(feed)["methods"][0].values(), progress_view(feed)["rate"]["x"],
        *(curve["v"] for curve in iv_view(feed)["curves"]),
    ]  # fmt: skip
    lengths = [len(trace) for trace in traces if isinstance(trace, list)]
    assert max(lengths) > 900
    assert max(lengths) <= 2000
    assert len(iv_view(feed)["curves"]) == 16
    assert iv_view(feed)["more"] == 24


def test_a_checkpoint_is_newer_than_the_rows_that_are_still_being_read(tmp_path):
    final = np.full((16, 16), 42e-6)
    target = np.full((16, 16), 40e-6)
    with start(tmp_path, n=16) as folder:
        Pulses(folder, 16).append(200_000)
        folder.checkpoint("outcome", g_last_siemens=final, target_siemens=target)
    feed = Feed(folder.path)
    feed.poll(0.0)
    assert feed.behind
    np.testing.assert_array_equal(feed.arrays["main"].g_siemens, final)
    while feed.behind:
        feed.poll(0.0)
    devices = feed.arrays["main"]
    np.testing.assert_array_equal(devices.g_siemens, final)
    np.testing.assert_array_equal(devices.target_siemens, target)
    assert devices.pulses_up.sum() + devices.pulses_down.sum() == 200_000


def test_a_ledger_gives_the_pulses_that_were_not_recorded_one_by_one(tmp_path):
    up, down = np.full((16, 16), 7, np.uint32), np.full((16, 16), 5, np.uint32)
    g = np.full((16, 16), 3e-6)
    with start(tmp_path, n=16) as folder:
        folder.manifest["levels"]["update"] = "operation"
        (folder.path / "manifest.json").write_text(json.dumps(folder.manifest))
        Pulses(folder, 16).append(1000)
        folder.checkpoint("ledger", selected_plus=up, selected_minus=down, g_last_siemens=g)
    devices = followed(folder.path).arrays["main"]
    np.testing.assert_array_equal(devices.pulses_up, up)
    np.testing.assert_array_equal(devices.g_siemens, g)


def test_the_error_is_known_while_devices_are_brought_to_their_targets(tmp_path):
    targets = np.full((16, 16), 20e-6)
    targets[0] = np.nan
    with start(tmp_path, n=16) as folder:
        folder.checkpoint("targets", target_siemens=targets)
        Pulses(folder, 16).append(600)
        folder.barrier()
        feed = followed(folder.path)
        view = cells_view(feed.arrays["main"], feed)
    expected = targets.astype(np.float32)
    np.testing.assert_array_equal(unpacked(view["target"], "<f4", (16, 16)), expected)
    assert not feed.arrays["main"].is_ahead


def test_the_state_of_a_training_brings_the_maps_of_its_arrays(tmp_path):
    tables = {
        "g_last_siemens": np.full((16, 16), 4e-6), "selected_plus": np.full((16, 16), 9, np.uint32),
        "selected_minus": np.zeros((16, 16), np.uint32),
    }  # fmt: skip
    with start(tmp_path, n=16) as folder:
        folder.manifest["levels"]["update"] = "operation"
        (folder.path / "manifest.json").write_text(json.dumps(folder.manifest))
        named = {f"ledgers/main/{name}": table for name, table in tables.items()}
        folder.checkpoint("state-0", anew=True, tree=np.zeros(4, np.uint8), **named)
        devices = followed(folder.path).arrays["main"]
    assert (devices.g_siemens == 4e-6).all()
    assert (devices.pulses_up == 9).all()


def test_a_checkpoint_that_was_written_anew_counts_and_is_no_problem(tmp_path):
    tables = {name: np.zeros((16, 16), np.uint32) for name in ("selected_plus", "selected_minus")}
    with start(tmp_path, n=16) as folder:
        for g in (1e-6, 2e-6):
            folder.checkpoint("ledger", anew=True, g_last_siemens=np.full((16, 16), g), **tables)
    feed = followed(folder.path)
    assert feed.arrays["main"].g_siemens[0, 0] == 2e-6
    assert feed.problems == []


def test_progress_follows_the_plan_the_reports_or_the_epochs(tmp_path):
    with start(tmp_path) as folder:
        feed = followed(folder.path)
        assert progress_of(feed).done is None
        assert status_of(feed) == "running"
        folder.event("plan", seconds=8.0)
        folder.operation(1, Phase.PROGRAM, duration_s=2.0)
        folder.barrier()
        feed.poll()
        assert progress_of(feed).done == pytest.approx(0.25)
        assert progress_of(feed).left_s == pytest.approx(3 * progress_of(feed).elapsed_s, rel=0.2)
        folder.event("progress", done=60, total=80, unit="samples")
        feed.poll()
        assert progress_of(feed).done == pytest.approx(0.75)
        assert progress_of(feed).what == "60 of 80 samples"
    feed.poll()
    assert (status_of(feed), progress_of(feed).done) == ("done", 1.0)


def test_epochs_of_the_training_file_are_progress(tmp_path):
    from hil.record import RunFolder

    text = b"schema = 1\n[network]\nhidden = [4]\n[schedule]\nepochs = 8\n"
    with RunFolder.create(
        tmp_path, "digits", kind="train", backend="sim", simulated=True,
        config={"training.toml": text, "station.toml": STATION.format(n=4).encode()},
        meta={"layers": [["main"], ["main"]]},
    ) as folder:  # fmt: skip
        folder.event("epoch", epoch=0, test_accuracy=0.6, train_accuracy=0.5, train_loss=0.4)
        folder.event("epoch", epoch=1, test_accuracy=float("nan"), train_accuracy=0.7)
        feed = followed(folder.path)
        assert progress_of(feed).done == pytest.approx(0.25)
        assert feed.place.array_of_layer(1) == "main"
        assert feed.place.array_of_layer(2) == "layer 2"
        view = learning_view(feed)["methods"]
        assert view[0]["test_accuracy"] == [0.6, None]
        assert view[0]["float"] is None
        folder.event("float", test_accuracy=[0.8, 0.9])
        feed.poll()
        assert learning_view(feed)["methods"][0]["float"] == [0.8, 0.9]


def test_a_run_that_nobody_records_any_more_is_crashed(tmp_path, monkeypatch):
    import shutil

    with start(tmp_path / "a") as folder:
        Pulses(folder, 16).append(10)
        folder.barrier()
        shutil.copytree(folder.path, tmp_path / "left")
    feed = followed(tmp_path / "left")
    feed.disk.written_at -= 3600
    assert status_of(feed) == "crashed"
    assert progress_view(feed)["status"] == "crashed"


def test_a_resumed_run_goes_on(tmp_path):
    with start(tmp_path) as folder:
        pass
    feed = followed(folder.path)
    assert status_of(feed) == "done"
    (folder.path / "stop.json").rename(folder.path / "stop-000001.json")
    assert feed.poll()
    assert status_of(feed) == "running"


def test_faults_and_damage_stand_out(tmp_path):
    with start(tmp_path) as folder:
        folder.event("alarm", what="low disk space", free_bytes=10)
        folder.event("unfinished", error="LinkTimeout: <img src=x>", pulses=3)
        folder.event("epoch", epoch=1)
    with (folder.path / "events.jsonl").open("ab") as log:
        log.write(b"garbage\n")
    view = events_view(followed(folder.path))
    assert [e["level"] for e in view["loud"]] == ["alarm", "fault"]
    assert view["loud"][1]["text"] == "error LinkTimeout: <img src=x>, pulses 3"
    assert view["problems"] == [f"events.jsonl:{view['total'] + 1}: damaged line"]


def test_an_array_that_no_file_describes_grows_with_its_rows(tmp_path):
    from hil.record import RunFolder

    with RunFolder.create(tmp_path, "bare", kind="run", backend="x", simulated=True) as folder:
        for row, col in ((0, 0), (4, 2), (1, 7)):
            folder.pulses(
                {"op": 1, "phase": Phase.PROGRAM, "row": [row], "col": [col], "v": 1.0,
                 "width": 1e-6, "count": 1, "g1": [1e-6]}
            )  # fmt: skip
            folder.barrier()
    feed = followed(folder.path)
    assert feed.arrays["layer 0"].shape == (5, 8)
    assert np.isfinite(feed.arrays["layer 0"].g_siemens).sum() == 3


def test_no_run_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no such folder"):
        Feed(tmp_path / "none")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        Feed(tmp_path)


def test_the_newest_run_is_the_one_that_was_begun_last(tmp_path):
    assert newest_run(tmp_path) is None
    for name in ("20261121T100000Z_b", "20261121T100001Z_a", "notes", "20261121T100002Z_empty"):
        (tmp_path / name).mkdir()
        if not name.endswith("empty"):
            (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "notes" / "manifest.json").unlink()
    assert newest_run(tmp_path) == tmp_path / "20261121T100001Z_a"


def test_a_newer_run_is_followed_once_the_one_at_hand_is_over(tmp_path):
    with start(tmp_path) as first:
        Pulses(first, 16).append(300)
        board = Board(first.path, lambda: newest_run(tmp_path))
        board.start()
        try:
            wait_for(board, lambda shown: "map:main" in shown)
        finally:
            board.close()
    time.sleep(1.1)  # folders are named by the second
    with start(tmp_path) as second:
        board = Board(first.path, lambda: newest_run(tmp_path))
        board.start()
        try:
            wait_for(board, lambda shown: second.id in shown["run"])
        finally:
            board.close()
