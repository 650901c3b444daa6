"""Small studies for the tests: a few samples of the shipped digits on a small array."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

STATION = """
schema = 1
name = "small"
backend = "sim"

[[array]]
name = "main"
rows = 100
cols = 128
device = "nonlinear"
"""

TRAINING = """
schema = 1
name = "few"
baseline = false

[network]
hidden = [16]

[schedule]
epochs = 1
samples = {samples}

[characterise]
devices = 2
pulses = 32

[dataset]
test_limit = 50
"""

HEAD = """
schema = 1
name = "small"
station = "station.toml"
training = "training.toml"
"""


def write_study(folder: Path, text: str, samples: int = 20, head: str = HEAD) -> Path:
    """Write station, training and study file; return the study file."""
    (folder / "station.toml").write_text(STATION)
    (folder / "training.toml").write_text(TRAINING.format(samples=samples))
    file = folder / "study.toml"
    file.write_text(head + textwrap.dedent(text))
    return file


def hil(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start the command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hil.cli.main", *map(str, arguments)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options,
    )  # fmt: skip
