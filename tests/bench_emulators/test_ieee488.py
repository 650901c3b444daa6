"""What IEEE 488.2 and SCPI ask of every emulated instrument that speaks them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from hil_sim.virtual_bench import Bench, open_bench
from hil_sim.virtual_bench.scpi import Command, ScpiPersonality, header_pattern
from hypothesis import given, settings
from hypothesis import strategies as st
from resistor import resistor_bench, station

SMUS = {"keithley-2400": "1", "keithley-2450": "1", "keysight-b2900": "1"}
GENERATORS = {"keysight-33500b": "1", "keysight-81160a": "1"}
SCPI = {**SMUS, **GENERATORS, "keysight-b2200a": ""}
WITH_SETUPS = ("keithley-2400", "keithley-2450", "keysight-b2900", "keysight-33500b")


def bench_of(driver: str) -> Bench:
    if SCPI[driver]:
        bench = resistor_bench(driver, SCPI[driver])
    else:
        bench = open_bench(station(driver, "", wiring=[]), seed=1)
    bench.warm_up()
    return bench


def say(bench: Bench, text: str | bytes) -> str:
    message = text if isinstance(text, bytes) else text.encode()
    reply = bench.instruments["dut"].exchange(message)
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


def face(bench: Bench) -> ScpiPersonality:
    instrument: Any = bench.instruments["dut"]
    return getattr(instrument, "face", instrument)


def error(bench: Bench) -> int:
    return int(say(bench, ":SYST:ERR?").split(",")[0])


@pytest.fixture(scope="module", params=SCPI)
def bench(request: pytest.FixtureRequest) -> Bench:
    return bench_of(request.param)


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    if "bench" in request.fixturenames:
        say(request.getfixturevalue("bench"), "*RST;*CLS;*ESE 0;*SRE 0")


# Common commands.


@pytest.mark.parametrize(
    ("query", "answer"),
    [("*OPC?", "1"), ("*TST?", "0"), ("*ESR?", "0"), ("*ESE?", "0"), ("*SRE?", "0"),
     ("*STB?", "0"), ("*OPT?", "0"), ("*ESE 36;*ESE?", "36"), ("*SRE 32;*SRE?", "32"),
     ("*OPC;*ESR?", "1"), ("*WAI;*OPC?", "1"), (" *OPC? ; *OPC?", "1;1"), ("", "")],
)  # fmt: skip
def test_common_commands(bench: Bench, query: str, answer: str) -> None:
    assert say(bench, query) == answer


def test_the_status_byte_sums_up_errors_and_enabled_events(bench: Bench) -> None:
    say(bench, "*ESE 32;*SRE 36")
    say(bench, ":NONSENSE")
    assert int(say(bench, "*STB?")) == 4 + 32 + 64
    assert int(say(bench, "*ESR?")) == 32
    assert int(say(bench, "*STB?")) == 4 + 64
    say(bench, "*CLS")
    assert say(bench, "*STB?") == "0"


@pytest.mark.parametrize(
    ("message", "code", "event"),
    [
        (":NONSENSE 1", -113, 32), ("*NONSENSE", -113, 32), (":SYST::ERR?", -102, 32),
        ("5", -102, 32), (":SYST:ERR??", -102, 32), (b":SYST\xe9:ERR?", -101, 32),
        ("*ESE", -109, 32), ("*ESE 1,2", -108, 32), ("*ESE abc", -104, 32),
        ("*ESE 1 ZZ", -131, 32), ("*ESE 1e999", -123, 32), ("*ESE 256", -222, 16),
        ("*RST 1", -108, 32), ("*IDN?;*OPC?", -440, 4),
    ],
)  # fmt: skip
def test_errors_have_their_number_and_their_event(
    bench: Bench, message: str | bytes, code: int, event: int
) -> None:
    say(bench, message)
    assert int(say(bench, "*ESR?")) & event
    assert error(bench) == code
    assert error(bench) == 0


def test_a_command_error_drops_the_rest_and_an_execution_error_does_not(bench: Bench) -> None:
    assert say(bench, "*OPC?;:NONSENSE;*OPC?") == "1"
    assert error(bench) == -113
    assert say(bench, "*ESE 999;*OPC?") == "1"
    assert error(bench) == -222


def test_the_queue_ends_in_overflow_and_keeps_the_oldest(bench: Bench) -> None:
    limit = bench.instruments["dut"].queue_limit
    say(bench, "*ESE 999")
    for _ in range(limit + 5):
        say(bench, ":NONSENSE")
    codes = [error(bench) for _ in range(limit + 1)]
    assert codes == [-222, *[-113] * (limit - 2), -350, 0]


@pytest.mark.parametrize("driver", WITH_SETUPS)
def test_a_stored_setup_comes_back_with_the_output_off(driver: str) -> None:
    bench = bench_of(driver)
    smu = driver in SMUS
    level = ":SOUR:VOLT" if smu else ":SOUR1:VOLT:HIGH"
    say(bench, f"*CLS;{level} 0.25;*SAV 3;{level} 0.5;:OUTP ON")
    assert float(say(bench, f"{level}?")) == pytest.approx(0.5)
    say(bench, "*RCL 3")
    assert float(say(bench, f"{level}?")) == pytest.approx(0.25)
    assert say(bench, ":OUTP?") == "0"
    assert not bench.outputs()["dut.1"].on
    say(bench, "*RCL 2")
    assert error(bench) == -230
    say(bench, "*SAV 9")
    assert error(bench) == -222


# Headers.


def forms(command: Command) -> tuple[str, str]:
    """Return a header in its shortest and in its longest form."""
    pattern = command.header.pattern.replace("(\\d*)", "1")
    long = re.sub(r"\(\?:([A-Z]+)\|([A-Z]+)\)", r"\2", pattern)
    short = re.sub(r"\(\?:([A-Z]+)\|([A-Z]+)\)", r"\1", pattern)
    while "(?:" in long:
        long = re.sub(r"\(\?:([^()]*)\)\?", r"\1", long)
        short = re.sub(r"\(\?:([^()]*)\)\?", "", short)
    return short.replace("\\", ""), long.replace("\\", "")


@pytest.mark.parametrize("driver", SCPI)
def test_every_command_is_found_by_its_short_and_its_long_form(driver: str) -> None:
    instrument = face(bench_of(driver))
    for command in instrument._commands:
        short, long = forms(command)
        for form in (short, long, short.lower(), long.lower()):
            found = instrument._find(form.upper())
            assert found is not None, form
            # An earlier command of the same header, if there is one, has to mean the same.
            assert found[0].header.fullmatch(form.upper())


def test_a_header_without_colon_goes_on_where_the_last_one_was() -> None:
    bench = bench_of("keithley-2400")
    say(bench, "*CLS;:SENS:CURR:PROT 1E-3;RANG 1E-4;*OPC;NPLC 0.1")
    assert error(bench) == 0
    say(bench, ":SENS:CURR:PROT 1E-3;VOLT:RANG 2")
    assert error(bench) == -113  # :SENS:CURR:VOLT:RANG is no command
    say(bench, "SOUR:VOLT 0.1;:SENS:CURR:PROT 1E-3")
    assert error(bench) == 0


@pytest.mark.parametrize("header", [":SOUR3:VOLT 1", ":OUTP9 ON", ":SENS4:CURR:NPLC 1"])
@pytest.mark.parametrize("driver", SMUS)
def test_a_channel_that_is_not_there_is_refused(driver: str, header: str) -> None:
    bench = bench_of(driver)
    say(bench, "*CLS")
    say(bench, header)
    assert error(bench) == -114


@given(st.lists(st.sampled_from(["SOURce#", "VOLTage", "LEVel", "IMMediate"]), min_size=1,
                max_size=4, unique=True))  # fmt: skip
def test_a_pattern_takes_each_node_in_both_forms_and_nothing_between(nodes: list[str]) -> None:
    pattern = header_pattern("".join(f":{n}" for n in nodes))
    plain = [n.rstrip("#") for n in nodes]
    short = [re.sub(r"[a-z]", "", n) for n in plain]
    for at in range(len(nodes)):
        mixed = [
            p.upper() if n == at else s for n, (p, s) in enumerate(zip(plain, short, strict=True))
        ]
        assert pattern.fullmatch("".join(f":{m}" for m in mixed))
        cut = [
            p.upper()[:-1] if n == at else s
            for n, (p, s) in enumerate(zip(plain, short, strict=True))
        ]
        if cut[at] != short[at]:
            assert pattern.fullmatch("".join(f":{c}" for c in cut)) is None


# Anything at all.

PARAMETERS = st.sampled_from([
    "", "1", "-1", "0", "ON", "1e9", "-1e9", "abc", "1,2", "1,2,3,4,5", "(@1)", "(@1,2)", "(@9)",
    "(@1:", "MIN", "MAX", "INF", "DEF", "'x'", '"CURR"', "#15abcde", "#9", "1 V", "1 ZZ", ",", ",,",
    "VOLT,CURR", "nan", "1e400", "LIST", "PULS", '"defbuffer1"', '1,1,"defbuffer1"', "EXT1",
    "EXT99", "REAL,64", "REAL,16", "NEXT", "0,FREE", "name,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8",
])  # fmt: skip


@cache
def kept(driver: str) -> Bench:
    return bench_of(driver)


@pytest.mark.parametrize("driver", SCPI)
@settings(max_examples=150)
@given(data=st.data())
def test_no_message_leaves_an_instrument_without_an_answer(driver: str, data: Any) -> None:
    bench = kept(driver)
    commands = face(bench)._commands
    command = data.draw(st.sampled_from(commands))
    header = data.draw(st.sampled_from(forms(command)))
    mark = data.draw(st.sampled_from(["", "?"]))
    say(bench, f"{header}{mark} {data.draw(PARAMETERS)}")
    say(bench, data.draw(st.binary(max_size=30)))
    assert say(bench, "*IDN?").count(",") == 3
    say(bench, "*CLS")


# TSP.


@pytest.mark.parametrize("driver", ["keithley-2600b", "keithley-707b", "keithley-3706a"])
def test_tsp_instruments_have_the_common_commands(driver: str) -> None:
    channel = "a" if driver == "keithley-2600b" else ""
    bench = (
        resistor_bench(driver, channel) if channel else
        open_bench(station(driver, "", wiring=[]), seed=1)
    )  # fmt: skip
    assert say(bench, "*IDN?").count(",") == 3
    assert say(bench, "*OPC?") == "1"
    assert say(bench, "*TST?") == "0"
    say(bench, "*CLS")
    say(bench, "*ESE 32")
    say(bench, "*SRE 36")
    assert (say(bench, "*ESE?"), say(bench, "*SRE?")) == ("32", "36")
    say(bench, "opc()")
    assert say(bench, "*ESR?") == "1"
    assert say(bench, "*ESR?") == "0"
    say(bench, "nonsense()")
    assert int(say(bench, "*STB?")) == 4 + 64
    say(bench, "*CLS")
    assert say(bench, "*STB?") == "0"
