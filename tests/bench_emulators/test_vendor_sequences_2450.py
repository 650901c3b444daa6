"""Command sequences of the maker's public 2450 scripts on its emulator in TSP mode.

The scripts are our own and short; their commands come in the order of Keithley's examples for a
pulse train from configuration lists and a timer, and for a single pulse.
"""

from __future__ import annotations

import numpy as np
import pytest
from resistor import RESISTOR_OHM, resistor_bench

TRAIN_2450 = """loadscript train
reset()
errorqueue.clear()
trigger.timer[1].enable = 0
trigger.timer[1].reset()
trigger.timer[1].clear()
trigger.timer[1].delaylist = {15e-3, 5e-3}
trigger.timer[1].count = 3 * 2
trigger.timer[1].start.stimulus = trigger.EVENT_NOTIFY1
trigger.timer[1].start.generate = trigger.OFF
trigger.timer[1].enable = 1
digio.line[1].mode = digio.MODE_TRIGGER_OUT
trigger.digout[1].pulsewidth = 10e-6
trigger.digout[1].stimulus = trigger.EVENT_TIMER1
smu.source.configlist.create("on and off")
smu.source.func = smu.FUNC_DC_VOLTAGE
smu.source.readback = smu.OFF
smu.source.autodelay = smu.OFF
smu.source.range = 2
for _, level in ipairs({0.5, 0}) do
smu.source.level = level
smu.source.ilimit.level = 1e-3
smu.source.configlist.store("on and off")
end
smu.measure.configlist.create("current")
smu.measure.func = smu.FUNC_DC_CURRENT
smu.measure.nplc = 0.01
smu.measure.sense = smu.SENSE_2WIRE
smu.measure.range = 1e-5
smu.measure.autorange = smu.OFF
smu.measure.autozero.enable = smu.OFF
smu.measure.configlist.store("current")
trigger.model.load("Empty")
trigger.model.setblock(1, trigger.BLOCK_BUFFER_CLEAR)
trigger.model.setblock(2, trigger.BLOCK_SOURCE_OUTPUT, smu.ON)
trigger.model.setblock(3, trigger.BLOCK_NOTIFY, trigger.EVENT_NOTIFY1)
trigger.model.setblock(4, trigger.BLOCK_WAIT, trigger.EVENT_TIMER1)
trigger.model.setblock(5, trigger.BLOCK_CONFIG_NEXT, "on and off", "current")
trigger.model.setblock(6, trigger.BLOCK_MEASURE, defbuffer1, 1)
trigger.model.setblock(7, trigger.BLOCK_WAIT, trigger.EVENT_TIMER1)
trigger.model.setblock(8, trigger.BLOCK_CONFIG_NEXT, "on and off", "current")
trigger.model.setblock(9, trigger.BLOCK_BRANCH_COUNTER, 3, 4)
trigger.model.setblock(10, trigger.BLOCK_DELAY_CONSTANT, 10e-3)
trigger.model.setblock(11, trigger.BLOCK_SOURCE_OUTPUT, smu.OFF)
smu.measure.autozero.once()
trigger.model.initiate()
waitcomplete()
printbuffer(1, defbuffer1.n, defbuffer1.readings, defbuffer1.sourcevalues)
endscript
train()"""


def test_a_2450_pulses_by_configuration_lists_and_a_timer(visa) -> None:
    with resistor_bench("keithley-2450", "1", language="TSP") as bench:
        session = visa(bench, "dut")
        session.write(TRAIN_2450)
        amps, volts = np.array(session.read().split(","), dtype=float).reshape(3, 2).T
        assert volts == pytest.approx([0.5] * 3)
        assert amps == pytest.approx([0.5 / RESISTOR_OHM] * 3, rel=1e-3)
        assert not bench.outputs()["dut.1"].on
        assert float(session.query("print(eventlog.getcount(eventlog.SEV_ERROR))")) == 0.0


def test_a_2450_takes_one_pulse_by_switching_its_output(visa) -> None:
    with resistor_bench("keithley-2450", "1", language="TSP") as bench:
        session = visa(bench, "dut")
        session.write(
            "reset()\nerrorqueue.clear()\nsmu.source.func = smu.FUNC_DC_VOLTAGE\n"
            "smu.source.readback = smu.OFF\nsmu.source.autodelay = smu.OFF\nsmu.source.range = 2\n"
            "smu.source.ilimit.level = 1e-3\nsmu.source.level = 1\nsmu.source.delay = 0\n"
            "smu.measure.func = smu.FUNC_DC_CURRENT\nsmu.measure.autorange = smu.OFF\n"
            "smu.measure.autozero.enable = smu.OFF\nsmu.measure.nplc = 0.01\n"
            "smu.measure.range = 1e-4\nsmu.measure.sense = smu.SENSE_2WIRE\n"
            'smu.measure.autozero.once()\ntrigger.model.load("Empty")\n'
            "trigger.model.setblock(1, trigger.BLOCK_BUFFER_CLEAR)\n"
            "trigger.model.setblock(2, trigger.BLOCK_SOURCE_OUTPUT, smu.ON)\n"
            "trigger.model.setblock(3, trigger.BLOCK_MEASURE_DIGITIZE, defbuffer1, 1)\n"
            "trigger.model.setblock(4, trigger.BLOCK_SOURCE_OUTPUT, smu.OFF)\n"
            "trigger.model.initiate()\nwaitcomplete()\n"
            "printbuffer(1, defbuffer1.n, defbuffer1.sourcevalues, defbuffer1.readings)"
        )
        volts, amps = (float(v) for v in session.read().split(","))
        assert volts == pytest.approx(1.0)
        assert amps == pytest.approx(1.0 / RESISTOR_OHM, rel=1e-3)
        assert not bench.outputs()["dut.1"].on
        assert float(session.query("print(eventlog.getcount(eventlog.SEV_ERROR))")) == 0.0
