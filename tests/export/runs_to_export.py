"""Runs for the tests of exports: with null, codes, text beyond ASCII, and an outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.measurement import MeasurementBlock, Status
from hil.program import LineState, Phase, PulseBlock
from hil.record import RunFolder

READ = PulseBlock.build(Phase.READ, np.full((8, 4), LineState.DRIVE), 0.1, 1e-6, sense=True)
NAME = "ltp, 5 µs; <b>chip</b>"


def record(root: Path, rng: np.random.Generator, n_trains: int = 300, **changes) -> RunFolder:
    """Return an open run folder with ``n_trains`` pulse trains and 32 readings."""
    arguments = {"kind": "run", "backend": "sim", "simulated": True} | changes
    folder = RunFolder.create(root, NAME, **arguments)
    m = MeasurementBlock.empty(32)
    for column in m.columns().values():
        column[:] = rng.normal(size=32) if column.dtype.kind == "f" else rng.integers(0, 99, 32)
    m.status[:] = Status.SIMULATED
    folder.readings(1, 0, READ, m)
    for first in range(0, n_trains, 100):
        n = min(100, n_trains - first)
        count = rng.integers(0, 6, n)
        folder.pulses(
            {
                "op": np.arange(first, first + n) // 7,
                "t_ns": np.arange(first, first + n) * 1_000,
                "phase": rng.choice([Phase.UPDATE, Phase.PROGRAM, Phase.ERASE], n),
                "layer": rng.integers(0, 2, n),
                "row": rng.integers(0, 4, n),
                "col": rng.integers(0, 3, n),
                "v": rng.choice([1.2, -0.9], n),
                "width": 1e-6,
                "count": count,
                "executed": np.ma.masked_array(
                    np.maximum(count - rng.integers(0, 2, n), 0), rng.random(n) < 0.2
                ),
                "i_read": np.where(rng.random(n) < 0.3, np.nan, rng.normal(1e-6, 1e-7, n)),
                "g0": np.where(rng.random(n) < 0.3, np.nan, rng.uniform(1e-6, 1e-5, n)),
                "g1": np.where(rng.random(n) < 0.3, np.nan, rng.uniform(1e-6, 1e-5, n)),
                "status": rng.choice([0, 1024, 1024 + 128], n),
            }
        )
        folder.barrier()
    folder.operation(1, Phase.UPDATE, n_steps=3, n_pulses=12, duration_s=1e-3)
    folder.event("alarm", what="fünf µA")
    folder.checkpoint(
        "outcome", g_siemens=rng.uniform(1e-6, 1e-5, (4, 4)), state=np.array(["hrs", "lrs"]),
        stuck=np.array([True, False, True]), level_v=np.float64(1.5),
    )  # fmt: skip
    return folder
