"""The keithley2600 package on our 2600B emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clients import SOURCE_V, TIMEOUT_MS, client, is_off, is_the_resistor, needs
from resistor import RESISTOR_OHM, resistor_bench

needs("keithley2600")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("model", "channel"), [("2636B", "a"), ("2602B", "b"), ("2612B", "a")])
def test_it_measures_and_sweeps(model: str, channel: str) -> None:
    driver = client("keithley2600", "Keithley2600")
    with resistor_bench("keithley-2600b", channel, model=model) as bench:
        keithley = driver(bench.resources["dut"], timeout=TIMEOUT_MS)
        assert keithley.localnode.model == model
        smu = getattr(keithley, f"smu{channel}")
        keithley.apply_voltage(smu, SOURCE_V)
        assert is_the_resistor(keithley.measure_current(smu))
        assert float(keithley.measure_voltage(smu)) == pytest.approx(SOURCE_V, rel=1e-3)
        volts, amps = keithley.voltage_sweep_single_smu(smu, [0.1, 0.2, 0.3], 0.001, 0.0, True)
        assert np.array(volts) / np.array(amps) == pytest.approx(RESISTOR_OHM, rel=1e-3)
        volts, amps = keithley.voltage_sweep_single_smu(smu, [0.1, 0.2], 0.001, 0.0, False)
        assert np.array(volts) / np.array(amps) == pytest.approx(RESISTOR_OHM, rel=1e-3)
        assert keithley.read_error_queue() == []
        smu.source.output = smu.OUTPUT_OFF
        assert is_off(bench, channel)
        keithley.disconnect()


def test_its_voltage_ramp_ends_at_the_target() -> None:
    driver = client("keithley2600", "Keithley2600")
    with resistor_bench("keithley-2600b", "a") as bench:
        keithley = driver(bench.resources["dut"], timeout=TIMEOUT_MS)
        keithley.set_integration_time(keithley.smua, 1e-3)
        keithley.ramp_to_voltage(keithley.smua, SOURCE_V, delay=0.0, step_size=0.05)
        assert keithley.smua.source.levelv == pytest.approx(SOURCE_V)
        assert is_the_resistor(keithley.smua.measure.i())
        keithley.reset()
        assert is_off(bench, "a")
        keithley.disconnect()


def test_both_channels_sweep_together_in_its_transfer_measurement(tmp_path: Path) -> None:
    driver = client("keithley2600", "Keithley2600")
    with resistor_bench("keithley-2600b", "b") as bench:
        keithley = driver(bench.resources["dut"], timeout=TIMEOUT_MS)
        found = keithley.transfer_measurement(
            keithley.smua, keithley.smub, -0.1, 0.1, 0.1, [SOURCE_V], 0.001, 0.0, True
        )  # fmt: skip
        found.save(str(tmp_path / "transfer.txt"))
        drain_a = np.abs(np.array(found.get_column(2), dtype=float))
        assert drain_a == pytest.approx(SOURCE_V / RESISTOR_OHM, rel=1e-3)
        assert keithley.read_error_queue() == []
        keithley.smub.source.output = keithley.smub.OUTPUT_OFF
        assert is_off(bench, "b")
        keithley.disconnect()
