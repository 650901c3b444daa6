"""What pulses do to one device: every model against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.kernels.law import lookup_change
from hil_sim.models.conversions import label_of_nu, nu_of_a, nu_of_label
from hil_sim.models.device import load_device
from hil_sim.models.response import BranchTable, lookup_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Bench, T, V, changed

LOW, HIGH = 1e-6, 1e-4


def curve(bench, device, n: int, up: bool = True, start: float | None = None) -> np.ndarray:
    """Return normalised conductance after 0 … n single pulses."""
    one = bench(device, 1, 1, g0=(LOW if up else HIGH) if start is None else start)
    g = [one.g[0, 0]]
    for _ in range(n):
        one.drive({"WL0": V if up else -V})
        g.append(one.g[0, 0])
    return (np.array(g) - LOW) / (HIGH - LOW)


def exponential(nu: float, states: int = 64, **more):
    branch = {"states": states, "nu": nu}
    return changed("ideal", model="exponential", potentiation=branch, depression=branch, **more)


def test_linear_takes_n_pulses_across_the_range_and_stops_there(bench):
    device = changed("ideal", potentiation={"states": 20}, depression={"states": 10})
    assert curve(bench, device, 25) == pytest.approx(np.minimum(np.arange(26) / 20, 1), abs=1e-12)
    down = np.maximum(1 - np.arange(16) / 10, 0)
    assert curve(bench, device, 15, up=False) == pytest.approx(down, abs=1e-12)


@pytest.mark.parametrize("nu", [-2.0, 0.0, 1e-10, 0.5, 3.0, 8.0])
def test_exponential_follows_the_neurosim_curve_in_both_directions(bench, nu):
    p = np.arange(65)
    f = p / 64 if abs(nu) < 1e-9 else np.expm1(-nu * p / 64) / np.expm1(-nu)
    assert curve(bench, exponential(nu), 64) == pytest.approx(f, abs=1e-12)
    assert curve(bench, exponential(nu), 64, up=False) == pytest.approx(1 - f, abs=1e-12)


def test_potentiation_and_depression_have_their_own_parameters(bench):
    # NeuroSim's MeasuredDevice uses the potentiation table for depression; ours must not.
    device = changed(
        "ideal", model="exponential",
        potentiation={"states": 50, "nu": 1.0}, depression={"states": 20, "nu": 6.0},
    )  # fmt: skip
    up, down = curve(bench, device, 20), curve(bench, device, 20, up=False)
    assert down[-1] == pytest.approx(0.0, abs=1e-12)
    assert up[-1] == pytest.approx(np.expm1(-20 / 50) / np.expm1(-1.0), abs=1e-12)
    assert not np.allclose(1 - down, up, atol=0.1)


def test_querlioz_step_falls_exponentially_and_crosses_in_n_pulses(bench):
    branch = {"states": 64, "beta": 3.0}
    device = changed("ideal", model="querlioz", potentiation=branch, depression=branch)
    u = curve(bench, device, 64)
    assert u[-1] == pytest.approx(1.0, abs=1e-12)
    alpha = np.expm1(3.0) / (3.0 * 64)
    slope = np.diff(u) / (alpha * np.exp(-3.0 * (u[1:] + u[:-1]) / 2))
    assert slope == pytest.approx(1.0, abs=0.02)
    assert curve(bench, device, 64, up=False) == pytest.approx(1 - u, abs=1e-12)


def test_querlioz_alpha_may_be_given(bench):
    branch = {"states": 64, "beta": 1e-6, "alpha": 0.25}
    device = changed("ideal", model="querlioz", potentiation=branch, depression=branch)
    assert curve(bench, device, 5) == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1], abs=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.4, 1.0])
def test_soft_bounds_step_shrinks_with_its_slope(bench, slope):
    branch = {"states": 10, "slope": slope}
    device = changed("ideal", model="soft-bounds", potentiation=branch, depression=branch)
    u = curve(bench, device, 6)
    expected = [0.0]
    for _ in range(6):
        expected.append(expected[-1] + 0.1 * (1 - slope * expected[-1]))
    assert u == pytest.approx(expected, abs=1e-12)


def lookup(delta, spread=None, **more):
    g = np.linspace(LOW, HIGH, len(delta))
    branch = {
        "g": [f"{x} S" for x in g],
        "delta_g": [f"{x} S" for x in np.asarray(delta) * (HIGH - LOW)],
    }
    if spread is not None:
        branch["spread"] = [f"{x * (HIGH - LOW)} S" for x in spread]
    return changed("ideal", model="lookup", potentiation=branch, depression=branch, **more)


def test_a_look_up_table_of_a_straight_line_is_the_exponential_model(bench):
    u = np.linspace(0, 1, 11)
    device = lookup(0.1 * (1 - 0.8 * u))
    got = curve(bench, device, 30)
    expected = [0.0]
    for _ in range(30):
        expected.append(min(expected[-1] + 0.1 * (1 - 0.8 * expected[-1]), 1.0))
    assert got == pytest.approx(expected, abs=1e-9)


def test_a_look_up_table_steps_by_what_it_says_where_it_is_smooth(bench):
    u = np.linspace(0, 1, 201)
    device = lookup(0.01 * (1 + np.sin(3 * u)))
    got = curve(bench, device, 90)
    inside = got[:-1] < 0.98
    expected = 0.01 * (1 + np.sin(3 * got[:-1]))
    assert np.diff(got)[inside] == pytest.approx(expected[inside], rel=5e-3)


def test_a_look_up_table_stops_where_its_change_is_zero(bench):
    device = lookup([0.1, 0.1, 0.0, 0.1, 0.1])
    assert curve(bench, device, 100)[-1] == pytest.approx(0.5, abs=1e-6)


@given(
    u=st.floats(0.0, 1.0), n1=st.floats(1e-3, 5.0), n2=st.floats(1e-3, 5.0),
    rate=st.lists(st.floats(1e-3, 0.3), min_size=3, max_size=8),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_flow_of_a_look_up_table_adds_up(u, n1, n2, rate):
    nodes = np.vstack([np.linspace(0, 1, len(rate)), rate, np.zeros(len(rate))])
    first = u + lookup_change(u, n1, nodes)
    both = first + lookup_change(first, n2, nodes)
    assert both == pytest.approx(u + lookup_change(u, n1 + n2, nodes), abs=1e-9)


def test_a_depression_table_is_read_by_conductance_not_by_direction():
    branch = BranchTable(g=("1 uS", "2 uS", "4 uS"), delta_g=("0.1 uS", "0.2 uS", "0.3 uS"))
    u, rate, _ = lookup_nodes(branch, 1e-6, 4e-6, up=False)
    assert u == pytest.approx([0, 2 / 3, 1])
    assert rate[0] > rate[1] > rate[2]


def test_the_spread_of_a_look_up_table_varies_from_pulse_to_pulse(bench):
    device = lookup([0.05] * 5, spread=[0.01] * 5)
    one = bench(device, 100, 100)
    one.drive({f"WL{i}": V for i in range(100)})
    u = (one.g - LOW) / (HIGH - LOW)
    assert u.mean() == pytest.approx(0.05, rel=0.01)
    assert u.std() == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize(
    ("label", "nu"), [(2.3978, 2.0), (4.8840, 5.0), (0.0, 0.0), (-2.3978, -2.0)]
)
def test_the_neurosim_label_has_its_closed_form(label, nu):
    assert label_of_nu(nu) == pytest.approx(label, abs=2e-3)
    assert nu_of_label(label_of_nu(nu)) == pytest.approx(nu, abs=1e-9)
    assert nu_of_label(-label_of_nu(nu), depression=True) == pytest.approx(nu, abs=1e-9)


def test_the_label_is_the_largest_distance_from_the_diagonal():
    x = np.linspace(0, 1, 200_001)
    for nu in (0.1, 1.0, 3.3, 9.0):
        f = np.expm1(-nu * x) / np.expm1(-nu)
        assert label_of_nu(nu) == pytest.approx((f - x).max() / (0.07 * np.sqrt(2)), rel=1e-8)


def test_labels_that_no_curve_has_are_refused():
    with pytest.raises(ValueError, match="no curve"):
        nu_of_label(10.2)
    assert nu_of_a(0.5 * 97, 97) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("preset", "up", "down"),
    [("taox", 0.04, -0.63), ("hfox", 1.94, -0.61), ("hfox-pristine", 1.94, -0.61),
     ("pcmo", 3.68, -6.76)],
)  # fmt: skip
def test_presets_have_the_published_nonlinearity(preset, up, down):
    device = load_device(preset)
    assert label_of_nu(device.potentiation.nu) == pytest.approx(up, abs=1e-3)
    assert -label_of_nu(device.depression.nu) == pytest.approx(down, abs=1e-3)


@given(
    nu=st.floats(-4, 8), cut=st.floats(0.05, 0.95), volts=st.floats(1.3, 2.5),
    start=st.floats(0, 1), up=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_slicing_a_pulse_in_time_changes_nothing(nu, cut, volts, start, up):
    device = exponential(nu, variation__step_d2d=0.2)
    g0 = LOW + start * (HIGH - LOW)
    sign = 1 if up else -1
    whole, sliced = (Bench(device, 1, 1, g0=g0) for _ in range(2))
    whole.drive({"WL0": sign * volts}, 3 * T)
    sliced.drive({"WL0": sign * volts}, 3 * T * cut)
    sliced.drive({"WL0": sign * volts}, 3 * T * (1 - cut))
    assert sliced.g == pytest.approx(whole.g, rel=1e-9)
