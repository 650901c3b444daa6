"""Calibration, on emulated instruments that have errors."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from benches import HEAD, instrument, k707, span, station_a
from hil_drivers.calibration.contact import ContactCheck
from hil_drivers.calibration.plan import Plan, Wish
from hil_drivers.calibration.probe import probe_block, through
from hil_drivers.calibration.procedure import leakage, solve_paths, zero
from hil_drivers.calibration.table import Calibration
from imperfect_rigs import IMPERFECT, STATIONS, WISH, opened, read

from hil.errors import ConfigError

pytest.importorskip("lupa")


@pytest.mark.parametrize("kind", "abc")
def test_a_100_kohm_device_reads_within_two_per_mille_after_calibration(kind, tmp_path):
    with opened(STATIONS[kind] + IMPERFECT) as setting:
        rig, bench, op = setting.rig, setting.bench, setting.op
        found = setting.calibrate()
        shape = rig.geometry.shape
        bench.array.g[:] = 1e-5 * (1 + np.arange(math.prod(shape)).reshape(shape) / 40)
        true = bench.array.conductance_siemens()
        for sign in (1.0, -1.0):
            assert np.abs(read(rig, op, sign) / true - 1).min() > 5e-3
        rig.close()
        found.save(tmp_path / "calibration.json")
        rig.calibration = Calibration.load(tmp_path / "calibration.json")
        rig.open()
        for sign in (1.0, -1.0):
            assert read(rig, op, sign) == pytest.approx(true, rel=2e-3)
        assert found.sha256[:12] in rig.identify()
        assert rig.calibration_facts()["sha256"] == found.sha256
        assert not [s for s in rig.strategies if s.startswith("not calibrated")]


def test_offsets_leakages_and_paths_are_those_of_the_bench(spoilt):
    found = spoilt.calibrate()
    for name in ("smu.a", "smu.b"):
        errors = spoilt.bench.terminal(name).accuracy
        for c in found.channels[name]:
            true = errors.meter_offset_a[c.range_a]
            assert c.offset_a == pytest.approx(true, abs=1e-3 * c.range_a)
            assert c.gain is not None
        assert found.leaks_siemens[f"WL1 {name}"] == pytest.approx(errors.leak_siemens, rel=0.02)
        assert found.sources[name].offset_v == pytest.approx(errors.source_offset_v, rel=0.05)
    for line, ohm in found.paths_ohm.items():
        node = 0, spoilt.rig.geometry.line_index(line)
        assert ohm == pytest.approx(spoilt.bench.network.path_ohm[node], abs=0.5)
    assert len(found.paths_ohm) == 5


def test_gains_are_products_of_a_sources_and_a_meters(spoilt):
    found = spoilt.calibrate()
    a, b = (spoilt.bench.terminal(n).accuracy for n in ("smu.a", "smu.b"))
    source_a = 1 + a.source_gain
    assert found.sources["smu.a"].gain == 1.0
    assert found.sources["smu.b"].gain == pytest.approx((1 + b.source_gain) / source_a, rel=5e-4)
    for name, errors in (("smu.a", a), ("smu.b", b)):
        for c in found.channels[name]:
            assert c.gain == pytest.approx(source_a * (1 + errors.meter_gain), rel=1e-3)


def test_a_channel_per_line_needs_as_many_places_as_compare_all_channels():
    with opened(STATIONS["c"]) as setting:
        assert Plan(setting.rig, setting.op, WISH).positions == [
            (0, 0), (0, 1), (0, 2), (1, 0), (2, 0),
        ]  # fmt: skip
    with opened(STATIONS["a"]) as setting:
        assert Plan(setting.rig, setting.op, WISH).positions == [(0, 0)]
        every = Plan(setting.rig, setting.op, Wish(reference_ohm=1e5, every_line=True))
        assert every.positions == [(0, 0), (1, 1), (0, 2)]


def test_the_reference_through_every_line_shows_what_each_route_deviates(spoilt):
    found = spoilt.calibrate(Wish(reference_ohm=1e5, every_line=True))
    routes = {(r.line, r.channel) for r in found.references}
    assert len(routes) == 10
    assert max(abs(r.deviation) for r in found.references) < 1e-3


def test_shorts_one_by_one_share_what_they_cannot_tell_apart(spoilt):
    found = spoilt.calibrate(Wish(reference_ohm=1e5, shorts=((0, 1), (1, 1))))
    true = spoilt.bench.network.path_ohm
    assert set(found.paths_ohm) == {"WL0", "WL1", "BL1"}
    assert found.paths_ohm["WL0"] + found.paths_ohm["BL1"] == pytest.approx(
        true[0, 0] + true[0, 3], abs=0.5
    )
    assert found.paths_ohm["WL1"] - found.paths_ohm["WL0"] == pytest.approx(
        true[0, 1] - true[0, 0], abs=0.5
    )
    half = solve_paths(spoilt.rig, [(0, 2, 30.0)])
    assert half == pytest.approx({"WL0": 15.0, "BL0": 15.0})


def test_a_path_without_resistance_is_below_what_can_be_measured():
    with opened(STATIONS["a"]) as setting:
        work = setting.work()
        for fixture in work.run():
            setting.bench.insert("main", fixture.g_siemens)
        assert work.calibration.paths_ohm == {}
        (table,) = [t for t in work.tables() if t.head == ("line", "path")]
        assert {text for _, text in table.rows} == {"< 1 ohm"}


def single(smu):
    """Return a station with one source-measure unit, a matrix and the 0 V rail."""
    ways = ["smu.1", "common"]
    return (
        HEAD.format(rows=2, cols=2, device="ideal") + instrument("smu", smu)
        + instrument("mux", "keithley-707b") + span("WL", 2, 1, ways, k707)
        + span("BL", 2, 3, ways, k707)
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        single("keithley-2400"),
        single("keithley-2450"),
        station_a(2, 2, "ideal", smu="keysight-b2900", mux="keysight-b2200a"),
    ],
    ids=["2400", "2450", "B2900"],
)
def test_other_families_are_calibrated_the_same_way(text):
    with opened(text + IMPERFECT) as setting:
        found = setting.calibrate()
        for name, ranges in found.channels.items():
            errors = setting.bench.terminal(name).accuracy
            for c in ranges:
                true = errors.meter_offset_a[c.range_a]
                assert c.offset_a == pytest.approx(true, abs=1e-3 * c.range_a)
            assert any(c.gain is not None for c in ranges)
            offset_v = errors.source_offset_v
            assert found.sources[name].offset_v == pytest.approx(offset_v, abs=3e-5)
        setting.bench.array.g[:] = 1e-5
        assert not any(c.bad for c in ContactCheck(setting.rig, setting.op).run())


def test_steps_can_be_measured_on_different_days(spoilt):
    first = spoilt.calibrate(Wish(frozenset({"open"})))
    assert set(first.steps) == {"zero", "open"}
    assert first.sources == {}
    second = spoilt.calibrate(Wish(frozenset({"short"})), base=first)
    third = spoilt.calibrate(Wish(frozenset({"reference"}), 1e5), base=second)
    whole = spoilt.calibrate()
    assert set(third.steps) == {"zero", "open", "short", "reference"}
    assert third.paths_ohm == pytest.approx(whole.paths_ohm, abs=0.1)
    assert third.sources["smu.b"].gain == pytest.approx(whole.sources["smu.b"].gain, rel=1e-4)
    assert third.age_s() >= second.age_s() - 1.0


def test_a_calibration_says_how_old_its_oldest_part_is(spoilt):
    found = spoilt.calibrate(Wish(frozenset({"zero"})))
    day = datetime(2026, 3, 1, tzinfo=UTC)
    aged = found.model_copy(update={"steps": {"zero": day - timedelta(days=9), "open": day}})
    assert aged.age_s(day) == 9 * 86400
    assert found.date.tzinfo is not None


def test_a_line_is_measured_through_the_channel_that_was_chosen(spoilt):
    ways = [spoilt.rig.wiring.ways_of(0)[k] for k in (0, 1, 0)]
    used = []
    for way in ways:  # blocks alike, one after the other: no plan of another way is taken
        spoilt.rig._safe_state()
        with through(spoilt.rig, {0: way}):
            block = probe_block(spoilt.rig, 0, 0.1, width_s=2e-3, grounded=[2, 3, 4])
            used.append(spoilt.rig.job(block).plan.stages[0].channel_of_line[0])
    assert used == ways


def test_zero_and_leakage_need_no_fixture_to_be_named(spoilt):
    spoilt.bench.insert("main", np.zeros((2, 3)))
    ranges = dict.fromkeys(("smu.a", "smu.b"), (1e-6,))
    assert set(zero(spoilt.rig, ranges)) == {"smu.a", "smu.b"}
    assert len(leakage(spoilt.rig, 0.1)) == 10
    with pytest.raises(ConfigError, match="does not reach"), through(spoilt.rig, {0: 99}):
        pass
