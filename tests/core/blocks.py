"""Small blocks that the tests of this folder drive."""

from __future__ import annotations

import numpy as np

from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.limits import LimitChecker, SafetyLimits
from hil.program import LineState, Phase, PulseBlock

D, G, F = LineState.DRIVE, LineState.GROUND, LineState.FLOAT


def one_step(levels, *, phase=Phase.PROGRAM, width_s=1e-6, n=None, **columns):
    """Return a block of one step; a level of None is a ground, "float" a floating line."""
    state = [F if v == "float" else G if v is None else D for v in levels]
    level = [0.0 if v in (None, "float") else v for v in levels]
    return PulseBlock.build(phase, [state], [level], width_s, **columns)


def checker(rows=2, cols=2, *, cell=None, capabilities=None, **limits):
    geometry = ArrayGeometry(rows, cols) if cell is None else ArrayGeometry(rows, cols, cell)
    return LimitChecker(geometry, SafetyLimits(**limits), capabilities or Capabilities())


def random_writes(rng, geometry, n_steps):
    """Return V/2 write steps with random selected sets, polarities and repeats."""
    shape = (n_steps, geometry.n_lines)
    selected = rng.random(shape) < 0.5
    sign = rng.choice([-1.0, 1.0], size=n_steps)[:, None]
    half = np.where(np.arange(geometry.n_lines) < geometry.n_rows, 1.0, -1.0)
    level = np.where(selected, sign * half, 0.0)
    state = np.where(selected, D, G).astype(np.uint8)
    return PulseBlock.build(
        Phase.PROGRAM, state, level, 1e-6, repeat=rng.integers(0, 4, n_steps), selected=selected
    )
