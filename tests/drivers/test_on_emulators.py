"""Drivers on the virtual bench: one device between a channel and the 0 V rail, over TCP."""

from __future__ import annotations

import sys
import threading
import time
from importlib import import_module

import numpy as np
import pytest
from hil_drivers.instrument import ChannelSteps
from hil_drivers.transport import ReplaySession, WireLog, load_wire_log, open_session

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.errors import HilError, InstrumentError, LinkError, ReadbackError
from hil.measurement import Status

pytest.importorskip("lupa")
open_bench = import_module("hil_sim.virtual_bench").open_bench

SOURCES = {
    "keithley-2600b": ("Keithley2600B", "a"), "keithley-2450": ("Keithley2450", "1"),
    "keithley-2400": ("Keithley2400", "1"), "keysight-b2900": ("KeysightB2900", "1"),
    "keysight-33500b": ("Keysight33500B", "1"), "keysight-81160a": ("Keysight81160A", "1"),
}  # fmt: skip
METERS = [name for name in SOURCES if "33500" not in name and "81160" not in name]
MATRICES = {
    "keithley-707b": ("Keithley707B", "1A01", "1A02"),
    "keithley-3706a": ("Keithley3706A", "1101", "1102"),
    "keysight-b2200a": ("KeysightB2200A", "00101", "00102"),
}
G = 1e-6  # siemens of the ideal device at the start

STATION = """
schema = 1
[[array]]
rows = 1
cols = 1
device = "ideal"
[[instrument]]
name = "it"
driver = "{driver}"
resource = "TCPIP0::127.0.0.1::1::SOCKET"
[[wiring]]
line = "WL0"
channel = "it.{channel}"
[[wiring]]
line = "BL0"
channel = "common"
"""
MATRIX_STATION = """
schema = 1
[[array]]
rows = 1
cols = 1
device = "ideal"
[[instrument]]
name = "it"
driver = "{driver}"
resource = "TCPIP0::127.0.0.1::1::SOCKET"
[[wiring]]
line = "WL0"
channel = "common"
crosspoint = "it/{first}"
[[wiring]]
line = "BL0"
channel = "common"
crosspoint = "it/{second}"
"""


def driver_class(name, kind):
    return getattr(import_module(f"hil_drivers.{name.replace('-', '_')}"), kind)


@pytest.fixture
def opened(request):
    """A driver on its emulator: (driver, channel, bench, session)."""
    name = request.param
    if name in SOURCES:
        kind, channel = SOURCES[name]
        text = STATION.format(driver=name, channel=channel)
    else:
        kind, first, second = MATRICES[name]
        channel = ""
        text = MATRIX_STATION.format(driver=name, first=first, second=second)
    instrument = driver_class(name, kind)("it")
    station = validate_text(text, Station, "station.toml")
    with open_bench(station, seed=1) as bench:
        session = open_session(bench.resources["it"], instrument.link)
        try:
            instrument.open(session)
            yield instrument, channel, bench, session
        finally:
            session.close()


every_source = pytest.mark.parametrize("opened", list(SOURCES), indirect=True)
every_meter = pytest.mark.parametrize("opened", METERS, indirect=True)
every_matrix = pytest.mark.parametrize("opened", list(MATRICES), indirect=True)
only_2600b = pytest.mark.parametrize("opened", ["keithley-2600b"], indirect=True)


def run(instrument, programs):
    instrument.load(programs)
    instrument.start()
    instrument.wait(10.0)
    return instrument.collect()


@every_meter
def test_a_train_of_pulses_and_reads_measures_the_device(opened):
    instrument, channel, bench, _ = opened
    steps = ChannelSteps.build([0.4, 0.2, 0.1], 8e-3, 16e-3, repeat=[3, 2, 1],
                               measure=[False, True, True], compliance_a=1e-4)  # fmt: skip
    before = instrument.transactions
    readings = run(instrument, {channel: steps})[channel]
    assert instrument.transactions - before == instrument.estimate({channel: steps}).transactions
    assert readings.step.tolist() == [1, 1, 2]
    assert readings.current_a / readings.level_v == pytest.approx([G] * 3, rel=1e-3)
    assert readings.status.tolist() == [0, 0, 0]
    assert not any(output.on for output in bench.outputs().values())


@every_meter
def test_compliance_is_flagged_per_reading(opened):
    instrument, channel, _, _ = opened
    steps = ChannelSteps.build([1.0, 0.1], 8e-3, 16e-3, measure=True, compliance_a=5e-7,
                               range_a=1e-6)  # fmt: skip
    readings = run(instrument, {channel: steps})[channel]
    assert readings.status.tolist() == [Status.I_COMPLIANCE, 0]
    assert readings.current_a[0] == pytest.approx(5e-7, rel=1e-2)
    assert readings.current_a[1] == pytest.approx(1e-7, rel=1e-2)


@every_meter
def test_held_levels_are_read_like_pulses(opened):
    instrument, channel, _, _ = opened
    steps = ChannelSteps.build([0.2, 0.4], 8e-3, 8e-3, measure=True, compliance_a=1e-4)
    readings = run(instrument, {channel: steps})[channel]
    assert readings.current_a == pytest.approx([0.2 * G, 0.4 * G], rel=1e-3)


@every_meter
def test_a_spot_reading_measures_the_device(opened):
    instrument, channel, bench, _ = opened
    reading = instrument.measure_once(channel, level_v=-0.2, compliance_a=1e-4)
    assert reading.current_a == pytest.approx(-0.2 * G, rel=1e-3)
    assert not any(output.on for output in bench.outputs().values())


@every_source
def test_every_kind_of_train_goes_through_without_an_error(opened):
    instrument, channel, bench, _ = opened
    for level, width, repeat in (([0.2], 8e-3, 5), ([-0.2], 8e-3, 5), ([0.2, -0.1], 8e-3, 2),
                                 ([-0.2], 16e-3, 3), ([0.2], 8e-3, 5)):  # fmt: skip
        run(instrument, {channel: ChannelSteps.build(level, width, 16e-3, repeat=repeat)})
        assert instrument.errors() == []
        assert not any(output.on for output in bench.outputs().values())


@every_source
def test_safe_switches_off_what_is_on(opened):
    instrument, channel, bench, _ = opened
    instrument.load({channel: ChannelSteps.build([0.2], 8e-3, 16e-3)})
    instrument.start()
    instrument.safe()
    instrument.safe()
    assert not any(output.on for output in bench.outputs().values())


@every_source
def test_errors_of_the_instrument_come_out_of_its_queue(opened):
    instrument, _, _, session = opened
    session.write("total.nonsense(" if "2600" in instrument.driver else ":TOT:NONS 1")
    found = instrument.errors()
    assert found
    assert all(error.code != 0 for error in found)
    assert instrument.errors() == []


@every_matrix
def test_relays_close_open_and_are_read_back(opened):
    instrument, _, _, _ = opened
    _, first, second = MATRICES[instrument.driver]
    instrument.route([first, second])
    assert instrument.closed() == {first, second}
    instrument.route([second])
    assert instrument.closed() == {second}
    instrument.safe()
    assert instrument.closed() == frozenset()


@only_2600b
def test_short_writes_and_long_reads_alternate_in_one_run(opened):
    instrument, channel, _, _ = opened
    steps = ChannelSteps.build(
        [1.0, 0.2] * 3, [100e-6, 2e-3] * 3, [1e-3, 3e-3] * 3, measure=[False, True] * 3,
        compliance_a=1e-4, aperture_s=1e-3,
    )  # fmt: skip
    before = instrument.transactions
    readings = run(instrument, {channel: steps})[channel]
    assert instrument.transactions - before == 1
    assert readings.step.tolist() == [1, 3, 5]
    assert np.isfinite(readings.current_a).all()


@pytest.mark.parametrize("transport", ["socket", "hislip", "pty"])
@pytest.mark.parametrize("name", ["keithley-2600b", "keithley-2400"])
def test_every_transport_carries_a_run(name, transport):
    if transport == "pty" and sys.platform == "win32":
        pytest.skip("no pseudo terminals on Windows")
    kind, channel = SOURCES[name]
    station = validate_text(STATION.format(driver=name, channel=channel), Station, "station.toml")
    options = {"it": {"transport": transport}}
    with open_bench(station, seed=1, options=options) as bench:
        smu = driver_class(name, kind)("it")
        session = open_session(bench.resources["it"], smu.link)
        smu.open(session)
        steps = ChannelSteps.build([0.2], 8e-3, 16e-3, repeat=50, measure=True, compliance_a=1e-4)
        readings = run(smu, {channel: steps})[channel]
        assert readings.current_a == pytest.approx(np.full(50, 0.2 * G), rel=1e-3)
        session.clear()
        smu.safe()
        session.close()


@only_2600b
def test_a_recorded_run_replays_without_the_bench(opened, tmp_path):
    instrument, channel, bench, _ = opened
    steps = {channel: ChannelSteps.build([0.2], 2e-3, 4e-3, measure=True, compliance_a=1e-4)}
    recorder = type(instrument)("it")
    with WireLog(tmp_path / "wire.jsonl") as log:
        live = open_session(bench.resources["it"], instrument.link)
        recorder.open(log.session("it", live))
        recorded = run(recorder, steps)[channel]
        live.close()
    again = type(instrument)("it")
    replay = ReplaySession("replay", load_wire_log(tmp_path / "wire.jsonl")["it"])
    again.open(replay)
    replayed = run(again, steps)[channel]
    replay.finish()
    assert replayed.current_a.tolist() == recorded.current_a.tolist()


@only_2600b
def test_a_closed_bench_ends_the_safe_state_with_a_link_error_soon(opened):
    instrument, _, _, session = opened
    session.close()
    begin = time.monotonic()
    with pytest.raises((LinkError, ReadbackError)):
        instrument.safe()
    assert time.monotonic() - begin < 5.0


@only_2600b
def test_abort_works_from_another_thread_while_a_run_is_on(opened):
    instrument, channel, bench, _ = opened
    steps = ChannelSteps.build([0.2], 1e-3, 2e-3, repeat=500)
    instrument.load({channel: steps})
    instrument.start()
    second = open_session(bench.resources["it"], instrument.link)
    failures: list[HilError] = []

    def abort() -> None:
        try:
            instrument.abort(second)
        except HilError as exc:
            failures.append(exc)

    thread = threading.Thread(target=abort)
    thread.start()
    thread.join(30.0)
    assert not thread.is_alive()
    assert failures == []
    second.close()


@only_2600b
def test_an_invented_attribute_is_an_instrument_error(opened):
    instrument, _, _, session = opened
    session.write("smua.source.levelz = 1")
    with pytest.raises(InstrumentError):
        instrument.check_errors("smua.source.levelz = 1")
