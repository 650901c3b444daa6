"""One device's history out of a whole run."""

from __future__ import annotations

import numpy as np
import pytest
from recording import make

from hil.program import Phase
from hil.record import CommitPolicy, open_run
from hil.record.sealing import seal_run


@pytest.fixture
def recorded(tmp_path, rng):
    """A run with many pulses on few devices in several segments, and all its pulses as columns."""
    policy = CommitPolicy(segment_bytes=20_000, seal_running=False, seal_share=0.0)
    columns = {name: [] for name in ("op", "layer", "row", "col", "v", "count", "g0", "g1")}
    with make(tmp_path, policy=policy) as run:
        for op in range(60):
            n = 100
            drawn = {
                "op": np.full(n, op), "layer": rng.integers(0, 2, n), "row": rng.integers(0, 4, n),
                "col": rng.integers(0, 3, n), "v": rng.choice([1.5, -1.5], n),
                "count": rng.integers(1, 9, n),
                "g0": np.where(rng.random(n) < 0.5, np.nan, rng.random(n) * 1e-6),
                "g1": rng.random(n) * 1e-6,
            }  # fmt: skip
            run.pulses({"phase": Phase.UPDATE, "width": 1e-6, **drawn})
            run.barrier()
            for name, values in drawn.items():
                columns[name].append(values)
    assert len(list((run.path / "pulses").iterdir())) > 3
    return run.path, {name: np.concatenate(values) for name, values in columns.items()}


@pytest.mark.parametrize("sealed", [False, True], ids=["live segments", "sealed parts"])
@pytest.mark.parametrize("layer", [None, 0, 1])
def test_the_history_holds_every_pulse_of_the_device_in_order(recorded, sealed, layer):
    path, given = recorded
    if sealed:
        seal_run(path)
    for row, col in ((0, 0), (3, 2), (1, 1)):
        here = (given["row"] == row) & (given["col"] == col)
        if layer is not None:
            here &= given["layer"] == layer
        opened = open_run(path)
        history = opened.conductance_history(row, col, layer)
        assert opened.problems_so_far == ()
        assert (history.row, history.col, len(history)) == (row, col, here.sum())
        np.testing.assert_array_equal(history.seq, np.flatnonzero(here))
        np.testing.assert_array_equal(history.op, given["op"][here])
        np.testing.assert_array_equal(history.count, given["count"][here])
        np.testing.assert_array_equal(history.v, given["v"][here].astype("f4"))
        np.testing.assert_array_equal(history.before_siemens, given["g0"][here].astype("f4"))
        np.testing.assert_array_equal(history.after_siemens, given["g1"][here].astype("f4"))
        np.testing.assert_array_equal(history.pulses, np.cumsum(given["count"][here]))
        assert np.all(np.diff(history.t_ns) >= 0)


def test_a_device_that_received_nothing_has_an_empty_history(recorded):
    history = open_run(recorded[0]).conductance_history(200, 0)
    assert len(history) == 0
    assert history.after_siemens.dtype == np.float32


def test_damage_on_the_way_becomes_a_problem(recorded):
    path, given = recorded
    file = path / "pulses" / "000001.arrows"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    opened = open_run(path)
    history = opened.conductance_history(0, 0)
    here = np.flatnonzero((given["row"] == 0) & (given["col"] == 0))
    assert 0 < len(history) < len(here)
    assert set(history.seq) < set(here)
    assert len(opened.problems_so_far) == 1
    assert "pulses/000001.arrows: stops at byte" in opened.problems_so_far[0]
