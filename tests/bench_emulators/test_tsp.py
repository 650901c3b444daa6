"""The TSP processor: Lua, errors, buffers, scripts, metatables, trigger timing."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import Bench
from resistor import RESISTOR_OHM, eventually, resistor_bench


def say(bench: Bench, text: str) -> str:
    reply = None
    for line in text.strip().splitlines():
        reply = bench.instruments["dut"].exchange(line.strip().encode())
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


@pytest.fixture
def bench() -> Bench:
    bench = resistor_bench("keithley-2600b", "a")
    bench.warm_up()
    return bench


def test_print_writes_numbers_booleans_and_nil_as_the_firmware_does(bench: Bench) -> None:
    assert say(bench, "print(1, 0.25, true, nil, 'x')") == "1.00000e+00\t2.50000e-01\ttrue\tnil\tx"
    say(bench, "format.asciiprecision = 3")
    assert say(bench, "print(1)") == "1.00e+00"


@pytest.mark.parametrize(
    ("line", "code"),
    [("x = = 1", -285), ("nothing.at.all = 1", -286), ("smua.source.limitx = 1", -286),
     ("smua.source.levelv = 1e4", 1101), ("smua.measure.nplc = 0", 1102),
     ("format.data = 9", 1406), ("format.asciiprecision = 99", 1405),
     ("smua.source.rangev=0.2 smua.source.levelv=1", 5005), ("*NONSENSE?", -285)],
)  # fmt: skip
def test_errors_are_silent_and_queued(bench: Bench, line: str, code: int) -> None:
    assert say(bench, line) == ""
    assert say(bench, "print(errorqueue.count)") == "1.00000e+00"
    fields = say(bench, "print(errorqueue.next())").split("\t")
    assert int(float(fields[0])) == code
    assert len(fields) == 4
    assert say(bench, "print(errorqueue.next())").startswith("0.00000e+00\tQueue Is Empty")


def test_only_run_time_errors_end_a_script(bench: Bench) -> None:
    assert say(bench, "smua.source.levelv = 1e4 print('went on')") == "went on"
    assert say(bench, "local t = nil; t.x = 1; print('went on')") == ""


def test_metatables_list_what_an_object_has(bench: Bench) -> None:
    assert say(bench, "print(type(getmetatable(smua.source).Getters.levelv))") == "function"
    assert say(bench, "print(type(getmetatable(smua.source).Setters.levelv))") == "function"
    assert say(bench, "print(getmetatable(smua.source).Setters.compliance)") == "nil"
    assert say(bench, "print(getmetatable(smua.nvbuffer1).luatype)") == "reading_buffer"


def test_scripts_are_kept_and_run_by_name(bench: Bench) -> None:
    say(bench, "loadscript double\nfunction twice(x)\nreturn 2*x\nend\nendscript")
    assert say(bench, "print(twice(4))") == "nil" or say(bench, "print(errorqueue.count)") != ""
    say(bench, "errorqueue.clear()\ndouble()")
    assert say(bench, "print(twice(4))") == "8.00000e+00"
    assert say(bench, "loadandrunscript\nprint('ran')\nendscript") == "ran"


def test_the_file_system_and_the_host_are_out_of_reach(bench: Bench) -> None:
    for name in ("io", "python", "require", "os.execute", "debug", "package"):
        assert say(bench, f"print({name})") == "nil"


def test_printbuffer_gives_text_and_both_binary_formats(bench: Bench) -> None:
    say(bench, "smua.source.levelv=0.5 smua.source.output=1 smua.measure.nplc=0.001")
    say(bench, "smua.measure.count=3 smua.measure.iv(smua.nvbuffer1, smua.nvbuffer2)")
    texts = say(bench, "printbuffer(1,3,smua.nvbuffer1.readings,smua.nvbuffer2)").split(", ")
    values = [float(t) for t in texts]
    assert values == pytest.approx([0.5 / RESISTOR_OHM, 0.5] * 3, rel=1e-5)
    for name, kind, order in (("REAL32", "f", "<"), ("REAL64", "d", ">")):
        say(bench, f"format.data=format.{name} format.byteorder={int(order == '<')}")
        raw = bench.instruments["dut"].exchange(b"printbuffer(1,3,smua.nvbuffer1.readings)")
        assert raw is not None
        assert raw[:2] == b"#0"
        assert raw[-1:] == b"\n"
        assert struct.unpack(f"{order}3{kind}", raw[2:-1]) == pytest.approx([5e-6] * 3, rel=1e-6)


def test_buffers_index_from_one(bench: Bench) -> None:
    say(bench, "smua.source.levelv=0.1 smua.source.output=1 smua.measure.i(smua.nvbuffer1)")
    assert float(say(bench, "print(smua.nvbuffer1[1])")) == pytest.approx(1e-6)
    assert say(bench, "print(smua.nvbuffer1[2])") == "nil"
    assert say(bench, "print(smua.nvbuffer1.n)") == "1.00000e+00"


def test_timers_place_source_measure_and_end_of_pulse(bench: Bench) -> None:
    say(
        bench,
        """
    smua.source.output=1 smua.measure.nplc=0.001 smua.nvbuffer1.clear()
    smua.nvbuffer1.collecttimestamps=1 smua.nvbuffer1.collectsourcevalues=1
    smua.trigger.source.linearv(0.1,0.5,5) smua.trigger.source.action=smua.ENABLE
    smua.trigger.count=5 smua.trigger.measure.i(smua.nvbuffer1)
    smua.trigger.measure.action=smua.ENABLE
    trigger.timer[1].delay=2e-3 trigger.timer[1].count=4 trigger.timer[1].passthrough=true
    trigger.timer[1].stimulus=smua.trigger.ARMED_EVENT_ID
    trigger.timer[2].delay=300e-6 trigger.timer[2].stimulus=trigger.timer[1].EVENT_ID
    smua.trigger.source.stimulus=trigger.timer[1].EVENT_ID
    smua.trigger.measure.stimulus=trigger.timer[2].EVENT_ID
    smua.trigger.endpulse.action=smua.SOURCE_IDLE
    smua.trigger.initiate() waitcomplete()
    """,
    )
    times = [float(v) for v in say(bench, "printbuffer(1,5,smua.nvbuffer1.timestamps)").split(",")]
    assert times == pytest.approx(300e-6 + 2e-3 * np.arange(5), rel=1e-5)
    levels = say(bench, "printbuffer(1,5,smua.nvbuffer1.sourcevalues)").split(",")
    assert [float(v) for v in levels] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    # 300 us to the measurement and 20 us of it: the pulse ends with the last measurement.
    assert bench.clock_ns == pytest.approx(8e6 + 320e3, abs=2)


def test_an_open_interlock_keeps_the_200_v_range_off_and_no_other(bench: Bench) -> None:
    bench.faults["dut"].interlock_open = True
    say(bench, "smua.source.levelv=50 smua.source.output=smua.OUTPUT_ON")
    assert say(bench, "print(errorqueue.next())").startswith("8.02")
    assert say(bench, "print(smua.source.output)") == "0.00000e+00"
    assert not bench.outputs()["dut.a"].on
    say(bench, "smua.source.levelv=1 smua.source.output=smua.OUTPUT_ON")
    assert bench.outputs()["dut.a"].on
    bench.faults["dut"].interlock_open = False
    say(bench, "smua.source.levelv=50")
    assert bench.outputs()["dut.a"].level_v == 50.0
    bench.faults["dut"].interlock_open = True
    assert say(bench, "print(smua.source.output)") == "0.00000e+00"
    assert not bench.outputs()["dut.a"].on


def test_a_40_v_model_has_no_interlock() -> None:
    bench = resistor_bench("keithley-2600b", "a", model="2602B")
    bench.faults["dut"].interlock_open = True
    say(bench, "smua.source.levelv=40 smua.source.output=smua.OUTPUT_ON")
    assert bench.outputs()["dut.a"].level_v == 40.0


def test_output_off_modes_ground_or_release_the_line(bench: Bench) -> None:
    terminal = bench.terminal("dut.a")
    say(bench, "smua.source.offmode=smua.OUTPUT_HIGH_Z")
    assert not terminal.low_impedance
    say(bench, "smua.source.offmode=smua.OUTPUT_NORMAL")
    assert terminal.low_impedance
    say(bench, "smua.source.output=2")
    assert not terminal.low_impedance


# Trigger objects.


def test_a_wait_lets_time_pass_to_the_event_or_to_its_end(visa: Any) -> None:
    with resistor_bench("keithley-2600b", "a") as bench:
        smu = visa(bench, "dut")
        smu.write("trigger.timer[1].delay=0.5")
        smu.write("trigger.timer[1].stimulus=trigger.generator[1].EVENT_ID")
        assert smu.query("trigger.generator[1].assert() print(trigger.timer[1].wait(2))") == "true"
        assert bench.clock_ns == 500_000_000
        assert smu.query("print(trigger.timer[1].wait(0.02))") == "false"
        assert bench.clock_ns == 520_000_000
        smu.write("*TRG")
        assert smu.query("print(trigger.wait(0.02), trigger.wait(0.02))") == "true\tfalse"
        smu.write("*TRG")
        smu.write("trigger.clear()")
        assert smu.query("print(trigger.wait(0.02))") == "false"


@pytest.mark.parametrize(("or_mode", "waited_s"), [("false", 0.3), ("true", 0.1)])
def test_a_blender_gives_its_event_at_all_or_at_one_of_its_stimuli(
    bench: Bench, or_mode: str, waited_s: float
) -> None:
    for n, delay in ((1, 0.1), (2, 0.3)):
        say(bench, f"trigger.timer[{n}].delay={delay}")
        say(bench, f"trigger.timer[{n}].stimulus=trigger.generator[1].EVENT_ID")
        say(bench, f"trigger.blender[1].stimulus[{n}]=trigger.timer[{n}].EVENT_ID")
    say(bench, f"trigger.blender[1].orenable={or_mode}")
    begin = bench.clock_ns
    assert say(bench, "trigger.generator[1].assert() print(trigger.blender[1].wait(1))") == "true"
    assert (bench.clock_ns - begin) * 1e-9 == pytest.approx(waited_s)
    say(bench, "trigger.blender[1].reset()")
    assert say(bench, "print(trigger.blender[1].stimulus[1])") == "0.00000e+00"


def test_a_blender_starts_sweeps_when_all_its_stimuli_have_come(bench: Bench) -> None:
    say(bench, "smua.source.output=1 smua.measure.nplc=0.001 smua.trigger.count=1")
    say(bench, "smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action=1")
    say(bench, "smua.trigger.arm.stimulus=trigger.blender[2].EVENT_ID")
    say(bench, "trigger.blender[2].stimulus[1]=digio.trigger[1].EVENT_ID")
    say(bench, "trigger.blender[2].stimulus[2]=tsplink.trigger[1].EVENT_ID")
    say(bench, "smua.trigger.initiate() digio.trigger[1].assert()")
    with bench.lock:
        bench.run(bench.instruments["dut"])
    assert say(bench, "print(smua.nvbuffer1.n)") == "0.00000e+00"
    say(bench, "tsplink.trigger[1].assert() waitcomplete()")
    assert say(bench, "print(smua.nvbuffer1.n)") == "1.00000e+00"


def test_another_session_brings_about_what_a_wait_waits_for(visa: Any) -> None:
    with resistor_bench("keithley-2600b", "a") as bench:
        first = visa(bench, "dut")
        other = bench.instruments["dut"]
        first.write("print(digio.trigger[4].wait(10))")
        assert eventually(lambda: other.busy)
        bench.engine.fire(bench.bus[4])  # the wire, driven by another instrument
        with bench.lock:
            bench.changed.notify_all()
        assert first.read().strip() == "true"
