"""The catalogue of runs: what it lists, and that it can be lost, damaged and made again."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from recording import make, measured, read_block

from hil.errors import StoreError
from hil.program import Phase
from hil.record import RunFolder, open_run
from hil.record.catalogue import FILE, Wanted, open_catalogue
from hil.record.sealing import seal_run

STATION = b'schema = 1\nname = "<b>bench</b>"\n'


@pytest.fixture
def root(tmp_path, rng):
    """A folder with a run that is done, a training that failed, one that goes on, and a crash."""
    with make(tmp_path, config={"station.toml": STATION}, meta={"operator": "ada"}) as run:
        run.readings(0, 0, read_block(), measured(rng, 40))
        run.operation(0, Phase.READ)
    training = RunFolder.create(
        tmp_path, "train m3", kind="train", backend="rig", simulated=False, meta={"sample": "C7"}
    )
    with pytest.raises(ZeroDivisionError), training:
        _ = 1 / 0
    crashed = make(tmp_path)
    crashed.close()
    (crashed.path / "stop.json").unlink()
    going_on = make(tmp_path)
    (tmp_path / "notes").mkdir()
    yield tmp_path
    going_on.close()


def listed(root, wanted=None, order="started", **options):
    with open_catalogue(root, **options) as catalogue:
        return catalogue.runs(wanted, order)


def test_every_run_is_listed_with_its_state(root):
    found = {run.name + " " + run.status: run for run in listed(root)}
    assert set(found) == {
        "ltp of one cell done", "train m3 failed", "ltp of one cell crashed",
        "ltp of one cell running",
    }  # fmt: skip
    done = found["ltp of one cell done"]
    assert (done.rows, done.station, done.operator) == (41, "<b>bench</b>", "ada")
    assert done.bytes > 1000
    assert 0 <= done.seconds < 60
    failed = found["train m3 failed"]
    assert (failed.kind, failed.backend, failed.simulated) == ("train", "rig", False)
    assert (failed.sample, failed.problem) == ("C7", "ZeroDivisionError: division by zero")
    assert found["ltp of one cell running"].rows is None


@pytest.mark.parametrize(
    ("wanted", "n"),
    [
        (Wanted(name="of one"), 3),
        (Wanted(name="train*"), 1),
        (Wanted(name="m3"), 1),
        (Wanted(name="?3"), 0),
        (Wanted(status="done"), 1),
        (Wanted(kind="train"), 1),
        (Wanted(station="<b>bench</b>"), 1),
        (Wanted(station="bench"), 0),
        (Wanted(since=datetime.now(UTC) - timedelta(hours=1)), 4),
        (Wanted(since=datetime.now(UTC) + timedelta(hours=1)), 0),
        (Wanted(name="of one", status="crashed"), 1),
    ],
    ids=[
        "part of a name",
        "beginning of a name",
        "end of a name",
        "pattern that fits nothing",
        "status",
        "kind",
        "station",
        "part of a station",
        "last hour",
        "future",
        "two at once",
    ],
)
def test_runs_are_filtered(root, wanted, n):
    assert len(listed(root, wanted)) == n


def test_runs_are_sorted_and_unknown_values_come_last(root):
    rows = [run.rows for run in listed(root, order="rows")]
    assert rows[0] == 41
    assert rows[-1] is None
    names = [run.name for run in listed(root, order="name")]
    assert names == sorted(names)
    folders = [run.folder for run in listed(root)]
    assert [name[:16] for name in folders] == sorted((n[:16] for n in folders), reverse=True)


def test_the_index_follows_what_happens_to_the_runs(root):
    (running,) = listed(root, Wanted(status="running"))
    (done,) = listed(root, Wanted(status="done"))
    before = {run.folder for run in listed(root)}
    seal_run(root / done.folder)
    shutil.rmtree(root / next(r.folder for r in listed(root, Wanted(status="failed"))))
    with make(root) as new:
        pass
    found = {run.folder: run for run in listed(root)}
    assert len(found) == len(before)
    assert found[new.path.name].status == "done"
    assert found[running.folder].status == "running"
    assert found[done.folder].bytes != done.bytes


def test_a_run_that_cannot_be_opened_is_listed_as_damaged(root):
    broken = root / "20260101T000000Z_broken_00000000"
    broken.mkdir()
    (broken / "events.jsonl").write_bytes(b"")
    (run,) = listed(root, Wanted(status="damaged"))
    assert "no manifest.json" in run.problem
    (broken / "manifest.json").write_text(json.dumps({"format": 99}))
    (run,) = listed(root, Wanted(status="damaged"))
    assert "format 99 is newer than 1" in run.problem
    (broken / "manifest.json").write_text(json.dumps({"format": 1, "id": 3}))
    (run,) = listed(root, Wanted(status="damaged"))
    assert "damaged" in run.problem


def test_the_index_is_kept_with_a_write_ahead_log(root):
    listed(root)
    base = sqlite3.connect(root / FILE)
    assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    base.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"not a database at all" * 100),
        lambda file: file.write_bytes(file.read_bytes()[:3000]),
        lambda file: _flip(file),
        lambda file: _statement(file, "DROP TABLE runs", "CREATE TABLE runs (folder, x)"),
        lambda file: _statement(file, "PRAGMA user_version=7"),
    ],
    ids=["text", "truncated", "flipped bytes", "other columns", "other version"],
)
def test_a_damaged_catalogue_is_rebuilt_and_it_is_said(root, damage):
    before = listed(root)
    damage(root / FILE)
    for end in ("-wal", "-shm"):
        (root / (FILE + end)).unlink(missing_ok=True)
    with open_catalogue(root) as catalogue:
        assert catalogue.runs() == before
        assert "rebuilt from the run folders" in catalogue.notes[0]
    with open_catalogue(root) as catalogue:
        assert catalogue.notes == []


def _flip(file):
    content = bytearray(file.read_bytes())
    for offset in range(0, len(content), 37):
        content[offset] ^= 0x55
    file.write_bytes(bytes(content))


def _statement(file, *statements):
    base = sqlite3.connect(file)
    for statement in statements:
        base.execute(statement)
    base.commit()
    base.close()


def test_the_catalogue_can_be_rebuilt_on_request(root):
    before = listed(root)
    base = sqlite3.connect(root / FILE)
    base.execute("UPDATE runs SET name = 'wrong'")
    base.commit()
    base.close()
    assert {run.name for run in listed(root, Wanted(status="done"))} == {"wrong"}
    assert listed(root, rebuild=True) == before


def test_where_no_catalogue_can_be_written_it_is_made_in_memory(root):
    (root / FILE).mkdir()
    with open_catalogue(root) as catalogue:
        assert len(catalogue.runs()) == 4
        assert "made in memory" in catalogue.notes[0]
    with pytest.raises(StoreError, match="no such folder"):
        listed(root / "nothing")


def test_several_processes_may_list_at_once(root):
    failed = []

    def look():
        try:
            for _ in range(5):
                assert len(listed(root)) == 4
        except BaseException as exc:  # noqa: BLE001 - told to the test's own thread
            failed.append(exc)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_looking_at_the_catalogue_never_stops_a_run_from_going_on(root):
    (crashed,) = listed(root, Wanted(status="crashed"))
    stop = threading.Event()

    def look():
        while not stop.is_set():
            listed(root)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(5):
            RunFolder.reopen(root / crashed.folder).close("interrupted")
    finally:
        stop.set()
        thread.join()
    assert open_run(root / crashed.folder).status == "interrupted"
