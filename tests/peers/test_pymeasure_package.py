"""PyMeasure's drivers on our emulators; it has none for a B2900 or a switch matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clients import (
    SOURCE_V,
    client,
    is_off,
    is_the_resistor,
    needs,
    on_bench,
    pulses_seen,
)
from resistor import RESISTOR_OHM

needs("pymeasure")
pytestmark = pytest.mark.filterwarnings("ignore")
KEITHLEY = "pymeasure.instruments.keithley"


def measures_with(smu: Any) -> None:
    smu.apply_voltage(compliance_current=1e-3)
    smu.measure_current()
    smu.source_voltage = SOURCE_V
    smu.enable_source()
    assert is_the_resistor(smu.current)
    assert smu.check_errors() == []


@pytest.mark.parametrize("name", ["Keithley2400", "Keithley2400Legacy"])
def test_a_2400_is_measured_with(name: str) -> None:
    with on_bench(client(KEITHLEY, name), "keithley-2400", "1") as (bench, smu):
        assert "MODEL 2400" in smu.id
        measures_with(smu)
        smu.shutdown()
        assert is_off(bench, "1")


def test_a_2400_fills_its_buffer() -> None:
    driver = client(KEITHLEY, "Keithley2400")
    with on_bench(driver, "keithley-2400", "1") as (bench, smu):
        measures_with(smu)
        smu.config_buffer(10)
        smu.start_buffer()
        smu.wait_for_buffer(timeout=20, interval=0.01)
        means = smu.means
        assert is_the_resistor(means[1])
        assert smu.std_current == pytest.approx(0.0, abs=SOURCE_V / RESISTOR_OHM * 1e-3)
        smu.shutdown()
        assert is_off(bench, "1")


def test_a_2400_sources_current_and_measures_ohms() -> None:
    driver = client(KEITHLEY, "Keithley2400")
    with on_bench(driver, "keithley-2400", "1") as (bench, smu):
        smu.source_mode = "current"
        smu.compliance_voltage = 1.0
        smu.source_current_range = 1e-5
        smu.source_current = 2e-6
        smu.enable_source()
        assert smu.voltage == pytest.approx(2e-6 * RESISTOR_OHM, rel=1e-3)
        assert smu.measure_all()["current"] == pytest.approx(2e-6, rel=1e-3)
        smu.shutdown()
        assert is_off(bench, "1")


def test_a_2450_is_measured_with() -> None:
    with on_bench(client(KEITHLEY, "Keithley2450"), "keithley-2450", "1") as (bench, smu):
        assert "MODEL 2450" in smu.id
        measures_with(smu)
        smu.shutdown()
        assert is_off(bench, "1")


@pytest.mark.parametrize("channel", ["a", "b"])
def test_a_2600b_is_measured_with(channel: str) -> None:
    driver = client(KEITHLEY, "Keithley2600")
    with on_bench(driver, "keithley-2600b", channel) as (bench, keithley):
        assert "2636B" in keithley.id
        smu = getattr(keithley, f"Ch{channel.upper()}")
        smu.apply_voltage(compliance_current=1e-3)
        smu.measure_current(nplc=0.1)
        smu.source_voltage = SOURCE_V
        smu.source_output = "ON"
        assert is_the_resistor(smu.current)
        assert smu.resistance == pytest.approx(RESISTOR_OHM, rel=1e-3)
        assert keithley.next_error[0] == 0
        smu.shutdown()
        assert is_off(bench, channel)


@pytest.mark.parametrize(
    ("module", "name", "driver", "load"),
    [
        ("pymeasure.instruments.agilent", "Agilent33500", "keysight-33500b", "INF"),
        ("pymeasure.instruments.keysight", "Keysight81160A", "keysight-81160a", 1e6),
    ],
)
def test_a_burst_of_a_generator_is_seen_on_the_net(
    module: str, name: str, driver: str, load: Any
) -> None:
    with on_bench(client(module, name), driver, "1") as (bench, generator):
        assert any(model in generator.id for model in ("33522B", "81160A"))
        channel = generator.ch_1
        channel.output_load = load
        channel.shape = "PULS"
        channel.voltage_high, channel.voltage_low = 2.0, 0.0
        channel.pulse_period, channel.pulse_width = 1e-3, 1e-4
        channel.burst_state, channel.burst_ncycles = True, 3
        if name == "Agilent33500":
            generator.trigger_source = "BUS"
        else:
            channel.trigger_mode = "MAN"
            # PyMeasure 0.16 sends 0 for burst_state = True; the manual wins.
            generator.write(":BURS1:STAT ON")
        assert channel.voltage_high == pytest.approx(2.0)
        assert channel.burst_ncycles == 3
        channel.output = True
        before = float(bench.array.g[0, 0])

        def burst() -> None:
            generator.write("*TRG")
            assert generator.ask("*OPC?").strip() == "1"

        starts, widths, volts = np.array(pulses_seen(bench, burst)).T
        assert volts == pytest.approx([2.0] * 3, rel=1e-3)
        assert widths == pytest.approx([1e-4] * 3, rel=1e-3)
        assert np.diff(starts) == pytest.approx([1e-3] * 2, rel=1e-3)
        assert generator.check_errors() == []
        assert float(bench.array.g[0, 0]) > before
        channel.output = False
        assert is_off(bench, "1")


def test_a_waveform_downloaded_to_a_33500b_is_played() -> None:
    driver = client("pymeasure.instruments.agilent", "Agilent33500")
    with on_bench(driver, "keysight-33500b", "1") as (bench, generator):
        channel = generator.ch_1
        channel.output_load = "INF"
        channel.data_volatile_clear()
        channel.data_arb("steps", [0, 0, 16384, 16384, 0, 0, 32767, 32767, 0, 0])
        channel.arb_file = "steps"
        channel.shape = "ARB"
        channel.arb_filter = "STEP"
        channel.arb_srate = 1e4
        channel.voltage_high, channel.voltage_low = 1.0, -1.0
        channel.burst_state, channel.burst_ncycles = True, 1
        generator.trigger_source = "BUS"
        channel.output = True

        def burst() -> None:
            generator.write("*TRG")
            assert generator.ask("*OPC?").strip() == "1"

        driven = [p for p in pulses_seen(bench, burst) if p[2] != 0.0]
        assert [v for _, _, v in driven] == pytest.approx([0.5, 1.0], rel=1e-3)
        assert [w for _, w, _ in driven] == pytest.approx([2e-4, 2e-4], rel=1e-3)
        assert generator.check_errors() == []
        channel.output = False
        assert is_off(bench, "1")


def test_a_waveform_downloaded_to_an_81160a_is_played() -> None:
    driver = client("pymeasure.instruments.keysight", "Keysight81160A")
    with on_bench(driver, "keysight-81160a", "1") as (bench, generator):
        channel = generator.ch_1
        channel.output_load = 1e6
        channel.waveform_volatile = [0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
        generator.write(":FUNC1:USER VOLATILE")
        channel.shape = "USER"
        channel.frequency = 1e3
        channel.voltage_high, channel.voltage_low = 1.0, -1.0
        generator.write(":BURS1:STAT ON")
        generator.write(":BURS1:NCYC 1")
        channel.trigger_mode = "MAN"
        channel.output = True

        def burst() -> None:
            generator.write("*TRG")
            assert generator.ask("*OPC?").strip() == "1"

        driven = [p for p in pulses_seen(bench, burst) if abs(p[2]) > 1e-3]
        assert [v for _, _, v in driven] == pytest.approx([0.5, 1.0], rel=1e-3)
        assert [w for _, w, _ in driven] == pytest.approx([2e-4, 2e-4], rel=1e-3)
        assert generator.check_errors() == []
        channel.output = False
        assert is_off(bench, "1")
