"""Documented times of real instruments, which a realistic bench takes.

Figures marked "planning value" are not in a manual; everything else names where it stands. The
table of docs/instruments.md is this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MESSAGE, RELAY, OUTPUT_RELAY = "message", "relay move", "output relay"


@dataclass(frozen=True, slots=True)
class Latency:
    """One time of one kind of instrument, in seconds, and where it comes from."""

    driver: str
    what: str
    seconds: float
    source: str


_LAN = "planning value for a LAN socket, 0.3 to 1 ms"
_GPIB = "planning value for GPIB, 2 to 5 ms"
_B2900 = "B2900A data sheet, current range settling"
LATENCIES: Final = (
    Latency("keithley-2600b", MESSAGE, 1e-3, _LAN),
    Latency("keithley-2450", MESSAGE, 1e-3, _LAN),
    Latency("keithley-2400", MESSAGE, 4e-3, _GPIB),
    Latency("keysight-b2900", MESSAGE, 1e-3, _LAN),
    Latency("keysight-33500b", MESSAGE, 1e-3, _LAN),
    Latency("keysight-81160a", MESSAGE, 1e-3, _LAN),
    Latency("keithley-707b", MESSAGE, 1e-3, _LAN),
    Latency("keithley-3706a", MESSAGE, 1e-3, _LAN),
    Latency("keysight-b2200a", MESSAGE, 4e-3, _GPIB),
    Latency("serial-board", MESSAGE, 5e-4, "planning value for a USB serial port, 0.1 to 1 ms"),
    Latency("arc-one", MESSAGE, 1e-3, "libarc1, `ArC1Conf.write_delay`"),
    Latency("keithley-2400", OUTPUT_RELAY, 15e-3, "2400S-900-01 rev. K p. 13-9"),
    Latency("keithley-2450", OUTPUT_RELAY, 15e-3, "2450-901-01 rev. B p. 2-83"),
    Latency("keithley-707b", RELAY, 4e-3, "707B-901-01, example of sequential closures"),
    Latency("keithley-3706a", RELAY, 4e-3, "planning value, as the 707B"),
    Latency("keysight-b2200a", RELAY, 3e-3, "planning value"),
    Latency("keysight-b2900", "range 1e-08", 10e-3, _B2900),
    Latency("keysight-b2900", "range 1e-07", 10e-3, _B2900),
    Latency("keysight-b2900", "range 1e-06", 500e-6, _B2900),
    Latency("keysight-b2900", "range 1e-05", 250e-6, _B2900),
    Latency("keysight-b2900", "range 1e-04", 250e-6, _B2900),
    Latency("keysight-b2900", "range", 80e-6, _B2900 + " from 1 mA up"),
)
_BY_NAME: Final = {(entry.driver, entry.what): entry.seconds for entry in LATENCIES}


def latency_s(driver: str, what: str) -> float:
    """Return a time in seconds, 0 where none is documented."""
    return _BY_NAME.get((driver, what), 0.0)


def range_latency_s(driver: str, full_scale_a: float) -> float:
    """Return the settling time in seconds after a change to a current range."""
    own = _BY_NAME.get((driver, f"range {full_scale_a:.0e}"))
    return latency_s(driver, "range") if own is None else own
