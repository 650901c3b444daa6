"""What the recorder notes about its surroundings while a run is going on."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from hil.errors import StoreError
from hil.record.policy import CommitPolicy


class Watch:
    """Writes ``clock`` events and the alarm about low disk space; called by the writer thread.

    ``epoch_ns`` is the run's start on the monotonic clock, ``event`` the run folder's method.

    Attributes:
        short_of_space: less is free than ``low_space_bytes``, and than a quarter of what was free
            at the start (a small disk is no reason to stop).
    """

    def __init__(
        self, path: Path, epoch_ns: int, policy: CommitPolicy, event: Callable[..., None]
    ) -> None:
        self._path, self._epoch_ns, self._policy, self._event = path, epoch_ns, policy, event
        self._told = False
        self.short_of_space = False
        self._least = min(policy.low_space_bytes, shutil.disk_usage(path).free // 4)
        self._clock_s = self._tick_s = time.monotonic()

    def tick(self) -> None:
        """Look at clock and disk, at most once a second."""
        now_s = time.monotonic()
        if now_s - self._tick_s < 1.0:
            return
        self._tick_s = now_s
        with contextlib.suppress(StoreError, OSError):  # rows meet the same disk and report it
            if now_s - self._clock_s >= self._policy.clock_s:
                self._clock_s = now_s
                t_ns = time.monotonic_ns() - self._epoch_ns
                self._event("clock", utc_ns=time.time_ns(), t_ns_of_utc=t_ns)
            free = shutil.disk_usage(self._path).free
            self.short_of_space = free < self._least
            if free < self._policy.low_space_bytes and not self._told:
                self._told = True
                self._event("alarm", what="low disk space", free_bytes=free)

    def wait_for_space(self, stopped: Callable[[], bool]) -> None:
        """Return when there is space again, or ``stopped`` is true; events say it.

        Raises:
            StoreError: there was none for as long as the policy says.
        """
        free, begin_s = shutil.disk_usage(self._path).free, time.monotonic()
        text = f"{self._path}: paused, {free} bytes free, needs {self._least}"
        logging.getLogger(__name__).warning(
            text
        )  # on standard error, unless the user says otherwise
        self._event("pause", what="low disk space", free_bytes=free)
        while self.short_of_space and not stopped():
            if time.monotonic() - begin_s > self._policy.pause_s:
                raise StoreError(f"{text}; nobody made room for {self._policy.pause_s:g} s")
            time.sleep(0.1)
        self._event("resume", what="low disk space", stopped=stopped())
