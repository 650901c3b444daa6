"""Runs of `hil` that are killed, and what a run leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from hil.record import open_run

HIL = [sys.executable, "-m", "hil.cli.main"]
#: Ends a training that nobody kills, with an error.
_LONGEST_S = 120.0

STATION = """
schema = 1
{chip}
[[array]]
rows = 140
cols = 30
device = "nonlinear"
{more}
"""

TRAINING = """
schema = 1
name = "short"
seed = 5
[network]
hidden = [4]
[rule]
method = "{method}"
{rule}
[schedule]
epochs = 2
samples = {samples}
[characterise]
devices = 2
pulses = 32
[checkpoint]
every = 6
"""


def lab(folder: Path, *, method="M3", rule="", samples=60, chip="", more="") -> Path:
    """Write a station and a training file into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    chip = f'chip = "{chip}"' if chip else ""
    (folder / "station.toml").write_text(STATION.format(chip=chip, more=more))
    text = TRAINING.format(method=method, rule=rule, samples=samples)
    (folder / "training.toml").write_text(text)
    return folder


def killed(arguments, cwd: Path, *, checkpoints: int, delay_s: float) -> Path:
    """Start ``hil``, SIGKILL it so long after so many checkpoints, and return its run folder.

    A run that ends before is left alone.
    """
    before = set((cwd / "runs").glob("*/manifest.json"))
    process = subprocess.Popen(
        [*HIL, *map(str, arguments)], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    try:
        end_s = time.monotonic() + _LONGEST_S
        while process.poll() is None and time.monotonic() < end_s:
            found = set((cwd / "runs").glob("*/manifest.json")) - before
            if found and _checkpoints(next(iter(found)).parent) >= checkpoints:
                time.sleep(delay_s)
                break
            time.sleep(0.002)
    finally:
        process.kill()
        _, error = process.communicate()
    found = set((cwd / "runs").glob("*/manifest.json")) - before
    assert len(found) == 1, error.decode()
    return found.pop().parent


def _checkpoints(run: Path) -> int:
    try:
        return (run / "events.jsonl").read_bytes().count(b'"kind": "checkpoint"')
    except OSError:
        return 0


def left(run: Path) -> dict[str, object]:
    """Return everything that a finished training leaves, but times."""
    opened = open_run(run)
    assert opened.status == "done", opened.status
    epochs = {}
    for event in opened.events:
        if event["kind"] == "epoch":
            epochs[event["epoch"]] = {
                k: v for k, v in event.items() if k not in ("t_ns", "utc", "seconds")
            }
    result = next(e for e in reversed(opened.events) if e["kind"] == "result")
    costs = next(e for e in reversed(opened.events) if e["kind"] == "costs")
    for event in (result, costs):
        for name in ("t_ns", "utc", "seconds"):
            event.pop(name, None)
    arrays = {}
    for checkpoint in opened.checkpoints:
        for name, array in checkpoint.load().items():
            arrays[f"{checkpoint.name}/{name}"] = np.nan_to_num(array).tolist()
    return {
        "epochs": json.dumps(epochs), "result": json.dumps(result), "costs": json.dumps(costs),
        "arrays": arrays,
    }  # fmt: skip
