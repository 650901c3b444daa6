"""Ctrl-C: the first finishes the block at hand, the second switches the outputs off at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from hil.errors import RunInterrupted

if TYPE_CHECKING:
    from hil.backend import Backend

#: SIGBREAK is Ctrl-Break, and what a parent process can send on Windows.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)


class StopGuard:
    """Turns signals into stop requests while a command drives an array.

    The first signal asks every watched backend to stop before its next block: the block at hand is
    finished, the array made safe, and the run closed as ``interrupted``. A second signal aborts the
    backends (outputs off now) and raises KeyboardInterrupt; the run is closed all the same.
    """

    def __init__(self) -> None:
        self.requested = False  #: a stop was asked for
        self._backends: list[Backend] = []
        self._before: dict[int, Any] = {}

    def watch(self, backends: Iterable[Backend]) -> None:
        """Stop these backends too; one that joins after the first signal is stopped right away."""
        for backend in backends:
            self._backends.append(backend)
            if self.requested:
                backend.request_stop()

    def check(self) -> None:
        """Raise RunInterrupted when a stop was asked for; for long work that drives nothing."""
        if self.requested:
            raise RunInterrupted("stopped on request, in the safe state")

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            for backend in self._backends:
                backend.request_stop()
            # Not through sys.stderr: the signal may have come in the middle of a write to it.
            os.write(2, b"\nhil: stopping after this block; once more stops at once\n")
            return
        for backend in self._backends:
            backend.abort()
        # Raised again by every further signal: an exception that happens to meet a callback from
        # C code is lost there. Only the closing of the run, which is short, is never cut off.
        if not _closing(frame):
            raise KeyboardInterrupt


@contextmanager
def interruptible(consequence: str) -> Iterator[Callable[[], None]]:
    """Let the first signal end the ``with`` block as RunInterrupted, which says ``consequence``.

    For commands that drive nothing in this process. The block gets a function to call now and then:
    it stops the block when the signal's own exception was lost, as in a callback from C code or in
    an import of pandas.
    """
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    def check() -> None:
        if stopped:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield check
    except KeyboardInterrupt as exc:
        raise RunInterrupted(f"stopped; {consequence}") from exc
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _closing(frame: FrameType | None) -> bool:
    from hil.record.folder import RunFolder

    while frame is not None:
        if frame.f_code is RunFolder.close.__code__:
            return True
        frame = frame.f_back
    return False
