"""HiSLIP (IVI-6.1): a synchronous and an asynchronous TCP channel per session."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Final

from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.transport import TcpServer, answer, session

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


class HislipServer(TcpServer):
    """Serves one instrument as ``hislip0``."""

    def __init__(self, instrument: Personality) -> None:
        super().__init__(f"hislip-{instrument.name}", lambda: instrument.faults.refuse)
        self._instrument = instrument
        self.resource = f"TCPIP0::127.0.0.1::hislip0,{self.port}::INSTR"
        self._numbers = itertools.count(1)
        self._sessions: dict[int, _Session] = {}
        self.start()

    def serve(self, connection: socket.socket) -> None:
        """Serve one of the two channels of a session."""
        kind, _, parameter, _ = self._receive(connection)
        if kind == INITIALIZE:
            opened = _Session(next(self._numbers))
            self._sessions[opened.number] = opened
            self._send(connection, INITIALIZE_RESPONSE, 0, (0x0100 << 16) | opened.number)
            with session(self._instrument):
                self._synchronous(connection, opened)
        elif kind == ASYNC_INITIALIZE and parameter in self._sessions:
            self._send(connection, ASYNC_INITIALIZE_RESPONSE, 0, _VENDOR)
            self._asynchronous(connection, self._sessions[parameter])
        else:
            self._send(connection, FATAL, 3, 0, b"invalid initialization sequence")

    def _synchronous(self, connection: socket.socket, opened: _Session) -> None:
        buffer = bytearray()
        while True:
            kind, _, parameter, payload = self._receive(connection)
            if kind == DEVICE_CLEAR_COMPLETE:
                buffer.clear()
                opened.clearing.clear()
                self._send(connection, DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
            elif kind == TRIGGER:
                self._instrument.exchange(b"*TRG")
            elif kind in (DATA, DATA_END):
                buffer += payload
                if kind == DATA_END:
                    message = bytes(buffer).rstrip(b"\r\n")
                    buffer.clear()
                    self._reply(connection, opened, message, parameter)

    def _reply(self, connection: socket.socket, opened: _Session, message: bytes,
               number: int) -> None:  # fmt: skip
        # One END may close several lines; each is a message of its own. Their replies go as one:
        # PyVISA-py 0.8.1 reads nothing, for ever, after the end of the first.
        lines = message.split(b"\n") if not self._instrument.block_aware else [message]
        reply = b"".join(answer(self._instrument, line) or b"" for line in lines)
        if not reply or opened.clearing.is_set():
            return
        room = max(opened.max_size - _HEADER.size, 256)
        parts = [reply[k : k + room] for k in range(0, len(reply), room)]
        for part in parts[:-1]:
            self._send(connection, DATA, 0, number, part)
        self._send(connection, DATA_END, 0, number, parts[-1])

    def _asynchronous(self, connection: socket.socket, opened: _Session) -> None:
        while True:
            kind, control, _, payload = self._receive(connection)
            if kind == ASYNC_MAX_SIZE:
                opened.max_size = min(struct.unpack(">Q", payload)[0], _MAX_SIZE)
                self._send(connection, ASYNC_MAX_SIZE_RESPONSE, 0, 0, struct.pack(">Q", _MAX_SIZE))
            elif kind == ASYNC_DEVICE_CLEAR:
                opened.clearing.set()
                with self._instrument.bench.lock:
                    self._instrument.clear()
                self._send(connection, ASYNC_DEVICE_CLEAR_ACKNOWLEDGE, 0, 0)
            elif kind == ASYNC_STATUS_QUERY:
                bits = self._instrument.status_byte()
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
