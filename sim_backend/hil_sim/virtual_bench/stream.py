"""Byte streams: instruments on a serial line, over a pseudo terminal (POSIX) or a raw socket.

Unlike the line transports, nothing is cut into messages here. An instrument hears of connections
that begin and end, is read while it sends, and is asked for more when all it has said is sent.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
import time
from abc import abstractmethod
from pathlib import Path

from hil.errors import BackendUnavailable, ConfigError
from hil_sim.virtual_bench.network import Network
from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.transport import TcpServer, Transport, session

_POLL_S = 0.05
_ABSENT_S = 0.005
_CHUNK = 1 << 16
_QUEUED = 1 << 20  # bytes that wait to be sent before the instrument is no longer read


class StreamPersonality(Personality):
    """An array board on a serial line, which cuts what comes into messages itself.

    Its channels are the word lines ``w0`` …, bit lines ``b0`` … and further lines ``x0`` ….
    """

    @abstractmethod
    def receive(self, data: bytes) -> bytes:
        """Take bytes as they come; return what is sent back."""

    @abstractmethod
    def tick(self) -> bytes:
        """Do what is due by the clock (a watchdog, a run under way); return what is sent."""

    def idle_s(self) -> float:
        """Return after how many seconds at the latest :meth:`tick` is wanted."""
        return _POLL_S

    def handle(self, message: bytes) -> bytes | None:
        """Take a message as bytes."""
        return self.receive(message) or None

    def wired(self, network: Network) -> None:
        """Wire line k to line k of the first array, unless the station wires any line."""
        mine = {id(terminal) for terminal in self.terminals.values()}
        used = [terminal for terminal, _ in network.direct] + list(network.rows.values())
        if mine & {id(terminal) for terminal in used}:
            return
        geometry = self.bench.station.array[0].geometry()
        first, rest = 0, geometry.n_lines - geometry.n_rows - geometry.n_cols
        for group, count in (("w", geometry.n_rows), ("b", geometry.n_cols), ("x", rest)):
            for k in range(count):
                terminal = self.terminals.get(f"{group}{k}")
                if terminal is not None:
                    network.direct.append((terminal, (0, first + k)))
            first += count
        network.version += 1


class _Link:
    """What one connection is told, with faults; ``queue`` is what waits to be sent."""

    def __init__(self, instrument: StreamPersonality) -> None:
        self.instrument = instrument
        self.queue = bytearray()

    def take(self, data: bytes) -> None:
        """Pass bytes on and queue the answer."""
        wire_in = self.instrument.faults.wire_in
        self._answer(self.instrument.receive(data if wire_in is None else wire_in(data)))

    def idle(self) -> None:
        """Let time pass; queue what the instrument says by itself."""
        self._answer(self.instrument.tick())

    def _answer(self, reply: bytes) -> None:
        instrument = self.instrument
        owed, instrument.owed_s = instrument.owed_s, 0.0
        if not reply:
            return
        late = owed + instrument.faults.lateness_s()
        if late > 0.0:
            time.sleep(late)
        wire_out = instrument.faults.wire_out
        self.queue += reply if wire_out is None else wire_out(reply)


class StreamSocket(TcpServer):
    """A raw socket, opened by pySerial as ``socket://host:port``."""

    def __init__(self, instrument: StreamPersonality) -> None:
        super().__init__(instrument.name, lambda: instrument.faults.refuse)
        self._instrument = instrument
        self.resource = f"socket://127.0.0.1:{self.port}"
        self.start()

    def serve(self, connection: socket.socket) -> None:
        """Pass bytes both ways until the connection closes."""
        link = _Link(self._instrument)
        connection.setblocking(False)
        with session(self._instrument):
            while True:
                full = len(link.queue) >= _QUEUED
                wait = None if link.queue else self._instrument.idle_s()
                readable, writable, _ = select.select(
                    [] if full else [connection], [connection] if link.queue else [], [], wait
                )
                if readable:
                    data = connection.recv(_CHUNK)
                    if not data:
                        return
                    link.take(data)
                if writable:
                    del link.queue[: connection.send(link.queue)]
                if not (readable or writable):
                    link.idle()


class StreamPty:
    """A pseudo terminal behind a stable path, as udev's by-id links are.

    The server keeps no descriptor of the client's side, so that it sees when the client has gone.
    """

    def __init__(self, instrument: StreamPersonality) -> None:
        self._instrument = instrument
        self._folder = tempfile.mkdtemp(prefix="hil-bench-")
        self.resource = str(Path(self._folder) / instrument.name)
        self._stop, self._cut = threading.Event(), threading.Event()
        self._master = self._open()
        self._thread = threading.Thread(
            target=self._run, name=f"stream-{instrument.name}", daemon=True
        )
        self._thread.start()

    def _open(self) -> int:
        import pty
        import tty

        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        fresh = f"{self.resource}.new"
        os.symlink(os.ttyname(slave), fresh)
        os.replace(fresh, self.resource)
        os.close(slave)
        return master

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._cut.is_set():
                # The path leads to the new one before the old one hangs up and its client may look.
                unplugged, self._master = self._master, self._open()
                os.close(unplugged)
                self._cut.clear()
            elif _present(self._master):
                with contextlib.suppress(OSError), session(self._instrument):
                    self._serve()
            else:
                time.sleep(_ABSENT_S)
        os.close(self._master)

    def _serve(self) -> None:
        """Pass bytes both ways until the client closes its side or the link is cut."""
        link, master = _Link(self._instrument), self._master
        poll = select.poll()
        poll.register(master, select.POLLIN)
        sending = False
        while not (self._stop.is_set() or self._cut.is_set()):
            if sending != bool(link.queue):
                sending = not sending
                poll.modify(master, select.POLLIN | (select.POLLOUT if sending else 0))
            wait_s = _POLL_S if sending else self._instrument.idle_s()
            events = poll.poll(wait_s * 1e3)
            happened = events[0][1] if events else 0
            if happened & select.POLLIN:
                link.take(os.read(master, _CHUNK))
            elif happened & (select.POLLHUP | select.POLLERR):
                return
            if link.queue and (happened & select.POLLOUT or not sending):
                with contextlib.suppress(BlockingIOError):
                    del link.queue[: os.write(master, link.queue)]
            if not happened and not sending:
                link.idle()

    def drop(self) -> None:
        """Unplug and plug in again: the client's side is gone, the path leads to a new one."""
        self._cut.set()
        patience = time.monotonic() + 2.0
        mine = threading.current_thread() is self._thread
        while not mine and self._cut.is_set() and time.monotonic() < patience:
            time.sleep(_ABSENT_S)

    def close(self) -> None:
        """Stop serving and remove the path."""
        self._stop.set()
        self._thread.join(2.0)
        shutil.rmtree(self._folder, ignore_errors=True)


def _present(master: int) -> bool:
    """Return whether somebody has the other side of a pseudo terminal open."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    events = poll.poll(0)
    return not events or not events[0][1] & select.POLLHUP


def open_stream(kind: str | None, instrument: StreamPersonality) -> Transport:
    """Return a running transport: ``pty`` or ``socket``; None = what the system has.

    Raises:
        ConfigError: no such transport. BackendUnavailable: not on this operating system.
    """
    kind = kind or ("socket" if sys.platform == "win32" else "pty")
    if kind == "socket":
        return StreamSocket(instrument)
    if kind != "pty":
        raise ConfigError(f"{kind!r} is none of pty, socket", field="settings.transport")
    if sys.platform == "win32":
        raise BackendUnavailable("pseudo terminals need a POSIX system; use the transport `socket`")
    return StreamPty(instrument)
