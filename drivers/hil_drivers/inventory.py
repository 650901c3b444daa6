"""What instruments this computer can reach; nothing is opened or driven."""

from __future__ import annotations

import warnings


def visa() -> list[str]:
    """Return the VISA library and the resources that it lists, one line each."""
    import pyvisa
    from pyvisa.errors import Error

    with warnings.catch_warnings():  # pyvisa-py warns of every optional package that is missing
        warnings.simplefilter("ignore")
        try:
            manager = pyvisa.ResourceManager()
            try:
                resources = manager.list_resources("?*")
            finally:
                manager.close()
        except (Error, OSError, ValueError) as exc:
            return [f"no VISA library is usable: {exc}"]
    return [f"library {manager.visalib}", *(resources or ["no resources"])]


def serial_ports() -> list[str]:
    """Return the serial ports and what is known of them, one line each."""
    from serial.tools import list_ports

    ports = [f"{port.device}: {port.description}" for port in list_ports.comports()]
    return ports or ["no serial ports"]
