"""A wire log in place of the instruments: the sessions of a whole rig, answered from one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.errors import LinkError
from hil_drivers.transport.wirelog import ReplaySession, load_wire_log


def replayed(path: str | Path) -> Callable[[str], ReplaySession]:
    """Return what opens sessions by instrument name on the wire log ``path``.

    A rig that does what the recorded one did gets the same answers; whatever differs is a
    LinkError. A second session of an instrument goes on where the first one was.

    Raises:
        StoreError: the file cannot be read or is no wire log.
    """
    recorded = load_wire_log(path)
    sessions: dict[str, ReplaySession] = {}

    def connect(name: str) -> ReplaySession:
        if name not in recorded:
            raise LinkError(f"the wire log {path} has no instrument {name!r}", name)
        return sessions.setdefault(name, ReplaySession(name, recorded[name]))

    return connect
