"""The power goes: what was acknowledged is on the disk, and every run opens.

Two disks: a real file system on a loop device that is shut down at a random moment without being
flushed, and a log of what the recorder asked of the system, replayed up to a random moment with
everything that was not synced dropped, cut short or torn.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
from crashing import FORKS, check, jobs, look, nest
from unsynced import Recording, record

from hil.errors import StoreError

#: _IOR('X', 125, __u32) of Linux: shut a file system down; 2 = drop what is not on the disk.
_SHUTDOWN, _WITHOUT_FLUSH = 0x8004587D, 2
_IMAGE_BYTES = 24 << 20


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def mounted(image, folder):
    """Mount an image while the block runs."""
    _run("mount", "-o", "loop,noatime", str(image), str(folder))
    try:
        yield
    finally:
        for _ in range(100):  # a process that dies takes a moment to let go of its files
            with contextlib.suppress(OSError):
                _run("umount", str(folder))
                break
            time.sleep(0.02)
        else:
            _run("umount", "--lazy", str(folder))


def cut_power(folder) -> None:
    """Take the disk away: what it has not got by now it never gets."""
    import fcntl

    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
    finally:
        os.close(fd)


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """An empty ext4 image; where such an image cannot be mounted or shut down the test skips."""
    if sys.platform != "linux" or not FORKS or os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("cutting the power of a file system needs root, Linux and mkfs.ext4")
    folder = tmp_path_factory.mktemp("blank")
    image = folder / "image"
    image.touch()
    os.truncate(image, _IMAGE_BYTES)
    (folder / "disk").mkdir()
    try:
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        with mounted(image, folder / "disk"):
            cut_power(folder / "disk")
    except OSError as exc:
        pytest.skip(f"a loop-mounted file system cannot be had here: {exc}")
    return image


def cut_many(root, rng, blank, n: int, at_once: int = 4) -> list[int]:
    """Cut the power of ``n`` writers, mount their disks again, check; return the rows acked."""
    acked = []
    with nest(root) as home:
        for k in range(0, n, at_once):
            folder = root / f"batch-{k}"
            folder.mkdir()
            batch = []
            for job in jobs(folder, rng, min(at_once, n - k), 0.5):
                disk = folder / f"disk-{len(batch)}"
                disk.mkdir()
                shutil.copyfile(blank, f"{disk}.image")
                batch.append((replace(job, root=str(disk / "runs")), disk))
            with ExitStack() as stack:
                for job, disk in batch:
                    stack.enter_context(mounted(f"{disk}.image", disk))
                    home.hatch(job)
                begin = time.monotonic()
                for job, disk in sorted(batch, key=lambda pair: pair[0].life_s):
                    time.sleep(max(begin + job.life_s - time.monotonic(), 0.0))
                    look(job)
                    cut_power(disk)
                home.bury(now=True)
                home.buried()
            for job, disk in batch:
                with mounted(f"{disk}.image", disk):
                    acked.append(check(job))
            shutil.rmtree(folder)
    return acked


def test_no_acknowledged_row_is_lost_when_the_power_is_cut(tmp_path, rng, blank):
    acked = cut_many(tmp_path, rng, blank, 20)
    assert len(acked) == 20
    assert sum(a > 0 for a in acked) >= 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_acknowledged_row_is_lost_in_many_power_cuts(tmp_path, rng, blank):
    acked = cut_many(tmp_path, rng, blank, 1000)
    assert sum(a > 0 for a in acked) >= 300


@pytest.fixture(scope="module", params=["simulator", "rig"])
def recording(request, tmp_path_factory) -> Recording:
    """What the system was asked for by two runs, one of them under leases."""
    return record(tmp_path_factory.mktemp("log"), rig=request.param == "rig")


def test_nothing_acknowledged_hangs_on_what_was_not_synced(tmp_path, rng, recording):
    acked = [recording.cut(tmp_path / f"{k}", rng) for k in range(60)]
    assert sum(a > 0 for a in acked) >= 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_acknowledged_hangs_on_what_was_not_synced_in_many_cuts(tmp_path, rng, recording):
    for k in range(3000):
        recording.cut(tmp_path / f"{k}", rng)
        shutil.rmtree(tmp_path / f"{k}")


def test_a_recorder_that_acknowledges_too_early_would_be_found_out(tmp_path_factory, rng):
    lying = record(tmp_path_factory.mktemp("liar"), rig=False, syncs=False)
    lost = 0
    for k in range(40):
        try:
            lying.cut(tmp_path_factory.mktemp(f"cut-{k}"), rng)
        except (AssertionError, StoreError):
            lost += 1
    assert lost > 20


def test_the_whole_recording_without_a_cut_is_a_run_that_is_done(tmp_path, rng, recording):
    assert recording.cut(tmp_path / "whole", rng, at=len(recording.log)) > 0
    (stop,) = (tmp_path / "whole").rglob("stop.json")
    assert stop.stat().st_size > 0
    assert np.any([p.suffix == ".parquet" for p in (tmp_path / "whole").rglob("0*")])
