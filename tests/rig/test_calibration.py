"""Calibration and contact, on emulated instruments that have errors."""

from __future__ import annotations

import numpy as np
import pytest
from benches import on_bench, station_a, station_of
from hil_drivers.calibration.contact import check_contacts
from hil_drivers.calibration.procedure import Reference, calibrate, gains, path_ohm, zero
from hil_drivers.calibration.table import Calibration

from hil.errors import ConfigError, LimitError, ReadbackError
from hil.phases.reading import read_map

pytest.importorskip("lupa")

RANGES_A = (1e-6, 1e-5, 1e-4)


def spoil(bench):
    """Give both channels gain errors, offsets and leakage of the order of a bad cable."""
    for name, sign in (("smu.a", 1), ("smu.b", -1)):
        errors = bench.terminal(name).accuracy
        errors.source_gain = 3e-3 * sign
        errors.source_offset_v = 4e-4 * sign
        errors.meter_gain = -5e-3 * sign
        errors.meter_offset_a = {1e-6: 3e-9, 1e-5: 2e-8 * sign, 1e-4: -1.5e-7}
        errors.leak_siemens = 2e-8


def read(rig, op):
    blocks = list(read_map(rig.geometry, op, rig.capabilities, repeat=4))
    current = np.concatenate([m.current_a for m in rig.run(blocks)])
    return -current.reshape(*rig.geometry.shape, 4).mean(axis=2) / op.read_v


@pytest.fixture
def spoilt():
    station = station_of(station_a(device="ideal"))
    op = station.drive.operating_point()
    with on_bench(station) as (rig, bench):
        spoil(bench)
        bench.array.g[:] = 1e-15
        bench.array.g[0, 0] = 1e-5
        with rig:
            yield rig, bench, op


def test_a_100_kohm_device_reads_within_two_per_mille_after_calibration(spoilt, tmp_path):
    rig, bench, op = spoilt
    found = calibrate(rig, Reference(0, 0, 1e5), level_v=0.2, ranges_a=RANGES_A,
                      leak_range_a=1e-6)  # fmt: skip
    bench.array.g[:] = 1e-5 * (1 + np.arange(16).reshape(4, 4) / 40)
    true = bench.array.conductance_siemens()
    before = read(rig, op)
    assert abs(before[0, 0] / true[0, 0] - 1) > 5e-3
    rig.close()
    found.save(tmp_path / "calibration.json")
    rig.calibration = Calibration.load(tmp_path / "calibration.json")
    rig.open()
    after = read(rig, op)
    assert after == pytest.approx(true, rel=2e-3)
    assert found.digest in rig.identify()


def test_offsets_are_those_of_the_meters(spoilt):
    rig, _, _ = spoilt
    offsets = zero(rig, RANGES_A)
    smu_a = {round(np.log10(r)): v for r, v in offsets["smu.a"].items()}
    assert smu_a[-6] == pytest.approx(3e-9, abs=5e-11)
    smu_b = {round(np.log10(r)): v for r, v in offsets["smu.b"].items()}
    assert smu_b[-5] == pytest.approx(-2e-8, abs=5e-10)
    assert smu_b[-4] == pytest.approx(-1.5e-7, abs=5e-9)


def test_source_offsets_and_products_of_gains_are_found(spoilt):
    rig, _, _ = spoilt
    offsets = zero(rig, (1e-5,))
    found = gains(rig, Reference(0, 0, 1e5), 0.2, (1e-5,), offsets)
    assert found.sources["smu.a"].gain == 1.0
    assert found.sources["smu.a"].offset_v == pytest.approx(4e-4, rel=0.05)
    assert found.sources["smu.b"].offset_v == pytest.approx(-4e-4, rel=0.05)
    (meter_a,), (meter_b,) = (found.meters[n].values() for n in ("smu.a", "smu.b"))
    assert meter_a == pytest.approx(1.003 * (1 - 5e-3 + 1e-5 * 2e-3), rel=3e-3)
    assert meter_b == pytest.approx(1.003 * 1.005, rel=5e-4)


def test_path_resistance_is_measured_through_a_short(spoilt):
    rig, bench, _ = spoilt
    bench.array.g[0, 0] = 1e-2
    bench.network.path_ohm = {(0, 0): 30.0, (0, 4): 20.0}
    bench.network.version += 1
    bench.terminal("smu.a").accuracy.source_offset_v = 0.0
    assert path_ohm(rig, 0, 0, 0.2, 1e-2) == pytest.approx(150.0, rel=0.02)


def test_a_wrong_resistor_is_not_taken_for_a_gain(spoilt):
    rig, _, _ = spoilt
    with pytest.raises(ReadbackError, match="wrong resistor or broken path"):
        calibrate(rig, Reference(0, 0, 3e5), level_v=0.2, ranges_a=(1e-5,))


def test_a_calibration_of_other_instruments_is_refused(spoilt):
    rig, _, _ = spoilt
    found = calibrate(rig, Reference(0, 0, 1e5), level_v=0.2, ranges_a=(1e-5,))
    rig.close()
    other = {**found.instruments, "smu": "Keithley Instruments Inc. 2636B 999"}
    rig.calibration = found.model_copy(update={"instruments": other})
    with pytest.raises(ReadbackError, match=r"belongs to smu = .*999.*calibrate again"):
        rig.open()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "JSON"), ('{"schema": 2}', "schema"), ("[]", "calibration")],
)
def test_a_damaged_calibration_file_is_refused(tmp_path, text, message):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Calibration.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Calibration.load(tmp_path / "none.json")


def test_every_line_without_contact_or_with_a_short_is_named(spoilt):
    rig, bench, _ = spoilt
    bench.array.g[:] = 1e-5
    bench.array.g[2, :] = 1e-15  # WL2 is off its probe
    bench.array.g[1, 3] = 0.1  # WL1 and BL3 touch
    contacts = check_contacts(rig, level_v=0.05, open_below_siemens=1e-6, short_above_siemens=1e-2)
    verdicts = {c.line: c.verdict for c in contacts}
    assert verdicts.pop("WL2") == "open"
    assert verdicts.pop("WL1") == verdicts.pop("BL3") == "short"
    assert set(verdicts.values()) == {"ok"}
    assert len(contacts) == 8
    with pytest.raises(LimitError, match="must not be 0 V"):
        check_contacts(rig, level_v=0.0, open_below_siemens=1e-6, short_above_siemens=1e-2)
