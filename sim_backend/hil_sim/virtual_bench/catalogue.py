"""Which emulator stands for which driver name of a station file."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from hil.errors import BackendUnavailable
from hil.extras import needed_for
from hil_sim.virtual_bench.personality import Personality

_PACKAGE: Final = "hil_sim.virtual_bench.instruments"
EMULATORS: Final[dict[str, tuple[str, str]]] = {
    "keithley-2600b": ("keithley_2600b", "Keithley2600B"),
    "keithley-2450": ("keithley_2450_modes", "Keithley2450Modes"),
    "keithley-2400": ("keithley_2400", "Keithley2400"),
    "keysight-b2900": ("keysight_b2900", "KeysightB2900"),
    "keysight-33500b": ("keysight_33500b", "Keysight33500B"),
    "keysight-81160a": ("keysight_81160a", "Keysight81160A"),
    "keithley-707b": ("tsp_matrix", "Keithley707B"),
    "keithley-3706a": ("tsp_matrix", "Keithley3706A"),
    "serial-board": ("serial_board", "SerialBoard"),
    "keysight-b2200a": ("keysight_b2200a", "KeysightB2200A"),
    "arc-one": ("arc_one", "ArcOne"),
}


def personality_class(driver: str) -> type[Personality]:
    """Return the emulator of a driver.

    Raises:
        BackendUnavailable: there is none, or what it needs is not installed.
    """
    if driver not in EMULATORS:
        raise BackendUnavailable(
            f"the virtual bench has no {driver!r}; it has {', '.join(EMULATORS)}"
        )
    module, name = EMULATORS[driver]
    with needed_for(f"the emulator of {driver}", "bench"):
        kind: type[Personality] = getattr(import_module(f"{_PACKAGE}.{module}"), name)
    return kind
