"""Twin equality: the same programmes on the simulator and on emulated instruments over TCP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benches import SLOW, STATIONS, on_bench, station_of

from hil.control.array import SynapseArray
from hil.control.opening import default_pairs, make_backend

pytest.importorskip("lupa")

#: The 100 uA range of a 2636B resolves 100 pA in the emulator's and the manual's terms; a device of
#: 1 uS passes 200 nA.
RESOLUTION_SIEMENS = 1e-8

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
    outcome, expected = run(sim, op, protocol, tmp_path)
    with on_bench(station, seed=9) as (rig, bench):
        rig_outcome, found = run(rig, op, protocol, tmp_path)
        true = bench.array.conductance_siemens()
        assert not bench.incidents
        assert bench.safe
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-6)
    assert np.unique(true).size > 2, "nothing was written, or everything saturated"
    assert rig.ledger.device_pulses == sim.ledger.device_pulses > 0
    assert found == pytest.approx(expected, abs=RESOLUTION_SIEMENS)
    assert set(rig_outcome) - {"lowering"} == set(outcome)
    for name, values in outcome.items():
        if name.endswith("_siemens"):
            assert np.asarray(rig_outcome[name]) == pytest.approx(
                np.asarray(values), abs=4 * RESOLUTION_SIEMENS, nan_ok=True
            ), name


def test_the_rig_can_be_told_from_its_twin():
    station = station_of(STATIONS["a"](device=SLOW))
    with on_bench(station) as (rig, _):
        assert rig.name == "rig on the virtual bench"
        assert rig.capabilities.simulated
        assert replace(rig.capabilities, simulated=False) != rig.capabilities
