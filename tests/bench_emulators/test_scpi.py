"""The SCPI parser, seen through instruments."""

from __future__ import annotations

import numpy as np
import pytest
from hil_sim.virtual_bench.scpi import header_pattern
from hil_sim.virtual_bench.scpi_values import (
    ScpiError,
    block_payload,
    definite_block,
    number,
    split_parameters,
)
from hil_sim.virtual_bench.transport import split_message
from resistor import resistor_bench


def say(bench: object, text: str | bytes) -> str:
    message = text if isinstance(text, bytes) else text.encode()
    reply = bench.instruments["dut"].exchange(message)  # type: ignore[attr-defined]
    return "" if reply is None else reply.decode().rstrip("\n")


@pytest.mark.parametrize(
    "header",
    [":SOUR:VOLT:LEV:IMM:AMPL", ":SOURCE1:VOLTAGE", ":SOUR1:VOLT:LEVEL", ":VOLT", ":SOUR2:VOLT"],
)
def test_long_short_and_optional_nodes_match(header: str) -> None:
    pattern = header_pattern("[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]")
    assert pattern.fullmatch(header)


@pytest.mark.parametrize("header", [":SOURC:VOLT", ":SOUR:VOLTA", ":SOUR:VOLT:LEV:AMP", ":SOUR"])
def test_a_form_that_is_neither_long_nor_short_does_not_match(header: str) -> None:
    pattern = header_pattern("[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]")
    assert pattern.fullmatch(header) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("10 MV", 0.01),
        ("2.5uA", 2.5e-6),
        ("1 MHZ", 1e6),
        ("100US", 1e-4),
        (".5", 0.5),
    ],
)
def test_numbers_take_suffixes(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value)


def test_a_word_is_no_number() -> None:
    with pytest.raises(ScpiError) as error:
        number("abc")
    assert error.value.code == -104


def test_commas_in_quotes_and_channel_lists_do_not_split() -> None:
    assert split_parameters('1,"a,b",(@101,102)') == ["1", '"a,b"', "(@101,102)"]


def test_chained_commands_keep_their_path() -> None:
    bench = resistor_bench("keithley-2400", "1")
    say(bench, ":SENS:CURR:PROT 1E-3;RANG 1E-4;NPLC 0.1;:SOUR:VOLT 0.25")
    assert say(bench, ":SENS:CURR:PROT?;RANG?;NPLC?") == (
        "+1.000000E-03;+1.000000E-04;+1.000000E-01"
    )
    assert say(bench, ":SOUR:VOLT?;:SYST:ERR?") == '+2.500000E-01;0,"No error"'


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (":SOUR:NONSENSE 1", -113), (":SOUR:VOLT abc", -104), (":SOUR:VOLT 1000", -222),
        (":SOUR:VOLT", -109), (":SOUR:VOLT 1,2", -108), (":SOUR:FUNC BLUE", -224),
        (":READ?", 803), (":SOUR:LIST:VOLT " + ",".join(["0.1"] * 101), -223),
        (":FETC?", -230), (":ARM:COUN 100;:TRIG:COUN 100;:OUTP ON;:INIT", -221),
    ],
)  # fmt: skip
def test_errors_have_their_real_codes(command: str, code: int) -> None:
    bench = resistor_bench("keithley-2400", "1")
    say(bench, command)
    assert int(say(bench, ":SYST:ERR?").split(",")[0]) == code
    assert say(bench, ":SYST:ERR?").startswith("0,")


def test_a_full_error_queue_ends_in_queue_overflow() -> None:
    bench = resistor_bench("keithley-2400", "1")
    for _ in range(30):
        say(bench, ":NONSENSE")
    codes = [int(say(bench, ":SYST:ERR?").split(",")[0]) for _ in range(11)]
    assert codes == [-113] * 9 + [-350, 0]


def test_common_commands_report_and_clear_the_event_register() -> None:
    bench = resistor_bench("keysight-b2900", "1")
    assert int(say(bench, "*ESR?")) & 128
    say(bench, ":NONSENSE")
    assert int(say(bench, "*ESR?")) == 32
    assert say(bench, "*ESR?") == "0"
    say(bench, "*OPC")
    assert say(bench, "*ESR?;*OPC?;*STB?") == "1;1;4"
    say(bench, "*CLS")
    assert say(bench, "*STB?;:SYST:ERR?") == '0;+0,"No error"'


def test_a_range_that_is_too_low_refuses_the_level_and_keeps_the_old_one() -> None:
    bench = resistor_bench("keithley-2400", "1")
    say(bench, ":SOUR:VOLT:RANG 2;:SOUR:VOLT 1.5;:SOUR:VOLT 5")
    assert say(bench, ":SYST:ERR?;:SOUR:VOLT?").endswith("+1.500000E+00")


def test_binary_blocks_may_hold_newlines_and_semicolons() -> None:
    payload = np.array([0, 10, 59, 2570, -32767, 32767, 0, 0], dtype=">i2").tobytes()
    assert block_payload(definite_block(payload)) == payload
    bench = resistor_bench("keysight-33500b", "1")
    message = b"SOUR1:DATA:ARB:DAC nm," + definite_block(payload)
    buffer = bytearray(message + b"\nSYST:ERR?\n")
    assert split_message(buffer, True) == message
    assert split_message(buffer, True) == b"SYST:ERR?"
    say(bench, message)
    assert say(bench, "SYST:ERR?").startswith("+0")
    assert say(bench, "SOUR1:DATA:VOL:CAT?") == '"NM"'


def test_an_incomplete_block_waits_for_the_rest() -> None:
    buffer = bytearray(b"DATA:ARB:DAC nm,#210123\n567")
    assert split_message(buffer, True) is None
    buffer += b"89x\n"
    assert split_message(buffer, True) == b"DATA:ARB:DAC nm,#210123\n56789x"


def test_overflow_reads_as_the_sentinel() -> None:
    bench = resistor_bench("keithley-2400", "1")
    say(bench, ":SENS:CURR:PROT 1E-3;RANG 1E-6;:FORM:ELEM CURR,STAT;:SOUR:VOLT 1;:OUTP ON")
    current, status = (float(v) for v in say(bench, ":READ?").split(","))
    assert current == 9.9e37
    assert int(status) & 1


def test_a_generator_doubles_its_level_into_a_high_impedance() -> None:
    bench = resistor_bench("keysight-33500b", "1")
    say(bench, "OUTP1:LOAD 50;:SOUR1:FUNC DC;:SOUR1:VOLT:OFFS 0.1;:OUTP1 ON")
    assert bench.outputs()["dut.1"].level_v == pytest.approx(0.2, abs=1e-3)
    say(bench, "OUTP1:LOAD INF")
    assert float(say(bench, "SOUR1:VOLT:OFFS?")) == pytest.approx(0.2)
    assert bench.outputs()["dut.1"].level_v == pytest.approx(0.2, abs=1e-3)
