"""Learning sees an array only through pulse blocks and readings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import hil
from hil.backend import Backend
from hil.config.toml_file import validate_text
from hil.config.training import Training

ROOT = Path(hil.__file__).parent

#: What would reach into the simulator: its package, its array, its true conductances.
BACK_DOORS = re.compile(
    r"hil_sim|sim_backend|SimArray|SimBackend|true_conductance|\.conductance_siemens\b"
    r"|backend\.array\b|\.population\b|\b_array\.|getattr\((self\.)?backend"
)


def test_no_part_of_the_loop_reaches_into_the_simulator():
    folders = [ROOT / name for name in ("learning", "control", "phases", "datasets", "study",
                                      "torch", "demo")]  # fmt: skip
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 50
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BACK_DOORS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["from hil_sim.backend import x", "g = backend.true_conductance_siemens()",
     "site.backend.array.g", "g = backend.conductance_siemens()"],
)  # fmt: skip
def test_a_back_door_would_be_noticed(line):
    assert BACK_DOORS.search(line)


class Sealed(Backend):
    """Passes blocks on to another backend and hides everything else of it."""

    name = "sealed"

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.geometry, inner.capabilities, inner.limits)
        self.__hooks = (
            inner._prepare, inner._execute, inner._safe_state, inner.clock_ns, inner.open
        )  # fmt: skip
        self.blocks = 0
        self.open()

    def _open(self):
        self.__hooks[4]()

    def _close(self):
        pass

    def _prepare(self, block):
        return self.__hooks[0](block)

    def _execute(self, block):
        self.blocks += 1
        return self.__hooks[1](block)

    def _safe_state(self):
        self.__hooks[2]()

    def clock_ns(self):
        return self.__hooks[3]()

    def identify(self):
        return "an array of which nothing is known"


@pytest.mark.parametrize(
    "method",
    ["M1", "M2", "M3", "M3'", "M3c", "progressive", "tiki-taka", "manhattan", "threshold",
     "direct-gradient", "weight-transfer"],
)  # fmt: skip
def test_a_backend_that_only_runs_blocks_trains_the_same(run_training, blobs, method):
    more = "[rule.tiki_taka]\nsymmetry_pulses = 50\n" if method == "tiki-taka" else ""
    more += "[refresh]\nevery = 25\nthreshold = 0.3\nfloor = 0.05\n" if method[:2] == "M3" else ""
    training = validate_text(
        f"schema = 1\nseed = 5\nbaseline = false\n[network]\nhidden = [3]\n[rule]\n"
        f'method = "{method}"\n{more}[schedule]\nepochs = 1\nsamples = 60\neta = 0.2\n'
        "[characterise]\ndevices = 4\npulses = 300\n",
        Training,
    )
    sealed: list[Sealed] = []

    def seal(backend):
        sealed.append(Sealed(backend))
        return sealed[-1]

    plain_network, plain = run_training(training, blobs, "nonlinear")
    sealed_network, behind = run_training(training, blobs, "nonlinear", wrap=seal)
    assert all(not hasattr(backend, "array") for backend in sealed)
    assert all(backend.blocks > 0 for backend in sealed)
    a, b = plain.history.epochs[0], behind.history.epochs[0]
    assert a.train_loss == b.train_loss
    assert a.write_pulses == b.write_pulses
    assert a.refresh_pulses == b.refresh_pulses
    for w, v in zip(plain_network.weights(), sealed_network.weights(), strict=True):
        assert np.array_equal(w, v)
