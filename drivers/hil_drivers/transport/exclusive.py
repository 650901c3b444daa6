"""One process at a time on an instrument: locks by resource and by serial number."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from hil.locks import held
from hil_drivers.steps import Identity

_LOOPBACK: Final = ("::127.", "::LOCALHOST", "::[::1]")

_guard = threading.Lock()
_mine: dict[str, tuple[int, AbstractContextManager[None]]] = {}  # several arrays share instruments


def lock_folder() -> Path:
    """Return the folder of the locks, the same for all users of this computer; made if missing."""
    folder = Path(tempfile.gettempdir()) / "synapse-hil-locks"
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o777)  # whoever comes second is another user, perhaps
    return folder


def canonical(resource: str) -> str:
    """Return one spelling of a VISA resource or a serial port.

    ``TCPIP::H::5025::SOCKET`` names board 0; ``/dev/serial/by-id/…`` is a link to the port itself.
    """
    if resource.startswith("/"):
        return os.path.realpath(resource)
    from pyvisa import rname

    try:
        return rname.to_canonical_name(resource.upper())
    except rname.InvalidResourceName:
        return resource.upper()  # opening it will say what is wrong


def _acquire(key: str, what: str) -> None:
    with _guard:
        count, lock = _mine.get(key, (0, None))
        if lock is None:
            name = hashlib.sha256(key.encode()).hexdigest()[:24]
            path = lock_folder() / f"{name}.lock"
            lock = held(path, what)
            lock.__enter__()
            with contextlib.suppress(OSError):
                path.chmod(0o666)
        _mine[key] = count + 1, lock


def _release(key: str) -> None:
    with _guard:
        count, lock = _mine.pop(key)
        if count > 1:
            _mine[key] = count - 1, lock
        else:
            lock.__exit__(None, None, None)


class InstrumentLocks:
    """The locks of a rig's instruments; taken while it opens, released when it closes.

    An instrument is locked by its resource before anything is sent, and by its serial number once
    that is known, since a resource may be spelled in several ways. Instruments behind a loopback
    address (a virtual bench, a tunnel) are locked by their resource alone.
    """

    def __init__(self, resources: Mapping[str, str]) -> None:
        self._resources = dict(resources)
        self._held = ExitStack()
        self._keys: set[str] = set()

    def take(self, name: str) -> None:
        """Lock the instrument's resource.

        Raises:
            LockedError: another process uses it; says which.
        """
        resource = self._resources[name]
        self._lock(f"resource {canonical(resource)}", f"instrument {name!r} ({resource})")

    def identified(self, name: str, identity: Identity) -> None:
        """Lock the instrument's serial number.

        Raises:
            LockedError: another process uses it under another resource.
        """
        if any(host in canonical(self._resources[name]) for host in _LOOPBACK):
            return
        key = f"serial {identity.maker} {identity.model} {identity.serial}".upper()
        self._lock(key, f"instrument {name!r} ({identity})")

    def _lock(self, key: str, what: str) -> None:
        if key in self._keys:
            return
        _acquire(key, what)
        self._keys.add(key)
        self._held.callback(_release, key)

    def release(self) -> None:
        """Release all; idempotent."""
        self._keys.clear()
        self._held.close()
