"""A pseudo terminal as an instrument's serial port (POSIX)."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import threading
import tty

from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.transport import answer, split_message

_POLL_S = 0.05


class PtyServer:
    """Serves one instrument on a pseudo terminal in raw mode."""

    def __init__(self, instrument: Personality) -> None:
        self._instrument = instrument
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.resource = f"ASRL{os.ttyname(self._slave)}::INSTR"
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"pty-{instrument.name}", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            os.close(self._slave)
            os.close(self._master)

    def _serve(self) -> None:
        buffer = bytearray()
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master], [], [], _POLL_S)
            if not ready:
                continue
            with contextlib.suppress(OSError):
                buffer += os.read(self._master, 1 << 16)
            while (message := split_message(buffer, self._instrument.block_aware)) is not None:
                reply = answer(self._instrument, message)
                if reply is not None:
                    self._write(reply)

    def _write(self, reply: bytes) -> None:
        view = memoryview(reply)
        while view and not self._stop.is_set():
            _, ready, _ = select.select([], [self._master], [], _POLL_S)
            if ready:
                view = view[os.write(self._master, view[:1024]) :]

    def drop(self) -> None:
        """Do nothing: a serial line has no connection that could be cut."""

    def close(self) -> None:
        """Stop serving; the thread that serves closes the terminal. Idempotent."""
        self._stop.set()
        self._thread.join(2.0)
