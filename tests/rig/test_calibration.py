"""Calibration and contact, on emulated instruments that have errors."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from benches import (
    HEAD,
    instrument,
    k707,
    on_bench,
    span,
    station_a,
    station_b,
    station_c,
    station_of,
)
from hil_drivers.calibration.contact import ContactCheck
from hil_drivers.calibration.plan import Plan, Wish
from hil_drivers.calibration.probe import Implausible, probe_block, through
from hil_drivers.calibration.procedure import leakage, solve_paths, zero
from hil_drivers.calibration.station import wiring_digest
from hil_drivers.calibration.table import Calibration
from hil_drivers.calibration.work import Work

from hil.errors import BackendError, ConfigError, LimitError, ReadbackError
from hil.phases.reading import read_map

pytest.importorskip("lupa")

IMPERFECT = "\n[twin]\nimperfect = true\nseed = 5\n"
STATIONS = {
    "a": station_a(2, 3, device="ideal"), "b": station_b(2, 3, device="ideal"),
    "c": station_c(device="ideal"),
}  # fmt: skip
WISH = Wish(reference_ohm=1e5, averages=2)


def read(rig, op, sign=1.0):
    """Return the conductances in siemens of all devices at the read voltage or its negative."""
    n_cols = rig.geometry.n_cols
    programme = read_map(rig.geometry, replace(op, read_v=sign * op.read_v), rig.capabilities)
    line = np.concatenate([block_lines(b) for b in programme])
    current = np.concatenate([m.current_a for m in rig.run(list(programme))])
    g = np.zeros(rig.geometry.shape)
    for cell, value in enumerate(current):
        g[cell // n_cols, line[cell] - rig.geometry.n_rows] = -value / (sign * op.read_v)
    return g


def block_lines(block):
    return np.nonzero(block.sense)[1]


@contextmanager
def opened(text, **options):
    station = station_of(text)
    with on_bench(station, **options) as (rig, bench), rig:
        yield Setting(rig, bench, station)


class Setting:
    """An open rig on its bench, with the station that it is of."""

    def __init__(self, rig, bench, station):
        self.rig, self.bench, self.station = rig, bench, station
        self.op = station.drive.operating_point()

    def work(self, wish=WISH, **kwargs):
        digest = wiring_digest(self.station, self.station.array[0])
        return Work(self.rig, self.op, wish, array="main", wiring_sha256=digest, **kwargs)

    def calibrate(self, wish=WISH, **kwargs):
        work = self.work(wish, **kwargs)
        for fixture in work.run():
            assert self.bench.safe  # nobody connects anything while an output is on
            self.bench.insert("main", fixture.g_siemens)
        assert self.bench.safe
        self.bench.insert("main", None)
        return work.calibration


@pytest.fixture
def spoilt():
    with opened(STATIONS["a"] + IMPERFECT) as setting:
        yield setting


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


def test_the_gates_of_transistors_are_open_while_contacts_are_checked():
    ways = ["smu.a", "smu.b", "common"]
    text = HEAD.format(rows=2, cols=2, device="hfox").replace(
        "cols = 2\n", 'cols = 2\ncell = "1T1R"\n'
    )
    text += 'gate_read_voltage = "1.5 V"\n' + instrument("smu", "keithley-2600b")
    text += instrument("mux", "keithley-707b")
    for k, group in enumerate(("WL", "BL", "GL")):
        text += span(group, 2, 1 + 2 * k, ways, k707)
    with opened(text) as setting:
        verdicts = {c.line: c.verdict for c in ContactCheck(setting.rig, setting.op).run()}
        found = setting.calibrate(Wish(frozenset({"reference"}), 1e5, averages=1))
    assert verdicts == dict.fromkeys(("WL0", "WL1", "BL0", "BL1"), "ok") | {
        "GL0": "gate", "GL1": "gate",
    }  # fmt: skip
    assert {r.line for r in found.references} == {"WL0", "BL0"}


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


# -- what is refused ------------------------------------------------------------------------


def at_each(setting, wish, connect):
    """Run a calibration with something else connected than asked for."""
    work = setting.work(wish)
    for fixture in work.run():
        setting.bench.insert("main", connect(fixture.g_siemens))
    return work


def test_a_wrong_resistor_is_not_taken_for_a_gain(spoilt):
    with pytest.raises(Implausible, match=r"wrong resistor or broken path.*nothing was written"):
        at_each(spoilt, Wish(frozenset({"reference"}), 1e5), lambda g: g / 3)
    assert spoilt.bench.safe


def test_what_is_still_connected_is_not_taken_for_leakage(spoilt):
    spoilt.bench.terminal("smu.b").accuracy.leak_siemens = 5e-6
    with pytest.raises(Implausible) as refused:
        at_each(spoilt, Wish(frozenset({"open"})), lambda g: g)
    error = refused.value
    assert (error.quantity, error.unit, error.limit) == ("leakage", "S", 1e-6)
    assert error.where == "WL0 smu.b"
    assert "something is still connected" in str(error)


def test_no_short_is_not_taken_for_a_path(spoilt):
    with pytest.raises(Implausible, match=r"path resistance .* against limit 1000 ohm"):
        at_each(spoilt, Wish(frozenset({"short"})), lambda g: g * 0.0)


def test_an_offset_beyond_any_meters_is_refused(spoilt):
    spoilt.bench.terminal("smu.a").accuracy.meter_offset_a[1e-6] = 2e-7
    with pytest.raises(Implausible, match=r"WL0 smu.a: offset on the 1e-06 A range 2e-07 A"):
        at_each(spoilt, Wish(frozenset({"zero"})), lambda g: g)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(reference_ohm=1e5, level_v=0.0), "must not be 0 V"),
        (Wish(reference_ohm=2.0), "no range suits it"),
        (Wish(reference_ohm=1e5, ranges_a=(1e6,)), "measuring range"),
    ],
    ids=["no level", "low resistor", "no such range"],
)
def test_a_wish_that_cannot_be_is_refused_before_anything_is_driven(spoilt, wish, message):
    with pytest.raises(LimitError, match=message):
        spoilt.work(wish)
    with pytest.raises(ConfigError, match="reference resistor's value"):
        spoilt.work(Wish())
    with pytest.raises(ConfigError, match="not on the 2 x 3 array"):
        spoilt.work(Wish(reference_ohm=1e5, shorts=((2, 0),)))


def test_levels_beyond_the_limits_are_not_driven():
    text = STATIONS["a"] + '\n[limits]\nlevel = ["-300 mV", "300 mV"]\n' + IMPERFECT
    with opened(text) as setting, pytest.raises(LimitError, match=r"line level 0\.4 V"):
        setting.calibrate(Wish(reference_ohm=1e5, level_v=0.4))


def test_a_rig_is_not_calibrated_through_its_calibration(spoilt):
    spoilt.rig.calibration = spoilt.calibrate(Wish(frozenset({"zero"})))
    with pytest.raises(BackendError, match="in force"):
        spoilt.work()


@pytest.mark.parametrize("part", ["serial", "model"])
def test_a_calibration_of_other_instruments_is_refused(spoilt, part):
    found = spoilt.calibrate(Wish(frozenset({"zero"})))
    spoilt.rig.close()
    other = {**found.instruments, "smu": found.instruments["smu"].model_copy(update={part: "99"})}
    spoilt.rig.calibration = found.model_copy(update={"instruments": other})
    with pytest.raises(ReadbackError) as refused:
        spoilt.rig.open()
    said = str(refused.value)
    assert "instrument smu: the file has" in said
    assert "99" in said
    assert "2636B, serial 1400001, firmware 3.4.2 answered; calibrate again" in said


def test_new_firmware_is_noted_and_a_new_instrument_refused(spoilt):
    found = spoilt.calibrate(Wish(frozenset({"zero"})))
    spoilt.rig.close()
    newer = found.instruments["mux"].model_copy(update={"firmware": "9.9"})
    spoilt.rig.calibration = found.model_copy(
        update={"instruments": {**found.instruments, "mux": newer}}
    )
    spoilt.rig.open()
    (note,) = spoilt.rig.calibration_facts()["notes"]
    assert "mux had firmware 9.9, now" in note
    spoilt.rig.close()
    only = {"smu": found.instruments["smu"]}
    spoilt.rig.calibration = found.model_copy(update={"instruments": only})
    with pytest.raises(ReadbackError, match="has no instrument mux"):
        spoilt.rig.open()


def test_a_calibration_of_other_wiring_or_another_array_is_refused(spoilt):
    found = spoilt.calibrate(Wish(frozenset({"zero"})))
    rewired = station_of(STATIONS["a"].replace("mux/1A01", "mux/1D01"))
    with pytest.raises(ConfigError, match="wiring or instrument settings"):
        found.check_station("main", wiring_digest(rewired, rewired.array[0]))
    with pytest.raises(ConfigError, match="is of array 'main', not of 'second'"):
        found.check_station("second", found.wiring_sha256)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "JSON"), ('{"schema": 2}', "schema"), ("[]", "calibration"), ("", "JSON")],
)
def test_a_damaged_calibration_file_is_refused(tmp_path, text, message):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Calibration.load(path)
    with pytest.raises(ConfigError, match=r"cannot be read.*hil calibrate"):
        Calibration.load(tmp_path / "none.json")


def test_half_a_file_and_an_existing_file_are_refused(spoilt, tmp_path):
    found = spoilt.calibrate(Wish(frozenset({"zero"})))
    path = tmp_path / "calibration.json"
    found.save(path)
    assert Calibration.load(path).text() == found.text()
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]
    with pytest.raises(ConfigError, match="already there"):
        found.save(path)
    found.save(path, overwrite=True)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 2, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError):
            Calibration.load(path)


def test_a_range_without_calibration_is_said(spoilt):
    found = spoilt.calibrate(Wish(reference_ohm=1e5, ranges_a=(1e-5,)))
    spoilt.rig.calibration = found
    spoilt.rig.run_block(
        probe_block(spoilt.rig, 0, 0.1, width_s=2e-3, grounded=[2, 3, 4], range_a=1e-3)
    )
    said = {k: n for k, n in spoilt.rig.strategies.items() if k.startswith("not calibrated")}
    assert said == {"not calibrated: smu.a on its 0.001 A range": 1}


# -- contact --------------------------------------------------------------------------------


def test_every_line_without_contact_or_with_a_short_is_named(spoilt):
    rig, bench, op = spoilt.rig, spoilt.bench, spoilt.op
    bench.array.g[:] = 1e-5
    bench.array.g[0, :] = 1e-15  # WL0 is off its probe
    bench.array.g[1, 2] = 0.1  # WL1 and BL2 touch
    contacts = ContactCheck(rig, op).run()
    verdicts = {c.line: c.verdict for c in contacts}
    assert verdicts.pop("WL0") == "open"
    assert verdicts.pop("WL1") == verdicts.pop("BL2") == "short"
    assert set(verdicts.values()) == {"ok"}
    assert len(contacts) == 5
    assert bench.safe
    (one,) = [c for c in contacts if c.line == "BL1"]
    assert one.current_a == pytest.approx(0.05 * 1e-5, rel=0.02)
    assert [c.line for c in contacts if c.bad] == ["WL0", "WL1", "BL2"]


def test_the_contact_check_stays_low_and_limits_the_current(spoilt):
    check = ContactCheck(spoilt.rig, spoilt.op)
    assert check.level_v == 0.05
    assert abs(check.level_v) < abs(spoilt.op.read_v)
    assert any("current limited to at most 150 uA" in line for line in check.lines())
    spoilt.bench.array.g[:] = 1.0
    assert all(abs(c.current_a) <= 1.6e-4 for c in check.run())
    for level_v, message in ((0.0, "is not 0 V"), (0.3, "the station's read voltage")):
        with pytest.raises(LimitError, match=message):
            ContactCheck(spoilt.rig, spoilt.op, level_v)


def test_a_contact_check_beyond_a_limit_drives_nothing():
    text = STATIONS["a"] + '\n[limits]\nlevel = ["-20 mV", "20 mV"]\n'
    with opened(text) as setting:
        before = setting.rig.rack.transactions
        with pytest.raises(LimitError, match="line level"):
            ContactCheck(setting.rig, setting.op)
        assert setting.rig.rack.transactions == before


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
