"""Runs `hil` as people do: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HIL = [sys.executable, "-m", "hil.cli.main"]

STATION = """
schema = 1
[[array]]
rows = 8
cols = 8
device = "nonlinear"
[limits]
level = ["-2.5 V", "2.5 V"]
device_voltage = ["-2.5 V", "2.5 V"]
"""

SHORT_TRAINING = """
schema = 1
name = "short"
[network]
hidden = [4]
[schedule]
epochs = 1
samples = 60
[characterise]
devices = 2
pulses = 32
"""


def hil(*arguments, cwd=None, timeout=120, command=HIL):
    """Return the finished process of ``hil`` with ``arguments``."""
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, encoding="utf-8",
        timeout=timeout, check=False, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


def hil_json(*arguments, cwd=None, code=0):
    """Return the one object that ``hil … --json`` prints."""
    done = hil(*arguments, "--json", cwd=cwd)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def error_line(*arguments, cwd, code, command=HIL):
    """Return the one line of a command that must fail with ``code``, for people and programs."""
    done = hil(*arguments, "--json", cwd=cwd, command=command)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("hil: ")]
    lines = [line for line in lines if not line.startswith("hil: warning: ")]
    assert len(lines) == 1, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == code
    return lines[0]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
