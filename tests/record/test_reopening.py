"""Going on with a run, and keeping a second process out of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recording import LIVE, make, measured, read_block

from hil.errors import LockedError, StoreError
from hil.program import Phase
from hil.record import RunFolder, open_run, surroundings


def record(run, rng, ops) -> None:
    for op in ops:
        run.operation(op, Phase.READ)
        run.readings(op, 0, read_block(), measured(rng, 50))


@pytest.fixture
def crashed(tmp_path, rng):
    """A run whose last batch was cut off and whose last event line is half a line."""
    with make(tmp_path) as run:
        for op in range(3):
            record(run, rng, [op])
            run.barrier()
        run.checkpoint("first", w=np.eye(2))
    (run.path / "stop.json").unlink()
    reads = run.path / "reads" / "000000.arrows"
    reads.write_bytes(reads.read_bytes()[:-700])
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(b'{"t_ns": 7, "ki')
    return run.path


def test_a_crashed_run_goes_on_where_its_rows_end(crashed, rng):
    before = {p: p.read_bytes() for p in crashed.rglob("0*.arrows")}
    n = open_run(crashed).reads.num_rows
    assert n in (50, 100)
    latest = max(e["t_ns"] for e in open_run(crashed).events)
    with RunFolder.reopen(crashed, policy=LIVE) as run:
        assert run.rows == {"reads": n, "ops": 3}
        assert run.t_ns >= latest
        record(run, rng, [3, 4])
    for path, content in before.items():
        assert path.read_bytes() == content
    opened = open_run(crashed)
    assert opened.status == "done"
    assert opened.reads.num_rows == n + 100 == opened.stop["rows"]["reads"]
    assert opened.ops["seq"].to_pylist() == list(range(5))
    assert opened.ops["op"].to_pylist() == list(range(5))
    assert opened.stop["rows_acknowledged"] == opened.stop["rows_appended"] == n + 105
    assert [e["kind"] for e in opened.events] == ["start", "checkpoint", "stop", "resume", "stop"]
    assert len(opened.problems) == 2  # the batch and the line that were cut off
    assert len(opened.verify()) == 2
    assert {"reads/000000.arrows", "reads/000001.arrows", "checkpoints/first.npz"} <= set(
        opened.stop["parts"]
    )


def test_an_interrupted_run_keeps_its_earlier_stop_record(tmp_path, rng):
    run = make(tmp_path)
    record(run, rng, [0])
    run.close("interrupted")
    for number in (1, 2):
        again = RunFolder.reopen(run.path, policy=LIVE)
        assert open_run(run.path).is_running
        record(again, rng, [number])
        again.close("interrupted")
    assert json.loads((run.path / "stop-000001.json").read_bytes())["rows"]["ops"] == 1
    assert json.loads((run.path / "stop-000002.json").read_bytes())["rows"]["ops"] == 2
    opened = open_run(run.path)
    assert opened.ops["op"].to_pylist() == [0, 1, 2]
    assert opened.verify() == ()


def test_a_run_that_is_done_is_not_gone_on_with(tmp_path):
    with make(tmp_path) as run:
        run.operation(0, Phase.READ)
    with pytest.raises(StoreError, match="the run is done"):
        RunFolder.reopen(run.path)
    assert open_run(run.path).status == "done"
    with pytest.raises(StoreError, match="no such folder"):
        RunFolder.reopen(tmp_path / "nothing")


def test_time_goes_on_after_a_restart_of_the_computer(crashed, monkeypatch):
    manifest = json.loads((crashed / "manifest.json").read_bytes())
    manifest["utc_epoch_ns"] -= 3600 * 10**9
    manifest["monotonic_epoch_ns"] += 10**15
    (crashed / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(surroundings, "boot_id", lambda: "another")
    with RunFolder.reopen(crashed) as run:
        assert 3600e9 < run.t_ns < 3700e9


def test_a_clock_that_was_set_back_does_not_turn_time_round(crashed, monkeypatch):
    manifest = json.loads((crashed / "manifest.json").read_bytes())
    manifest["utc_epoch_ns"] += 3600 * 10**9
    (crashed / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(surroundings, "boot_id", lambda: "another")
    latest = max(e["t_ns"] for e in open_run(crashed).events)
    with RunFolder.reopen(crashed) as run:
        assert latest <= run.t_ns < latest + 60e9


def test_a_second_writer_in_the_same_process_is_refused(tmp_path):
    with make(tmp_path) as run:
        with pytest.raises(LockedError) as caught:
            RunFolder.reopen(run.path)
        assert str(caught.value).startswith(
            f"run {run.path.name} is in use by process {os.getpid()} on {platform.node()} since 20"
        )
        run.operation(0, Phase.READ)
    assert open_run(run.path).status == "done"


REOPEN = """
import sys
from hil.errors import LockedError
from hil.record import RunFolder
try:
    RunFolder.reopen(sys.argv[1])
except LockedError as exc:
    print(exc)
"""


def test_a_second_process_is_refused_and_told_who_writes(tmp_path):
    with make(tmp_path) as run:
        content = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
        done = subprocess.run(
            [sys.executable, "-c", REOPEN, str(run.path)], capture_output=True, text=True,
            cwd=Path(__file__).parent, check=True,
        )  # fmt: skip
        assert f"is in use by process {os.getpid()} on {platform.node()} since" in done.stdout
        assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == content


def test_many_contenders_for_a_crashed_run_give_one_writer(crashed):
    script = REOPEN.replace("    RunFolder.reopen(sys.argv[1])", """
    run = RunFolder.reopen(sys.argv[1])
    print("writer")
    sys.stdout.flush()
    sys.stdin.read()
""")  # fmt: skip
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(crashed)], text=True, cwd=Path(__file__).parent,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(5)
    ]  # fmt: skip
    try:
        lines = [contender.stdout.readline() for contender in contenders]
        assert lines.count("writer\n") == 1
        assert sum("is in use by process" in line for line in lines) == 4
    finally:
        for contender in contenders:
            contender.kill()
            contender.communicate()
    assert not open_run(crashed).is_running


def test_checkpoints_load_only_as_they_were_written(tmp_path):
    with make(tmp_path) as run:
        for number in range(3):
            run.checkpoint(f"epoch-{number}", w=np.full((2, 2), number))
    found = open_run(run.path).checkpoints
    assert [c.name for c in found] == ["epoch-0", "epoch-1", "epoch-2"]
    assert [c.is_good() for c in found] == [True] * 3
    np.testing.assert_array_equal(found[1].load()["w"], np.ones((2, 2)))
    content = bytearray(found[2].path.read_bytes())
    content[len(content) // 2] ^= 1
    found[2].path.write_bytes(bytes(content))
    found[0].path.unlink()
    assert [c.is_good() for c in found] == [False, True, False]
    with pytest.raises(StoreError, match="sha256 is not the one noted"):
        found[2].load()
    with pytest.raises(StoreError, match="read the checkpoint"):
        found[0].load()
