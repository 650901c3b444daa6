"""Ways to an emulated instrument: VXI-11, a Prologix controller, what a bus does to queries."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import pyvisa
from hil_sim.virtual_bench import Bench, open_bench
from hil_sim.virtual_bench.exchange import MessageExchange
from resistor import RESISTOR_OHM, resistor_bench

from hil.config.station import Station
from hil.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:GPIB library not found")


def opened(visa: Any, bench: Bench, name: str = "dut", timeout_ms: int = 3000) -> Any:
    manager = pyvisa.ResourceManager("@py")
    session = manager.open_resource(bench.resources[name], timeout=timeout_ms)
    visa.keep(session)
    return session


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as inner:
        yield inner


class Keeper(list[Any]):
    keep = list.append


@pytest.fixture
def kept(stack: ExitStack) -> Iterator[Keeper]:
    """Keep sessions, which are closed before the benches of the stack are."""
    sessions = Keeper()
    yield sessions
    for session in reversed(sessions):
        session.close()


@pytest.fixture(params=["vxi11", "prologix"])
def bus(request: pytest.FixtureRequest, stack: ExitStack, kept: Keeper) -> Any:
    """Return a function that opens the instrument of a bench on one of the buses."""

    def connect(driver: str, channel: str) -> tuple[Bench, Any]:
        bench = stack.enter_context(resistor_bench(driver, channel, transport=request.param))
        if request.param == "prologix":
            manager = pyvisa.ResourceManager("@py")
            kept.keep(manager.open_resource(bench._transports["dut"].interface))
        return bench, opened(kept, bench)

    return connect


def test_an_instrument_is_identified_sourced_and_measured(bus: Any) -> None:
    _, smu = bus("keithley-2400", "1")
    assert "MODEL 2400" in smu.query("*IDN?")
    smu.write(":SOUR:VOLT +0.2;:SENS:CURR:PROT 1e-3;:FORM:ELEM CURR;:OUTP ON")
    assert float(smu.query(":READ?")) == pytest.approx(0.2 / RESISTOR_OHM, rel=1e-5)


def test_a_reply_that_nobody_reads_is_interrupted_by_the_next_message(bus: Any) -> None:
    _, smu = bus("keithley-2400", "1")
    smu.write("*IDN?")
    smu.write("*OPC?")
    assert smu.read().strip() == "1"
    assert smu.query(":SYST:ERR?").startswith("-410")
    assert int(smu.query("*ESR?")) & 4


def test_a_read_without_a_query_times_out_and_is_unterminated(kept: Keeper) -> None:
    with resistor_bench("keithley-2400", "1", transport="vxi11") as bench:
        smu = opened(kept, bench)
        smu.query("*OPC?")
        smu.timeout = 300
        with pytest.raises(pyvisa.errors.VisaIOError):
            smu.read()
        assert smu.query(":SYST:ERR?").startswith("-420")
        kept.pop().close()


def test_a_serial_poll_shows_errors_and_messages(bus: Any) -> None:
    _, smu = bus("keysight-b2900", "1")
    smu.query("*ESR?")
    assert smu.read_stb() == 0
    smu.write(":NONSENSE")
    assert smu.query("*OPC?").strip() == "1"
    assert smu.read_stb() == 4
    assert smu.query(":SYST:ERR?").startswith("-113")
    assert smu.read_stb() == 0


def test_a_binary_block_with_every_byte_passes_both_ways(bus: Any) -> None:
    bench, awg = bus("keysight-33500b", "1")
    # 10, 13, 27 and 43 are what a controller would take for its own.
    words = np.array([0x0A0D, 0x1B2B, 0x2B2B, 0x0A0A, -32767, 32767, 0, 0x0D0A], dtype=">i2")
    awg.write_binary_values("SOUR1:DATA:ARB:DAC nm,", words, datatype="h", is_big_endian=True)
    assert awg.query("SYST:ERR?").startswith("+0")
    stored = bench.instruments["dut"].waveforms[1, "NM"]  # type: ignore[attr-defined]
    assert np.round(stored * 32767).astype(int).tolist() == words.tolist()
    awg.write("*CLS")


def test_a_binary_reply_is_read_whole(bus: Any) -> None:
    _, smu = bus("keysight-b2900", "1")
    smu.write(":OUTP1 ON;:SOUR1:VOLT 0.2;:SENS1:CURR:PROT 1e-3;:FORM REAL,64")
    amps = smu.query_binary_values(":MEAS:CURR? (@1)", datatype="d", is_big_endian=True)
    assert amps == pytest.approx([0.2 / RESISTOR_OHM], rel=1e-5)


def test_device_clear_and_trigger_reach_the_instrument(bus: Any) -> None:
    _, awg = bus("keysight-33500b", "1")
    awg.write("*IDN?")
    awg.clear()
    assert awg.query("*OPC?").strip() == "1"
    awg.assert_trigger()
    assert awg.query("SYST:ERR?").startswith("-211")


def test_every_print_of_a_script_is_a_message_of_its_own() -> None:
    link = MessageExchange(resistor_bench("keithley-2600b", "a").instruments["dut"])
    link.write(b"print(1) print(2)\nprint(3)", True)
    assert [link.read(100) for _ in range(3)] == [
        (b"1.00000e+00\n", True), (b"2.00000e+00\n", True), (b"3.00000e+00\n", True),
    ]  # fmt: skip


def test_a_read_stops_at_its_count_and_at_its_character() -> None:
    link = MessageExchange(resistor_bench("keithley-2400", "1").instruments["dut"])
    link.write(b"*OPC?;*OPC?", True)
    assert link.read(100, ord(";")) == (b"1;", False)
    assert link.read(1) == (b"1", False)
    assert link.read(100) == (b"\n", True)


# The controller.

TWO = Station.model_validate({
    "schema": 1,
    "array": [{"rows": 1, "cols": 1, "device": "ideal"}],
    "instrument": [{"name": "smu", "driver": "keithley-2400", "resource": "GPIB0::17::INSTR"},
                   {"name": "mux", "driver": "keysight-b2200a", "resource": "GPIB0::22::INSTR"}],
    "wiring": [{"line": "WL0", "channel": "smu.1", "crosspoint": "mux/00101"},
               {"line": "BL0", "channel": "common"}],
})  # fmt: skip


def test_two_instruments_on_one_bus_have_their_addresses_and_their_own_errors(kept: Keeper) -> None:
    options: dict[str, dict[str, Any]] = {
        "smu": {"transport": "prologix", "gpib_address": 17},
        "mux": {"transport": "prologix", "gpib_address": 22},
    }
    with open_bench(TWO, seed=1, options=options) as bench:
        assert [r.split("::")[1] for r in bench.resources.values()] == ["17", "22"]
        manager = pyvisa.ResourceManager("@py")
        kept.keep(manager.open_resource(bench._transports["smu"].interface))  # type: ignore[attr-defined]
        smu, mux = opened(kept, bench, "smu"), opened(kept, bench, "mux")
        mux.write(":CLOS (@00101)")
        smu.write(":NONSENSE")
        assert "B2200A" in mux.query("*IDN?")
        assert mux.query(":SYST:ERR?").startswith("+0")
        assert smu.query(":SYST:ERR?").startswith("-113")
        assert bench.closed()["mux"] == {"00101"}
        while kept:
            kept.pop().close()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"++ver\n", b"Prologix GPIB-ETHERNET"), (b"++addr 5\n++addr\n", b"5\r\n"),
        (b"++eoi 0\n++eoi\n", b"0\r\n"), (b"++eos 9\n++eos\n", b"0\r\n"),
        (b"++rst\n++mode\n", b"1\r\n"), (b"++nothing\n", b"Unrecognized"),
        (b"++addr 16\n*IDN?\n++read eoi\n", b"KEITHLEY"),
        (b"++addr 16\n++auto 1\n*OPC?\n", b"1\n"), (b"++addr 16\n++spoll\n", b"0\r\n"),
        (b"++addr 16\n++eot_enable 1\n++eot_char 35\n*OPC?\n++read eoi\n", b"1\n#"),
        (b"++addr 3\n*IDN?\n++read eoi\n++srq\n", b"0\r\n"),
        (b"++addr 16\n*SRE 4\n:NONSENSE\n++srq\n", b"1\r\n"),
        (b"++addr 16\n\x1b++x\n++read eoi\n++addr\n", b"16\r\n"),
    ],
)  # fmt: skip
def test_commands_of_the_controller(said: bytes, answer: bytes) -> None:
    with resistor_bench("keithley-2400", "1", transport="prologix") as bench:
        port = int(bench._transports["dut"].interface.split("::")[2])  # type: ignore[attr-defined]
        with socket.create_connection(("127.0.0.1", port), 5) as link:
            link.sendall(said)
            link.settimeout(5)
            got = b""
            while len(got) < len(answer):
                got += link.recv(4096)
    assert got.startswith(answer)


def test_addresses_that_are_none_or_taken_are_refused() -> None:
    bad: dict[str, dict[str, Any]] = {"smu": {"transport": "prologix", "gpib_address": 17}}
    bad["mux"] = dict(bad["smu"])
    with (
        pytest.raises(ConfigError, match="gpib_address"),
        open_bench(TWO, seed=1, options=bad),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="gpib_address"),
        resistor_bench("keithley-2400", "1", transport="prologix", gpib_address=31),
    ):
        pass


def test_an_unknown_transport_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="carrier pigeon"),
        resistor_bench("keithley-2400", "1", transport="carrier pigeon"),
    ):
        pass


# RPC.


def test_calls_that_are_none_are_answered_and_the_next_one_works() -> None:
    def call(link: socket.socket, body: bytes) -> bytes:
        link.sendall(struct.pack(">I", (1 << 31) | len(body)) + body)
        (mark,) = struct.unpack(">I", link.recv(4))
        return link.recv(mark & 0x7FFFFFFF)

    def header(program: int, procedure: int) -> bytes:
        return struct.pack(">IIIIIIIIII", 7, 0, 2, program, 1, procedure, 0, 0, 0, 0)

    with resistor_bench("keithley-2400", "1", transport="vxi11") as bench:
        port = int(bench.resources["dut"].split(",")[1].split("::")[0])
        with socket.create_connection(("127.0.0.1", port), 5) as link:
            status = [
                struct.unpack(">I", call(link, body)[20:24])[0]
                for body in (header(1, 10), header(0x0607AF, 99), b"\0\0\0\7", header(0x0607AF, 11))
            ]
            assert status == [3, 3, 4, 4]
            lost = call(link, header(0x0607AF, 13) + struct.pack(">IIII", 99, 0, 0, 0))
            assert struct.unpack(">II", lost[20:28]) == (0, 4)  # invalid link identifier
            made = call(
                link, header(0x0607AF, 10) + struct.pack(">IIII", 1, 0, 0, 5) + b"inst0\0\0\0"
            )
            assert struct.unpack(">II", made[20:28]) == (0, 0)


def test_prints_of_a_2450_are_read_one_by_one(kept: Keeper) -> None:
    with resistor_bench("keithley-2450", "1", transport="vxi11", language="TSP") as bench:
        smu = opened(kept, bench)
        smu.write("print(1) print(2)")
        assert [smu.read().strip(), smu.read().strip()] == ["1", "2"]
        kept.pop().close()
