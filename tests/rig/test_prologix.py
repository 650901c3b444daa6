"""GPIB instruments behind a Prologix controller, on the virtual bench."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from benches import station_of
from families import DEVICES, FAMILIES
from hil_drivers.factory import RigFactory
from hil_drivers.keithley_2400 import Keithley2400
from hil_drivers.transport import open_session, prologix
from hil_drivers.transport.latency import GPIB_S, message_s

from hil.control.array import SynapseArray
from hil.control.opening import make_backend
from hil.errors import ConfigError, HilError, LinkError
from hil.registry import load

pytest.importorskip("lupa")
pytestmark = pytest.mark.filterwarnings("ignore:GPIB library not found")

OPTIONS = {"one": {"transport": "prologix"}, "two": {"transport": "prologix"}}


@pytest.fixture
def station():
    return station_of(FAMILIES["2400"].station(2, 2, DEVICES["slower"]))


@pytest.fixture
def bench(station):
    with load("hil.benches", "virtual")(station, seed=5, options=OPTIONS) as bench:
        yield bench
    assert not prologix._open, "a connection was left open"


def resources(bench):
    """Return the resources as a station file names them."""
    found = dict(bench.resources)
    for name in OPTIONS:
        found[name] = f"{bench._transports[name].interface}/{found[name]}"
    return found


@pytest.fixture
def rig(station, bench):
    moved = station.at(resources(bench))
    return RigFactory().create(moved, moved.array[0], seed=5, virtual=True, wait=bench.dwell)


def test_a_rig_reads_and_writes_as_the_simulator_does(station, bench, rig):
    sim, op = make_backend(station, station.array[0], sim=True, seed=5)
    counts = np.array([[3, 9], [0, 6]])
    found = []
    for backend in (sim, rig):
        with backend:
            array = SynapseArray(backend, op)
            before = array.read()
            array.program(counts)
            found.append((before, array.read()))
    assert bench.array.conductance_siemens() == pytest.approx(
        sim.true_conductance_siemens(), rel=1e-6
    )
    for expected, got in zip(*found, strict=True):
        assert got == pytest.approx(expected, abs=1e-8)
    assert not bench.incidents
    assert bench.safe


def test_two_instruments_share_one_connection_that_the_last_one_closes(bench):
    one, two = (open_session(resources(bench)[name], Keithley2400.link) for name in OPTIONS)
    (board,) = prologix._open
    assert prologix._open[board][2] == 2
    one.write(":SYST:NONSENSE")
    assert two.query(":SYST:ERR?").startswith("0")
    assert one.query(":SYST:ERR?").startswith("-113")
    two.close()
    two.close()
    assert "2400" in one.query("*IDN?")
    one.close()
    assert not prologix._open


def test_device_clear_reaches_the_instrument_alone(bench):
    one, two = (open_session(resources(bench)[name], Keithley2400.link) for name in OPTIONS)
    one.write("*IDN?")
    two.write("*IDN?")
    one.clear()
    assert "2400" in two.read()
    assert one.query("*OPC?") == "1"
    assert one.query(":SYST:ERR?").startswith("0")
    one.close()
    two.close()


def test_abort_from_another_thread_switches_off_over_the_shared_connection(bench, rig):
    with rig:
        smu = rig.rack.sources["one"]
        assert smu.session.query(":SOUR:VOLT 0.5;:OUTP ON;:OUTP?") == "1"
        assert bench.outputs()["one.1"].on
        begin_s = time.monotonic()
        other = threading.Thread(target=rig.abort)
        other.start()
        other.join(10.0)
        while bench.outputs()["one.1"].on and time.monotonic() < begin_s + 5.0:
            time.sleep(1e-3)
        assert not bench.outputs()["one.1"].on


def test_a_lost_connection_is_an_error_and_the_next_session_a_new_one(bench):
    address = resources(bench)["one"]
    old = open_session(address, Keithley2400.link)
    assert "2400" in old.query("*IDN?")
    bench._transports["one"].drop()
    with pytest.raises(LinkError):
        old.query("*IDN?", 0.3)
    new = open_session(address, Keithley2400.link)
    old.close()
    assert "2400" in new.query("*IDN?")
    new.close()


def test_a_rig_recovers_from_a_lost_connection(bench, rig, station):
    with rig:
        array = SynapseArray(rig, station.drive.operating_point())
        before = array.read()
        bench._transports["one"].drop()
        with pytest.raises(HilError):
            array.read()
        assert not any(output.on for output in bench.outputs().values())
        assert array.read() == pytest.approx(before, rel=0.05)


def test_boards_that_do_not_match_or_are_taken_are_refused(bench):
    address = resources(bench)["one"]
    controller, instrument = prologix.split(address)
    with pytest.raises(ConfigError, match="have boards 0 and 3"):
        open_session(f"{controller.replace(f'TCPIP{_board(controller)}', 'TCPIP0')}/"
                     "GPIB3::17::INSTR")  # fmt: skip
    session = open_session(address)
    with pytest.raises(ConfigError, match="by another number"):
        open_session(f"PRLGX-TCPIP{_board(controller)}::127.0.0.1::9::INTFC/{instrument}")
    session.close()


def _board(controller):
    return int(controller.partition("::")[0].removeprefix("PRLGX-TCPIP"))


def test_nobody_at_the_controllers_address_is_a_link_error():
    with pytest.raises(LinkError):
        open_session("PRLGX-TCPIP7::127.0.0.1::1::INTFC/GPIB7::17::INSTR").query("*IDN?", 0.3)


def test_strings_without_a_controller_stay_as_they_are():
    for name in ("GPIB0::17::INSTR", "TCPIP0::10.0.0.1::5025::SOCKET"):
        assert prologix.split(name) == ("", name)
    assert message_s("PRLGX-TCPIP0::10.0.0.1::1234::INTFC/GPIB0::17::INSTR") == GPIB_S
