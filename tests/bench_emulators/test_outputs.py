"""What outputs do when they are off, limited, blocked by an interlock, or settling."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hil_sim.virtual_bench import Bench, open_bench
from hil_sim.virtual_bench.catalogue import EMULATORS
from hil_sim.virtual_bench.latencies import LATENCIES, latency_s, range_latency_s
from resistor import RESISTOR_OHM, resistor_bench, station

from hil.config.station import Station

DOCS = Path(__file__).parents[2] / "docs"


def say(bench: Bench, text: str, name: str = "dut") -> str:
    reply = bench.instruments[name].exchange(text.encode())
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


# Off.


@pytest.mark.parametrize(
    ("driver", "channel", "set_up", "limit_a"),
    [
        # 2600BS-901-01 rev. F pp. 2-41 to 2-43.
        ("keithley-2600b", "a", "smua.source.offmode=smua.OUTPUT_NORMAL", 1e-3),
        ("keithley-2600b", "a", "smua.source.offlimiti=1e-5", 1e-5),
        ("keithley-2600b", "a", "smua.source.offmode=1 smua.source.limiti=2e-4", 2e-4),
        ("keithley-2600b", "a", "smua.source.offfunc=smua.OUTPUT_DCAMPS", None),
        ("keithley-2600b", "a", "smua.source.offmode=smua.OUTPUT_HIGH_Z", None),
        ("keithley-2600b", "a", "smua.source.output=smua.OUTPUT_HIGH_Z", None),
        # 2400S-900-01 rev. K p. 18-59.
        ("keithley-2400", "1", ":OUTP:SMOD NORM;:SENS:CURR:RANG 1e-3", 5e-6),
        ("keithley-2400", "1", ":OUTP:SMOD ZERO;:SENS:CURR:PROT 2e-4", 2e-4),
        ("keithley-2400", "1", ":OUTP:SMOD HIMP", None),
        ("keithley-2400", "1", ":OUTP:SMOD GUAR", None),
        # 2450-901-01 rev. B pp. 6-32 and 8-139.
        ("keithley-2450", "1", ":OUTP:SMOD NORM;:SENS:CURR:RANG 1e-3", 1e-4),
        ("keithley-2450", "1", ":OUTP:SMOD ZERO;:SENS:CURR:RANG 1e-3", 1e-3),
        ("keithley-2450", "1", ":OUTP:SMOD HIMP", None),
        ("keithley-2450", "1", ":OUTP:SMOD GUAR", None),
        # B2910-90010 table 6-1.
        ("keysight-b2900", "1", ":OUTP1:OFF:MODE NORM", None),
        ("keysight-b2900", "1", ":OUTP1:OFF:MODE HIZ", None),
        ("keysight-b2900", "1", ":OUTP1:OFF:MODE ZERO", 1e-4),
    ],
)  # fmt: skip
def test_an_output_that_is_off_holds_0_v_behind_its_limit_or_lets_go(
    driver: str, channel: str, set_up: str, limit_a: float | None
) -> None:
    bench = resistor_bench(driver, channel)
    say(bench, set_up)
    terminal = bench.terminal(f"dut.{channel}")
    assert not terminal.on
    assert terminal.low_impedance is (limit_a is not None)
    if limit_a is not None:
        assert terminal.drive() == (0.0, pytest.approx(limit_a))


def test_an_off_output_carries_no_more_than_its_limit_for_another_source() -> None:
    wiring = [{"line": "WL0", "channel": "x.a"}, {"line": "BL0", "channel": "x.b"}]
    instruments = [{"name": "x", "driver": "keithley-2600b", "resource": "A"}]
    bench = open_bench(station("", "", instrument=instruments, wiring=wiring), seed=1)
    bench.warm_up()
    bench.array.g[...] = 1.0 / RESISTOR_OHM
    say(bench, "smua.source.levelv=1 smua.source.output=1 smua.measure.nplc=0.01", "x")
    assert float(say(bench, "print(smua.measure.i())", "x")) == pytest.approx(1e-5, rel=1e-4)
    say(bench, "smub.source.offlimiti=2e-6", "x")
    assert float(say(bench, "print(smua.measure.i())", "x")) == pytest.approx(2e-6, rel=1e-4)
    say(bench, "smub.source.offmode=smub.OUTPUT_HIGH_Z", "x")
    assert float(say(bench, "print(smua.measure.i())", "x")) == pytest.approx(0.0, abs=1e-9)


# Compliance.


@pytest.mark.parametrize(
    ("driver", "channel", "set_up", "read", "tripped"),
    [
        ("keithley-2600b", "a", "smua.source.limiti=1e-6 smua.source.levelv=1 smua.source.output=1",
         "print(smua.measure.i())", ("print(smua.source.compliance)", "true")),
        ("keithley-2400", "1", ":SENS:CURR:PROT 1e-6;:SOUR:VOLT 1;:FORM:ELEM CURR;:OUTP ON",
         ":READ?", (":SENS:CURR:PROT:TRIP?", "1")),
        ("keithley-2450", "1", ":SOUR:VOLT:ILIM 1e-6;:SOUR:VOLT 1;:OUTP ON",
         ":READ?", (":SOUR:VOLT:ILIM:TRIP?", "1")),
        ("keysight-b2900", "1", ":SENS1:CURR:PROT 1e-6;:SOUR1:VOLT 1;:OUTP1 ON",
         ":MEAS:CURR? (@1)", (":SENS1:CURR:PROT:TRIP?", "1")),
    ],
)  # fmt: skip
def test_a_source_in_compliance_gives_its_limit_and_says_so(
    driver: str, channel: str, set_up: str, read: str, tripped: tuple[str, str]
) -> None:
    bench = resistor_bench(driver, channel)
    bench.warm_up()
    say(bench, set_up)
    assert float(say(bench, read)) == pytest.approx(1e-6, rel=1e-3)
    assert say(bench, tripped[0]) == tripped[1]


@pytest.mark.parametrize(
    ("set_up", "bits"),
    [
        (":SENS:CURR:PROT 1e-3", {2, 12, 14}), (":SENS:CURR:PROT 1e-6", {2, 3, 12, 14}),
        (":SENS:CURR:PROT 1e-3;RANG 1e-6", {0, 2, 12, 14}),
        (":SENS:CURR:PROT 1e-3;:SENS:FUNC 'VOLT'", {2, 11, 12, 14}),
        (":SENS:CURR:PROT 1e-3;:SYST:RSEN ON;:ROUT:TERM REAR", {12, 14, 22}),
    ],
)  # fmt: skip
def test_the_status_word_of_a_2400_says_how_a_reading_was_taken(
    set_up: str, bits: set[int]
) -> None:
    bench = resistor_bench("keithley-2400", "1")
    bench.warm_up()
    say(bench, f"{set_up};:SOUR:VOLT 1;:FORM:ELEM STAT;:OUTP ON")
    word = int(float(say(bench, ":READ?")))
    assert {n for n in range(24) if word >> n & 1} == bits


# Interlocks.


def test_a_2400_is_blocked_by_its_enable_line_only_where_that_is_in_use() -> None:
    bench = resistor_bench("keithley-2400", "1")
    bench.faults["dut"].interlock_open = True
    assert say(bench, ":OUTP ON;:OUTP?;:OUTP:ENAB:TRIP?") == "1;0"
    say(bench, ":OUTP:ENAB ON")
    assert say(bench, ":OUTP?") == "0"  # an output that is on goes off
    assert bench.terminal("dut.1").off_mode == "high-z"
    say(bench, ":OUTP ON")
    assert say(bench, ":SYST:ERR?").startswith("+802")
    bench.faults["dut"].interlock_open = False
    assert say(bench, ":OUTP ON;:OUTP?;:SYST:ERR?") == '1;0,"No error"'


def test_a_b2900_without_its_interlock_stays_below_42_v() -> None:
    bench = resistor_bench("keysight-b2900", "1")
    say(bench, ":SOUR1:VOLT 100;:OUTP1 ON")
    assert bench.outputs()["dut.1"].level_v == 100.0
    bench.faults["dut"].interlock_open = True
    assert say(bench, ":SYST:INT:TRIP?;:STAT:QUES:COND?") == "1;1024"
    assert bench.outputs()["dut.1"] == bench.outputs()["dut.1"].__class__(0.0, False, ("WL0",))
    say(bench, ":SOUR1:VOLT 60;:OUTP1 ON")
    assert bench.outputs()["dut.1"].level_v == 42.0
    bench.faults["dut"].interlock_open = False
    say(bench, "*OPC?")
    assert bench.outputs()["dut.1"].level_v == 60.0


# Time.

ONE = {
    "schema": 1,
    "array": [{"rows": 1, "cols": 1, "device": "ideal"}],
    "wiring": [{"line": "WL0", "channel": "dut.1"}, {"line": "BL0", "channel": "common"}],
}


def realistic(driver: str, **more: Any) -> Bench:
    table = {"name": "dut", "driver": driver, "resource": "TCPIP0::x::5025::SOCKET"}
    bench = open_bench(Station.model_validate(ONE | {"instrument": [table]} | more), seed=1,
                       realistic=True)  # fmt: skip
    bench.warm_up()
    return bench


@pytest.mark.parametrize(
    ("driver", "message", "extra_s"),
    [
        ("keysight-b2900", ":SENS1:CURR:RANG 1e-6", 500e-6),
        ("keysight-b2900", ":SENS1:CURR:RANG 1e-4", 250e-6),
        ("keysight-b2900", ":SENS1:CURR:RANG 1e-2", 80e-6),
        ("keysight-b2900", ":SENS1:CURR:RANG 3", 80e-6),
        ("keithley-2400", ":OUTP:SMOD HIMP;:OUTP ON", 15e-3),
        ("keithley-2450", ":OUTP:SMOD HIMP;:OUTP ON", 15e-3),
        ("keithley-2400", ":OUTP ON", 0.0),
    ],
)  # fmt: skip
def test_ranges_and_relays_take_their_time_on_a_realistic_bench(
    driver: str, message: str, extra_s: float
) -> None:
    bench = realistic(driver)
    say(bench, message)
    assert bench.clock_ns * 1e-9 == pytest.approx(latency_s(driver, "message") + extra_s, rel=1e-6)


def test_an_ideal_bench_takes_no_time_for_settling() -> None:
    bench = resistor_bench("keithley-2400", "1")
    say(bench, ":OUTP:SMOD HIMP;:OUTP ON")
    assert bench.clock_ns == 0


def test_clients_of_a_realistic_bench_wait_for_relays(visa: Any) -> None:
    wiring = [{"line": "WL0", "channel": "common", "crosspoint": "dut/1A01"},
              {"line": "BL0", "channel": "common"}]  # fmt: skip
    with realistic("keithley-707b", wiring=wiring) as bench:
        matrix = visa(bench, "dut")
        matrix.query("*OPC?")
        begin = time.perf_counter()
        matrix.write('channel.close("1A01,1A02,1A03,1A04,1A05")')
        matrix.query("*OPC?")
        assert time.perf_counter() - begin >= 5 * 4e-3


def test_every_emulator_has_the_latency_of_a_message() -> None:
    for driver in EMULATORS:
        assert 0.0 < latency_s(driver, "message") < 10e-3
    assert latency_s("keithley-2600b", "range") == 0.0
    assert range_latency_s("keithley-2600b", 1e-6) == 0.0
    assert all(math.isfinite(entry.seconds) and entry.source for entry in LATENCIES)


def test_the_table_of_latencies_in_the_documentation_is_the_one_of_the_code() -> None:
    text = (DOCS / "virtual-bench.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([^|]+) \| ([\d.]+) ms \| ([^|]+) \|$", text, re.MULTILINE
    )
    shown = [(driver, what.strip(), float(ms), source.strip()) for driver, what, ms, source in rows]
    assert shown == [
        (e.driver, e.what, pytest.approx(e.seconds * 1e3), e.source) for e in LATENCIES
    ]
