"""Is there an ArC ONE on a port? Asked for its firmware and for nothing else."""

from __future__ import annotations

from typing import Final

from hil.errors import HilError
from hil_drivers.arc_one import protocol
from hil_drivers.transport.serialport import SerialPort

_QUIET_S: Final = 0.05


def firmware_at(resource: str, *, patience_s: float = 0.5) -> tuple[int, int] | None:
    """Return the firmware of the ArC ONE on a port; None when nothing answers as one does.

    Four bytes and then silence are taken for it, whoever sent them.
    """
    try:
        port = SerialPort(resource, baud=protocol.BAUD, parity="even")
    except HilError:
        return None
    try:
        port.drain(_QUIET_S, patience_s)
        port.write(protocol.FIRMWARE)
        reply = port.read_exactly(protocol.FIRMWARE_BYTES, patience_s)
        return None if port.read_some(_QUIET_S) else protocol.firmware(reply)
    except HilError:
        return None
    finally:
        port.close()
