"""Switching off from another thread, through second sessions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from hil.errors import HilError, LinkError
from hil_drivers.instrument import SourceInstrument
from hil_drivers.transport.session import Session

_WAIT_S: Final = 2.0


def switch_off(sources: Mapping[str, SourceInstrument], connect: Callable[[str], Session]) -> None:
    """Abort all sources at once, each through a session of its own; device clear first.

    Raises:
        HilError: an instrument could not be reached; the others are off.
    """
    failures: list[HilError] = []

    def one(name: str) -> None:
        try:
            session = connect(name)
            try:
                sources[name].abort(session)
            finally:
                session.close()
        except HilError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_WAIT_S)
    if any(thread.is_alive() for thread in threads):
        failures.append(LinkError("an instrument does not answer the abort"))
    if failures:
        raise failures[0]
