"""A current limit that is reached in writes: counted per device, and a stop of the run."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from benches import AS_RIG, STATIONS, on_bench, station_of
from faulty import PULSES, Lab

from hil.backend import Backend
from hil.control.array import SynapseArray, load_protocol
from hil.control.opening import make_backend
from hil.errors import SafetyTrip
from hil.phases.reading import read_map
from hil.program import LineState, Phase, PulseBlock

STATION = STATIONS["a"](device="ideal").replace(
    'coding = "amplitude"', 'coding = "amplitude"\ncompliance = "8 uA"'
)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    pytest.importorskip("lupa")
    return Lab(tmp_path, monkeypatch)


def allowing(trips, text=STATION):
    return text + f"[limits]\ncompliance_trips = {trips}\n"


@contextmanager
def opened(kind, text):
    """Yield an open backend of a station and its operating point."""
    if kind == "bench":
        pytest.importorskip("lupa")
        station = station_of(text)
        with on_bench(station, seed=3) as (rig, _), rig:
            yield rig, station.drive.operating_point()
        return
    station = station_of(text + (AS_RIG if kind == "sim as rig" else ""))
    backend, op = make_backend(station, station.array[0], sim=True, seed=3)
    with backend:
        yield backend, op


def train(backend: Backend, op, pulses, *, sense=False, row=1, col=2):
    """Return as many writing steps of one device."""
    geometry = backend.geometry
    bit = geometry.n_rows + col
    state = np.full((pulses, geometry.n_lines), LineState.GROUND, dtype=np.uint8)
    level, sensed = np.zeros(state.shape), np.zeros(state.shape, dtype=bool)
    state[:, row], level[:, row] = LineState.DRIVE, op.potentiate_v
    sensed[:, bit] = sense
    selected = np.zeros(state.shape, dtype=bool)
    selected[:, [row, bit]] = True
    return PulseBlock.build(Phase.UPDATE, state, level, 2e-3 if sense else op.write_s,
                            gap_s=op.gap_s, compliance_a=op.compliance_a, sense=sensed,
                            selected=selected)  # fmt: skip


EVERY = pytest.mark.parametrize("kind", ["sim", "sim as rig", "bench"])


@EVERY
@pytest.mark.parametrize("sense", [False, True], ids=["unsensed", "sensed"])
def test_limited_writing_steps_are_counted_per_device(kind, sense):
    with opened(kind, STATION) as (backend, op):
        backend.run_block(train(backend, op, 60, sense=sense))
        first = backend.trips.count.copy()
        backend.run_block(train(backend, op, 3, sense=sense))
        backend.run_block(train(backend, op, 1, row=0, col=0))
        again = backend.trips.count
        for _ in backend.run(read_map(backend.geometry, op, backend.capabilities,
                                      np.arange(4), np.arange(4))):  # fmt: skip
            pass
        assert (backend.trips.count == again).all()  # reads do not count
        backend.close()
        backend.open()
        assert not backend.trips.count.any()
    assert 0 < first[1, 2] <= 60
    assert first.sum() == first[1, 2]
    assert again[1, 2] == first[1, 2] + 3


def test_bench_and_simulator_count_the_same_steps():
    counts = {}
    for kind in ("sim", "bench"):
        with opened(kind, STATION) as (backend, op):
            backend.run_block(train(backend, op, 60))
            counts[kind] = backend.trips.count.tolist(), backend.tripped_steps
    assert counts["sim"] == counts["bench"]


@EVERY
def test_the_run_stops_before_the_block_after_the_threshold(kind):
    with opened(kind, allowing(20)) as (backend, op):
        block = train(backend, op, 60)
        stream = backend.run(iter([block, block]))
        next(stream)
        limited = int(backend.trips.count[1, 2])
        assert limited > 20
        with pytest.raises(SafetyTrip, match=rf"cell \(1, 2\).*in {limited} steps.*trips 20; "):
            next(stream)
        assert backend.ledger.device_pulses == 60
        with pytest.raises(SafetyTrip):
            backend.run_block(block)
        assert backend.ledger.device_pulses == 60
        assert not getattr(backend, "outputs_on", False)


@EVERY
def test_trips_spread_over_devices_and_trips_below_the_threshold_do_not_stop(kind):
    with opened(kind, STATION) as (backend, op):
        backend.run_block(train(backend, op, 60))
        assert backend.trips.count.max() > 30
    with opened(kind, allowing(60)) as (backend, op):
        for col in (2, 1):
            for _ in backend.run([train(backend, op, 60, col=col)]):
                pass
        assert backend.trips.steps > 60
        assert backend.ledger.device_pulses == 120


def test_the_last_block_of_a_stream_may_trip_too():
    with opened("sim", allowing(20)) as (backend, op):
        stream = backend.run([train(backend, op, 60)])
        next(stream)
        with pytest.raises(SafetyTrip):
            next(stream)


def test_a_run_on_the_bench_ends_safe_and_recorded_and_says_what_tripped(lab):
    found = lab.run(allowing(3))
    assert type(found.error) is SafetyTrip
    assert found.error.exit_code == 6
    assert "limits.compliance_trips 3" in found.text
    found.assert_safe()
    found.assert_recorded()
    assert [e["what"] for e in found.run.events if e["kind"] == "limit"] == ["compliance"]
    # The whole block that tripped is recorded; its pulses may be too weak to act when limited.
    rows = found.run.pulses.to_pylist()
    assert rows
    assert all(row["executed"] == row["count"] for row in rows)
    whole = lab.run(allowing(50))
    assert whole.error is None
    assert len(whole.run.pulses) >= len(rows)


def test_a_simulated_run_notes_the_limit_in_a_write_too(tmp_path):
    path = tmp_path / "pulses.toml"
    path.write_text(PULSES)
    with opened("sim", allowing(3)) as (backend, op), pytest.raises(SafetyTrip):
        SynapseArray(backend, op).run(load_protocol(path))
