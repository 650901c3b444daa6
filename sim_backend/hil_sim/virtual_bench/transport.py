"""Transports: a personality behind a TCP socket, HiSLIP or a pseudo terminal, one thread each."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from hil.errors import BackendUnavailable, ConfigError
from hil_sim.virtual_bench.personality import Personality

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_BLOCK = re.compile(rb"#([1-9])")
_MAX_MESSAGE = 64 * 1024 * 1024


class Transport(Protocol):
    """A way to an emulated instrument."""

    resource: str  #: VISA resource string

    def drop(self) -> None:
        """Cut every open connection (link loss)."""

    def close(self) -> None:
        """Stop serving and release the address."""


def split_message(buffer: bytearray, block_aware: bool) -> bytes | None:
    """Take one message off ``buffer``; None until its newline is there.

    A definite-length block (``#42048…``) may hold newlines.
    """
    search = 0
    while True:
        end = buffer.find(b"\n", search)
        if end < 0:
            return None
        if block_aware:
            block = _BLOCK.search(buffer, search, end)
            if block is not None:
                digits = int(block.group(1))
                header = bytes(buffer[block.end() : block.end() + digits])
                if header.isdigit() and len(header) == digits:
                    search = block.end() + digits + int(header)
                    if search > _MAX_MESSAGE:
                        buffer.clear()
                        return b""
                    if search > len(buffer):
                        return None
                    continue
        message = bytes(buffer[:end])
        del buffer[: end + 1]
        return message.rstrip(b"\r")


def answer(instrument: Personality, message: bytes) -> bytes | None:
    """Return the reply to one message after the latencies that are asked for."""
    reply = instrument.exchange(message)
    owed, instrument.owed_s = instrument.owed_s, 0.0
    late = owed + (0.0 if reply is None else instrument.faults.lateness_s())
    if late > 0.0:
        time.sleep(late)
    return reply


class TcpServer(ABC):
    """A threaded TCP server with TCP_NODELAY; several sessions may be open at once.

    Attributes:
        refuses: whether new connections are closed at once.
    """

    def __init__(self, name: str, refuses: Callable[[], bool]) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.refuses = refuses
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name=f"bench-{name}", daemon=True)

    def start(self) -> None:
        """Begin to accept connections."""
        self._accepting.start()

    @abstractmethod
    def serve(self, connection: socket.socket) -> None:
        """Serve one connection until it closes."""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if self.refuses():
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._guard:
                self._open.add(connection)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.serve(connection)
        with self._guard:
            self._open.discard(connection)

    def drop(self) -> None:
        """Cut every open connection (link loss)."""
        with self._guard:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.drop()
        self._accepting.join(1.0)
        for thread in self._threads:
            thread.join(1.0)


@contextlib.contextmanager
def session(instrument: Personality) -> Iterator[None]:
    """Tell an instrument of one connection while the ``with`` block runs."""
    with instrument.bench.lock:
        instrument.session_opened()
    try:
        yield
    finally:
        with instrument.bench.lock:
            instrument.session_closed()


class SocketServer(TcpServer):
    """Messages and replies as lines on a raw socket."""

    def __init__(self, instrument: Personality) -> None:
        super().__init__(instrument.name, lambda: instrument.faults.refuse)
        self._instrument = instrument
        self.resource = f"TCPIP0::127.0.0.1::{self.port}::SOCKET"
        self.start()

    def serve(self, connection: socket.socket) -> None:
        """Answer every line."""
        buffer = bytearray()
        with session(self._instrument):
            aware = self._instrument.block_aware
            while chunk := connection.recv(1 << 16):
                buffer += chunk
                while (message := split_message(buffer, aware)) is not None:
                    reply = answer(self._instrument, message)
                    if reply is not None:
                        connection.sendall(reply)


def kind_for(resource: str) -> str:
    """Return the transport that is nearest to a station's resource string.

    Whatever has a device clear in reality (GPIB, USB and ``INSTR`` over TCP) has one here, too.
    """
    text = resource.lower()
    if "hislip" in text:
        return "hislip"
    if text.endswith("::socket") or text.startswith(("asrl", "com", "/dev/")):
        return "socket"
    return "vxi11"


def open_transport(kind: str, bench: Bench, instrument: Personality) -> Transport:
    """Return a running transport: ``socket``, ``hislip``, ``vxi11``, ``prologix`` or ``pty``.

    Raises:
        ConfigError: no such transport. BackendUnavailable: not on this operating system.
    """
    if kind == "socket":
        return SocketServer(instrument)
    if kind == "hislip":
        from hil_sim.virtual_bench.hislip import HislipServer

        return HislipServer(instrument)
    if kind == "vxi11":
        from hil_sim.virtual_bench.vxi11 import Vxi11Server

        return Vxi11Server(instrument)
    if kind == "prologix":
        from hil_sim.virtual_bench.prologix import place_on_bus

        return place_on_bus(bench, instrument)
    if kind == "pty":
        try:
            from hil_sim.virtual_bench.serial_port import PtyServer
        except ImportError as exc:
            raise BackendUnavailable(
                "pseudo terminals need a POSIX system; use the transport `socket`"
            ) from exc
        return PtyServer(instrument)
    raise ConfigError(f"{kind!r} is none of socket, hislip, vxi11, prologix, pty",
                      field="settings.transport")  # fmt: skip
