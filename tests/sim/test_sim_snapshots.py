from __future__ import annotations

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hil_sim.models.device import load_device, preset_names
from simulated import Bench, changed

from hil.backend import Restorable
from hil.errors import ConfigError
from hil.program import LineState, Phase, PulseBlock

DRIFT = {"nu": 0.05, "t0": "1 us"}
FORMING = {"voltage": "3 V", "spread": "0.3 V", "g_pristine": "1 nS", "compliance_voltage": "1 V"}


def random_blocks(geometry, n, seed, v):
    """Return blocks that write, read, float and wait, at levels around ``v`` volts."""
    rng = np.random.default_rng(seed)
    shape = (3, geometry.n_lines)
    blocks = []
    for _ in range(n):
        state = rng.choice([LineState.DRIVE, LineState.GROUND, LineState.FLOAT], shape,
                           p=[0.5, 0.45, 0.05]).astype(np.uint8)  # fmt: skip
        blocks.append(
            PulseBlock.build(
                rng.choice([Phase.PROGRAM, Phase.READ]), state, rng.uniform(-v, v, shape),
                rng.uniform(1e-7, 1e-5), gap_s=rng.uniform(0, 1e-3), repeat=rng.integers(1, 4, 3),
                sense=rng.random(shape) < 0.5, compliance_a=1e-3,
            )
        )  # fmt: skip
    return blocks


def readings(backend, blocks):
    return [block.columns() for block in backend.run(blocks)]


def of_another_kind(name):
    """Return a preset, or one that is changed so that it forms or drifts."""
    if name == "drifting":
        return changed("nonlinear", drift=DRIFT)
    if name == "forming":
        return changed("nonlinear", forming=FORMING)
    return load_device(name)


@pytest.mark.parametrize("name", [*preset_names(), "drifting", "forming"])
def test_a_snapshot_goes_on_as_if_nothing_had_been(name):
    device = of_another_kind(name)
    first = Bench(device, 4, 3, seed=11).backend
    assert isinstance(first, Restorable)
    blocks = random_blocks(first.geometry, 12, 3, 2.5)
    readings(first, blocks[:7])
    kept = first.snapshot()
    expected = readings(first, blocks[7:])
    again = Bench(device, 4, 3, seed=11).backend
    readings(again, blocks[2:4])  # wherever it was
    again.restore(kept)
    assert again.clock_ns() == int(kept["clock_ns"])
    for before, after in zip(expected, readings(again, blocks[7:]), strict=True):
        for column, values in before.items():
            np.testing.assert_array_equal(after[column], values, err_msg=column)
    assert (first.true_conductance_siemens() == again.true_conductance_siemens()).all()


def test_a_snapshot_does_not_follow_the_array():
    backend = Bench("nonlinear", 2, 2, seed=1).backend
    kept = backend.snapshot()
    before = {name: array.copy() for name, array in kept.items()}
    readings(backend, random_blocks(backend.geometry, 4, 1, 2.5))
    assert all((kept[name] == before[name]).all() for name in kept)
    assert (kept["g"] != backend.snapshot()["g"]).any()


def test_a_snapshot_of_another_array_is_refused():
    backend: SimBackend = Bench("nonlinear", 2, 2, seed=1).backend
    g = backend.true_conductance_siemens()
    for other in (Bench("nonlinear", 3, 2, seed=1).backend.snapshot(), {}):
        with pytest.raises(ConfigError, match="snapshot"):
            backend.restore(other)
    assert (backend.true_conductance_siemens() == g).all()
