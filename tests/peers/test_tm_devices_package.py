"""Tektronix's tm_devices on our emulators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clients import SOURCE_V, client, is_off, is_the_resistor, needs, port
from hil_sim.virtual_bench import Bench, open_bench
from resistor import RESISTOR_OHM, eventually, resistor_bench, station

needs("tm_devices")
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def device(bench: Bench, kind: str) -> Iterator[Any]:
    with client("tm_devices", "DeviceManager")(verbose=False) as devices:
        devices.visa_library = "@py"
        add = getattr(devices, f"add_{kind}")
        found = add("127.0.0.1", connection_type="SOCKET", port=port(bench))
        found.ieee_cmds.cls()  # the event register has the power-on bit
        yield found


@pytest.mark.parametrize(("model", "channel"), [("2636B", "a"), ("2602B", "b"), ("2612B", "a")])
def test_a_2600b_is_measured_with(model: str, channel: str) -> None:
    with (
        resistor_bench("keithley-2600b", channel, model=model) as bench,
        device(bench, "smu") as smu,
    ):
        assert type(smu).__name__ == f"SMU{model}"
        half = smu.commands.smu[channel]
        half.source.limiti = 1e-3
        half.source.levelv = SOURCE_V
        half.source.output = 1
        assert is_the_resistor(float(half.measure.i()))
        assert float(half.measure.r()) == pytest.approx(RESISTOR_OHM, rel=1e-3)
        buffer = f"smu{channel}.nvbuffer1"
        smu.write(f"smu{channel}.measure.count=5")
        half.measure.i(buffer)
        assert is_the_resistor(smu.get_buffers(f"{buffer}.readings")[f"{buffer}.readings"][4])
        assert smu.expect_esr(0)
        half.source.output = 0
        assert is_off(bench, channel)


def test_a_2450_in_tsp_mode_is_measured_with() -> None:
    with (
        resistor_bench("keithley-2450", "1", language="TSP") as bench,
        device(bench, "smu") as found,
    ):
        assert type(found).__name__ == "SMU2450"
        smu = found.commands.smu
        smu.source.func = smu.FUNC_DC_VOLTAGE
        smu.source.ilimit.level = 1e-3
        smu.source.level = SOURCE_V
        smu.measure.func = smu.FUNC_DC_CURRENT
        smu.measure.nplc = 0.1
        smu.source.output = smu.ON
        assert is_the_resistor(float(smu.measure.read()))
        smu.measure.count = 5
        smu.measure.read("defbuffer1")
        buffers = found.get_buffers("defbuffer1.readings", "defbuffer1.sourcevalues")
        assert is_the_resistor(buffers["defbuffer1.readings"][-1])
        assert buffers["defbuffer1.sourcevalues"][-1] == pytest.approx(SOURCE_V, rel=1e-3)
        assert found.expect_esr(0)
        smu.source.output = smu.OFF
        assert is_off(bench, "1")


def test_a_2400_is_measured_with() -> None:
    with resistor_bench("keithley-2400", "1") as bench, device(bench, "smu") as smu:
        assert type(smu).__name__ == "SMU2400"
        smu.write(":SOUR:FUNC VOLT")
        smu.write(":SENS:FUNC 'CURR:DC'")
        smu.write(":SENS:CURR:PROT 1E-3")
        smu.set_and_check(":SOUR:VOLT:LEV", SOURCE_V, tolerance=1e-6)
        smu.write(":OUTP ON")
        assert is_the_resistor(float(smu.query(":READ?").split(",")[1]))
        assert smu.expect_esr(0)
        smu.write(":OUTP OFF")
        assert is_off(bench, "1")


def test_a_3706a_moves_relays_and_reads_them_back() -> None:
    with (
        open_bench(station("keithley-3706a", "1", wiring=[]), seed=1) as bench,
        device(bench, "ss") as matrix,
    ):
        assert type(matrix).__name__ == "SS3706A"
        channel = matrix.commands.channel
        channel.close("1101,1911")
        assert set(channel.getclose("allslots").split(";")) == {"1101", "1911"}
        assert bench.closed()["dut"] == {"1101", "1911"}
        assert matrix.expect_esr(0)
        channel.open("allslots")
        assert channel.getclose("allslots") == "nil"
        assert eventually(lambda: bench.safe)
