"""Studies on a real SLURM: a cluster of this machine, started for the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from studies import hil, write_study

from hil.study.folder import StudyFolder

SCRIPT = Path(__file__).with_name("slurm.sh")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel")

pytestmark = pytest.mark.xdist_group("slurm")


@pytest.fixture(scope="module")
def cluster():
    """Environment of a SLURM cluster that is up."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"SLURM is not installed ({', '.join(missing)}); as root on Debian: "
            "bash tests/study/slurm.sh install"
        )
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="hil-slurm-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            ["bash", SCRIPT, "start", folder], capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        if done.returncode:
            subprocess.run(["bash", SCRIPT, "stop", folder], check=False)
            pytest.skip(f"SLURM does not start here: {done.stderr[-400:]}")
        yield {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
        subprocess.run(["bash", SCRIPT, "stop", folder], check=False)


def squeue(cluster, *form):
    return subprocess.run(
        ["squeue", "-h", *form], env=cluster, capture_output=True, text=True, check=True
    ).stdout.split()


def test_job_array_runs_every_point_once(cluster, tmp_path):
    file = write_study(tmp_path, 'seeds = [1, 2]\n[grid]\n"training.schedule.eta" = [0.05, 0.15]')
    arguments = ("study", file, "--engine", "slurm", "--chunk", 3, "--out", tmp_path / "out")
    with hil(*arguments, env=cluster) as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "4 runs ended, 0 failed, 0 were done before" in out
    folder = StudyFolder(tmp_path / "out" / "small")
    assert [folder.point(p.id).state for p in folder.listed()] == ["done"] * 4
    assert len(list((folder.path / "slurm").glob("*_submitted.pkl"))) == 2, "chunks of 3 and 1"
    with hil(*arguments, env=cluster) as process:
        out, err = process.communicate(timeout=60)
    assert "0 runs ended, 0 failed, 4 were done before" in out, err


@pytest.mark.slow  # SLURM holds a job back for two minutes before it runs it again
def test_job_whose_time_is_over_goes_on_with_what_is_open(cluster, tmp_path):
    """SIGUSR2 is what SLURM sends before the limit: the job is queued again with its chunk."""
    file = write_study(tmp_path, "seeds = [1, 2]", samples=1500)
    with hil("study", file, "--engine", "slurm", "--out", tmp_path / "out", env=cluster) as process:
        points = tmp_path / "out" / "small" / "points"
        end = time.monotonic() + 90
        while not list(points.glob("*/*/stop.json")) and time.monotonic() < end:
            time.sleep(0.05)
        (job,) = squeue(cluster, "-o", "%F")
        subprocess.run(["scancel", "--signal=USR2", job], env=cluster, check=True)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    folder = StudyFolder(tmp_path / "out" / "small")
    assert [folder.point(p.id).state for p in folder.listed()] == ["done"] * 2
    logs = "".join(p.read_text() for p in (folder.path / "slurm").glob("*.err"))
    assert "requeue" in logs.lower(), logs[-2000:]


def test_cluster_that_is_not_there_is_one_line(tmp_path):
    file = write_study(tmp_path, "seeds = [1]")
    with hil(
        "study", file, "--engine", "slurm", "--out", tmp_path / "out",
        env={**os.environ, "PATH": str(Path(sys.executable).parent)},
    ) as process:  # fmt: skip
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert err.strip().splitlines()[-1].startswith("hil: no jobs can be submitted")
