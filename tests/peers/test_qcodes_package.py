"""QCoDeS's drivers on our emulators; the 708B and 81160A have none there."""

from __future__ import annotations

from typing import Any

import pytest
from clients import (
    SOURCE_V,
    client,
    connected,
    is_off,
    is_the_resistor,
    needs,
    on_bench,
    pulses_seen,
)
from hil_sim.virtual_bench import open_bench
from resistor import RESISTOR_OHM, eventually, station

needs("qcodes")
pytestmark = pytest.mark.filterwarnings("ignore")
KEITHLEY = "qcodes.instrument_drivers.Keithley"
KEYSIGHT = "qcodes.instrument_drivers.Keysight"


def test_a_2450_is_measured_with_and_sweeps() -> None:
    with on_bench(client(KEITHLEY, "Keithley2450"), "keithley-2450", "1") as (bench, smu):
        assert smu.get_idn()["model"] == "2450"
        smu.source.function("voltage")
        smu.sense.function("current")
        smu.source.limit(1e-3)
        smu.source.voltage(SOURCE_V)
        assert smu.source.voltage() == pytest.approx(SOURCE_V)
        smu.output_enabled(True)
        assert is_the_resistor(smu.sense.current())
        smu.source.sweep_setup(0, SOURCE_V, 3)
        assert smu.sense.sweep() == pytest.approx([0.0, 1e-6, 2e-6], rel=1e-3, abs=1e-12)
        smu.output_enabled(False)
        assert is_off(bench, "1")


def test_a_2450_sources_current() -> None:
    with on_bench(client(KEITHLEY, "Keithley2450"), "keithley-2450", "1") as (bench, smu):
        smu.source.function("current")
        smu.sense.function("voltage")
        smu.source.limit(2.0)
        smu.source.current(2e-6)
        smu.output_enabled(True)
        assert smu.sense.voltage() == pytest.approx(2e-6 * RESISTOR_OHM, rel=1e-3)
        smu.output_enabled(False)
        assert is_off(bench, "1")


def test_a_2450_in_tsp_mode_is_refused() -> None:
    driver = client(KEITHLEY, "Keithley2450")
    with on_bench(driver, "keithley-2450", "1", language="TSP") as (_, smu):
        assert not hasattr(smu, "source")


@pytest.mark.parametrize("options", [{}, {"language": "SCPI2400"}], ids=["2400", "2450 as 2400"])
def test_a_2400_is_measured_with(options: dict[str, str]) -> None:
    emulated = "keithley-2450" if options else "keithley-2400"
    with on_bench(client(KEITHLEY, "Keithley2400"), emulated, "1", **options) as (bench, smu):
        assert smu.get_idn()["model"] in ("2400", "2450")
        smu.reset()
        smu.mode("VOLT")
        smu.compliancei(1e-3)
        smu.volt(SOURCE_V)
        smu.output(True)
        assert is_the_resistor(smu.curr())
        assert smu.volt() == pytest.approx(SOURCE_V, rel=1e-3)
        assert smu.resistance() == pytest.approx(RESISTOR_OHM, rel=1e-3)
        smu.output(False)
        assert is_off(bench, "1")


@pytest.mark.parametrize("model", ["2602B", "2612B", "2636B"])
@pytest.mark.parametrize("channel", ["a", "b"])
def test_a_2600b_is_measured_with_and_runs_a_lua_script(model: str, channel: str) -> None:
    driver = client(KEITHLEY, f"Keithley{model}")
    with on_bench(driver, "keithley-2600b", channel, model=model) as (bench, keithley):
        assert keithley.IDN()["model"] == model
        smu = getattr(keithley, f"smu{channel}")
        smu.mode("voltage")
        smu.limiti(1e-3)
        smu.nplc(0.1)
        smu.volt(SOURCE_V)
        smu.output("on")
        assert is_the_resistor(smu.curr())
        assert smu.res() == pytest.approx(RESISTOR_OHM, rel=1e-3)
        smu.timetrace_npts(5)
        smu.timetrace_dt(0.1)
        smu.timetrace_mode("current")
        assert smu.timetrace() == pytest.approx(SOURCE_V / RESISTOR_OHM, rel=1e-3)
        smu.output("off")
        assert is_off(bench, channel)


def test_a_2600b_makes_a_fast_sweep() -> None:
    driver = client(KEITHLEY, "Keithley2602B")
    with on_bench(driver, "keithley-2600b", "a", model="2602B") as (bench, keithley):
        sweep = client("qcodes.dataset", "LinSweep")
        smu = keithley.smua
        smu.limiti(1e-3)
        smu.setup_fastsweep(sweep(smu.volt, 0.0, SOURCE_V, 5), mode="IV")
        amps = smu.fastsweep()
        expected = [k * SOURCE_V / 4 / RESISTOR_OHM for k in range(5)]
        assert amps == pytest.approx(expected, rel=1e-3, abs=1e-11)
        smu.output("off")
        assert is_off(bench, "a")


def test_a_b2900_is_measured_with_by_the_b2962a_driver() -> None:
    # QCoDeS has no driver of a B290x; that of its sister B2962A speaks the same language.
    driver = client(KEYSIGHT, "KeysightB2962A")
    with on_bench(driver, "keysight-b2900", "2") as (bench, smu):
        assert smu.get_idn()["model"] == "B2902A"
        channel = smu.ch2
        channel.source_mode("voltage")
        channel.current_limit(1e-3)
        channel.source_voltage(SOURCE_V)
        channel.enable(True)
        assert is_the_resistor(channel.current())
        assert channel.voltage() == pytest.approx(SOURCE_V, rel=1e-3)
        assert channel.resistance() == pytest.approx(RESISTOR_OHM, rel=1e-3)
        assert channel.source_voltage() == pytest.approx(SOURCE_V)
        channel.enable(False)
        assert is_off(bench, "2")


def test_a_3706a_moves_relays_and_reads_them_back() -> None:
    driver = client(KEITHLEY, "Keithley3706A")
    with (
        open_bench(station("keithley-3706a", "1", wiring=[]), seed=1) as bench,
        connected(driver, bench) as matrix,
    ):
        assert matrix.get_idn()["model"] == "3706A"
        assert matrix.channel_connect_rule() == "BREAK_BEFORE_MAKE"
        matrix.close_channel("1101")
        assert matrix.get_closed_channels("allslots") == ["1101"]
        assert bench.closed()["dut"] == {"1101"}
        matrix.connect_row_to_columns(1, 2, [3, 4])
        matrix.exclusive_close("2106")
        assert matrix.get_closed_channels("allslots") == ["2106"]
        assert bench.closed()["dut"] == {"2106"}
        matrix.set_forbidden_channels("1101")
        assert matrix.get_forbidden_channels("allslots") == "1101"
        matrix.clear_forbidden_channels("1101")
        matrix.open_channel("allslots")
        assert matrix.get_closed_channels("allslots") is None
        assert eventually(lambda: bench.safe)


def test_a_b2200a_moves_relays_and_reads_them_back() -> None:
    driver = client(KEYSIGHT, "KeysightB220X")
    with (
        open_bench(station("keysight-b2200a", "1", wiring=[]), seed=1) as bench,
        connected(driver, bench) as matrix,
    ):
        assert "B2200A" in (matrix.get_idn()["model"] or "")
        matrix.clear_status()
        matrix.connection_rule("free")
        matrix.connection_sequence("bbm")
        matrix.connect(1, 2)
        matrix.connect_paths([(3, 4), (5, 6)])
        assert matrix.connections() == {(1, 2), (3, 4), (5, 6)}
        assert bench.closed()["dut"] == {"00102", "00304", "00506"}
        matrix.disconnect(1, 2)
        matrix.disconnect_paths([(3, 4)])
        assert matrix.connections() == {(5, 6)}
        assert matrix.get_error().startswith("+0")
        assert matrix.get_status() == 0
        matrix.disconnect_all()
        assert matrix.connections() == set()
        assert eventually(lambda: bench.safe)


@pytest.mark.parametrize("model", ["33512B", "33522B", "33622A"])
def test_a_burst_of_a_33xxx_is_seen_on_the_net(model: str) -> None:
    driver = client(KEYSIGHT, f"Keysight{model}")
    with on_bench(driver, "keysight-33500b", "1", model=model) as (bench, generator):
        assert generator.get_idn()["model"] == model
        generator.write("OUTP1:LOAD INF")
        channel: Any = generator.ch1
        channel.function_type("PULS")
        channel.frequency(1e3)
        channel.amplitude(2.0)
        channel.offset(1.0)
        channel.pulse_width(1e-4)
        channel.burst_mode("N Cycle")
        channel.burst_state("ON")
        channel.burst_ncycles(2)
        channel.trigger_source("BUS")
        channel.output("ON")
        assert channel.burst_ncycles() == 2
        before = float(bench.array.g[0, 0])

        def burst() -> None:
            generator.force_trigger()
            assert generator.ask("*OPC?") == "1"

        found = pulses_seen(bench, burst)
        assert [v for _, _, v in found] == pytest.approx([2.0, 2.0], rel=1e-3)
        assert [w for _, w, _ in found] == pytest.approx([1e-4, 1e-4], rel=1e-3)
        assert found[1][0] - found[0][0] == pytest.approx(1e-3, rel=1e-3)
        assert generator.error()[0] == 0
        assert float(bench.array.g[0, 0]) > before
        channel.output("OFF")
        assert is_off(bench, "1")
