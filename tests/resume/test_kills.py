"""A training on the simulator that is killed and resumed ends like one that was never killed."""

from __future__ import annotations

import random

import pytest
from killing import killed, lab, left

from hil.control.resume import open_resumption
from hil.control.session import open_session
from hil.record import open_run

METHODS = {
    "M3": ("M3", "[refresh]\nevery = 9\nthreshold = 0.3\nfloor = 0.05"),
    "M1": ("M1", ""),
    "M3c": ("M3c", "[refresh]\nevery = 15\nexchange_every = 4"),
    "tiki-taka": ("tiki-taka", "[rule.tiki_taka]\nsymmetry_pulses = 20"),
}
TILED = "[twin]\nseed = 4"


def uninterrupted(folder):
    with open_session(folder / "station.toml", sim=True, out=folder / "whole") as session:
        return left(session.train(folder / "training.toml").run)


def resumed(run):
    with open_resumption(run) as resumption:
        return left(resumption.train().run)


def kill_and_resume(folder, whole, rng, times=1):
    command = ["train", "training.toml", "--station", "station.toml", "--sim"]
    run = killed(command, folder, checkpoints=rng.randint(0, 18), delay_s=rng.uniform(0.0, 0.05))
    for _ in range(times - 1):
        if open_run(run).status == "done":
            break
        again = rng.randint(1, 8)
        done = sum(e["kind"] == "checkpoint" for e in open_run(run).events)
        _kill_resume(run, folder, done + again, rng.uniform(0.0, 0.05))
    if open_run(run).status == "done":  # it was quicker than the signal
        assert left(run) == whole
        return False
    assert resumed(run) == whole
    opened = open_run(run)
    assert opened.verify() == ()
    return True


def _kill_resume(run, folder, checkpoints, delay_s):
    import os
    import subprocess
    import time

    from killing import HIL, _checkpoints

    process = subprocess.Popen(
        [*HIL, "resume", str(run)], cwd=folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    while process.poll() is None and _checkpoints(run) < checkpoints:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", METHODS)
def test_a_killed_training_resumed_ends_like_one_never_killed(name, tmp_path):
    folder = lab(tmp_path, method=METHODS[name][0], rule=METHODS[name][1], more=TILED)
    whole = uninterrupted(folder)
    assert kill_and_resume(folder, whole, random.Random(f"kill {name}"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_trainings_killed_again_and_again_end_like_ones_never_killed(seed, tmp_path):
    rng = random.Random(seed)
    name = rng.choice([*METHODS, "manhattan", "threshold", "progressive", "weight-transfer"])
    method, rule = METHODS.get(name, (name, ""))
    folder = lab(tmp_path, method=method, rule=rule, more=TILED)
    kill_and_resume(folder, uninterrupted(folder), rng, times=rng.randint(1, 3))
