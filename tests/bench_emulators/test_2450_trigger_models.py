"""What sweeps and trigger models of a 2450 in its TSP command set do, alone and with others."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import Bench, open_bench
from resistor import RESISTOR_OHM, eventually, resistor_bench, station
from tsp_2450 import SETTINGS, numbers, say, tsp_bench

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


@pytest.fixture
def bench() -> Bench:
    return tsp_bench()


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
