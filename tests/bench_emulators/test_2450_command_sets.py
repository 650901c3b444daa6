"""A 2450 in its three command sets; what its TSP commands read, refuse and switch off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import Bench
from resistor import RESISTOR_OHM, eventually, resistor_bench
from tsp_2450 import SETTINGS, numbers, say, tsp_bench

from hil.errors import ConfigError


@pytest.fixture
def bench() -> Bench:
    return tsp_bench()


def test_a_command_set_is_active_after_the_instrument_went_off_and_on() -> None:
    bench = resistor_bench("keithley-2450", "1")
    assert say(bench, "*LANG?") == "SCPI"
    say(bench, "*LANG TSP")
    assert say(bench, "*LANG?") == "SCPI"
    assert say(bench, ":SYST:ERR?").startswith("0,")
    bench.instruments["dut"].power_cycle()
    assert say(bench, "*LANG?") == "TSP"
    assert say(bench, "print(smu.source.output)") == "smu.OFF"
    say(bench, ":SOUR:VOLT 1")
    assert say(bench, "print(errorqueue.next())").startswith("-285")
    say(bench, "*LANG NOTHING")
    assert say(bench, "print(eventlog.next())").startswith("-224")


def test_a_command_set_is_active_when_the_last_session_was_closed(visa: Any) -> None:
    with resistor_bench("keithley-2450", "1") as bench:
        first, second = visa(bench, "dut"), visa(bench, "dut")
        assert second.query("*LANG?") == "SCPI"  # it has been accepted
        first.write("*LANG TSP")
        assert first.query("*LANG?") == "SCPI"
        first.close()
        assert second.query("*LANG?") == "SCPI"
        second.close()
        assert eventually(lambda: bench.instruments["dut"].language == "TSP")  # type: ignore[attr-defined]
        assert visa(bench, "dut").query("print(localnode.model)") == "2450"


def test_as_a_2400_it_takes_the_commands_of_a_2400_and_acts_on_its_own_terminal() -> None:
    bench = resistor_bench("keithley-2450", "1")
    bench.warm_up()
    say(bench, "*LANG SCPI2400")
    bench.instruments["dut"].power_cycle()
    say(bench, ":SOUR:VOLT 0.2;:SENS:CURR:PROT 1e-3;:FORM:ELEM CURR;:OUTP ON")
    assert float(say(bench, ":READ?")) == pytest.approx(0.2 / RESISTOR_OHM, rel=1e-5)
    assert bench.outputs()["dut.1"].level_v == pytest.approx(0.2)
    assert "MODEL 2450" in say(bench, "*IDN?")


@pytest.mark.parametrize("option", [{"language": "FORTH"}, {"model": "9999"}])
def test_command_sets_and_models_that_are_none_are_refused(option: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        resistor_bench("keithley-2450", "1", **option)


def test_a_reading_is_returned_and_kept_with_what_belongs_to_it(bench: Bench) -> None:
    say(bench, SETTINGS)
    say(bench, "smu.source.level = 0.2 smu.source.output = smu.ON smu.measure.count = 3")
    assert numbers(bench, "print(smu.measure.read())") == pytest.approx([0.2 / RESISTOR_OHM])
    assert (
        say(bench, "print(defbuffer1.n, defbuffer1.startindex, defbuffer1.endindex)") == "3\t1\t3"
    )
    rows = say(bench, "printbuffer(1, 1, defbuffer1.sourcevalues, defbuffer1.units)")
    assert rows == "0.2, Amp DC"
    times = numbers(bench, "printbuffer(1, 3, defbuffer1.relativetimestamps)")
    assert np.diff(times) == pytest.approx([200e-6] * 2)
    bits = numbers(bench, "printbuffer(1, 1, defbuffer1.sourcestatuses)")[0]
    assert int(bits) & 128
    assert not int(bits) & 32
    say(bench, "smu.source.ilimit.level = 1e-6 mine = buffer.make(20) smu.measure.read(mine)")
    assert int(numbers(bench, "print(mine.sourcestatuses[3])")[0]) & 32
    assert say(bench, "print(smu.source.ilimit.tripped)") == "smu.ON"
    assert numbers(bench, "print(mine[1])") == pytest.approx([1e-6])
    statistics = numbers(bench, "s = buffer.getstats(mine) print(s.n, s.mean, s.max)")
    assert statistics == pytest.approx([3, 1e-6, 1e-6])
    assert say(bench, "defbuffer1.clear() print(defbuffer1.n)") == "0"


def test_a_reading_with_its_time_and_other_functions(bench: Bench) -> None:
    say(bench, SETTINGS)
    say(bench, "smu.source.level = 0.5 smu.source.output = smu.ON")
    reading, whole, part = numbers(bench, "print(smu.measure.readwithtime())")
    assert reading == pytest.approx(0.5 / RESISTOR_OHM)
    assert whole + part == pytest.approx(bench.clock_ns * 1e-9)
    say(bench, "smu.measure.func = smu.FUNC_RESISTANCE")
    assert numbers(bench, "print(smu.measure.read())") == pytest.approx([RESISTOR_OHM], rel=1e-5)
    say(bench, "smu.measure.func = smu.FUNC_DC_VOLTAGE smu.measure.rel.acquire()")
    say(bench, "smu.measure.rel.enable = smu.ON")
    assert numbers(bench, "print(smu.measure.read())") == pytest.approx([0.0], abs=1e-9)


def test_a_current_source_is_limited_by_its_voltage(bench: Bench) -> None:
    say(bench, "smu.source.func = smu.FUNC_DC_CURRENT smu.source.level = 1e-6")
    say(bench, "smu.source.vlimit.level = 2 smu.measure.func = smu.FUNC_DC_VOLTAGE")
    say(bench, "smu.source.output = smu.ON")
    assert numbers(bench, "print(smu.measure.read())") == pytest.approx([0.1], rel=1e-4)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("smu.source.limiti = 1", -286), ("smu.source.levelv = 1", -286), (":SOUR:VOLT 1", -285),
        ("smu.source.level = 1e4", -222), ("smu.source.range = 2 smu.source.level = 5", -222),
        ("smu.measure.nplc = 99", -222), ("smu.source.offmode = 7", -224),
        ("smu.source.func = smu.FUNC_RESISTANCE", -224), ("trigger.model.initiate()", -224),
        ("loadscript reset\nprint(1)\nendscript", 1408), ("smu.measure.read(3)", -286),
        ('smu.source.configlist.recall("none")', -224), ("trigger.model.setblock(99, 'x')", -224),
        ("trigger.model.setblock(99, trigger.BLOCK_NOP)", -222), ("*NOTHING", -285),
    ],
)  # fmt: skip
def test_what_a_2450_does_not_take_is_an_event(bench: Bench, line: str, code: int) -> None:
    say(bench, line)
    assert say(bench, "print(eventlog.getcount(eventlog.SEV_ERROR))") == "1"
    assert int(float(say(bench, "print(eventlog.next())").split("\t")[0])) == code
    assert say(bench, "print(eventlog.next())").startswith("0\tNo error")


def test_prompts_and_errors_are_sent_where_the_node_is_told_to(bench: Bench) -> None:
    assert say(bench, "localnode.prompts = 1") == "TSP>"
    assert say(bench, "print(1)").splitlines() == ["1", "TSP>"]
    assert say(bench, "loadscript mine").splitlines() == [">>>>"]
    assert say(bench, "endscript") == "TSP>"
    assert (
        say(bench, "localnode.showerrors = 1 nonsense()").splitlines()[0].startswith("ERROR: -286")
    )
    assert say(bench, "localnode.prompts = 0") == ""


@pytest.mark.filterwarnings("ignore")
def test_tm_devices_sources_measures_and_switches_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("tm_devices")
    monkeypatch.chdir(tmp_path)  # it writes its logs into the working directory
    with (
        resistor_bench("keithley-2450", "1", language="TSP") as bench,
        package.DeviceManager(verbose=False) as devices,
    ):
        devices.visa_library = "@py"
        port = int(bench.resources["dut"].split("::")[2])
        smu = devices.add_smu("127.0.0.1", connection_type="SOCKET", port=port)
        assert type(smu).__name__ == "SMU2450"
        smu.commands.smu.source.func = "smu.FUNC_DC_VOLTAGE"
        smu.commands.smu.measure.func = "smu.FUNC_DC_CURRENT"
        smu.commands.smu.source.ilimit.level = 1e-3
        smu.commands.smu.source.level = 0.2
        smu.commands.smu.source.output = "smu.ON"
        assert float(smu.commands.smu.measure.read()) == pytest.approx(0.2 / RESISTOR_OHM, rel=1e-3)
        smu.commands.smu.source.sweeplinear("sweep", 0.1, 0.3, 3, 0)
        smu.commands.trigger.model.initiate()
        smu.write("waitcomplete()")
        readings = smu.query("printbuffer(1, 3, defbuffer1.readings)").split(",")
        assert [float(v) for v in readings] == pytest.approx([1e-6, 2e-6, 3e-6], rel=1e-3)
        smu.commands.smu.source.output = "smu.OFF"
        assert eventually(lambda: not bench.outputs()["dut.1"].on)


@pytest.mark.parametrize(
    ("mode", "holds", "limit_a"),
    [("NORMAL", True, 1e-4), ("ZERO", True, 1e-3), ("HIGHZ", False, None), ("GUARD", False, None)],
)
def test_output_off_states(bench: Bench, mode: str, holds: bool, limit_a: float | None) -> None:
    say(bench, f"smu.source.ilimit.level = 1e-3 smu.source.offmode = smu.OFFMODE_{mode}")
    terminal = bench.terminal("dut.1")
    assert terminal.low_impedance is holds
    if limit_a is not None:
        assert terminal.drive() == (0.0, pytest.approx(limit_a))


@pytest.mark.parametrize("language", ["SCPI", "TSP"])
def test_an_open_interlock_limits_the_output_and_is_an_event(language: str) -> None:
    bench = resistor_bench("keithley-2450", "1", language=language)
    bench.warm_up()
    tsp = language == "TSP"
    bench.faults["dut"].interlock_open = True
    assert say(bench, "print(smu.interlock.tripped)" if tsp else ":OUTP:INT:TRIP?") in (
        "smu.OFF",
        "0",
    )
    on = "smu.source.level = {} smu.source.output = smu.ON" if tsp else ":SOUR:VOLT {};:OUTP ON"
    error = "print(eventlog.next())" if tsp else ":SYST:ERR?"
    say(bench, on.format(20))
    assert say(bench, error).startswith("0")
    say(bench, on.format(100))
    assert say(bench, error).startswith("5074")
    assert bench.outputs()["dut.1"].level_v == 42.0
    bench.faults["dut"].interlock_open = False
    say(bench, "*ESR?")
    assert bench.outputs()["dut.1"].level_v == 100.0
