"""Twin equality, open loop, on rigs of every instrument family."""

from __future__ import annotations

import numpy as np
import pytest
from benches import meters_of, on_bench, station_of
from command_log import CommandLog
from families import DEVICES, FAMILIES, QUICK
from test_twin import FLOAT32_SIEMENS, run

from hil.control.opening import make_backend

pytest.importorskip("lupa")

EACH = [
    pytest.param(kind, protocol, id=f"{kind}-{protocol}",
                 marks=[] if kind in QUICK or protocol == "read-map" else [pytest.mark.slow])
    for kind in FAMILIES for protocol in ("read-map", "ltp-ltd", "update")
]  # fmt: skip


@pytest.mark.parametrize(("kind", "protocol"), EACH)
def test_rigs_of_every_family_and_the_simulator_give_the_same_conductances(
    kind, protocol, tmp_path
):
    family = FAMILIES[kind]
    device = DEVICES["slower" if family.slow_points else "slow"]
    station = station_of(family.station(2, 2, device))
    sim, op = make_backend(station, station.array[0], sim=True, seed=9)
    coarsest_a = max(resolution_a for _, resolution_a in meters_of(station))
    half = 0.5 * coarsest_a / op.read_v + FLOAT32_SIEMENS
    _, expected = run(sim, op, protocol, tmp_path)
    log = CommandLog({i.name: i.driver for i in station.instrument})
    with on_bench(station, seed=9, wire_log=log, options=family.options) as (rig, bench):
        _, found = run(rig, op, protocol, tmp_path)
        true = bench.array.conductance_siemens()
        assert not bench.incidents
        assert bench.safe
    assert log.invented == []
    assert true == pytest.approx(sim.true_conductance_siemens(), rel=1e-6)
    assert np.unique(true).size > 2, "nothing was written, or everything saturated"
    assert rig.ledger.device_pulses == sim.ledger.device_pulses > 0
    assert found == pytest.approx(expected, rel=0.0, abs=half)
