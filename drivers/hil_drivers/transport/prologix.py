"""Instruments behind a Prologix GPIB-ETHERNET controller, by PyVISA-py.

``PRLGX-TCPIP0::192.168.0.9::1234::INTFC/GPIB0::17::INSTR`` is the instrument at address 17 of it.
The controller has one current address, whoever talks to it: all its instruments share one
connection of the process, and their messages take turns.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from hil.errors import ConfigError, LinkError
from hil_drivers.transport.rawsocket import RawSocket

if TYPE_CHECKING:
    from pyvisa import ResourceManager

_END: Final = "::INTFC"
#: The longest that a controller waits for a reply (manual 1.6.6, ++read_tmo_ms); blocks take 2 s.
_READ_TMO_MS: Final = 3000
_guard = threading.Lock()
_open: dict[int, tuple[str, Any, int]] = {}  # board -> resource, session, users


def split(resource: str) -> tuple[str, str]:
    """Return the controller, empty without one, and the instrument of a resource string.

    Raises:
        ConfigError: the two have different board numbers, so that PyVISA-py would not join them.
    """
    controller, slash, instrument = resource.partition(f"{_END}/")
    if not slash or not resource.upper().startswith("PRLGX-"):
        return "", resource
    boards = [_board(name) for name in (controller + _END, instrument)]
    if boards[0] != boards[1]:
        raise ConfigError(
            f"{resource!r}: controller and instrument have boards {boards[0]} and {boards[1]}; "
            "they are one, as in PRLGX-TCPIP0::…::INTFC/GPIB0::17::INSTR", field="resource",
        )  # fmt: skip
    return controller + _END, instrument


def _board(resource: str) -> int:
    from pyvisa import rname

    return int(getattr(rname.parse_resource_name(resource), "board", 0))


def join(manager: ResourceManager, controller: str, open_timeout_ms: int) -> Any:
    """Return the session with a controller, opened when nobody in this process has it open.

    Raises:
        ConfigError: another controller has its board number.
    """
    board = _board(controller)
    with _guard:
        known, session, users = _open.get(board, (controller, None, 0))
        if known.upper() != controller.upper():
            raise ConfigError(f"{known} is open as board {board}: call {controller} and its "
                              "instruments by another number", field="resource")  # fmt: skip
        if session is not None and not _alive(session, controller):
            session.close()  # before another is opened: both have one place in PyVISA-py
            session, users = None, 0
        if session is None:
            made: Any = manager.open_resource(controller, open_timeout=open_timeout_ms)
            session = made
            session.write(f"++read_tmo_ms {_READ_TMO_MS}")
        _open[board] = controller, session, users + 1
    return session


def leave(session: Any) -> None:
    """Close a controller's session when the last of its instruments is closed."""
    with _guard:
        for board, (name, kept, users) in list(_open.items()):
            if kept is session and users > 1:
                _open[board] = name, kept, users - 1
            elif kept is session:
                del _open[board]
                session.close()


def refuse_closed(session: Any, address: str) -> None:
    """Raise LinkError when a controller's connection is lost; PyVISA-py would read it for ever."""
    link = session.visalib.sessions[session.session].interface
    try:
        if link is not None:
            RawSocket(link, address).unread()
            return
    except OSError as exc:
        raise LinkError(f"the controller's connection is lost: {exc}", address) from exc
    raise LinkError("the controller's connection is closed", address)


def _alive(session: Any, address: str) -> bool:
    try:
        refuse_closed(session, address)
    except LinkError:
        return False
    return True
