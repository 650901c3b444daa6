from __future__ import annotations

import numpy as np
import pytest

from hil.measurement import Status
from hil.monitor.decimate import kept
from hil.monitor.devices import Devices, PulseRows
from hil.monitor.history import CURVE_BINS, History, PulseCurve
from hil.program import Phase


def rows(rng, n, shape=(3, 4), phase=Phase.PROGRAM):
    """Rows of devices in any order, potentiating and depressing in runs."""
    row, col = rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)
    g = rng.uniform(1e-6, 1e-4, n)
    return PulseRows(
        np.arange(n), np.full(n, phase, np.uint8), row, col,
        np.where(np.arange(n) // 40 % 2 == 0, 1.5, -1.5), rng.integers(1, 5, n),
        np.where(rng.random(n) < 0.3, np.nan, g), np.where(rng.random(n) < 0.4, np.nan, g * 1.1),
        np.full(n, int(Status.SIMULATED), np.uint32),
    )  # fmt: skip


def one_by_one(all_rows, shape):
    """What `Devices` keeps, row by row: g, (pulses up, down), and each device's readings."""
    g, up, down = np.full(shape, np.nan), np.zeros(shape, int), np.zeros(shape, int)
    state, readings = {}, {}
    for k in range(len(all_rows)):
        cell = int(all_rows.row[k]), int(all_rows.col[k])
        value = all_rows.g0[k] if np.isnan(all_rows.g1[k]) else all_rows.g1[k]
        if not np.isnan(value):
            g[cell] = value
        n, rises = int(all_rows.count[k]), all_rows.v[k] > 0
        (up if rises else down)[cell] += n
        rose, in_cycle, cycle, total = state.get(cell, (None, 0, -1, 0))
        if rose is None or (rises and not rose):
            in_cycle, cycle = 0, cycle + 1
        state[cell] = rises, in_cycle + n, cycle, total + n
        if not np.isnan(all_rows.g1[k]):
            readings.setdefault(cell, []).append((total + n, in_cycle + n, cycle, all_rows.g1[k]))
    return g, up, down, readings


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_devices_know_what_a_loop_over_the_rows_would(rng, pieces):
    shape = (3, 4)
    everything = rows(rng, 400, shape)
    devices = Devices("main", shape)
    for piece in np.array_split(np.arange(400), pieces):
        devices.add(everything.where(piece))
    g, up, down, readings = one_by_one(everything, shape)
    np.testing.assert_array_equal(devices.g_siemens, g)
    np.testing.assert_array_equal(devices.pulses_up, up)
    np.testing.assert_array_equal(devices.pulses_down, down)
    for (row, col), expected in readings.items():
        trace = devices.history.trace(row * shape[1] + col)
        total, in_cycle, cycle, value = zip(*expected, strict=True)
        assert trace.stride == 1
        np.testing.assert_array_equal(trace.pulses, total)
        np.testing.assert_array_equal(trace.in_cycle, in_cycle)
        np.testing.assert_array_equal(trace.cycle, cycle)
        np.testing.assert_allclose(trace.g_siemens, value, rtol=1e-6)


def test_the_curve_is_mean_and_spread_over_devices_and_cycles(rng):
    everything = rows(rng, 600)
    devices = Devices("main", (3, 4))
    devices.add(everything)
    _, _, _, readings = one_by_one(everything, (3, 4))
    by_pulse = {}
    for points in readings.values():
        for _, in_cycle, _, g in points:
            by_pulse.setdefault(in_cycle, []).append(g)
    pulses, mean, spread = devices.curve.points()
    assert pulses.tolist() == sorted(by_pulse)
    np.testing.assert_allclose(mean, [np.mean(by_pulse[p]) for p in pulses], rtol=1e-9)
    np.testing.assert_allclose(spread, [np.std(by_pulse[p]) for p in pulses], atol=1e-12)


def test_the_curve_of_long_cycles_keeps_its_points_and_its_mean(rng):
    curve = PulseCurve()
    n = 9 * CURVE_BINS
    g = rng.uniform(1e-6, 1e-4, n)
    for piece in np.array_split(np.arange(n), 10):
        curve.add(piece + 1, g[piece])
    pulses, mean, _ = curve.points()
    assert curve.width == 16
    assert len(pulses) <= CURVE_BINS
    np.testing.assert_allclose(mean[:100], g[:1600].reshape(100, 16).mean(axis=1), rtol=1e-9)
    assert pulses[0] == pytest.approx(8.5)


def test_a_history_stays_within_its_room_and_evenly_thinned():
    history = History(3)
    n = 5 * history.capacity + 17
    for begin in range(0, n, 1000):
        pulses = np.arange(begin, min(begin + 1000, n))
        device = np.ones(len(pulses), dtype=np.int64)
        history.add(device, pulses, pulses, device, pulses * 1e-6)
    trace = history.trace(1)
    assert history.capacity // 2 <= len(trace.pulses) <= history.capacity
    np.testing.assert_array_equal(trace.pulses, np.arange(0, n, trace.stride))
    np.testing.assert_allclose(trace.g_siemens, trace.pulses * 1e-6, rtol=1e-6)
    assert len(history.trace(0).pulses) == 0


def test_an_array_that_turns_out_larger_keeps_what_it_knew(rng):
    everything = rows(rng, 300, (3, 4))
    small, large = Devices("main", (3, 4)), Devices("main", (6, 9))
    small.add(everything)
    large.add(everything)
    assert small.lacks(rows(rng, 50, (6, 9)))
    small.grow((6, 9))
    more = rows(rng, 300, (6, 9))
    for devices in (small, large):
        devices.add(more)
    np.testing.assert_array_equal(small.g_siemens, large.g_siemens)
    np.testing.assert_array_equal(small.pulses_down, large.pulses_down)
    for device in range(54):
        np.testing.assert_array_equal(
            small.history.trace(device).cycle, large.history.trace(device).cycle
        )


def test_trouble_and_failures_are_marked_per_device(rng):
    everything = rows(rng, 60)
    everything.status[(everything.row == 1) & (everything.col == 2)] |= np.uint32(
        Status.VERIFY_FAILED
    )
    everything.status[(everything.row == 0) & (everything.col == 0)] |= np.uint32(Status.TIMEOUT)
    devices = Devices("main", (3, 4))
    devices.add(everything)
    assert devices.failed()[1, 2]
    assert devices.failed().sum() == 1
    assert devices.status[0, 0] == Status.TIMEOUT
    assert np.count_nonzero(devices.status) == 2
    devices.take_outcome({"outcome": np.array([["ok", "stuck", "ok", "limit"]] * 3)})
    assert devices.failed().sum() == 7


def test_fewer_points_keep_the_extremes_and_the_ends(rng):
    y = rng.normal(size=50_000)
    y[12_345], y[43_210] = 99.0, -99.0
    y[500:600] = np.nan
    at = kept(y, 2000)
    assert len(at) <= 2000
    assert (np.diff(at) > 0).all()
    assert {0, 12_345, 43_210, 49_999} <= set(at.tolist())
    assert kept(y[:2000]).tolist() == list(range(2000))
