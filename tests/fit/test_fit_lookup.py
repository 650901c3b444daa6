"""Look-up tables straight from responses: mean, spread, quantiles, and how devices differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hil.errors import FitError
from hil.fit.lookup import LEVELS, build_tables
from hil.fit.measured import Responses

LOW, HIGH = 1e-6, 51e-6
SPAN = HIGH - LOW


def walks(
    rng, step, *, devices=24, cycles=4, pulses=60, factor=None, read=0.0, noise=lambda u, z: 0 * z,
    low=0.0, high=1.0,
):  # fmt: skip
    """Walk devices up and down: u += f·step(u) + noise, within low … high; reads are noisy."""
    factor = np.ones((devices, 2)) if factor is None else factor
    u = np.full(devices, low)
    columns: list[tuple] = []
    for cycle in range(cycles):
        for k, sign in enumerate((1, -1)):
            before = u + read * rng.standard_normal(devices)
            for _ in range(pulses):
                place = u if sign > 0 else 1.0 - u
                change = factor[:, k] * step(place) + noise(place, rng.standard_normal(devices))
                u = np.clip(u + sign * change, low, high)
                after = u + read * rng.standard_normal(devices)
                columns.append((np.arange(devices), np.full(devices, cycle),
                                np.full(devices, sign), before, after))  # fmt: skip
                before = after
    device, cycle, sign, before, after = (np.array(c).T.ravel() for c in zip(*columns, strict=True))
    n = device.size
    chain = (device * cycles + cycle) * 2 + (sign < 0)
    return Responses(
        np.stack([np.arange(devices), np.zeros(devices, dtype=np.int64)], axis=1),
        device.astype(np.int64), cycle.astype(np.int64), sign.astype(np.int64),
        np.ones(n, dtype=np.int64), np.where(sign > 0, 1.0, -1.0), np.full(n, 1e-6),
        LOW + SPAN * before, LOW + SPAN * after, chain.astype(np.int64), np.zeros(n, np.uint8),
    )  # fmt: skip


def fall(u):
    return 0.04 * (1.0 - 0.85 * u)


def test_the_mean_step_comes_back_in_both_branches(rng):
    tables = build_tables(walks(rng, fall), range_siemens=(LOW, HIGH))
    for table, up in ((tables.potentiation, True), (tables.depression, False)):
        u = (table.g_siemens - LOW) / SPAN
        expected = SPAN * fall(u if up else 1.0 - u)
        assert (np.diff(table.g_siemens) > 0).all()
        inside = (u if up else 1.0 - u) < 0.97  # beyond, devices stand at their bound
        assert table.delta_siemens[inside] == pytest.approx(expected[inside], rel=0.03)
        assert table.spread_siemens[inside].max() < 0.05 * expected.max()


def test_the_spread_is_that_of_the_pulses(rng):
    responses = walks(rng, fall, noise=lambda u, z: 0.01 * (0.4 + u) * z, devices=60)
    table = build_tables(responses, range_siemens=(LOW, HIGH)).potentiation
    u = (table.g_siemens - LOW) / SPAN
    inside = (u > 0.1) & (u < 0.8)
    assert table.spread_siemens[inside] == pytest.approx(
        SPAN * 0.01 * (0.4 + u[inside]), rel=0.2
    )  # fmt: skip


@pytest.mark.parametrize("read", [0.003, 0.01, 0.02])
def test_read_noise_bends_neither_the_mean_nor_the_spread(rng, read):
    """Sorted by the reading before, a noise of half a step would raise the slope by itself."""
    responses = walks(rng, fall, read=read, noise=lambda u, z: 0.01 * z, devices=80, cycles=6)
    tables = build_tables(responses, range_siemens=(LOW, HIGH))
    assert tables.read_siemens == pytest.approx(read * SPAN, rel=0.1)
    table = tables.potentiation
    u = (table.g_siemens - LOW) / SPAN
    inside = (u > 0.1) & (u < 0.75)
    ratio = table.delta_siemens[inside] / (SPAN * fall(u[inside]))
    assert ratio == pytest.approx(1.0, rel=0.25)
    assert ratio.mean() == pytest.approx(1.0, rel=0.03)
    assert np.polyfit(u[inside], ratio, 1)[0] == pytest.approx(0.0, abs=0.2)
    if read <= 0.01:
        mean = float(np.sqrt(np.mean(table.spread_siemens[inside] ** 2)))
        assert mean == pytest.approx(0.01 * SPAN, rel=0.12)


def test_a_table_sorted_by_the_first_reading_would_be_wrong(rng):
    """The guard against it is needed: the plain table's slope is off by more than the tolerance."""
    r = walks(rng, fall, read=0.02, devices=80, cycles=6)
    up = r.polarity > 0
    u = (r.before_siemens[up] - LOW) / SPAN
    delta = (r.after_siemens - r.before_siemens)[up] / SPAN
    low = u < np.quantile(u, 0.02)
    assert delta[low].mean() > 1.15 * fall(u[low].mean())


def test_steps_that_end_at_a_rail_are_counted_as_at_least_so_large(rng):
    """With the bound known, the last bins have the step that the bound has cut."""
    responses = walks(rng, lambda u: np.full_like(u, 0.03), noise=lambda u, z: 0.03 * z, devices=60)
    ends = np.full(60, LOW), np.full(60, HIGH)
    known = build_tables(
        responses, range_siemens=(LOW, HIGH), low_siemens=ends[0], high_siemens=ends[1],
        read_noise=(0.0, 0.0),
    ).potentiation  # fmt: skip
    plain = build_tables(responses, range_siemens=(LOW, HIGH), read_noise=(0.0, 0.0)).potentiation
    near = (known.g_siemens - LOW) / SPAN > 0.93
    near &= (known.g_siemens - LOW) / SPAN < 0.985
    assert near.any()
    assert known.delta_siemens[near] == pytest.approx(0.03 * SPAN, rel=0.2)
    top = (plain.g_siemens - LOW) / SPAN > 0.93
    assert plain.delta_siemens[top].min() < 0.8 * 0.03 * SPAN


def test_devices_have_factors_and_their_spread_is_without_their_error(rng):
    both = 1.0 + 0.15 * rng.standard_normal(200)
    each = 1.0 + 0.05 * rng.standard_normal((200, 2))
    factor = both[:, None] * each
    responses = walks(rng, fall, factor=factor, devices=200, noise=lambda u, z: 0.01 * z)
    tables = build_tables(responses, range_siemens=(LOW, HIGH))
    assert tables.step_d2d == pytest.approx(0.15, rel=0.15)
    assert tables.step_d2d_branch == pytest.approx(0.05, rel=0.4)
    assert np.corrcoef(tables.factor[:, 0], factor[:, 0])[0, 1] > 0.95


def test_equal_devices_have_no_spread_between_them(rng):
    """The raw spread of the factors is their estimation error; it is taken off."""
    responses = walks(rng, fall, devices=100, cycles=2, pulses=30, noise=lambda u, z: 0.03 * z)
    tables = build_tables(responses, range_siemens=(LOW, HIGH))
    raw = float(np.nanstd(tables.factor[:, 0]))
    assert raw > 0.05
    assert np.hypot(tables.step_d2d, tables.step_d2d_branch) < 0.6 * raw


def test_quantiles_have_the_shape_of_the_noise(rng):
    def skewed(u, z):
        return 0.02 * (stats.expon.ppf(stats.norm.cdf(z)) - 1.0)

    responses = walks(rng, lambda u: np.full_like(u, 0.02), noise=skewed, devices=120, cycles=5)
    table = build_tables(
        responses, range_siemens=(LOW, HIGH), read_noise=(0.0, 0.0)
    ).potentiation  # fmt: skip
    middle = np.argmin(np.abs(table.g_siemens - (LOW + HIGH) / 2))
    got = table.quantiles_siemens[:, middle] / SPAN
    expected = 0.02 * stats.expon.ppf(LEVELS)
    assert got[:-1] == pytest.approx(expected[:-1], abs=0.004)
    assert got[-1] - got[4] > 2.5 * (got[4] - got[0])


def test_with_little_data_there_is_no_table(rng):
    with pytest.raises(FitError, match="too few"):
        build_tables(walks(rng, fall, devices=1, cycles=1, pulses=10))


def test_one_branch_is_enough(rng):
    r = walks(rng, fall)
    tables = build_tables(r.only(r.polarity > 0), range_siemens=(LOW, HIGH))
    assert tables.depression is None
    assert tables.potentiation is not None
