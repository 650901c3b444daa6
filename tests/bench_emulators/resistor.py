"""A bench with one known resistor between an instrument's channel and 0 V."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hil_sim.virtual_bench import Bench, open_bench

from hil.config.station import Station

RESISTOR_OHM = 100e3


def station(driver: str, channel: str, **more: Any) -> Station:
    """Return a station with one cell: ``dut.channel`` on WL0, the 0 V rail on BL0."""
    values: dict[str, Any] = {
        "schema": 1,
        "array": [{"rows": 1, "cols": 1, "device": "ideal"}],
        "instrument": [{"name": "dut", "driver": driver, "resource": "TCPIP0::x::SOCKET"}],
        "wiring": [
            {"line": "WL0", "channel": f"dut.{channel}"},
            {"line": "BL0", "channel": "common"},
        ],
    }
    return Station.model_validate(values | more)


def resistor_bench(driver: str, channel: str, **options: Any) -> Bench:
    """Return a bench (not open yet) whose cell is 100 kΩ."""
    bench = open_bench(station(driver, channel), seed=1, options={"dut": options})
    bench.array.g[...] = 1.0 / RESISTOR_OHM
    return bench


def eventually(true: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Return whether ``true`` becomes so: a client's last write may still be on its way."""
    end = time.monotonic() + within_s
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()
