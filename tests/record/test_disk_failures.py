"""A disk that is full, read-only, slow or broken: one clear error, nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from recording import make, measured, read_block

from hil.errors import StoreError
from hil.program import Phase
from hil.record import CommitPolicy, durable, open_run


def record_until_it_fails(run, rng, n_rows: int, pause_s: float = 0.0) -> tuple[int, StoreError]:
    """Append blocks until StoreError; return what was acknowledged just before it."""
    acked = 0
    for ordinal in itertools.count():
        try:
            run.readings(0, ordinal, read_block(), measured(rng, n_rows))
        except StoreError as exc:
            return acked, exc
        acked = run.acked
        time.sleep(pause_s)
    raise AssertionError("unreachable")


def fill(folder: Path) -> None:
    with (folder / "other").open("wb", buffering=0) as other, contextlib.suppress(OSError):
        while True:
            other.write(bytes(4096))


def test_a_full_disk_stops_the_run_and_everything_measured_is_kept(small_disk, rng):
    run = make(small_disk / "runs")
    acked, error = record_until_it_fails(run, rng, 2000, pause_s=0.002)
    assert re.fullmatch(
        rf"cannot record into {run.path}/reads/\d{{6}}\.arrows: No space left on device", str(error)
    )
    with pytest.raises(StoreError, match="No space left"):
        run.close()
    opened = open_run(run.path)
    assert opened.status == "failed"
    assert "No space left" in opened.stop["error"]
    assert [e["kind"] for e in opened.events if e["kind"] != "alarm"] == ["start", "fault", "stop"]
    assert opened.problems == ()
    assert opened.reads.num_rows == run.ticket == opened.stop["rows_acknowledged"]
    assert acked > 10_000
    assert opened.verify() == ()


def test_a_disk_filled_by_a_flood_keeps_every_acknowledged_row(small_disk, rng):
    run = make(small_disk / "runs")
    acked, _ = record_until_it_fails(run, rng, 20_000)
    with pytest.raises(StoreError, match="No space left"):
        run.barrier()
    with pytest.raises(StoreError, match="No space left"):
        run.close()
    opened = open_run(run.path)
    assert opened.status == "failed"
    assert opened.problems == ()
    assert opened.reads.num_rows >= opened.stop["rows_acknowledged"] >= acked > 0
    assert opened.stop["rows_appended"] == run.ticket


def test_a_disk_that_fills_up_while_segments_are_sealed_keeps_every_acknowledged_row(
    small_disk, rng
):
    run = make(small_disk / "runs", policy=CommitPolicy(segment_bytes=200_000))
    acked, _ = record_until_it_fails(run, rng, 2000, pause_s=0.01)
    with pytest.raises(StoreError, match="No space left"):
        run.close()
    opened = open_run(run.path)
    assert opened.status == "failed"
    assert opened.problems == ()
    assert opened.reads.num_rows == opened.stop["rows_acknowledged"] >= acked > 10_000
    assert opened.verify() == ()
    assert list(run.path.rglob("*.parquet"))
    assert not list(run.path.rglob("*.tmp"))


def test_a_disk_filled_by_somebody_else_is_noticed_by_events_too(small_disk):
    run = make(small_disk / "runs")
    fill(small_disk)
    for number in range(20):
        run.event("op", number=number, text="x" * 1000)
    run.close("interrupted")
    opened = open_run(run.path)
    assert opened.status == "interrupted"
    assert sum(e["kind"] == "op" for e in opened.events) == 20


def test_a_full_disk_at_the_start_leaves_no_folder(small_disk):
    with pytest.raises(StoreError, match=r"bytes free, a run of about 3000000 bytes needs 7048576"):
        make(small_disk / "runs", estimate_bytes=3_000_000)
    assert list((small_disk / "runs").iterdir()) == []
    fill(small_disk)
    with pytest.raises(StoreError, match="bytes free"):
        make(small_disk / "runs")
    assert list((small_disk / "runs").iterdir()) == []


def test_a_read_only_disk_gives_one_clear_line(small_disk):
    remount = [shutil.which("mount") or "mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    with pytest.raises(StoreError) as caught:
        make(small_disk / "runs")
    assert re.fullmatch(
        r"cannot create the run folder \S+: Read-only file system", str(caught.value)
    )


def test_a_folder_below_a_file_gives_one_clear_line(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StoreError, match=r"^cannot create the run folder .*$") as caught:
        make(tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 7


def test_a_failed_sync_acknowledges_nothing_more(tmp_path, rng, monkeypatch):
    run = make(tmp_path)
    run.readings(0, 0, read_block(), measured(rng))
    assert run.barrier() == 15
    real_sync = durable.sync

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "sync", broken)
    run.readings(0, 1, read_block(), measured(rng))
    with pytest.raises(StoreError, match=r"Input/output error"):
        run.barrier()
    assert run.acked == 15
    with pytest.raises(StoreError, match=r"Input/output error"):
        run.readings(0, 2, read_block(), measured(rng))
    monkeypatch.setattr(durable, "sync", real_sync)
    with pytest.raises(StoreError, match=r"Input/output error"):
        run.close()
    opened = open_run(run.path)
    assert opened.status == "failed"
    assert (opened.stop["rows_acknowledged"], opened.stop["rows_appended"]) == (15, 45)
    assert opened.reads.num_rows >= 15


def test_an_error_inside_the_run_is_not_hidden_by_the_disk(tmp_path, rng, monkeypatch):
    run = make(tmp_path)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "sync", broken)
    run.readings(0, 0, read_block(), measured(rng))
    with pytest.raises(ZeroDivisionError) as caught, run:
        _ = 1 / 0
    assert "Input/output error" in "".join(caught.value.__notes__)


def test_short_writes_are_carried_on(tmp_path, rng, monkeypatch):
    real_write = os.write
    with make(tmp_path) as run:
        monkeypatch.setattr(os, "write", lambda fd, content: real_write(fd, content[:101]))
        for ordinal in range(3):
            run.readings(0, ordinal, read_block(), measured(rng, 500))
    monkeypatch.undo()
    opened = open_run(run.path)
    assert opened.reads.num_rows == 1500
    assert opened.verify() == ()


def test_a_write_that_writes_nothing_is_an_error(tmp_path, rng, monkeypatch):
    run = make(tmp_path)
    monkeypatch.setattr(os, "write", lambda fd, content: 0)
    run.readings(0, 0, read_block(), measured(rng))
    with pytest.raises(StoreError, match="the system wrote nothing"):
        run.barrier()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="the system wrote nothing"):
        run.close()
    assert open_run(run.path).status == "failed"


def test_a_slow_disk_slows_the_run_instead_of_filling_the_memory(tmp_path, rng, monkeypatch):
    real_sync = durable.sync
    policy = CommitPolicy(queue_bytes=200_000)
    m = measured(rng, 1000)
    row_bytes = sum(c.itemsize for c in m.columns().values()) + 12

    def slow(fd: int) -> None:
        time.sleep(0.05)
        real_sync(fd)

    with make(tmp_path, policy=policy) as run:
        monkeypatch.setattr(durable, "sync", slow)
        behind = [run.readings(0, k, read_block(), m) - run.acked for k in range(60)]
        monkeypatch.setattr(durable, "sync", real_sync)
    open_group = CommitPolicy().max_rows
    assert max(behind) * row_bytes <= policy.queue_bytes + (2 * open_group + 1000) * row_bytes
    assert open_run(run.path).reads.num_rows == 60_000


def test_a_disk_that_hangs_is_an_error_after_the_stall_time(tmp_path, rng, monkeypatch):
    policy = CommitPolicy(queue_age_s=0.05, stall_s=0.2)
    release = threading.Event()
    real_sync = durable.sync

    def hanging(fd: int) -> None:
        release.wait(20)
        real_sync(fd)

    run = make(tmp_path, policy=policy)
    monkeypatch.setattr(durable, "sync", hanging)
    _, error = record_until_it_fails(run, rng, 15, pause_s=0.005)
    assert str(error) == f"{run.path}: the disk has not acknowledged for 0.2 s"
    release.set()
    monkeypatch.setattr(durable, "sync", real_sync)
    time.sleep(0.1)
    with pytest.raises(StoreError, match="has not acknowledged"):
        run.close()
    opened = open_run(run.path)
    assert opened.status == "failed"
    assert [e["kind"] for e in opened.events] == ["start", "fault", "stop"]
    assert opened.reads.num_rows == run.ticket == run.acked


def test_low_space_and_the_clock_become_events(tmp_path):
    policy = CommitPolicy(low_space_bytes=1 << 62, clock_s=0.5)
    with make(tmp_path, policy=policy) as run:
        time.sleep(2.3)
        run.operation(0, Phase.READ)
    opened = open_run(run.path)
    kinds = [e["kind"] for e in opened.events]
    assert kinds.count("alarm") == 1
    assert kinds.count("clock") >= 1
    clock = next(e for e in opened.events if e["kind"] == "clock")
    offset_ns = clock["utc_ns"] - clock["t_ns_of_utc"] - opened.manifest["utc_epoch_ns"]
    assert abs(offset_ns) < 50e6


def test_the_ballast_leaves_no_file_and_gives_its_space_back(small_disk):
    before = shutil.disk_usage(small_disk).free
    ballast = durable.Ballast(small_disk, 1 << 20)
    held = shutil.disk_usage(small_disk).free
    assert before - held >= 1 << 20
    assert list(small_disk.iterdir()) == []
    assert ballast.shrink()
    assert shutil.disk_usage(small_disk).free - held >= 3 << 18
    assert not ballast.shrink()
    ballast.release()
    assert shutil.disk_usage(small_disk).free == before


def test_without_ballast_a_full_disk_still_loses_no_acknowledged_row(small_disk, rng):
    run = make(small_disk / "runs", policy=CommitPolicy(ballast_bytes=0))
    acked, error = record_until_it_fails(run, rng, 2000, pause_s=0.002)
    assert "No space left" in str(error)
    with pytest.raises(StoreError, match="No space left"):
        run.close()
    opened = open_run(run.path)
    assert opened.reads.num_rows >= acked
    np.testing.assert_array_equal(np.unique(np.diff(opened.reads["block"].to_numpy())), [0, 1])


def test_the_estimate_is_refused_before_a_folder_is_made(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(StoreError, match="bytes free"):
        make(tmp_path / "runs", estimate_bytes=free)
    assert list(Path(tmp_path / "runs").iterdir()) == []
