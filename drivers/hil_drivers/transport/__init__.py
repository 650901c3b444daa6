"""Sessions with instruments: VISA, wire logs and their replay."""

from __future__ import annotations

from hil_drivers.transport.replaying import ReplaySession
from hil_drivers.transport.session import LinkSettings, Session
from hil_drivers.transport.visa import VisaSession
from hil_drivers.transport.wirelog import LoggedSession, WireLog, load_wire_log


def open_session(
    resource: str, link: LinkSettings | None = None, *, library: str = "auto"
) -> VisaSession:
    """Open a VISA resource such as ``TCPIP0::192.168.0.5::5025::SOCKET`` or ``GPIB0::17::INSTR``.

    Raises:
        ConfigError: it is no resource string.
        LinkError: nothing answers there.
    """
    return VisaSession(resource, link, library=library)


__all__ = ["LinkSettings", "LoggedSession", "ReplaySession", "Session", "VisaSession", "WireLog",
           "load_wire_log", "open_session"]  # fmt: skip
