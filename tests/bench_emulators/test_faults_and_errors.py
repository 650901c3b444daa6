"""What goes wrong on a bench: injected faults, imperfect instruments, other transports."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest
import pyvisa
from hil_sim.virtual_bench import Bench, open_bench
from resistor import RESISTOR_OHM, eventually, resistor_bench, station

from hil.config.station import Station
from hil.errors import BackendUnavailable, ConfigError

MATRIX_WIRING = [
    {"line": "WL0", "channel": "smu.a", "crosspoint": "mx/1A01"},
    {"line": "BL0", "channel": "smu.b", "crosspoint": "mx/1B02"},
]


def matrix_station(wiring: list[dict[str, str]] | None = None) -> Station:
    return station(
        "keithley-2600b", "a",
        instrument=[
            {"name": "smu", "driver": "keithley-2600b", "resource": "A"},
            {"name": "mx", "driver": "keithley-707b", "resource": "B"},
        ],
        wiring=MATRIX_WIRING if wiring is None else wiring,
    )  # fmt: skip


def say(bench: Bench, name: str, text: str) -> str:
    reply = bench.instruments[name].exchange(text.encode())
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


# Imperfect instruments.


def test_a_gain_error_an_offset_and_a_leak_show_in_the_reading() -> None:
    bench = resistor_bench("keithley-2600b", "a")
    say(bench, "dut", "smua.source.levelv=1 smua.source.output=1 smua.measure.rangei=1e-4")
    read = lambda: float(say(bench, "dut", "print(smua.measure.i())"))  # noqa: E731
    true_a = 1.0 / RESISTOR_OHM
    assert read() == pytest.approx(true_a, rel=1e-5)
    accuracy = bench.terminal("dut.a").accuracy
    accuracy.meter_gain = 2e-3
    assert read() == pytest.approx(true_a * 1.002, rel=1e-5)
    accuracy.meter_gain, accuracy.meter_offset_a = 0.0, {1e-4: 3e-8, 1e-3: 1.0}
    assert read() == pytest.approx(true_a + 3e-8, rel=1e-5)
    accuracy.meter_offset_a, accuracy.leak_siemens = {}, 1e-7
    assert read() == pytest.approx(true_a + 1e-7, rel=1e-5)
    accuracy.leak_siemens, accuracy.source_gain = 0.0, 1e-3
    assert read() == pytest.approx(true_a * 1.001, rel=1e-5)


def test_path_resistance_is_in_series_with_the_cell() -> None:
    with open_bench(matrix_station(), seed=1) as bench:
        bench.array.g[...] = 1.0 / RESISTOR_OHM
        say(bench, "mx", 'channel.close("1A01,1B02")')
        say(bench, "smu", "smua.source.levelv=1 smua.source.output=1 smub.source.output=1")
        assert 1.0 / float(say(bench, "smu", "print(smua.measure.i())")) == pytest.approx(
            1e5, rel=1e-5
        )
        bench.network.relay_ohm = 500.0
        bench.network.path_ohm[0, 0] = 1000.0
        # Two relays and one lead.
        ohm = 1.0 / float(say(bench, "smu", "print(smua.measure.i())"))
        assert ohm == pytest.approx(1e5 + 2000.0, rel=1e-5)


# Relays.


def test_relays_connect_what_the_wiring_says_and_nothing_else() -> None:
    with open_bench(matrix_station(), seed=1) as bench:
        say(bench, "mx", 'channel.close("1A01,1B02,1C01,1A05")')
        outputs = bench.outputs()
        assert outputs["smu.a"].lines == ("WL0",)
        assert outputs["smu.b"].lines == ("BL0",)
        say(bench, "mx", 'channel.open("1A01")')
        assert bench.outputs()["smu.a"].lines == ()
        assert say(bench, "mx", 'print(channel.getclose("allslots"))') == "1A05;1B02;1C01"


def test_a_stuck_relay_is_seen_in_the_read_back() -> None:
    with open_bench(matrix_station(), seed=1) as bench:
        bench.faults["mx"].stuck_open = {"1A01"}
        say(bench, "mx", 'channel.close("1A01,1B02")')
        assert say(bench, "mx", 'print(channel.getclose("allslots"))') == "1B02"
        bench.faults["mx"].stuck_closed = {"1B02"}
        say(bench, "mx", 'channel.open("allslots")')
        assert bench.closed()["mx"] == {"1B02"}


def test_an_absent_card_is_an_error() -> None:
    with open_bench(matrix_station(), seed=1) as bench:
        bench.faults["mx"].missing_card = {1}
        say(bench, "mx", 'channel.close("1A01")')
        assert "No card" in say(bench, "mx", "print(errorqueue.next())")
        assert bench.closed()["mx"] == set()


def test_hot_switching_and_colliding_sources_are_recorded() -> None:
    with open_bench(matrix_station(), seed=1) as bench:
        say(bench, "smu", "smua.source.levelv=1 smua.source.output=1 smub.source.output=1")
        say(bench, "mx", 'channel.close("1A01")')
        assert "while smu.a drove a level" in bench.incidents[0]
        say(bench, "mx", 'channel.close("1B01")')
        say(bench, "smu", "print(smua.measure.i())")
        assert any("both drive WL0" in text for text in bench.incidents)


@pytest.mark.parametrize(
    ("wiring", "field"),
    [
        ([{"line": "WL0", "channel": "smu.z"}], "wiring.channel"),
        ([{"line": "WL0", "channel": "smu.a", "crosspoint": "mx/9Z01"}], "wiring.crosspoint"),
        ([{"line": "WL0", "channel": "smu.a", "crosspoint": "mx/1A01"},
          {"line": "BL0", "channel": "smu.b", "crosspoint": "mx/1A02"}], "wiring.crosspoint"),
    ],
)  # fmt: skip
def test_wiring_that_cannot_be_is_refused(wiring: list[dict[str, str]], field: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_bench(matrix_station(wiring), seed=1)
    assert error.value.field == field


def test_a_driver_without_an_emulator_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match="no 'acme-1'"):
        open_bench(station("acme-1", "1"), seed=1)


# The link.


def test_replies_can_be_lost_cut_doubled_or_late(visa: Any) -> None:
    with resistor_bench("keithley-2600b", "a") as bench:
        session = visa(bench, "dut", 500)
        faults = bench.faults["dut"]
        faults.drop_replies = 1
        with pytest.raises(pyvisa.errors.VisaIOError):
            session.query("*IDN?")
        faults.truncate_to = 8
        with pytest.raises(pyvisa.errors.VisaIOError):
            session.query("*IDN?")
        faults.double_reply = True
        assert "Keithley Instruments Inc." in session.query("*IDN?")
        assert "2636B" in session.read()
        faults.late_s = 0.2
        begin = time.monotonic()
        session.query("*IDN?")
        assert time.monotonic() - begin > 0.15


def test_an_instrument_may_be_mute_or_refuse_connections(visa: Any) -> None:
    with resistor_bench("keithley-2600b", "a") as bench:
        session = visa(bench, "dut", 300)
        bench.faults["dut"].mute = True
        with pytest.raises(pyvisa.errors.VisaIOError):
            session.query("*IDN?")
        bench.faults["dut"].mute, bench.faults["dut"].refuse = False, True
        with pytest.raises((pyvisa.errors.VisaIOError, OSError)):
            visa(bench, "dut", 300).query("*IDN?")
        assert "2636B" in session.query("*IDN?")


def test_an_error_can_appear_and_an_instrument_reset_in_mid_run() -> None:
    bench = resistor_bench("keithley-2400", "1")
    bench.faults["dut"].queue_error = (-350, "Queue overflow")
    bench.faults["dut"].queue_error_after = 1
    assert say(bench, "dut", ":OUTP ON;:SYST:ERR?").startswith("0,")
    assert say(bench, "dut", ":SYST:ERR?").startswith("-350,")
    bench.faults["dut"].reset_after = 0
    assert say(bench, "dut", ":OUTP?") == "0"


def test_another_session_aborts_a_run_and_what_was_measured_stays(visa: Any) -> None:
    with resistor_bench("keithley-2600b", "a") as bench:
        first, second = visa(bench, "dut"), visa(bench, "dut")
        for line in (
            "smua.source.output=1 smua.measure.nplc=0.05 smua.nvbuffer1.appendmode=1",
            "smua.trigger.source.listv({0.1,0.2}) smua.trigger.source.action=1",
            "smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action=1",
            "smua.trigger.count=5000 smua.trigger.endpulse.action=smua.SOURCE_IDLE",
        ):
            first.write(line)
        assert first.query("print(errorqueue.count)").startswith("0")
        bench.faults.pace = 1.0  # the run takes 5 s
        runner = threading.Thread(
            target=first.write, args=("smua.trigger.initiate() waitcomplete()",)
        )
        runner.start()
        assert eventually(lambda: bench.running)
        time.sleep(0.1)
        begin = time.monotonic()
        second.write("abort")
        second.write("smua.source.levelv=0 smua.source.output=0")
        assert second.query("print(smua.source.output)") == "0.00000e+00"
        assert time.monotonic() - begin < 0.2
        runner.join()
        assert bench.safe
        taken = float(second.query("print(smua.nvbuffer1.n)"))
        assert 0 < taken < 5000


def test_a_wait_for_a_trigger_that_never_comes_ends_with_abort(visa: Any) -> None:
    with resistor_bench("keithley-2600b", "a") as bench:
        first, second = visa(bench, "dut"), visa(bench, "dut")
        first.write("smua.trigger.arm.stimulus=digio.trigger[3].EVENT_ID smua.trigger.initiate()")
        first.write("waitcomplete()")
        assert eventually(lambda: bench.instruments["dut"].busy)
        second.write("abort")
        assert "2636B" in second.query("*IDN?")


# Transports.


def test_hislip_carries_messages_status_and_device_clear() -> None:
    with resistor_bench("keysight-b2900", "1", transport="hislip") as bench:
        manager = pyvisa.ResourceManager("@py")
        session = manager.open_resource(bench.resources["dut"], timeout=5000)
        assert "B2902A" in session.query("*IDN?")
        session.write(":OUTP1 ON;:SOUR1:VOLT 0.2;:SENS1:CURR:PROT 1e-3;:FORM REAL,64")
        amps = session.query_binary_values(
            ":MEAS:CURR? (@1)", datatype="d", is_big_endian=True
        )  # fmt: skip
        assert amps == pytest.approx([0.2 / RESISTOR_OHM], rel=1e-5)
        session.write(":NONSENSE")
        assert session.query(":SYST:ERR?").startswith("-113")
        session.clear()
        assert session.query("*OPC?").strip() == "1"
        session.close()
        manager.close()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo terminals are POSIX")
def test_a_pseudo_terminal_carries_messages() -> None:
    with resistor_bench("keithley-2400", "1", transport="pty") as bench:
        manager = pyvisa.ResourceManager("@py")
        session = manager.open_resource(
            bench.resources["dut"], read_termination="\n", write_termination="\n", timeout=5000
        )
        assert "MODEL 2400" in session.query("*IDN?")
        session.write(":SOUR:VOLT 0.2;:SENS:CURR:PROT 1e-3;:FORM:ELEM CURR;:OUTP ON")
        assert float(session.query(":READ?")) == pytest.approx(0.2 / RESISTOR_OHM, rel=1e-5)
        session.close()
        manager.close()


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"options\.dut\.colour"):
        resistor_bench("keithley-2400", "1", colour="red")
