"""What is connected in place of an array, and instruments with errors."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.virtual_bench.bench import Bench
from hil_sim.virtual_bench.network import Network
from hil_sim.virtual_bench.readout import BenchReadout

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.errors import GeometryError
from hil.registry import load

pytest.importorskip("lupa")

STATION = """
schema = 1
[[array]]
rows = 2
cols = 3
device = "nonlinear"
[[instrument]]
name = "smu"
driver = "keithley-2600b"
resource = "TCPIP0::127.0.0.1::1::SOCKET"
[[wiring]]
line = "WL0"
channel = "smu.a"
[[wiring]]
line = "BL0"
channel = "smu.b"
"""


def station_of(text=STATION):
    return validate_text(text, Station, "station.toml")


def current_a(bench, level_v=0.1):
    a, b = bench.terminal("smu.a"), bench.terminal("smu.b")
    a.on = b.on = True
    a.level_v, b.level_v = level_v, 0.0
    return bench.measure(b, 1e-3)[0]


def test_a_resistor_takes_the_place_of_the_array_and_gives_it_back():
    bench = Bench(station_of(), seed=0)
    devices = current_a(bench)
    g = np.zeros((2, 3))
    g[0, 0] = 1e-5
    bench.insert("main", g)
    assert current_a(bench) == pytest.approx(-1e-6, rel=1e-9)
    bench.insert("main", np.zeros((2, 3)))
    assert abs(current_a(bench)) < 1e-15
    bench.insert("main", None)
    assert current_a(bench) == pytest.approx(devices, rel=0.1)  # read noise
    with pytest.raises(GeometryError, match=r"\(3, 2\) in place of \(2, 3\)"):
        bench.insert("main", np.zeros((3, 2)))


@pytest.mark.parametrize("joined", [False, True], ids=["one short", "all joined"])
def test_a_short_behind_path_resistances_shows_their_sum(joined):
    bench = Bench(station_of(), seed=0)
    bench.network.path_ohm = {(0, 0): 30.0, (0, 2): 20.0}
    g = np.full((2, 3), 10.0) if joined else np.zeros((2, 3))
    g[0, 0] = 10.0
    bench.insert("main", g)
    assert 0.01 / -current_a(bench, 0.01) == pytest.approx(50.0, abs=0.11)


def test_potentials_behind_paths_satisfy_ohms_law_for_any_devices(rng):
    readout = BenchReadout(3, 4)
    readout.ohm = rng.uniform(1.0, 300.0, 7)
    readout.lines_are_nodes = False
    bench = Bench(station_of(), seed=0)
    for scale in (1e-6, 1e-3, 1.0):
        g = scale * rng.uniform(0.1, 1.0, (3, 4))
        level = rng.uniform(-0.1, 0.1, 7)
        law = bench.array.population.law
        solution = readout.solve(_moment(g, level, law))
        current = np.concatenate([solution.device_a.sum(axis=1), -solution.device_a.sum(axis=0)])
        at = level - readout.ohm * current
        np.testing.assert_allclose(solution.device_a, _phi(at, law) * g, rtol=1e-6, atol=1e-18)


def _moment(g, level, law):
    from hil_sim.nodes import Network as Moment

    free = np.zeros(7, dtype=bool)
    limit = np.full(7, np.inf)
    return Moment(g, law, level[:3], level[3:], free[:3], free[3:], limit[:3], limit[3:],
                  np.full(3, np.inf))  # fmt: skip


def _phi(at, law):
    from hil_sim.kernels.law import phi

    return np.array([[phi(r - c, law[0]) for c in at[3:]] for r in at[:3]])


def test_an_imperfect_bench_is_the_same_each_time_and_differs_between_channels():
    text = STATION + "[twin]\nimperfect = true\nseed = 4\n"
    one, other = Bench(station_of(text), seed=0), Bench(station_of(text), seed=9)
    a, b = one.terminal("smu.a").accuracy, one.terminal("smu.b").accuracy
    assert a == other.terminal("smu.a").accuracy
    assert a.source_gain != b.source_gain
    assert 2e-3 <= abs(a.source_gain) <= 4e-3
    assert a.leak_siemens > 0.0
    assert one.network.path_ohm == other.network.path_ohm
    assert set(one.network.path_ohm) == {(0, n) for n in range(5)}
    perfect = Bench(station_of(), seed=0)
    assert perfect.terminal("smu.a").accuracy.source_gain == 0.0
    assert isinstance(perfect.network, Network)
    assert not perfect.network.path_ohm


def test_the_bench_of_a_station_is_imperfect_where_its_twin_says_so():
    text = STATION + "[twin]\nimperfect = true\n"
    with load("hil.benches", "virtual")(station_of(text), seed=0) as bench:
        assert bench.terminal("smu.b").accuracy.meter_offset_a
