"""Twin equality, open loop: the same programmes on the simulator and on emulated instruments."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benches import SLOW, STATIONS, meters_of, on_bench, station_of

from hil.control.array import SynapseArray
from hil.control.opening import default_pairs, make_backend

pytest.importorskip("lupa")

#: Readings travel as 32-bit floats: a share of 6e-8 of at most 100 uS.
FLOAT32_SIEMENS = 1e-11
#: Outcomes made of more readings than one: a refresh keeps the difference of two.
READINGS_IN = {"target_siemens": 2, "difference_before_siemens": 2, "difference_after_siemens": 2}
DOCS = Path(__file__).parents[2] / "docs" / "rig.md"

PROTOCOLS = {
    "read-map": 'kind = "read-map"\n',
    "ltp-ltd": 'kind = "ltp-ltd"\ncells = [[0, 1], [1, 0]]\ncycles = 2\npulses = 20\n'
    'together = "cell"\n',
    "forward": 'kind = "forward"\npattern = "identity"\noutput = "conductance"\n',
    "backward": 'kind = "backward"\npattern = "identity"\noutput = "conductance"\n',
    "refresh": 'kind = "refresh"\nthreshold = 0.01\nmax_pulses = 60\nverify_repeat = 1\n',
    "update": 'kind = "update"\nx = [0.5]\nd = [0.5]\nslots = 40\nread_every = 20\n'
    'method = "potentiate"\n',
}


def run(backend, op, protocol, tmp_path):
    """Return (outcome, readings of the whole array afterwards)."""
    path = tmp_path / "protocol.toml"
    path.write_text("schema = 1\n" + PROTOCOLS[protocol])
    array = SynapseArray(backend, op, default_pairs(backend))
    with backend:
        counts = np.arange(backend.geometry.n_rows * backend.geometry.n_cols) * 7
        array.program(counts.reshape(backend.geometry.shape))
        return array.run(path).outcome, array.read()


@pytest.mark.parametrize("kind", ["a", "b", "c", "d"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_rig_and_simulator_give_the_same_conductances(kind, protocol, tmp_path):
    station = station_of(STATIONS[kind](device=SLOW))
    table = station.array[0]
    sim, op = make_backend(station, table, sim=True, seed=9)
    ((_, resolution_a),) = meters_of(station)
    half = 0.5 * resolution_a / op.read_v + FLOAT32_SIEMENS
    outcome, expected = run(sim, op, protocol, tmp_path)
    with on_bench(station, seed=9) as (rig, bench):
        rig_outcome, found = run(rig, op, protocol, tmp_path)
        true = bench.array.conductance_siemens()
        assert not bench.incidents
        assert bench.safe
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-6)
    assert np.unique(true).size > 2, "nothing was written, or everything saturated"
    assert rig.ledger.device_pulses == sim.ledger.device_pulses > 0
    assert found == pytest.approx(expected, rel=0.0, abs=half)
    assert set(rig_outcome) - {"lowering"} == set(outcome)
    for name, values in outcome.items():
        if name.endswith("_siemens"):
            assert np.asarray(rig_outcome[name]) == pytest.approx(
                np.asarray(values), rel=0.0, abs=READINGS_IN.get(name, 1) * half, nan_ok=True
            ), name


def documented_resolutions():
    """Return kind -> (range_a, resolution_a, resolution_siemens) of the table in docs/rig.md."""
    out = {}
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        kind = re.match(r"\(([a-d])\)", cells[0])
        if kind is not None:
            out[kind.group(1)] = tuple(si(cell) for cell in cells[2:5])
    return out


def si(text):
    """Return ``100 uA`` as 1e-4."""
    number, unit = text.split()
    return float(number) * {"m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12}[unit[0]]


@pytest.mark.parametrize("kind", ["a", "b", "c", "d"])
def test_the_documented_resolution_is_that_of_the_instruments(kind):
    station = station_of(STATIONS[kind](device=SLOW))
    ((range_a, resolution_a),) = meters_of(station)
    found = range_a, resolution_a, resolution_a / station.drive.operating_point().read_v
    assert documented_resolutions()[kind] == pytest.approx(found, rel=1e-9)


def test_the_rig_can_be_told_from_its_twin():
    station = station_of(STATIONS["a"](device=SLOW))
    with on_bench(station) as (rig, _):
        assert rig.name == "rig on the virtual bench"
        assert rig.capabilities.simulated
        assert replace(rig.capabilities, simulated=False) != rig.capabilities
