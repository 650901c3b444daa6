"""Common starts on the virtual bench: one instrument begins, another waits for its trigger line."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module

import numpy as np
import pytest
from fake_session import FakeSession
from hil_drivers.instrument import ChannelSteps, SyncPlan, SyncRole
from hil_drivers.keithley_2400 import Keithley2400
from hil_drivers.keithley_2450 import Keithley2450
from hil_drivers.keysight_33500b import Keysight33500B
from hil_drivers.keysight_81160a import Keysight81160A
from hil_drivers.keysight_b2900 import KeysightB2900
from hil_drivers.transport import open_session

from hil.config.station import Station
from hil.config.toml_file import validate_text
from hil.errors import BackendError, LinkError

pytest.importorskip("lupa")
open_bench = import_module("hil_sim.virtual_bench").open_bench

#: driver -> (class, channel, trigger line 3 by its own name)
KINDS = {
    "keithley-2400": (Keithley2400, "1", "3"), "keithley-2450": (Keithley2450, "1", "3"),
    "keysight-b2900": (KeysightB2900, "1", "EXT3"),
    "keithley-2600b": (import_module("hil_drivers.keithley_2600b").Keithley2600B, "a", "3"),
}  # fmt: skip
STATION = """
schema = 1
[[array]]
rows = 1
cols = 1
device = "ideal"
[[instrument]]
name = "one"
driver = "{one}"
resource = "TCPIP0::127.0.0.1::1::SOCKET"
[[instrument]]
name = "two"
driver = "{two}"
resource = "TCPIP0::127.0.0.1::1::SOCKET"
[[wiring]]
line = "WL0"
channel = "one.{c1}"
[[wiring]]
line = "BL0"
channel = "two.{c2}"
"""
#: Generators have one trigger socket; the bench wires both of its directions to line 3.
GENERATORS = {
    "keysight-33500b": (Keysight33500B, "1", "EXT"),
    "keysight-81160a": (Keysight81160A, "1", "EXT"),
}
KINDS_AND_GENERATORS = KINDS | GENERATORS
G = 1e-6


def pair(stack, one, two):
    """Return [(instrument, channel, line), …] of two instruments at the ends of one device."""
    KINDS = KINDS_AND_GENERATORS
    options = {
        name: {"trigger_in": 3, "trigger_out": 3}
        for name, driver in (("one", one), ("two", two))
        if driver in GENERATORS
    }
    text = STATION.format(one=one, two=two, c1=KINDS[one][1], c2=KINDS[two][1])
    bench = stack.enter_context(
        open_bench(validate_text(text, Station, "station.toml"), seed=1, options=options)
    )
    out = []
    for name, driver in (("one", one), ("two", two)):
        kind, channel, line = KINDS[driver]
        instrument = kind(name)
        session = open_session(bench.resources[name], kind.link)
        stack.callback(session.close)
        instrument.open(session)
        out.append((instrument, channel, line))
    return bench, out


BOTH = [
    (one, two, False) for one in KINDS for two in KINDS if "2600" not in two or "2600" in one
] + [(one, two, True) for one in KINDS for two in KINDS if "b2900" not in one + two]


@pytest.mark.parametrize(
    ("one", "two", "each"), BOTH, ids=[f"{a}-{b}-{'each' if c else 'once'}" for a, b, c in BOTH]
)
def test_a_follower_is_armed_when_start_returns_and_runs_with_its_master(one, two, each):
    driving = ChannelSteps.build([0.2, 0.4], 4e-3, 12e-3, repeat=3, compliance_a=1e-4)
    sensing = ChannelSteps.build([0.0, 0.0], 4e-3, 12e-3, repeat=3, measure=True,
                                 compliance_a=1e-4)  # fmt: skip
    with ExitStack() as stack:
        bench, ((master, c1, l1), (follower, c2, l2)) = pair(stack, one, two)
        master.load({c1: driving}, SyncPlan(SyncRole.MASTER, l1, each))
        follower.load({c2: sensing}, SyncPlan(SyncRole.FOLLOWER, l2, each))
        follower.start()
        assert bench.outputs()[f"two.{c2}"].on
        assert not bench.outputs()[f"one.{c1}"].on
        master.start()
        master.wait(10.0)
        follower.wait(10.0)
        found = follower.collect()[c2]
        assert not any(output.on for output in bench.outputs().values())
    assert found.step.tolist() == [0] * 3 + [1] * 3
    assert found.pulse.tolist() == [0, 1, 2] * 2
    expected = -G * np.repeat([0.2, 0.4], 3)
    assert found.current_a == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize("generator", list(GENERATORS))
@pytest.mark.parametrize("repeat", [1, 3])
def test_a_generator_pulses_when_its_trigger_socket_says_so(generator, repeat):
    pulses = ChannelSteps.build([1.0], 200e-6, 1e-3, repeat=repeat)
    hold = ChannelSteps.build([0.0], 1e-3, 1e-3, repeat=repeat, compliance_a=1e-3)
    with ExitStack() as stack:
        bench, ((smu, c1, l1), (gen, c2, l2)) = pair(stack, "keithley-2600b", generator)
        smu.load({c1: hold}, SyncPlan(SyncRole.MASTER, l1))
        gen.load({c2: pulses}, SyncPlan(SyncRole.FOLLOWER, l2))
        before = bench.clock_ns
        gen.start()
        assert bench.outputs()[f"two.{c2}"].on
        assert bench.outputs()[f"two.{c2}"].level_v == 0.0
        assert bench.clock_ns == before
        smu.start()
        smu.wait(10.0)
        gen.wait(10.0)
        assert bench.clock_ns - before >= repeat * 0.8e6
        assert not any(output.on for output in bench.outputs().values())


@pytest.mark.parametrize("meter", [n for n in KINDS if "2400" in n or "2450" in n or "b2900" in n])
def test_a_meter_follows_a_generator(meter):
    pulses = ChannelSteps.build([0.4], 8e-3, 12e-3, repeat=3)
    sensing = ChannelSteps.build([0.0], 8e-3, 12e-3, repeat=3, measure=True, compliance_a=1e-4)
    with ExitStack() as stack:
        _, ((gen, c1, l1), (smu, c2, l2)) = pair(stack, "keysight-33500b", meter)
        gen.load({c1: pulses}, SyncPlan(SyncRole.MASTER, l1))
        smu.load({c2: sensing}, SyncPlan(SyncRole.FOLLOWER, l2))
        smu.start()
        gen.start()
        gen.wait(10.0)
        smu.wait(10.0)
        found = smu.collect()[c2]
    assert found.current_a == pytest.approx([-0.4 * G] * 3, rel=2e-2)


@pytest.mark.parametrize("driver", [n for n in KINDS if "2600" not in n])
def test_a_follower_that_does_not_wait_is_noticed(driver, monkeypatch):
    kind, channel, line = KINDS[driver]
    monkeypatch.setattr("hil_drivers.scpi_source.SHORT_TIMEOUT_S", 0.02)
    session = FakeSession(driver)
    instrument = kind("smu")
    instrument.open(session)
    steps = ChannelSteps.build([0.2], 4e-3, 8e-3, compliance_a=1e-4)
    instrument.load({channel: steps}, SyncPlan(SyncRole.FOLLOWER, line))
    ask = session.query
    session.query = lambda message, *a: (
        {":STAT:OPER:COND?": "1024", ":TRIG:STAT?": "IDLE;IDLE;0"}.get(message) or ask(message, *a)
    )
    with pytest.raises(BackendError, match=f"does not wait for its trigger line {line}"):
        instrument.start()


def test_a_trigger_model_that_failed_is_not_waited_for():
    session = FakeSession("keithley-2450")
    smu = Keithley2450("smu")
    smu.open(session)
    steps = ChannelSteps.build([0.2], 4e-3, 8e-3, compliance_a=1e-4)
    smu.load({"1": steps}, SyncPlan(SyncRole.FOLLOWER, "3"))
    session.query = lambda *_: "FAILED;FAILED;2"
    with pytest.raises(LinkError, match="failed"):
        smu.start()
