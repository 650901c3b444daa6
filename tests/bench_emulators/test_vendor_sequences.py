"""Command sequences of the maker's public scripts and factory scripts on the 2600B emulator.

The scripts here are our own and short; their commands come in the order of Keithley's examples for
the Series 2600B (pulsed sweep of two channels from the TRIG key, autoranged sweeps, a waveform with
its timing by a timer, TSP-Link nodes) and of the manual's examples for KIPulse and KISweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import Bench
from resistor import RESISTOR_OHM, eventually, resistor_bench

Smu = tuple[Bench, Any, Callable[..., list[float]]]


@pytest.fixture
def smu(visa) -> Iterator[Smu]:
    with resistor_bench("keithley-2600b", "a") as bench:
        session = visa(bench, "dut")

        def printed(expression: str) -> list[float]:
            return [float(v) for v in session.query(f"print({expression})").split("\t")]

        yield bench, session, printed
        assert printed("errorqueue.count") == [0.0]


def columns(session: Any, points: int) -> np.ndarray:
    """Read what a script prints: one line per point."""
    return np.array([[float(v) for v in session.read().split("\t")] for _ in range(points)])


SWEEP = """loadscript sweep
reset()
smua.reset()
smua.source.func = smua.OUTPUT_DCVOLTS
smua.source.limiti = 1e-3
smua.measure.nplc = 0.1
smua.measure.delay = smua.DELAY_AUTO
for _, buffer in ipairs({smua.nvbuffer1, smua.nvbuffer2}) do
buffer.clear()
buffer.collecttimestamps = 1
end
smua.trigger.source.SHAPE
smua.trigger.source.limiti = 1e-3
smua.trigger.measure.action = smua.ENABLE
smua.trigger.measure.iv(smua.nvbuffer1, smua.nvbuffer2)
smua.trigger.endpulse.action = smua.SOURCE_HOLD
smua.trigger.endsweep.action = smua.SOURCE_IDLE
smua.trigger.count = 4
smua.trigger.source.action = smua.ENABLE
smua.source.output = smua.OUTPUT_ON
smua.trigger.initiate()
waitcomplete()
smua.source.output = smua.OUTPUT_OFF
for x = 1, smua.nvbuffer1.n do
print(smua.nvbuffer1.timestamps[x], smua.nvbuffer2[x], smua.nvbuffer1[x])
end
endscript
sweep()"""


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ("linearv(0.1, 0.4, 4)", [0.1, 0.2, 0.3, 0.4]),
        ("logv(0.1, 0.8, 4, 0)", [0.1, 0.2, 0.4, 0.8]),
        ("listv({0.3, 0.1, 0.4, 0.2})", [0.3, 0.1, 0.4, 0.2]),
    ],
)
def test_an_autoranged_sweep(smu: Smu, shape: str, levels: list[float]) -> None:
    bench, session, _ = smu
    session.write(SWEEP.replace("SHAPE", shape))
    found = columns(session, 4)
    assert found[:, 1] == pytest.approx(levels, rel=1e-3)
    assert found[:, 1] / found[:, 2] == pytest.approx(RESISTOR_OHM, rel=1e-3)
    assert (np.diff(found[:, 0]) > 0).all()
    assert not bench.outputs()["dut.a"].on


PULSED = """loadscript pulsed
reset()
display.trigger.clear()
trigger.timer[1].count = 3
trigger.timer[1].delay = 5e-3
trigger.timer[1].passthrough = true
trigger.timer[1].stimulus = display.trigger.EVENT_ID
trigger.timer[2].count = 1
trigger.timer[2].delay = 1e-3 - (1 / localnode.linefreq) * 0.001 - 60e-6
trigger.timer[2].passthrough = false
trigger.timer[2].stimulus = trigger.timer[1].EVENT_ID
trigger.timer[3].count = 1
trigger.timer[3].delay = 1e-3
trigger.timer[3].passthrough = false
trigger.timer[3].stimulus = trigger.timer[1].EVENT_ID
for _, smu in ipairs({smua, smub}) do
smu.source.autorangev = smu.AUTORANGE_OFF
smu.source.rangev = math.max(math.abs(0.1), math.abs(0.4))
smu.measure.autozero = smu.AUTOZERO_ONCE
smu.measure.autorangei = smu.AUTORANGE_OFF
smu.measure.rangei = 1e-5
smu.measure.nplc = 0.001
smu.nvbuffer1.clear()
smu.nvbuffer2.clear()
smu.trigger.source.linearv(0.1, 0.4, 4)
smu.trigger.source.limiti = 1e-3
smu.trigger.measure.action = smu.ENABLE
smu.trigger.measure.iv(smu.nvbuffer1, smu.nvbuffer2)
smu.trigger.endpulse.action = smu.SOURCE_IDLE
smu.trigger.endsweep.action = smu.SOURCE_IDLE
smu.trigger.count = 4
smu.trigger.arm.stimulus = 0
smu.trigger.source.stimulus = trigger.timer[1].EVENT_ID
smu.trigger.measure.stimulus = trigger.timer[2].EVENT_ID
smu.trigger.endpulse.stimulus = trigger.timer[3].EVENT_ID
smu.trigger.source.action = smu.ENABLE
smu.source.output = smu.OUTPUT_ON
end
smua.trigger.initiate()
smub.trigger.initiate()
waitcomplete()
smua.source.output = smua.OUTPUT_OFF
smub.source.output = smub.OUTPUT_OFF
for x = 1, smua.nvbuffer1.n do
print(smua.nvbuffer2[x], smua.nvbuffer1[x], smub.nvbuffer2[x], smub.nvbuffer1[x])
end
endscript
pulsed()"""


def test_a_pulsed_sweep_of_two_channels_starts_at_the_trigger_key(smu: Smu) -> None:
    bench, session, _ = smu
    driven: list[Any] = []
    run = bench.physics.run

    def watched(trains: Any, *rest: Any) -> Any:
        driven.extend(t for t in trains if t.terminal.channel == "a" and t.start_s.size)
        return run(trains, *rest)

    bench.physics.run = watched  # type: ignore[method-assign]
    session.write(PULSED)
    assert eventually(lambda: bench.outputs()["dut.b"].on)
    assert bench.outputs()["dut.a"].level_v == 0.0  # waits for the key
    threading.Timer(0.05, bench.instruments["dut"].press_trigger_key).start()  # type: ignore[attr-defined]
    found = columns(session, 4)
    assert found[:, 0] == pytest.approx([0.1, 0.2, 0.3, 0.4], rel=1e-3)
    assert found[:, 0] / found[:, 1] == pytest.approx(RESISTOR_OHM, rel=1e-3)
    assert found[:, 2] == pytest.approx(found[:, 0])
    assert found[:, 3] == pytest.approx(0.0, abs=1e-9)  # nothing is connected to channel b
    (train,) = driven
    assert np.diff(train.start_s) == pytest.approx([5e-3] * 3, rel=1e-6)
    assert train.stop_s - train.start_s == pytest.approx([1e-3] * 4, rel=1e-6)


def test_a_waveform_is_timed_by_a_timer_that_starts_when_armed(smu: Smu) -> None:
    _, session, printed = smu
    session.write(
        "loadandrunscript\n"
        "reset()\n"
        "local values = {}\n"
        "for i = 1, 20 do values[i] = 0.2 * math.sqrt(2) * math.sin(i * 2 * math.pi / 20) end\n"
        "smua.source.settling = smua.SETTLE_FAST_POLARITY\n"
        "smua.source.autorangev = smua.AUTORANGE_OFF\n"
        "smua.source.autorangei = smua.AUTORANGE_OFF\n"
        "smua.source.rangev = 0.3\n"
        "smua.measure.autozero = smua.AUTOZERO_OFF\n"
        "smua.measure.rangei = 1e-5\n"
        "smua.measure.nplc = 0.001\n"
        "smua.nvbuffer1.clear()\n"
        "smua.nvbuffer1.collecttimestamps = 1\n"
        "trigger.timer[1].delay = 1 / 7200\n"
        "trigger.timer[1].passthrough = true\n"
        "trigger.timer[1].stimulus = smua.trigger.ARMED_EVENT_ID\n"
        "trigger.timer[1].count = 19\n"
        "smua.trigger.source.listv(values)\n"
        "smua.trigger.measure.action = smua.ENABLE\n"
        "smua.trigger.measure.iv(smua.nvbuffer1, smua.nvbuffer2)\n"
        "smua.trigger.endpulse.action = smua.SOURCE_HOLD\n"
        "smua.trigger.count = 20\n"
        "smua.trigger.source.stimulus = trigger.timer[1].EVENT_ID\n"
        "smua.trigger.measure.stimulus = 0\n"
        "smua.trigger.source.action = smua.ENABLE\n"
        "smua.source.output = smua.OUTPUT_ON\n"
        "smua.trigger.initiate()\n"
        "waitcomplete()\n"
        "smua.source.output = smua.OUTPUT_OFF\n"
        "endscript"
    )
    assert printed("smua.nvbuffer1.n") == [20.0]
    session.write("printbuffer(1, 20, smua.nvbuffer1.readings, smua.nvbuffer1.timestamps)")
    amps, times = np.array(session.read().split(","), dtype=float).reshape(20, 2).T
    wave = 0.2 * np.sqrt(2) * np.sin(np.arange(1, 21) * 2 * np.pi / 20)
    assert amps * RESISTOR_OHM == pytest.approx(wave, abs=1e-3)
    assert np.diff(times) == pytest.approx(1 / 7200, rel=1e-3)


def test_bit_functions_nodes_menus_and_exit_are_there(smu: Smu) -> None:
    _, session, printed = smu
    assert printed("bit.bitand(10, 6), bit.bitor(10, 6), bit.bitxor(10, 6)") == [2.0, 14.0, 12.0]
    assert printed("bit.set(1, 3), bit.clear(7, 1), bit.toggle(5, 2), bit.get(4, 3)") == [
        5.0, 6.0, 7.0, 4.0,
    ]  # fmt: skip
    assert printed("bit.getfield(22, 2, 3), bit.setfield(0, 2, 3, 5)") == [3.0, 10.0]
    assert session.query("print(bit.test(4, 3), node[1].model)") == "true\t2636B"
    session.write("node[1].smua.source.levelv = 0.1 display.loadmenu.add('test', 'print(1)')")
    assert printed("smua.source.levelv") == [0.1]
    session.write('if tsplink.state == "offline" and tsplink.reset() ~= 2 then exit() end print(2)')
    assert session.query("print(3)") == "3.00000e+00"


CONFIGURED = (
    "smua.reset()\nsmua.source.rangev = 2\nsmua.source.levelv = 0\nsmua.measure.rangei = 1e-5\n"
    "smua.measure.nplc = 0.01\nsmua.measure.autozero = smua.AUTOZERO_ONCE\n"
    "smua.nvbuffer1.clear()\nsmua.nvbuffer1.appendmode = 1"
)


def test_kipulse_pulses_a_voltage_and_measures_the_current(smu: Smu) -> None:
    bench, session, printed = smu
    session.write(CONFIGURED + "\nsmua.source.output = smua.OUTPUT_ON")
    config = "0, 0.5, 1e-3, 0.002, 0.008, 10, smua.nvbuffer1, 1"
    session.write(f"f1, msg1 = ConfigPulseVMeasureI(smua, {config})")
    assert session.query("print(f1, msg1)") == "true\tSuccess"
    begin_ns = bench.clock_ns
    session.write("f2, msg2 = InitiatePulseTest(1)")
    assert session.query("print(f2, msg2)") == "true\tSuccess"
    assert (bench.clock_ns - begin_ns) * 1e-9 == pytest.approx(0.092, abs=2e-3)
    session.write("printbuffer(1, smua.nvbuffer1.n, smua.nvbuffer1)")
    amps = np.array(session.read().split(","), dtype=float)
    assert amps == pytest.approx([0.5 / RESISTOR_OHM] * 10, rel=1e-3)
    assert printed("smua.source.output, smua.source.levelv") == [1.0, 0.0]
    session.write("smua.source.output = smua.OUTPUT_OFF")
    assert eventually(lambda: bench.safe)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ("lineari(1e-6, 4e-6, 4)", [1e-6, 2e-6, 3e-6, 4e-6]),
        ("logi(1e-6, 8e-6, 4, 0)", [1e-6, 2e-6, 4e-6, 8e-6]),
        ("listi({3e-6, -1e-6, 0, 2e-6})", [3e-6, -1e-6, 0.0, 2e-6]),
    ],
)
def test_an_autoranged_sweep_of_current(smu: Smu, shape: str, levels: list[float]) -> None:
    bench, session, _ = smu
    script = SWEEP.replace("SHAPE", shape).replace("DCVOLTS", "DCAMPS").replace("limiti", "limitv")
    session.write(script.replace("limitv = 1e-3", "limitv = 2"))
    found = columns(session, 4)
    assert found[:, 2] == pytest.approx(levels, rel=1e-3, abs=1e-12)
    assert found[:, 1] == pytest.approx(np.array(levels) * RESISTOR_OHM, rel=1e-3, abs=1e-9)
    assert not bench.outputs()["dut.a"].on


def test_a_sweep_of_current_stops_at_its_voltage_limit_and_says_so(smu: Smu) -> None:
    _, session, printed = smu
    session.write(
        "smua.reset()\nsmua.source.func = smua.OUTPUT_DCAMPS\nsmua.source.limitv = 0.25\n"
        "SweepILinMeasureV(smua, 1e-6, 4e-6, 1e-3, 4)"
    )
    session.write("printbuffer(1, 4, smua.nvbuffer1.readings, smua.nvbuffer1.statuses)")
    volts, status = np.array(session.read().split(","), dtype=float).reshape(4, 2).T
    assert volts == pytest.approx([0.1, 0.2, 0.25, 0.25], rel=1e-3)
    assert (status.astype(int) & 64 != 0).tolist() == [False, False, True, True]
    assert printed("smua.nvbuffer1.n") == [4.0]


def test_kipulse_pulses_a_current_and_measures_the_voltage(smu: Smu) -> None:
    _, session, _ = smu
    session.write(
        "smua.reset()\nsmua.source.func = smua.OUTPUT_DCAMPS\nsmua.source.rangei = 1e-5\n"
        "smua.source.leveli = 0\nsmua.measure.nplc = 0.01\nsmua.nvbuffer1.clear()\n"
        "smua.source.output = smua.OUTPUT_ON"
    )
    swept = "0, 1e-6, 4e-6, 2, 0.002, 0.008, 4, smua.nvbuffer1, 1"
    assert session.query(f"print(ConfigPulseIMeasureVSweepLin(smua, {swept}))") == "true\tSuccess"
    assert session.query("print(InitiatePulseTest(1))") == "true\tSuccess"
    session.write("printbuffer(1, 4, smua.nvbuffer1)")
    volts = np.array(session.read().split(","), dtype=float)
    assert volts == pytest.approx([0.1, 0.2, 0.3, 0.4], rel=1e-3)
    session.write("smua.source.output = smua.OUTPUT_OFF")


def test_kipulse_sweeps_and_pulses_both_channels_together(smu: Smu) -> None:
    _, session, printed = smu
    session.write(CONFIGURED + "\n" + CONFIGURED.replace("smua", "smub"))
    session.write("smua.source.output = 1 smub.source.output = 1")
    swept = "0, 0.1, 0.4, 1e-3, 0.002, 0.008, 4, smua.nvbuffer1, 1"
    session.write(f"ConfigPulseVMeasureISweepLin(smua, {swept})")
    session.write("ConfigPulseVMeasureI(smub, 0, 0.5, 1e-3, 0.001, 0.009, 4, smub.nvbuffer1, 2)")
    assert session.query("print(InitiatePulseTestDual(1, 2))") == "true\tSuccess"
    session.write("printbuffer(1, 4, smua.nvbuffer1)")
    amps = np.array(session.read().split(","), dtype=float)
    assert amps * RESISTOR_OHM == pytest.approx([0.1, 0.2, 0.3, 0.4], rel=1e-3)
    assert printed("smub.nvbuffer1.n") == [4.0]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("InitiatePulseTest(5)", "tag is not configured"),
        ("ConfigPulseVMeasureI(smua, 0, 9, 1, 1, 1, 1, nil, 1)", "beyond the source range"),
        ("ConfigPulseVMeasureI(smua, 0, 1, 1, 1e-5, 1, 1, smua.nvbuffer1, 1)", "too small"),
        ("ConfigPulseVMeasureI(smua, 0, 1, 1, 1, 1, 0, nil, 1)", "less than 1"),
    ],
)
def test_kipulse_says_what_it_refuses(smu: Smu, call: str, reason: str) -> None:
    _, session, _ = smu
    session.write(CONFIGURED)
    answer = session.query(f"print({call})")
    assert answer.startswith("false")
    assert reason in answer


def test_kipulse_wants_the_output_on(smu: Smu) -> None:
    _, session, _ = smu
    session.write(CONFIGURED)
    session.write("ConfigPulseVMeasureI(smua, 0, 0.5, 1e-3, 0.002, 0.008, 2, smua.nvbuffer1, 1)")
    assert session.query("print(InitiatePulseTest(1))") == "false\tError: the output is off"


@pytest.mark.parametrize(
    ("call", "levels"),
    [
        ("SweepVLinMeasureI(smua, -0.2, 0.2, 1e-3, 3)", [-0.2, 0.0, 0.2]),
        ("SweepVLogMeasureI(smua, 0.1, 0.4, 1e-3, 3)", [0.1, 0.2, 0.4]),
        ("SweepVListMeasureI(smua, {0.3, 0.1}, 1e-3, 2)", [0.3, 0.1]),
    ],
)
def test_kisweep_leaves_currents_and_levels_in_the_buffer(
    smu: Smu, call: str, levels: list[float]
) -> None:
    bench, session, printed = smu
    session.write(f"smua.reset()\n{call}")
    n = len(levels)
    assert printed("smua.nvbuffer1.n") == [float(n)]
    session.write(f"printbuffer(1, {n}, smua.nvbuffer1.readings, smua.nvbuffer1.sourcevalues)")
    amps, volts = np.array(session.read().split(","), dtype=float).reshape(n, 2).T
    assert volts == pytest.approx(levels)
    assert amps * RESISTOR_OHM == pytest.approx(levels, rel=1e-3, abs=1e-5)
    assert eventually(lambda: bench.safe)
