"""A thread that keeps a watchdog fed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from hil.errors import LinkError


class Feeder:
    """A thread that calls ``feed`` at a period until it is stopped or the link fails."""

    def __init__(self, feed: Callable[[], None], period_s: float) -> None:
        self._feed, self._period_s = feed, period_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="board-watchdog", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with suppress(LinkError):  # whoever waits for a reply will say so
            while not self._stopped.wait(self._period_s):
                self._feed()

    def stop(self) -> None:
        """Stop; returns at once."""
        self._stopped.set()
