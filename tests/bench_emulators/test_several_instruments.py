"""Instruments that work together: triggers between them, pulses of generators, B2900 pulses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import Bench, open_bench

from hil.config.station import Station


def bench_of(drivers: dict[str, str], wiring: list[dict[str, str]], **options: Any) -> Bench:
    values: dict[str, Any] = {
        "schema": 1,
        "array": [{"rows": 2, "cols": 2, "device": "ideal"}],
        "instrument": [{"name": n, "driver": d, "resource": "X"} for n, d in drivers.items()],
        "wiring": wiring,
    }
    bench = open_bench(Station.model_validate(values), seed=1, options=options)
    bench.warm_up()
    return bench


def say(bench: Bench, name: str, text: str) -> str:
    reply = None
    for line in text.strip().splitlines():
        reply = bench.instruments[name].exchange(line.strip().encode())
    return "" if reply is None else reply.decode("latin-1").rstrip("\n")


REST = [{"line": "WL1", "channel": "common"}, {"line": "BL1", "channel": "common"}]


def test_a_smu_sweep_triggers_one_generator_pulse_per_point_over_a_bus_line() -> None:
    bench = bench_of(
        {"awg": "keysight-33500b", "smu": "keithley-2600b"},
        [{"line": "WL0", "channel": "awg.1"}, {"line": "BL0", "channel": "smu.a"}, *REST],
        awg={"trigger_in": 2},
    )
    bench.array.g[...] = 2e-5
    say(bench, "awg", "OUTP1:LOAD INF;:SOUR1:FUNC PULS;:SOUR1:VOLT:HIGH 1;:SOUR1:VOLT:LOW 0")
    say(bench, "awg", "SOUR1:FUNC:PULS:PER 1e-3;:SOUR1:FUNC:PULS:WIDT 4e-4;:SOUR1:BURS:NCYC 1")
    say(bench, "awg", "SOUR1:BURS:STAT 1;:TRIG1:SOUR EXT;:OUTP1 ON")
    assert say(bench, "awg", "SYST:ERR?").startswith("+0")
    say(
        bench,
        "smu",
        """
    smua.source.output=1 smua.source.limiti=1e-2 smua.measure.nplc=0.001 smua.measure.rangei=1e-4
    smua.measure.delay=1e-4
    smua.trigger.measure.i(smua.nvbuffer1) smua.trigger.measure.action=1 smua.trigger.count=5
    trigger.timer[1].delay=5e-3 trigger.timer[1].count=4 trigger.timer[1].passthrough=true
    trigger.timer[1].stimulus=smua.trigger.ARMED_EVENT_ID
    smua.trigger.source.stimulus=trigger.timer[1].EVENT_ID
    digio.trigger[2].stimulus=smua.trigger.SOURCE_COMPLETE_EVENT_ID
    smua.trigger.initiate() waitcomplete()
    """,
    )
    amps = [float(v) for v in say(bench, "smu", "printbuffer(1,5,smua.nvbuffer1)").split(",")]
    # The bit line sinks what the 1 V pulse drives through the cell.
    assert amps == pytest.approx([-2e-5] * 5, rel=1e-4)
    assert say(bench, "smu", "print(errorqueue.count)").startswith("0")


def test_a_burst_counts_pulses_and_its_width_and_level_act() -> None:
    wiring = [{"line": "WL0", "channel": "p.1"}, {"line": "BL0", "channel": "common"}, *REST]
    changes = []
    for cycles, high in ((1, 2.0), (4, 2.0), (4, 1.0)):
        bench = bench_of({"p": "keysight-81160a"}, wiring)
        bench.array.g[...] = 1e-5
        say(bench, "p", f":OUTP1:LOAD 1E6;:FUNC1 PULS;:VOLT1:HIGH {high};:VOLT1:LOW 0")
        say(bench, "p", f":PULS:PER1 1e-3;:PULS:WIDT1 1e-4;:BURS1:STAT ON;:BURS1:NCYC {cycles}")
        say(bench, "p", ":ARM:SOUR1 MAN;:OUTP1 ON;*TRG;*OPC?")
        assert say(bench, "p", ":SYST:ERR?").startswith("+0")
        changes.append(float(bench.array.g[0, 0]) - 1e-5)
        assert bench.array.g[1, 1] == 1e-5
    assert changes[0] > 0
    assert changes[1] == pytest.approx(4 * changes[0], rel=0.05)
    assert changes[2] == 0.0  # below the device's threshold


def test_an_arbitrary_waveform_plays_its_samples() -> None:
    wiring = [{"line": "WL0", "channel": "awg.1"}, {"line": "BL0", "channel": "smu.1"}, *REST]
    bench = bench_of({"awg": "keysight-33500b", "smu": "keysight-b2900"}, wiring)
    bench.array.g[...] = 1e-5
    say(bench, "smu", ":OUTP1:OFF:MODE ZERO")  # only then does the off output hold its line
    # +2 V for three samples of 100 us, then −2 V for one: more potentiation than depression.
    samples = [0, 32767, 32767, 32767, 0, -32767, 0, 0]
    say(bench, "awg", "OUTP1:LOAD INF;:SOUR1:VOLT:HIGH 2;:SOUR1:VOLT:LOW -2")
    say(bench, "awg", "SOUR1:DATA:ARB:DAC w," + ",".join(map(str, samples)))
    say(bench, "awg", "SOUR1:FUNC:ARB w;:SOUR1:FUNC:ARB:SRAT 1e4;:SOUR1:FUNC ARB")
    say(bench, "awg", "SOUR1:BURS:STAT 1;:TRIG1:SOUR BUS;:OUTP1 ON;*TRG;*OPC?")
    assert say(bench, "awg", "SYST:ERR?").startswith("+0")
    assert bench.clock_ns == pytest.approx(800_000, abs=2)
    assert bench.array.g[0, 0] > 1e-5
    assert bench.outputs()["awg.1"].level_v == 0.0


def test_both_channels_of_a_b2900_pulse_together_and_measure_inside_the_pulse() -> None:
    wiring = [{"line": "WL0", "channel": "s.1"}, {"line": "BL0", "channel": "s.2"}, *REST]
    bench = bench_of({"s": "keysight-b2900"}, wiring)
    bench.array.g[...] = 1e-5
    for n, levels in ((1, (0.2, 0.4, 0.6)), (2, (-0.2, -0.1, 0.0))):
        say(bench, "s", f":SENS{n}:CURR:PROT 1e-2;:SENS{n}:CURR:RANG 1e-4;:SENS{n}:CURR:APER 1e-4")
        say(bench, "s", f":SOUR{n}:VOLT:MODE LIST;:SOUR{n}:LIST:VOLT " + ",".join(map(str, levels)))
        say(bench, "s", f":SOUR{n}:FUNC:SHAP PULS;:SOUR{n}:PULS:WIDT 5e-4;:TRIG{n}:ALL:COUN 3")
        say(bench, "s", f":TRIG{n}:ALL:SOUR TIM;:TRIG{n}:ALL:TIM 2e-3;:TRIG{n}:ACQ:DEL 3e-4")
        say(bench, "s", f":OUTP{n} ON")
    say(bench, "s", ":FORM:ELEM:SENS CURR,TIME,SOUR;:INIT (@1,2)")
    assert say(bench, "s", ":SYST:ERR?").startswith("+0")
    rows = np.array(say(bench, "s", ":FETC:ARR? (@1,2)").split(","), dtype=float).reshape(3, 2, 3)
    # Cell (0, 0) sees the difference, its neighbours the level against 0 V.
    word, bit = rows[:, 0, 2], rows[:, 1, 2]
    assert word == pytest.approx([0.2, 0.4, 0.6])
    assert rows[:, 0, 0] == pytest.approx(1e-5 * ((word - bit) + word), rel=1e-4)
    assert rows[:, 1, 0] == pytest.approx(1e-5 * ((bit - word) + bit), rel=1e-4)
    assert np.diff(rows[:, 0, 1]) == pytest.approx(2e-3, rel=1e-3)


def test_a_source_and_the_rail_on_one_line_are_recorded() -> None:
    wiring = [
        {"line": "WL0", "channel": "smu.a", "crosspoint": "mx/1A01"},
        {"line": "WL0", "channel": "common", "crosspoint": "mx/1H01"},
        {"line": "BL0", "channel": "common"}, *REST,
    ]  # fmt: skip
    bench = bench_of({"smu": "keithley-2600b", "mx": "keithley-707b"}, wiring)
    say(bench, "mx", 'channel.close("1A01,1H01")')
    say(bench, "smu", "smua.source.levelv=0.1 smua.source.output=1 print(smua.measure.i())")
    assert any("both drive WL0" in text for text in bench.incidents)


def test_a_list_sweep_of_a_2400_waits_for_its_trigger_line_at_every_point() -> None:
    wiring = [{"line": "WL0", "channel": "k.1"}, {"line": "BL0", "channel": "smu.a"}, *REST]
    bench = bench_of({"k": "keithley-2400", "smu": "keithley-2600b"}, wiring)
    bench.array.g[...] = 1e-5
    say(bench, "k", ":SENS:CURR:PROT 1E-3;RANG 1E-4;NPLC 0.01;:FORM:ELEM VOLT,CURR;:OUTP ON")
    say(bench, "k", ":SOUR:VOLT:MODE LIST;:SOUR:LIST:VOLT 0.1,0.2,0.3;:TRIG:COUN 3")
    say(bench, "k", ":TRIG:SOUR TLIN;:TRIG:ILIN 4;:TRAC:POIN 3;:TRAC:FEED:CONT NEXT;:INIT")
    for taken in (1, 2, 3):
        say(bench, "smu", "smub.source.output=1 digio.trigger[4].assert() waitcomplete()")
        assert say(bench, "k", ":TRAC:POIN:ACT?") == str(taken)
    values = np.array(say(bench, "k", ":TRAC:DATA?").split(","), dtype=float).reshape(3, 2)
    assert values[:, 0] == pytest.approx([0.1, 0.2, 0.3])
    assert (np.diff(values[:, 1]) > 0).all()


def test_a_realistic_bench_takes_the_bus_time_of_every_message() -> None:
    values = {
        "schema": 1,
        "array": [{"rows": 1, "cols": 1, "device": "ideal"}],
        "instrument": [{"name": "k", "driver": "keithley-2400", "resource": "X"}],
        "wiring": [{"line": "WL0", "channel": "k.1"}, {"line": "BL0", "channel": "common"}],
    }
    bench = open_bench(Station.model_validate(values), seed=1, realistic=True)
    bench.warm_up()
    for _ in range(3):
        say(bench, "k", ":OUTP?")
    assert bench.clock_ns == 3 * 4_000_000  # GPIB: 4 ms a message
