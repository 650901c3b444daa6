"""Calibrations that are refused: wrong fixtures, wishes that cannot be, files of another rig."""

from __future__ import annotations

import pytest
from benches import station_of
from hil_drivers.calibration.plan import Wish
from hil_drivers.calibration.probe import Implausible, probe_block
from hil_drivers.calibration.station import wiring_digest
from hil_drivers.calibration.table import Calibration
from imperfect_rigs import IMPERFECT, STATIONS, opened

from hil.errors import BackendError, ConfigError, LimitError, ReadbackError

pytest.importorskip("lupa")


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
    assert spoilt.rig.rack.n_open == 0  # others may use the instruments now
    spoilt.rig.calibration = found
    spoilt.rig.open()
    assert spoilt.rig.rack.n_open == 2


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
