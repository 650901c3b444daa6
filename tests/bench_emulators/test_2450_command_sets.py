"""A 2450 in its three command sets; what TSP scripts of that family do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import Bench, open_bench
from resistor import RESISTOR_OHM, eventually, resistor_bench, station

from hil.errors import ConfigError

SETTINGS = """
smu.source.func = smu.FUNC_DC_VOLTAGE smu.source.ilimit.level = 1e-3
smu.measure.func = smu.FUNC_DC_CURRENT smu.measure.nplc = 0.01
"""
# A train of pulses as the maker's examples build it: two settings in a list, a timer of two
# delays that a notification starts, one measurement while the pulse is on.
PULSE_TRAIN = """
smu.source.readback = smu.OFF smu.source.range = 20
smu.source.configlist.create("levels")
smu.source.level = {high} smu.source.configlist.store("levels")
smu.source.level = 0 smu.source.configlist.store("levels")
smu.measure.configlist.create("meter")
smu.measure.autozero.enable = smu.OFF smu.measure.range = 1e-3
smu.measure.configlist.store("meter")
trigger.timer[1].reset() trigger.timer[1].clear() trigger.timer[1].delaylist = {{{off}, {on}}}
trigger.timer[1].count = 2 * {pulses} trigger.timer[1].start.stimulus = trigger.EVENT_NOTIFY1
trigger.timer[1].start.generate = trigger.OFF trigger.timer[1].enable = 1
trigger.model.load("Empty")
trigger.model.setblock(1, trigger.BLOCK_BUFFER_CLEAR)
trigger.model.setblock(2, trigger.BLOCK_SOURCE_OUTPUT, smu.ON)
trigger.model.setblock(3, trigger.BLOCK_NOTIFY, trigger.EVENT_NOTIFY1)
trigger.model.setblock(4, trigger.BLOCK_WAIT, trigger.EVENT_TIMER1)
trigger.model.setblock(5, trigger.BLOCK_CONFIG_NEXT, "levels", "meter")
trigger.model.setblock(6, trigger.BLOCK_MEASURE, defbuffer1, 1)
trigger.model.setblock(7, trigger.BLOCK_WAIT, trigger.EVENT_TIMER1)
trigger.model.setblock(8, trigger.BLOCK_CONFIG_NEXT, "levels", "meter")
trigger.model.setblock(9, trigger.BLOCK_BRANCH_COUNTER, {pulses}, 4)
trigger.model.setblock(10, trigger.BLOCK_SOURCE_OUTPUT, smu.OFF)
smu.measure.autozero.once()
trigger.model.initiate() waitcomplete()
"""


def say(bench: Bench, text: str, name: str = "dut") -> str:
    reply = None
    for line in text.strip().splitlines():
        reply = bench.instruments[name].exchange(line.strip().encode())
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


def numbers(bench: Bench, text: str) -> list[float]:
    return [float(v) for v in say(bench, text).replace("\t", ",").split(",")]


def tsp_bench(**options: Any) -> Bench:
    bench = resistor_bench("keithley-2450", "1", language="TSP", **options)
    bench.warm_up()
    return bench


@pytest.fixture
def bench() -> Bench:
    return tsp_bench()


# Command sets.


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


# Readings.


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


# Sweeps and trigger models.


@pytest.mark.parametrize(
    ("sweep", "levels"),
    [
        ('smu.source.sweeplinear("s", 0, 0.4, 5, 1e-3)', [0, 0.1, 0.2, 0.3, 0.4]),
        ('smu.source.sweeplinearstep("s", 0, 0.4, 0.2, 0)', [0, 0.2, 0.4]),
        ('smu.source.sweeplog("s", 0.001, 0.1, 3, 0)', [0.001, 0.01, 0.1]),
        ('smu.source.sweeplinear("s", 0, 0.2, 3, 0, 1, smu.RANGE_BEST, smu.OFF, smu.ON)',
         [0, 0.1, 0.2, 0.1, 0]),
        ('smu.source.sweeplinear("s", 0.1, 0.2, 2, 0, 2)', [0.1, 0.2, 0.1, 0.2]),
    ],
)  # fmt: skip
def test_sweeps_give_their_levels_and_end_with_the_output_off(
    bench: Bench, sweep: str, levels: list[float]
) -> None:
    say(bench, SETTINGS)
    say(bench, sweep + " trigger.model.initiate() waitcomplete()")
    assert numbers(bench, "printbuffer(1, defbuffer1.n, defbuffer1.sourcevalues)") == (
        pytest.approx(levels, abs=1e-6)
    )
    amps = numbers(bench, "printbuffer(1, defbuffer1.n, defbuffer1)")
    assert np.array(amps) * RESISTOR_OHM == pytest.approx(levels, rel=1e-4, abs=1e-5)
    assert say(bench, "print(smu.source.output)") == "smu.OFF"
    assert say(bench, "print(errorqueue.count)") == "0"


def test_a_sweep_over_a_list_of_settings_stops_at_the_limit_where_it_is_told_to(
    bench: Bench,
) -> None:
    say(bench, SETTINGS + 'smu.source.configlist.create("mine")')
    for level in (0.1, 0.2, 0.9, 0.3):
        say(bench, f'smu.source.level = {level} smu.source.configlist.store("mine")')
    assert say(bench, 'print(smu.source.configlist.size("mine"))') == "4"
    assert say(bench, "print(smu.source.configlist.catalog())") == "mine"
    say(bench, "smu.source.ilimit.level = 5e-6")
    say(bench, 'smu.source.configlist.recall("mine") smu.source.ilimit.level = 5e-6')
    for n in range(1, 5):
        say(bench, f'smu.source.configlist.recall("mine", {n}) smu.source.ilimit.level = 5e-6')
        say(bench, f'smu.source.configlist.store("mine", {n})')
    say(bench, 'smu.source.sweeplist("mine", 1, 0, 1, smu.ON) trigger.model.initiate()')
    say(bench, "waitcomplete()")
    assert say(bench, "print(defbuffer1.n)") == "3"
    assert say(bench, "print(smu.source.output)") == "smu.OFF"


@pytest.mark.parametrize(
    ("load", "count"),
    [('"SimpleLoop", 10, 1e-3', 10), ('"DurationLoop", 0.1, 0.0098', 10), ('"SimpleLoop", 3', 3)],
)
def test_predefined_trigger_models_take_their_readings(bench: Bench, load: str, count: int) -> None:
    say(bench, SETTINGS + "smu.source.level = 0.1 smu.source.output = smu.ON")
    say(bench, f"trigger.model.load({load}) trigger.model.initiate()")
    assert say(bench, "print(trigger.model.state())").startswith("trigger.STATE_RUNNING")
    assert say(bench, "print(trigger.model.state())").startswith("trigger.STATE_IDLE")
    assert say(bench, "print(defbuffer1.n)") == str(count)


def test_a_loop_ends_with_its_event_and_a_list_of_settings_is_gone_through(bench: Bench) -> None:
    say(bench, SETTINGS + "smu.source.level = 0.1 smu.source.output = smu.ON")
    say(bench, "trigger.timer[1].delay = 10e-3 trigger.timer[1].enable = 1")
    say(bench, "trigger.timer[1].start.stimulus = trigger.EVENT_COMMAND")
    say(bench, 'trigger.model.load("LoopUntilEvent", trigger.EVENT_TIMER1, 50, nil, 0.8e-3)')
    say(bench, "*TRG")
    assert say(bench, "trigger.model.initiate() waitcomplete() print(defbuffer1.n)") == "10"
    say(bench, 'smu.source.configlist.create("s") smu.measure.configlist.create("m")')
    for level in (0.1, 0.2, 0.3):
        say(bench, f'smu.source.level = {level} smu.source.configlist.store("s")')
    say(bench, 'smu.measure.configlist.store("m") trigger.model.load("ConfigList", "m", "s")')
    say(bench, "trigger.model.initiate() waitcomplete()")
    levels = numbers(bench, "printbuffer(1, defbuffer1.n, defbuffer1.sourcevalues)")
    assert levels == pytest.approx([0.1, 0.2, 0.3])
    assert say(bench, "print(errorqueue.count, smu.source.output)") == "0\tsmu.OFF"


def test_a_pulse_train_from_a_timer_has_its_widths_and_moves_the_device() -> None:
    bench = open_bench(station("keithley-2450", "1"), seed=1, options={"dut": {"language": "TSP"}})
    bench.warm_up()
    before = float(bench.array.g[0, 0])
    say(bench, SETTINGS + PULSE_TRAIN.format(high=1.5, on="5e-3", off="15e-3", pulses=4))
    assert say(bench, "print(errorqueue.next())") == "0\tQueue Is Empty\t0\t0"
    assert numbers(bench, "printbuffer(1, defbuffer1.n, defbuffer1.sourcevalues)") == [1.5] * 4
    starts = numbers(bench, "printbuffer(1, defbuffer1.n, defbuffer1.relativetimestamps)")
    assert np.diff(starts) == pytest.approx([20e-3] * 3, rel=1e-6)
    assert bench.clock_ns == pytest.approx(80e6, rel=1e-6)
    assert float(bench.array.g[0, 0]) > before
    assert bench.safe


def test_blocks_branch_on_readings_counts_and_events(bench: Bench) -> None:
    say(bench, SETTINGS + "smu.source.level = 0.2 smu.source.output = smu.ON")
    for n, block in enumerate([
        "BUFFER_CLEAR", "BRANCH_ONCE, 4", "BRANCH_ALWAYS, 10", "MEASURE, defbuffer1, 2",
        "BRANCH_LIMIT_CONSTANT, trigger.LIMIT_INSIDE, 0, 1, 7", "BRANCH_ALWAYS, 10",
        "BRANCH_ON_EVENT, trigger.EVENT_NOTIFY2, 9", "NOTIFY, trigger.EVENT_NOTIFY2",
        "BRANCH_COUNTER, 3, 7",
    ], start=1):  # fmt: skip
        say(bench, f"trigger.model.setblock({n}, trigger.BLOCK_{block})")
    say(bench, "trigger.model.initiate() waitcomplete()")
    assert say(bench, "print(errorqueue.count, defbuffer1.n)") == "0\t2"
    assert "BRANCH_COUNTER" in say(bench, "print(trigger.model.getblocklist())")


# Events of others.


def two_instruments(other: str = "keithley-2600b") -> Bench:
    wiring = [{"line": "WL0", "channel": "k.1"}, {"line": "BL0", "channel": "smu.a"}]
    instruments = [{"name": "k", "driver": "keithley-2450", "resource": "A"},
                   {"name": "smu", "driver": other, "resource": "B"}]  # fmt: skip
    bench = open_bench(
        station("", "", instrument=instruments, wiring=wiring), seed=1,
        options={"k": {"language": "TSP"}},
    )  # fmt: skip
    bench.warm_up()
    return bench


@pytest.mark.parametrize(
    ("event", "send"),
    [("DIGIO3", "digio.trigger[3].assert()"), ("TSPLINK1", "tsplink.trigger[1].assert()")],
)
def test_a_trigger_model_waits_for_a_line_of_another_instrument(event: str, send: str) -> None:
    bench = two_instruments()
    say(bench, SETTINGS, "k")
    say(bench, "smu.source.level = 0.1 smu.source.output = smu.ON", "k")
    say(bench, f"trigger.model.setblock(1, trigger.BLOCK_WAIT, trigger.EVENT_{event})", "k")
    say(bench, "trigger.model.setblock(2, trigger.BLOCK_MEASURE)", "k")
    say(bench, "trigger.model.setblock(3, trigger.BLOCK_BRANCH_COUNTER, 2, 1)", "k")
    say(bench, "trigger.model.initiate()", "k")
    assert say(bench, "print(defbuffer1.n)", "k") == "0"
    for taken in (1, 2):
        say(bench, f"{send} waitcomplete()", "smu")
        assert say(bench, "print(defbuffer1.n)", "k") == str(taken)
    assert say(bench, "print(trigger.model.state())", "k").startswith("trigger.STATE_")
    assert say(bench, "print(trigger.model.state())", "k").startswith("trigger.STATE_IDLE")


def test_a_notification_triggers_another_instrument_over_a_line() -> None:
    bench = two_instruments()
    say(bench, "smua.source.output = 1 smua.measure.nplc = 0.001 smua.trigger.count = 1", "smu")
    say(bench, "smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action = 1", "smu")
    say(bench, "smua.trigger.arm.count = 3", "smu")
    say(bench, "smua.trigger.arm.stimulus = digio.trigger[2].EVENT_ID", "smu")
    say(bench, "smua.nvbuffer1.appendmode = 1 smua.trigger.initiate()", "smu")
    say(bench, "trigger.digout[2].stimulus = trigger.EVENT_NOTIFY1", "k")
    say(bench, "trigger.model.setblock(1, trigger.BLOCK_NOTIFY, trigger.EVENT_NOTIFY1)", "k")
    say(bench, "trigger.model.setblock(2, trigger.BLOCK_DELAY_CONSTANT, 1e-3)", "k")
    say(bench, "trigger.model.setblock(3, trigger.BLOCK_BRANCH_COUNTER, 3, 1)", "k")
    say(bench, "trigger.model.initiate() waitcomplete()", "k")
    assert say(bench, "print(smua.nvbuffer1.n)", "smu") == "3.00000e+00"


def test_blenders_timers_and_the_command_interface_are_waited_for(visa: Any) -> None:
    with resistor_bench("keithley-2450", "1", language="TSP") as bench:
        k = visa(bench, "dut")
        assert k.query("print(trigger.wait(0.02))") == "false"
        k.write("*TRG")
        assert k.query("print(trigger.wait(0.02))") == "true"
        for n, delay in ((1, 0.1), (2, 0.3)):
            k.write(f"trigger.timer[{n}].delay = {delay} trigger.timer[{n}].enable = 1")
            k.write(f"trigger.timer[{n}].start.stimulus = trigger.EVENT_COMMAND")
            k.write(f"trigger.blender[1].stimulus[{n}] = trigger.EVENT_TIMER{n}")
        k.write("trigger.blender[1].orenable = false")
        assert k.query("*OPC?") == "1"
        begin = bench.clock_ns
        k.write("*TRG")
        assert k.query("print(trigger.blender[1].wait(1))") == "true"
        assert (bench.clock_ns - begin) * 1e-9 == pytest.approx(0.3)


def test_a_trigger_model_that_waits_ends_with_abort_of_another_session(visa: Any) -> None:
    with resistor_bench("keithley-2450", "1", language="TSP") as bench:
        first, second = visa(bench, "dut"), visa(bench, "dut")
        first.write("trigger.model.setblock(1, trigger.BLOCK_WAIT, trigger.EVENT_DISPLAY)")
        first.write("smu.source.output = smu.ON trigger.model.initiate()")
        runner = threading.Thread(target=first.write, args=("waitcomplete()",))
        runner.start()
        assert eventually(lambda: bench.instruments["dut"].busy)
        second.write("trigger.model.abort()")
        second.write("smu.source.output = smu.OFF")
        assert second.query("print(smu.source.output)") == "smu.OFF"
        runner.join()
        assert second.query("print(trigger.model.state())").startswith("trigger.STATE_ABORTED")


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


# Output-off states and the interlock.


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
