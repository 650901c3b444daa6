"""Small studies for the tests: a few samples of the shipped digits on a small array."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

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

#: A module with a rule of a user's own, which raises a RuntimeError when it is told to.
RULE = """
class Rule:
    def __init__(self, fails=False):
        self.fails = fails

    def slots(self, x, delta, rng):
        if self.fails:
            raise RuntimeError("no way")
        return []
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


def write_mnist(folder: Path) -> None:
    """Write the four files of a data set like MNIST with a few samples of every class."""
    folder.mkdir()
    labels = np.repeat(np.arange(10, dtype=np.uint8), 20)
    images = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + values.tobytes())


def hil(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start the command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hil.cli.main", *map(str, arguments)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options,
    )  # fmt: skip
