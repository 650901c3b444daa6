"""HiSLIP (IVI-6.1): a synchronous and an asynchronous TCP channel per session."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.transport import answer

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench

_HEADER: Final = struct.Struct(">2sBBIQ")
# Message types of IVI-6.1, table 4.
(
    INITIALIZE, INITIALIZE_RESPONSE, FATAL, ERROR, ASYNC_LOCK, ASYNC_LOCK_RESPONSE, DATA, DATA_END,
    DEVICE_CLEAR_COMPLETE, DEVICE_CLEAR_ACKNOWLEDGE, ASYNC_REMOTE_LOCAL,
    ASYNC_REMOTE_LOCAL_RESPONSE, TRIGGER, INTERRUPTED, ASYNC_INTERRUPTED, ASYNC_MAX_SIZE,
    ASYNC_MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE, ASYNC_DEVICE_CLEAR,
    ASYNC_SERVICE_REQUEST, ASYNC_STATUS_QUERY, ASYNC_STATUS_RESPONSE,
    ASYNC_DEVICE_CLEAR_ACKNOWLEDGE, ASYNC_LOCK_INFO, ASYNC_LOCK_INFO_RESPONSE,
) = range(26)  # fmt: skip
_VENDOR: Final = 0x4853
_MAX_SIZE: Final = 1 << 20


@dataclass(slots=True)
class _Session:
    number: int
    clearing: threading.Event = field(default_factory=threading.Event)
    unread: bool = False
    max_size: int = _MAX_SIZE


class HislipServer:
    """Serves one instrument as ``hislip0``."""

    def __init__(self, bench: Bench, instrument: Personality) -> None:
        self._bench, self._instrument = bench, instrument
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.resource = f"TCPIP0::127.0.0.1::hislip0,{self.port}::INSTR"
        self._numbers = itertools.count(1)
        self._sessions: dict[int, _Session] = {}
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        threading.Thread(target=self._accept, name=f"hislip-{instrument.name}", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if self._instrument.faults.refuse:
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._guard:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ConnectionError), connection:
            kind, _, parameter, _ = self._receive(connection)
            if kind == INITIALIZE:
                session = _Session(next(self._numbers))
                self._sessions[session.number] = session
                self._send(connection, INITIALIZE_RESPONSE, 0, (0x0100 << 16) | session.number)
                self._synchronous(connection, session)
            elif kind == ASYNC_INITIALIZE and parameter in self._sessions:
                self._send(connection, ASYNC_INITIALIZE_RESPONSE, 0, _VENDOR)
                self._asynchronous(connection, self._sessions[parameter])
            else:
                self._send(connection, FATAL, 3, 0, b"invalid initialization sequence")
        with self._guard:
            self._open.discard(connection)

    def _synchronous(self, connection: socket.socket, session: _Session) -> None:
        buffer = bytearray()
        while True:
            kind, _, parameter, payload = self._receive(connection)
            if kind == DEVICE_CLEAR_COMPLETE:
                buffer.clear()
                session.clearing.clear()
                self._send(connection, DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
            elif kind == TRIGGER:
                self._instrument.exchange(b"*TRG")
            elif kind in (DATA, DATA_END):
                buffer += payload
                if kind == DATA_END:
                    message = bytes(buffer).rstrip(b"\r\n")
                    buffer.clear()
                    self._reply(connection, session, message, parameter)

    def _reply(self, connection: socket.socket, session: _Session, message: bytes,
               number: int) -> None:  # fmt: skip
        # One END may close several lines; each is a message of its own, the last one answers.
        lines = message.split(b"\n") if not self._instrument.block_aware else [message]
        replies = [answer(self._instrument, line) for line in lines]
        reply = b"".join(r for r in replies if r is not None)
        if not reply or session.clearing.is_set():
            return
        room = max(session.max_size - _HEADER.size, 256)
        parts = [reply[k : k + room] for k in range(0, len(reply), room)]
        for part in parts[:-1]:
            self._send(connection, DATA, 0, number, part)
        self._send(connection, DATA_END, 0, number, parts[-1])

    def _asynchronous(self, connection: socket.socket, session: _Session) -> None:
        while True:
            kind, control, _, payload = self._receive(connection)
            if kind == ASYNC_MAX_SIZE:
                session.max_size = min(struct.unpack(">Q", payload)[0], _MAX_SIZE)
                self._send(connection, ASYNC_MAX_SIZE_RESPONSE, 0, 0, struct.pack(">Q", _MAX_SIZE))
            elif kind == ASYNC_DEVICE_CLEAR:
                session.clearing.set()
                with self._bench.lock:
                    self._instrument.clear()
                self._send(connection, ASYNC_DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
            elif kind == ASYNC_STATUS_QUERY:
                bits = 4 if self._instrument.errors else 0
                self._send(connection, ASYNC_STATUS_RESPONSE, bits, 0)
            elif kind == ASYNC_LOCK:
                # Request (1) is granted, release (0) confirmed: one exclusive user is assumed.
                self._send(connection, ASYNC_LOCK_RESPONSE, 1 if control in (0, 1) else 3, 0)
            elif kind == ASYNC_LOCK_INFO:
                self._send(connection, ASYNC_LOCK_INFO_RESPONSE, 0, 0)
            elif kind == ASYNC_REMOTE_LOCAL:
                self._send(connection, ASYNC_REMOTE_LOCAL_RESPONSE, 0, 0)
            else:
                self._send(connection, ERROR, 1, 0, b"unidentified message type")

    @staticmethod
    def _send(connection: socket.socket, kind: int, control: int, parameter: int,
              payload: bytes = b"") -> None:  # fmt: skip
        connection.sendall(_HEADER.pack(b"HS", kind, control, parameter, len(payload)) + payload)

    @classmethod
    def _receive(cls, connection: socket.socket) -> tuple[int, int, int, bytes]:
        mark, kind, control, parameter, size = _HEADER.unpack(cls._exactly(connection, 16))
        if mark != b"HS" or size > 64 * _MAX_SIZE:
            raise ConnectionError("no HiSLIP message")
        return kind, control, parameter, cls._exactly(connection, size)

    @staticmethod
    def _exactly(connection: socket.socket, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            chunk = connection.recv(min(size - len(out), 1 << 16))
            if not chunk:
                raise ConnectionError("closed")
            out += chunk
        return bytes(out)

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
