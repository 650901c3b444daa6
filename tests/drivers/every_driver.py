"""Every driver of an instrument, opened on a pretended session and exercised.

A new driver is added to DRIVERS and to commands.toml.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from fake_session import FakeSession
from hil_drivers.instrument import ChannelSteps, SourceInstrument, SwitchMatrix, SyncPlan, SyncRole

from hil.errors import LimitError

DRIVERS = {
    "keithley-2600b": "Keithley2600B", "keithley-2450": "Keithley2450",
    "keithley-2400": "Keithley2400", "keysight-b2900": "KeysightB2900",
    "keysight-33500b": "Keysight33500B", "keysight-81160a": "Keysight81160A",
    "keithley-707b": "Keithley707B", "keithley-3706a": "Keithley3706A",
    "keysight-b2200a": "KeysightB2200A",
}  # fmt: skip
CROSSPOINTS = {
    "keithley-707b": ("1A01", "1B02"), "keithley-3706a": ("1101", "1202"),
    "keysight-b2200a": ("00101", "00202"),
}  # fmt: skip


def driver_class(name):
    return getattr(import_module(f"hil_drivers.{name.replace('-', '_')}"), DRIVERS[name])


SOURCES = [n for n in DRIVERS if issubclass(driver_class(n), SourceInstrument)]
MATRICES = [n for n in DRIVERS if issubclass(driver_class(n), SwitchMatrix)]
METERS = [n for n in SOURCES if "33500" not in n and "81160" not in n]
every = pytest.mark.parametrize("name", list(DRIVERS))
every_source = pytest.mark.parametrize("name", SOURCES)
every_meter = pytest.mark.parametrize("name", METERS)
every_matrix = pytest.mark.parametrize("name", MATRICES)


def opened(name, session=None):
    instrument = driver_class(name)("it")
    session = session or FakeSession(name)
    instrument.open(session)
    return instrument, session


def program(instrument, level_v=1.0, repeat=2, width_s=8e-3, period_s=16e-3):
    """Two pulses and a read of one channel, on times that every instrument has."""
    measure = instrument.channel_capabilities("a" if instrument.channels[0] == "a" else
                                              instrument.channels[0]).can_measure  # fmt: skip
    limit = 1e-4 if measure else np.inf
    return {instrument.channels[0]: ChannelSteps.build(
        [level_v, level_v / 2], width_s, period_s, repeat=[repeat, 1],
        measure=[False, measure], compliance_a=limit)}  # fmt: skip


def run(instrument, programs, sync=None):
    instrument.load(programs, sync)
    instrument.start()
    instrument.wait(1.0)
    return instrument.collect()


def exercised(name):
    """Everything that a driver can send, in one recorded session."""
    instrument, session = opened(name)
    if isinstance(instrument, SwitchMatrix):
        first, second = CROSSPOINTS[name]
        instrument.close([first])
        instrument.route([second])
        instrument.open_relays([second])
        instrument.closed()
    else:
        channels = instrument.channels
        for level, repeat in ((1.0, 1), (-1.0, 2)):
            run(instrument, program(instrument, level, repeat))
        one = ChannelSteps.build([1.0], 8e-3, 16e-3, repeat=3)
        run(instrument, dict.fromkeys(channels, one))
        run(instrument, {channels[0]: ChannelSteps.build([-1.0], 8e-3, 8e-3, repeat=3)})
        run(instrument, {channels[-1]: ChannelSteps.build([-1.0], 8e-3, 16e-3, repeat=3)})
        _synchronised(instrument)
        if instrument.channel_capabilities(channels[0]).can_measure:
            instrument.measure_once(channels[0], level_v=0.1, compliance_a=1e-4)
    instrument.safe()
    instrument.abort(session)
    return session.log


def _synchronised(instrument):
    for role in (SyncRole.MASTER, SyncRole.FOLLOWER):
        line = "3" if "keithley" in instrument.driver else "EXT"
        line = "EXT3" if instrument.driver == "keysight-b2900" else line
        if instrument.driver == "keysight-81160a" and role is SyncRole.MASTER:
            with pytest.raises(LimitError, match="trigger lines"):
                instrument.load(program(instrument), SyncPlan(role, line))
        else:
            run(instrument, program(instrument), SyncPlan(role, line))
