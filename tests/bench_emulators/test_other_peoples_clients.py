"""Other people's drivers on our emulators: identify, source, measure a known resistor, off."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hil_sim.virtual_bench import open_bench
from resistor import RESISTOR_OHM, eventually, resistor_bench, station

SOURCE_V = 0.2
LINK = {"read_termination": "\n", "write_termination": "\n", "timeout": 20_000}
# What these packages warn about at import or when a socket is closed late is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def client(package: str, module: str, name: str) -> Any:
    """Return a class of a client package; skip where the package is not installed."""
    pytest.importorskip(package, reason=f"{package} is not installed")
    return getattr(pytest.importorskip(module), name)


def is_the_resistor(current_a: float, level_v: float = SOURCE_V) -> bool:
    return float(current_a) == pytest.approx(level_v / RESISTOR_OHM, rel=1e-3)


def test_keithley2600_measures_and_sweeps_a_2600b() -> None:
    driver = client("keithley2600", "keithley2600", "Keithley2600")
    with resistor_bench("keithley-2600b", "a") as bench:
        smu = driver(bench.resources["dut"], timeout=20_000)
        assert "2636B" in smu.localnode.model
        smu.apply_voltage(smu.smua, SOURCE_V)
        assert is_the_resistor(smu.measure_current(smu.smua))
        volts, amps = smu.voltage_sweep_single_smu(smu.smua, [0.1, 0.2, 0.3], 0.001, 0.0, True)
        assert np.array(volts) / np.array(amps) == pytest.approx(RESISTOR_OHM, rel=1e-3)
        assert smu.read_error_queue() == []
        smu.smua.source.output = smu.smua.OUTPUT_OFF
        assert eventually(lambda: not bench.outputs()["dut.a"].on)
        smu.disconnect()


@pytest.mark.parametrize(
    ("name", "driver_name", "channel"),
    [("Keithley2400", "keithley-2400", "1"), ("Keithley2450", "keithley-2450", "1")],
)
def test_pymeasure_measures_with_a_24xx(name: str, driver_name: str, channel: str) -> None:
    driver = client("pymeasure", "pymeasure.instruments.keithley", name)
    with resistor_bench(driver_name, channel) as bench:
        smu = driver(bench.resources["dut"], **LINK)
        assert name[-4:] in smu.id
        smu.apply_voltage(compliance_current=1e-3)
        smu.measure_current()
        smu.source_voltage = SOURCE_V
        smu.enable_source()
        assert is_the_resistor(smu.current)
        assert smu.check_errors() == []
        smu.shutdown()
        assert eventually(lambda: not bench.outputs()[f"dut.{channel}"].on)
        smu.adapter.close()


def test_pymeasure_measures_with_a_2600b() -> None:
    driver = client("pymeasure", "pymeasure.instruments.keithley", "Keithley2600")
    with resistor_bench("keithley-2600b", "a") as bench:
        smu = driver(bench.resources["dut"], **LINK)
        smu.ChA.source_mode = "voltage"
        smu.ChA.compliance_current = 1e-3
        smu.ChA.source_voltage = SOURCE_V
        smu.ChA.source_output = "ON"
        assert is_the_resistor(smu.ChA.current)
        smu.ChA.shutdown()
        assert eventually(lambda: bench.safe)
        smu.adapter.close()


@pytest.mark.parametrize(
    ("module", "name", "driver_name", "load"),
    [
        ("pymeasure.instruments.agilent", "Agilent33500", "keysight-33500b", "INF"),
        ("pymeasure.instruments.keysight", "Keysight81160A", "keysight-81160a", 1e6),
    ],
)
def test_pymeasure_bursts_from_a_generator_potentiate_the_cell(
    module: str, name: str, driver_name: str, load: Any
) -> None:
    driver = client("pymeasure", module, name)
    with resistor_bench(driver_name, "1") as bench:
        generator = driver(bench.resources["dut"], **LINK)
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
        channel.output = True
        before = float(bench.array.g[0, 0])
        generator.write("*TRG")
        assert generator.ask("*OPC?").strip() == "1"
        assert generator.check_errors() == []
        assert float(bench.array.g[0, 0]) > before
        channel.output = False
        assert eventually(lambda: not bench.outputs()["dut.1"].on)
        generator.adapter.close()


def test_qcodes_measures_and_sweeps_with_a_2450() -> None:
    driver = client("qcodes", "qcodes.instrument_drivers.Keithley", "Keithley2450")
    with resistor_bench("keithley-2450", "1") as bench:
        smu = driver("smu2450", bench.resources["dut"], terminator="\n")
        try:
            assert smu.get_idn()["model"] == "2450"
            smu.source.function("voltage")
            smu.sense.function("current")
            smu.source.limit(1e-3)
            smu.source.voltage(SOURCE_V)
            smu.output_enabled(True)
            assert is_the_resistor(smu.sense.current())
            smu.source.sweep_setup(0, SOURCE_V, 3)
            assert smu.sense.sweep() == pytest.approx([0.0, 1e-6, 2e-6], rel=1e-3, abs=1e-12)
            smu.output_enabled(False)
            assert eventually(lambda: not bench.outputs()["dut.1"].on)
        finally:
            smu.close()


def test_qcodes_refuses_a_2450_in_tsp_mode() -> None:
    driver = client("qcodes", "qcodes.instrument_drivers.Keithley", "Keithley2450")
    with resistor_bench("keithley-2450", "1") as bench:
        bench.faults["dut"].language = "TSP"
        smu = driver("smu2450tsp", bench.resources["dut"], terminator="\n")
        try:
            assert not hasattr(smu, "source")
        finally:
            smu.close()


def test_qcodes_measures_with_a_2602b_and_runs_a_lua_script() -> None:
    driver = client("qcodes", "qcodes.instrument_drivers.Keithley", "Keithley2602B")
    with resistor_bench("keithley-2600b", "a", model="2602B") as bench:
        smu = driver("smu2602", bench.resources["dut"], terminator="\n")
        try:
            assert smu.IDN()["model"] == "2602B"
            smu.smua.volt(SOURCE_V)
            smu.smua.output("on")
            assert is_the_resistor(smu.smua.curr())
            assert smu.smua.res() == pytest.approx(RESISTOR_OHM, rel=1e-3)
            smu.smua.timetrace_npts(5)
            smu.smua.timetrace_dt(0.1)
            smu.smua.timetrace_mode("current")
            assert smu.smua.timetrace() == pytest.approx(SOURCE_V / RESISTOR_OHM, rel=1e-3)
            smu.smua.output("off")
            assert eventually(lambda: bench.safe)
        finally:
            smu.close()


def test_qcodes_moves_relays_of_a_3706a() -> None:
    driver = client("qcodes", "qcodes.instrument_drivers.Keithley", "Keithley3706A")
    with open_bench(station("keithley-3706a", "1", wiring=[]), seed=1) as bench:
        matrix = driver("matrix", bench.resources["dut"], terminator="\n")
        try:
            assert matrix.get_idn()["model"] == "3706A"
            matrix.close_channel("1101")
            assert matrix.get_closed_channels("allslots") == ["1101"]
            assert bench.closed()["dut"] == {"1101"}
            matrix.open_channel("allslots")
            assert eventually(lambda: bench.safe)
        finally:
            matrix.close()


def test_qcodes_moves_relays_of_a_b2200a() -> None:
    driver = client("qcodes", "qcodes.instrument_drivers.Keysight", "KeysightB220X")
    with open_bench(station("keysight-b2200a", "1", wiring=[]), seed=1) as bench:
        matrix = driver("matrix2", bench.resources["dut"], terminator="\n")
        try:
            matrix.connect(1, 2)
            assert eventually(lambda: bench.closed()["dut"] == {"00102"})
            assert matrix.get_error().startswith("+0")
            matrix.disconnect_all()
            assert eventually(lambda: bench.safe)
        finally:
            matrix.close()


def test_qcodes_bursts_from_a_33522b_potentiate_the_cell() -> None:
    driver = client("qcodes", "qcodes.instrument_drivers.Keysight", "Keysight33522B")
    with resistor_bench("keysight-33500b", "1") as bench:
        generator = driver("awg", bench.resources["dut"], terminator="\n")
        try:
            generator.write("OUTP1:LOAD INF")
            generator.ch1.function_type("PULS")
            generator.ch1.amplitude(2.0)
            generator.ch1.offset(1.0)
            generator.ch1.burst_state("ON")
            generator.ch1.burst_ncycles(2)
            generator.ch1.trigger_source("BUS")
            generator.ch1.output("ON")
            before = float(bench.array.g[0, 0])
            generator.force_trigger()
            assert generator.ask("*OPC?") == "1"
            assert generator.error()[0] == 0
            assert float(bench.array.g[0, 0]) > before
            generator.ch1.output("OFF")
            assert eventually(lambda: not bench.outputs()["dut.1"].on)
        finally:
            generator.close()


def test_tm_devices_measures_with_a_2636b(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it writes its logs into the working directory
    manager = client("tm_devices", "tm_devices", "DeviceManager")
    with resistor_bench("keithley-2600b", "a") as bench, manager(verbose=False) as devices:
        devices.visa_library = "@py"
        port = int(bench.resources["dut"].split("::")[2])
        smu = devices.add_smu("127.0.0.1", connection_type="SOCKET", port=port)
        assert type(smu).__name__ == "SMU2636B"
        channel = smu.commands.smu["a"]
        channel.source.levelv = SOURCE_V
        channel.source.output = 1
        assert is_the_resistor(float(channel.measure.i()))
        channel.source.output = 0
        assert eventually(lambda: bench.safe)
