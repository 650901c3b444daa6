"""A device acts on the voltage it sees for the time it sees it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import Bench, T, V, changed

LOW, HIGH, N = 1e-6, 1e-4, 1024


def pulses(one: Bench, before: float = LOW) -> np.ndarray:
    """Return nominal pulses that each device of an `ideal` array has received."""
    return (one.g - before) / (HIGH - LOW) * N


def test_only_the_selected_device_moves_below_a_hard_threshold(bench):
    one = bench("ideal")
    one.drive({"WL1": V / 2, "BL2": -V / 2})
    expected = np.zeros((3, 3))
    expected[1, 2] = 1.0
    assert pulses(one) == pytest.approx(expected, abs=1e-9)


def test_power_law_above_the_threshold(bench):
    device = changed("ideal", pulse__potentiate_exponent=3.0)
    for volts in (1.19, 1.3, 1.6, 2.0, 2.4):
        one = bench(device, 1, 1)
        one.drive({"WL0": volts})
        expected = max((volts - 1.2) / 0.8, 0.0) ** 3
        assert pulses(one)[0, 0] == pytest.approx(expected, abs=1e-9)


def soft(law: str, scale: str = "0.25 V", **more):
    return changed(
        "ideal", pulse__law=law, pulse__potentiate_threshold=None, pulse__depress_threshold=None,
        pulse__potentiate_scale=scale, pulse__depress_scale=scale, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("law", "a"), [("sinh", np.sinh), ("exponential", np.expm1)], ids=["sinh", "exponential"]
)
def test_half_selected_devices_are_disturbed_without_a_hard_threshold(bench, law, a):
    # No published simulator models the conductance of half-selected devices.
    one = bench(soft(law))
    one.drive({"WL1": V / 2, "BL2": -V / 2}, repeat=5)
    half = 5 * a(1.0 / 0.25) / a(2.0 / 0.25)
    expected = np.zeros((3, 3))
    expected[1, :] = expected[:, 2] = half
    expected[1, 2] = 5.0
    assert pulses(one) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_effects_below_the_stated_floor_are_dropped_whole(bench):
    device = soft("sinh", pulse__floor=1e-3)
    one = bench(device, 1, 1)
    one.drive({"WL0": 0.2}, repeat=1000)
    assert (one.g == LOW).all()


def test_a_width_counts_by_its_power(bench):
    device = changed("ideal", pulse__time_exponent=0.5)
    for share in (0.25, 1.0, 4.0):
        one = bench(device, 1, 1)
        one.drive({"WL0": V}, share * T)
        assert pulses(one)[0, 0] == pytest.approx(share**0.5, rel=1e-9)


def test_negative_polarity_devices_potentiate_at_negative_voltage(bench):
    one = bench(changed("ideal", pulse__positive="depresses"), 1, 2, g0=[[LOW, HIGH]])
    one.drive({"WL0": -V})
    assert pulses(one)[0, 0] == pytest.approx(1.0)
    one.drive({"WL0": V}, repeat=3)
    assert one.g[0, 0] == pytest.approx(LOW)
    assert pulses(one)[0, 1] == pytest.approx(N - 3)


def test_overlapping_line_widths_are_integrated_piecewise(bench):
    # WL +1 V for 4T and BL −1 V for T: 2 V for T, then 1 V (below threshold) for 3T.
    one = bench("ideal")
    one.drive({"WL0": 1.0, "BL0": -1.0, "BL1": -1.0}, {"WL0": 4 * T, "BL0": T, "BL1": 6 * T})
    assert pulses(one)[0] == pytest.approx([1.0, 4.0, 0.0], abs=1e-9)
    # +2 V against +2 V: the device sees 0 V, then what is left of the longer pulse, either sign.
    two = bench("ideal", g0=5e-5)
    two.drive({"WL0": V, "BL0": V, "BL1": V}, {"WL0": 3 * T, "BL0": T, "BL1": 5 * T})
    assert pulses(two, 5e-5)[0] == pytest.approx([2.0, -2.0, 3.0], abs=1e-9)


@given(
    row=st.lists(st.tuples(st.floats(-2.5, 2.5), st.integers(0, 5)), min_size=3, max_size=3),
    col=st.lists(st.tuples(st.floats(-2.5, 2.5), st.integers(0, 5)), min_size=3, max_size=3),
    m=st.sampled_from([1.0, 0.7]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_line_widths_equal_the_sum_over_time_slices(row, col, m):
    device = changed("ideal", pulse__time_exponent=m)
    one = Bench(device, 3, 3, g0=5e-5)
    lines = {f"WL{i}": r for i, r in enumerate(row)} | {f"BL{j}": c for j, c in enumerate(col)}
    block = one.block(
        {k: v for k, (v, _) in lines.items()}, {k: (w + 0.5) * T for k, (_, w) in lines.items()}
    )
    one.backend.run_block(block)

    def effect(v: float) -> float:
        along = abs(v)
        return np.sign(v) * max((along - 1.2) / 0.8, 0.0)

    expected = np.zeros((3, 3))
    for i, (vr, wr) in enumerate(row):
        for j, (vc, wc) in enumerate(col):
            edges = np.unique([0.0, wr + 0.5, wc + 0.5])
            for start, stop in pairwise(edges):
                v = (vr if start < wr + 0.5 else 0.0) - (vc if start < wc + 0.5 else 0.0)
                expected[i, j] += effect(v) * (stop**m - start**m)
    assert pulses(one, 5e-5) == pytest.approx(expected, abs=1e-9)


def test_more_drives_than_groups_give_the_same_as_line_by_line(bench):
    rng = np.random.default_rng(4)
    rows, cols = 50, 45
    levels = {f"WL{i}": v for i, v in enumerate(rng.uniform(0, 1.5, rows))}
    levels |= {f"BL{j}": -v for j, v in enumerate(rng.uniform(0, 1.5, cols))}
    one = bench("ideal", rows, cols)
    one.drive(levels)
    v = np.array(list(levels.values()))
    seen = v[:rows, None] - v[None, rows:]
    assert pulses(one) == pytest.approx(np.maximum((seen - 1.2) / 0.8, 0.0), abs=1e-9)


def test_thresholds_vary_from_device_to_device(bench):
    one = bench(changed("ideal", variation__threshold_d2d=0.2), 40, 40)
    own = np.maximum(0.8 * pulses_at(one, 1.6), 0.0)
    moved = own > 0
    threshold = (1.6 - own[moved]) / 1.2
    assert 0.75 < moved.mean() < 1.0
    assert np.unique(threshold).size == threshold.size
    assert threshold.min() < 0.7
    assert threshold.max() > 1.2


def pulses_at(one: Bench, volts: float) -> np.ndarray:
    one.drive({f"WL{i}": volts for i in range(one.geometry.n_rows)})
    return pulses(one)


def test_a_repeat_is_the_same_as_so_many_single_pulses(bench):
    device = changed("nonlinear", variation__step_c2c=0.3, variation__range_c2c=0.01)
    one, other = bench(device), bench(device)
    one.drive({"WL0": 1.0, "BL1": -1.0, "BL2": -1.0}, repeat=7)
    for _ in range(7):
        other.drive({"WL0": 1.0, "BL1": -1.0, "BL2": -1.0})
    assert np.array_equal(one.g, other.g)


@pytest.mark.parametrize("volts", [1.0, -1.0], ids=["up", "down"])
@pytest.mark.parametrize(
    "variation", [{"step_c2c": 0.3}, {"step_c2c": 0.05}, {}], ids=["turns-round", "noisy", "quiet"]
)
def test_a_train_into_a_bound_is_the_same_as_its_single_pulses(bench, volts, variation):
    variation = {f"variation__{name}": value for name, value in variation.items()}
    device = changed("nonlinear", variation__step_d2d=0.2, variation__read_noise=0.0, **variation)
    one, other = bench(device), bench(device)
    levels = {"WL0": volts, "BL1": -volts, "BL2": -volts}
    for each in (one, other):  # back into the range, where the trains end well before the bound
        each.drive({"WL0": -volts, "BL1": volts, "BL2": volts}, repeat=300)
    for repeat in (150, 331, 40, 64):
        one.drive(levels, repeat=repeat)
        for _ in range(repeat):
            other.drive(levels)
        assert np.array_equal(one.g, other.g)
    assert np.array_equal(one.backend.array.ordinal, other.backend.array.ordinal)
    assert one.backend.clock_ns() == other.backend.clock_ns()


def test_the_order_of_steps_on_different_devices_does_not_matter(bench):
    device = changed("nonlinear", variation__step_c2c=0.3)
    steps = [({"WL0": 1.0, "BL1": -1.0}), ({"WL2": 1.0, "BL0": -1.0}), ({"WL1": 1.0, "BL1": -1.0})]
    one, other = bench(device), bench(device)
    for levels in steps:
        one.drive(levels)
    for levels in reversed(steps):
        other.drive(levels)
    assert np.array_equal(one.g, other.g)
    assert (one.g != bench(device).g).sum() == 3
