"""Runs and readings for the tests of the recorder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.measurement import MeasurementBlock
from hil.program import LineState, Phase, PulseBlock
from hil.record import CommitPolicy, RunFolder

#: Nothing is sealed, so that a test knows its files.
LIVE = CommitPolicy(seal_running=False, seal_share=0.0)


def make(root: Path, **changes) -> RunFolder:
    arguments = {
        "kind": "run", "backend": "sim", "simulated": True,
        "policy": LIVE, **changes,
    }  # fmt: skip
    return RunFolder.create(root, "ltp of one cell", **arguments)


def read_block(phase: Phase = Phase.READ, n_steps: int = 5) -> PulseBlock:
    return PulseBlock.build(phase, np.full((n_steps, 3), LineState.DRIVE), 0.1, 1e-6, sense=True)


def measured(rng: np.random.Generator, n: int = 15) -> MeasurementBlock:
    m = MeasurementBlock.empty(n)
    for column in m.columns().values():
        if column.dtype.kind == "f":
            column[:] = rng.normal(size=n)
        else:
            column[:] = rng.integers(0, 1000, n)
    return m
