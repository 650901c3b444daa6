"""A rehearsed rig: what it says of a block is what the instruments do with it."""

from __future__ import annotations

import numpy as np
import pytest
from benches import AS_RIG, SLOW, STATIONS, on_bench, station_of

from hil.control.opening import make_backend
from hil.errors import BackendError, LimitError
from hil.measurement import COLUMNS, Status
from hil.phases.reading import read_map
from hil.program import LineState, Phase, PulseBlock, line_levels

pytest.importorskip("lupa")

#: Up to 20 uA flow: the 10 uA range overflows for the upper half of the devices.
SENSE = '[drive.sense]\nrange = "10 uA"\naverages = 3\n'


def with_sense(text):
    return text.replace("[[instrument]]", SENSE + "[[instrument]]", 1)


def twins(kind, text=None):
    text = with_sense(STATIONS[kind](device=SLOW)) if text is None else text
    station = station_of(text + AS_RIG)
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    return station, sim, op


def ramp(geometry):
    return np.linspace(1e-6, 1e-4, geometry.n_rows * geometry.n_cols).reshape(geometry.shape)


def products(backend, op):
    """Return blocks with averages, overflows, a wait, and rows at several levels at once."""
    geometry = backend.geometry
    rows, cols = (np.arange(n) for n in geometry.shape)
    yield from read_map(geometry, op, backend.capabilities, rows, cols)
    yield PulseBlock.build(Phase.IDLE, *line_levels(geometry, 1), 1e-3)
    state, level = line_levels(geometry, 2)
    driven, sensed = geometry.read_lines.plus, geometry.read_lines.minus
    state[:, driven] = LineState.DRIVE
    level[:, driven] = [0.1 * (rows + 1) / rows.size, 0.01 * (rows % 2 + 1)]
    sense = np.zeros(state.shape, dtype=bool)
    sense[:, sensed] = True
    for line in sensed:
        one = sense & (np.arange(geometry.n_lines) == line)
        yield PulseBlock.build(Phase.FORWARD, state, level, op.read_s, gap_s=op.gap_s, sense=one,
                               sensing=op.sensing)  # fmt: skip


@pytest.mark.parametrize("kind", ["a", "b", "c", "d"])
def test_every_column_of_a_reading_is_as_on_the_rig(kind):
    station, sim, op = twins(kind)
    sim.array.g[...] = ramp(sim.geometry)
    with sim:
        expected = list(sim.run(products(sim, op)))
    with on_bench(station, seed=9) as (rig, bench):
        bench.array.g[...] = ramp(rig.geometry)
        with rig:
            found = list(rig.run(products(rig, op)))
    assert len(found) == len(expected) > 3
    for one, other in zip(found, expected, strict=True):
        for name in COLUMNS:
            if name != "t_ns":
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    over = np.concatenate([m.status & Status.OVERFLOW != 0 for m in expected])
    assert 0 < over.sum() < over.size
    assert np.isnan(np.concatenate([m.current_a for m in expected])[over]).all()


def test_starts_of_pulses_rise_on_the_twin_as_on_a_rig():
    _, sim, op = twins("a")
    with sim:
        for readings in sim.run(products(sim, op)):
            assert (np.diff(readings.t_ns) >= 0).all()


def test_the_twin_refuses_what_the_wiring_cannot_do():
    _, sim, op = twins("a", STATIONS["a"](device=SLOW))
    geometry = sim.geometry
    state, level = line_levels(geometry, 1)
    state[:], level[:] = LineState.DRIVE, 0.1 * np.arange(1, geometry.n_lines + 1)
    block = PulseBlock.build(Phase.UPDATE, state, level, op.write_s)
    with pytest.raises(LimitError, match="channel"), sim:
        sim.run([block])


def test_a_rehearsed_rig_is_never_opened():
    _, sim, _ = twins("a")
    with pytest.raises(BackendError, match="only planned"):
        sim.mimic.open()


def test_a_rehearsal_goes_on_from_the_closures_before_it():
    """Which of two equal channels a line gets depends on the relays that are closed already."""
    _, sim, op = twins("a")
    (block,) = read_map(sim.geometry, op, sim.capabilities, np.arange(1), np.arange(1))
    rig = sim.mimic
    moves = [rig.rehearse(block).job.plan.moves for _ in range(2)]
    rig.rest()
    moves.append(rig.rehearse(block).job.plan.moves)
    assert moves == [sim.geometry.n_lines, 0, sim.geometry.n_lines]
