"""Currents: laws, floating lines and sneak paths, compliance."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.backend import SimBackend
from hil_sim.nodes import Network
from hil_sim.readout import IdealReadout
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Bench, T, V, changed

from hil.errors import ConfigError
from hil.measurement import Status

G22 = np.array([[10e-6, 20e-6], [40e-6, 80e-6]])


def currents(one, levels, sense, **options):
    m = one.drive(levels, 1e-5, sense=sense, **options)
    return dict(zip((one.geometry.line_name(k) for k in m.line), m.current_a, strict=True))


def test_current_is_positive_into_the_array(bench):
    i = currents(bench("ideal", 2, 2, g0=G22), {"WL0": 0.1, "WL1": 0.2}, "WL0 WL1 BL0 BL1")
    assert i["BL0"] == pytest.approx(-(0.1 * 10e-6 + 0.2 * 40e-6))
    assert i["BL1"] == pytest.approx(-(0.1 * 20e-6 + 0.2 * 80e-6))
    assert i["WL0"] == pytest.approx(0.1 * 30e-6)
    assert i["WL1"] == pytest.approx(0.2 * 120e-6)


@pytest.mark.parametrize(
    ("table", "phi"),
    [
        ({"law": "ohmic", "read_voltage": "0.1 V"}, lambda v: v),
        ({"law": "sinh", "read_voltage": "0.1 V", "scale": "0.2 V"},
         lambda v: 0.1 * np.sinh(v / 0.2) / np.sinh(0.5)),
        ({"law": "saturating", "read_voltage": "0.1 V", "scale": "0.2 V"},
         lambda v: 0.1 * np.tanh(v / 0.2) / np.tanh(0.5)),
        ({"law": "rectifying", "read_voltage": "0.1 V", "ratio": 50.0},
         lambda v: np.where(v > 0, v, v / 50)),
    ],
    ids=["ohmic", "sinh", "saturating", "rectifying"],
)  # fmt: skip
def test_a_device_follows_its_current_law(bench, table, phi):
    one = bench(changed("ideal", current=table), 1, 1, g0=2e-5)
    for v in (-0.7, -0.1, 0.05, 0.1, 0.9):
        i = currents(one, {"WL0": v}, "BL0")
        assert -i["BL0"] == pytest.approx(2e-5 * phi(v), rel=1e-12)
    assert one.backend.capabilities.reciprocal == (table["law"] != "rectifying")


def test_the_sneak_current_of_two_by_two_is_the_analytic_one(bench):
    one = bench("ideal", 2, 2, g0=G22)
    i = currents(one, {"WL0": 0.2}, "WL0 BL0", floats="WL1 BL1")
    series = 1 / (1 / G22[0, 1] + 1 / G22[1, 1] + 1 / G22[1, 0])
    assert -i["BL0"] == pytest.approx(0.2 * (G22[0, 0] + series), rel=1e-12)
    assert i["WL0"] == pytest.approx(-i["BL0"], rel=1e-12)


def test_floating_lines_report_their_solved_potential_and_no_current(bench):
    one = bench("ideal", 2, 2, g0=G22)
    m = one.drive({"WL0": 0.2}, 1e-5, floats="WL1 BL1", sense="WL1 BL1")
    series = 1 / (1 / G22[0, 1] + 1 / G22[1, 1] + 1 / G22[1, 0])
    flow = 0.2 * series
    assert m.current_a == pytest.approx(0.0, abs=1e-18)
    assert m.level_v == pytest.approx([flow / G22[1, 0], 0.2 - flow / G22[0, 1]], rel=1e-6)


def test_devices_on_floating_lines_are_written_by_the_voltage_they_see(bench):
    # Alone on its row, a floating line follows the driven column: nothing falls across the device.
    one = bench("ideal", 2, 2, g0=2e-5)
    one.drive({"WL0": V}, floats="WL1 BL1")
    moved = (one.g - 2e-5) / 99e-6 * 1024
    assert moved[0, 0] == pytest.approx(1.0)
    assert abs(moved[[0, 1, 1], [1, 0, 1]]).max() < 1e-9  # a third of V each: below the threshold
    unequal = bench("ideal", 2, 2, g0=np.array([[2e-5, 2e-6], [9e-5, 9e-5]]))
    before = unequal.g
    unequal.drive({"WL0": V}, floats="WL1 BL1")
    drop = V * (1 / 2e-6) / (1 / 2e-6 + 2 / 9e-5)  # the weak device takes most of the voltage
    gained = (unequal.g - before) / 99e-6 * 1024
    assert gained[0, 1] == pytest.approx((drop - 1.2) / 0.8, rel=1e-9)


@pytest.mark.parametrize("law", ["sinh", "saturating", "rectifying"])
def test_floating_lines_of_nonlinear_arrays_obey_kirchhoff(bench, law):
    table = {"law": law, "read_voltage": "0.1 V"}
    table |= {"ratio": 100.0} if law == "rectifying" else {"scale": "0.15 V"}
    rng = np.random.default_rng(3)
    one = bench(changed("ideal", current=table), 6, 5, g0=rng.uniform(1e-6, 1e-4, (6, 5)))
    floats = "WL2 WL3 WL4 WL5 BL1 BL2 BL3"
    lines = [one.geometry.line_name(k) for k in range(11)]
    m = one.drive({"WL0": 0.6, "WL1": 0.3}, 1e-5, floats=floats, sense=" ".join(lines))
    v = m.level_v.astype(float)
    device = one.backend.array
    potentials = v[:6, None] - v[None, 6:]
    from hil_sim.kernels.law import phi

    flow = one.g * np.vectorize(lambda x: phi(x, device.population.law[0]))(potentials)
    net = np.concatenate([flow.sum(axis=1), -flow.sum(axis=0)])
    free = [lines.index(n) for n in floats.split()]
    assert abs(net[free]).max() < 1e-5 * abs(flow).max()  # level_v is float32
    assert m.current_a.sum() == pytest.approx(0.0, abs=1e-9 * abs(m.current_a).max())
    assert abs(m.current_a[[0, 1]]).min() > 0


@given(
    seed=st.integers(0, 10_000), rows=st.integers(1, 6), cols=st.integers(1, 6),
    law=st.sampled_from(["ohmic", "sinh", "saturating"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_row_and_column_currents_balance_whatever_floats(seed, rows, cols, law):
    rng = np.random.default_rng(seed)
    table = {"law": law, "read_voltage": "0.1 V"} | ({} if law == "ohmic" else {"scale": "0.2 V"})
    one = Bench(
        changed("ideal", current=table), rows, cols, g0=rng.uniform(1e-6, 1e-4, (rows, cols))
    )
    names = [one.geometry.line_name(k) for k in range(rows + cols)]
    kinds = rng.integers(0, 3, len(names))
    levels = {n: float(rng.uniform(-0.8, 0.8)) for n, k in zip(names, kinds, strict=True) if k == 2}
    floats = " ".join(n for n, k in zip(names, kinds, strict=True) if k == 0)
    m = one.drive(levels, 1e-5, floats=floats, sense=" ".join(names))
    scale = max(abs(m.current_a).max(), 1e-8)  # the leak of a floating line is below 1e-17 A
    assert abs(m.current_a.sum()) < 1e-9 * scale
    assert abs(m.current_a[kinds == 0]).max(initial=0.0) == 0.0
    assert (
        np.abs(m.level_v).max(initial=0) <= max(map(abs, levels.values()), default=0.0) * 1.000001
    )


def test_everything_floating_does_nothing(bench):
    one = bench("ideal", 2, 2, g0=G22)
    m = one.drive({}, 1e-5, floats="WL0 WL1 BL0 BL1", sense="WL0 BL1")
    assert (m.current_a == 0).all()
    assert np.array_equal(one.g, G22)


def test_a_source_at_its_compliance_lowers_its_voltage(bench):
    one = bench("ideal", 2, 2, g0=G22)
    m = one.drive({"WL0": 0.4}, 1e-5, sense="WL0 BL0 BL1", compliance_a=one.limit(WL0=6e-6))
    assert m.current_a == pytest.approx([6e-6, -2e-6, -4e-6])
    assert m.level_v[0] == pytest.approx(0.2)
    limited = (m.status & np.uint32(Status.I_COMPLIANCE)) != 0
    assert limited.tolist() == [True, False, False]


def test_devices_see_the_lowered_voltage_of_a_limiting_source(bench):
    one = bench("ideal", 1, 1, g0=5e-5)
    limit = one.limit(WL0=5e-5 * 1.6)
    one.drive({"WL0": V}, compliance_a=limit)
    assert (one.g[0, 0] - 5e-5) / 99e-6 * 1024 == pytest.approx((1.6 - 1.2) / 0.8)
    free = bench("ideal", 1, 1, g0=5e-5)
    free.drive({"WL0": V}, compliance_a=free.limit(WL0=1e-3))
    assert (free.g[0, 0] - 5e-5) / 99e-6 * 1024 == pytest.approx(1.0)


def test_compliance_stops_a_set_at_the_conductance_it_allows(bench):
    device = changed("ideal", potentiation={"states": 20})
    one = bench(device, 1, 1)
    for _ in range(200):
        one.drive({"WL0": V}, compliance_a=one.limit(WL0=48e-6))
    # Where the drop over the device reaches the threshold: 48 uA / 1.2 V.
    assert one.g[0, 0] == pytest.approx(40e-6, rel=0.02)


@pytest.mark.parametrize("law", ["ohmic", "sinh", "saturating"])
def test_several_limits_and_floating_lines_hold_together(bench, law):
    table = {"law": law, "read_voltage": "0.1 V"} | ({} if law == "ohmic" else {"scale": "0.2 V"})
    rng = np.random.default_rng(7)
    one = bench(changed("ideal", current=table), 4, 4, g0=rng.uniform(1e-5, 1e-4, (4, 4)))
    levels = {"WL0": 0.5, "WL1": 0.4, "WL2": -0.3, "BL0": -0.2}
    m = one.drive(
        levels, 1e-5, floats="WL3 BL3", sense="WL0 WL1 WL2 BL0 BL1 BL2",
        compliance_a=one.limit(WL0=5e-6, BL0=2e-6, WL2=1.0),
    )  # fmt: skip
    assert abs(m.current_a[0]) == pytest.approx(5e-6, rel=1e-6)
    assert abs(m.current_a[3]) == pytest.approx(2e-6, rel=1e-6)
    assert m.current_a.sum() == pytest.approx(0.0, abs=1e-14)
    flags = (m.status & np.uint32(Status.I_COMPLIANCE)) != 0
    assert flags.tolist() == [True, False, False, True, False, False]
    assert 0 <= m.level_v[0] <= 0.5


def test_a_reading_during_a_write_is_the_mean_over_the_pulse(bench):
    device = changed("ideal", potentiation={"states": 2})
    for floats in ("", "WL1"):
        one = bench(device, 2, 1, g0=1e-6)
        m = one.drive({"WL0": V}, sense="BL0", floats=floats)
        assert -m.current_a[0] == pytest.approx(V * (1e-6 + 50.5e-6) / 2)


def test_reads_with_widths_average_over_the_step(bench):
    one = bench("ideal", 2, 2, g0=G22)
    widths = {"WL0": 4 * T, "WL1": T}
    m = one.drive({"WL0": 0.1, "WL1": 0.2}, widths, sense="WL0 BL0 BL1")
    assert m.width_s == pytest.approx(4 * T)
    assert m.current_a[1] == pytest.approx(-(0.1 * 10e-6 + 0.2 * 40e-6 / 4))
    floating = one.drive({"WL0": 0.1, "WL1": 0.2}, widths, sense="WL0 BL0 BL1", floats="")
    assert floating.current_a == pytest.approx(m.current_a)


@given(
    seed=st.integers(0, 100_000), rows=st.integers(1, 12), cols=st.integers(1, 12),
    law=st.sampled_from(["ohmic", "sinh", "saturating", "rectifying"]), gated=st.booleans(),
    scale=st.sampled_from(["0.05 V", "0.2 V", "0.8 V"]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_floating_lines_limits_and_transistors_always_settle(seed, rows, cols, law, gated, scale):
    rng = np.random.default_rng(seed)
    table = {"law": law, "read_voltage": "0.1 V"}
    table |= {"scale": scale} if law in ("sinh", "saturating") else {}
    table |= {"ratio": 1000.0} if law == "rectifying" else {}
    gate = {"threshold": "0.5 V", "transconductance": "20 uS"}
    cell = {"cell": "1T1R", "transistor": gate} if gated else {}
    g0 = 10 ** rng.uniform(-6, -4, (rows, cols))
    one = Bench(changed("ideal", current=table, **cell), rows, cols, g0=g0)
    names = [one.geometry.line_name(k) for k in range(one.geometry.n_lines)]
    kinds = rng.integers(0, 3, len(names))
    levels = {n: float(rng.uniform(-1.1, 1.1)) for n, k in zip(names, kinds, strict=True) if k == 2}
    if gated:
        levels |= {f"GL{i}": float(rng.choice([0.0, 0.8, 3.0])) for i in range(rows)}
    limit = np.where(rng.random(len(names)) < 0.4, 10 ** rng.uniform(-7, -3, len(names)), np.inf)
    floats = " ".join(n for n, k in zip(names, kinds, strict=True) if k == 0 and n not in levels)
    m = one.drive(levels, T, floats=floats, sense=" ".join(names), compliance_a=limit)
    driven = np.array([n in levels for n in names])
    assert abs(m.current_a.sum()) <= 1e-9 * max(abs(m.current_a).max(), 1e-8)
    # Beside kiloamperes a small limit is met as well as potentials can be represented.
    rounding_a = np.finfo(float).eps * np.abs(m.current_a).max()
    assert (np.abs(m.current_a)[driven] <= limit[driven] * (1 + 1e-6) + rounding_a).all()
    flagged = (m.status & np.uint32(Status.I_COMPLIANCE)) != 0
    kept_level = np.array(
        [m.level_v[k] == np.float32(levels.get(n, 0.0)) for k, n in enumerate(names)]
    )
    assert (flagged | kept_level)[driven].all()


class _Lossy(IdealReadout):
    """Another strategy: devices get half the voltage of their lines."""

    lines_are_nodes = False

    def solve(self, network: Network):
        half = Network(
            network.g, network.laws, network.row_v / 2, network.col_v / 2, network.row_free,
            network.col_free, network.row_limit_a, network.col_limit_a, network.cap_a,
        )  # fmt: skip
        return super().solve(half)


def test_a_read_out_strategy_decides_reads_and_writes(bench):
    one = bench("ideal", 2, 2, g0=2e-5, readout=_Lossy())
    i = currents(one, {"WL0": 0.2}, "BL0")
    assert -i["BL0"] == pytest.approx(0.1 * 2e-5)
    one.drive({"WL0": 3.2})
    assert (one.g[0] - 2e-5) / 99e-6 * 1024 == pytest.approx((1.6 - 1.2) / 0.8)


def test_an_unknown_read_out_is_refused(bench):
    with pytest.raises(ConfigError, match="no read-out 'wires'"):
        SimBackend(bench("ideal").geometry, "ideal", readout="wires")
