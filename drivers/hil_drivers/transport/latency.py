"""What a message takes on each kind of link, for predicted times."""

from __future__ import annotations

from typing import Final

#: Seconds per message, planning values: 0.3 to 1 ms over sockets, HiSLIP and USB, 1 to 3 ms over
#: VXI-11, 2 to 5 ms over GPIB, about 10 ms over a serial line at 57 600 baud.
SOCKET_S: Final = 1e-3
VXI11_S: Final = 2e-3
GPIB_S: Final = 4e-3
SERIAL_S: Final = 10e-3


def message_s(resource: str) -> float:
    """Return the time in seconds that a message to a VISA resource takes, a planning value."""
    name = resource.upper()
    if name.startswith(("GPIB", "PRLGX")):
        return GPIB_S
    if name.startswith("ASRL"):
        return SERIAL_S
    if name.startswith("TCPIP") and name.endswith("::INSTR") and "::HISLIP" not in name:
        return VXI11_S
    return SOCKET_S
