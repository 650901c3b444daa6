"""VXI-11 (TCP/IP Instrument Protocol, VXIbus Consortium 1995): the core channel over ONC RPC.

Real instruments announce their port through the portmapper on port 111; the bench's resource
strings name the port (``TCPIP0::host,port::inst0::INSTR``), which PyVISA-py takes.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hil_sim.virtual_bench.exchange import MessageExchange
from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.transport import TcpServer, session

_CORE: Final = (0x0607AF, 1)
# Procedures of the core channel, table B.1 of the specification.
(_CREATE_LINK, _WRITE, _READ, _STATUS, _TRIGGER, _CLEAR, _REMOTE, _LOCAL, _LOCK, _UNLOCK) = range(
    10, 20
)
_DESTROY_LINK: Final = 23
_OK, _NO_LINK, _NOT_SUPPORTED, _IO_TIMEOUT = 0, 4, 8, 15
_END_FLAG, _TERMCHAR_FLAG = 8, 128
_COUNT_REASON, _CHAR_REASON, _END_REASON = 1, 2, 4
_LAST, _MAX_RECORD, _MAX_RECEIVE = 1 << 31, 1 << 26, 1 << 20
_PROC_UNAVAILABLE, _GARBAGE = 3, 4


@dataclass(slots=True)
class _Arguments:
    """XDR-encoded arguments of a call."""

    data: bytes
    at: int = 0

    def integer(self) -> int:
        value: int = struct.unpack_from(">I", self.data, self.at)[0]
        self.at += 4
        return value

    def opaque(self) -> bytes:
        size = self.integer()
        if self.at + size > len(self.data):
            raise struct.error("opaque data is longer than the call")
        value = self.data[self.at : self.at + size]
        self.at += size + (-size % 4)
        return value


def _opaque(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value + bytes(-len(value) % 4)


class Vxi11Server(TcpServer):
    """Serves one instrument as ``inst0``."""

    def __init__(self, instrument: Personality) -> None:
        super().__init__(f"vxi11-{instrument.name}", lambda: instrument.faults.refuse)
        self._instrument = instrument
        self.resource = f"TCPIP0::127.0.0.1,{self.port}::inst0::INSTR"
        self._numbers = itertools.count(1)
        self.start()

    def serve(self, connection: socket.socket) -> None:
        """Answer calls; the links that a connection made end with it."""
        links: dict[int, MessageExchange] = {}
        with session(self._instrument):
            while (record := self._record(connection)) is not None:
                reply = self._call(record, links)
                connection.sendall(struct.pack(">I", _LAST | len(reply)) + reply)

    @staticmethod
    def _record(connection: socket.socket) -> bytes | None:
        """Return one record, its fragments joined; None when the client has gone."""
        out = bytearray()
        while True:
            header = _exactly(connection, 4)
            if header is None:
                return None
            (mark,) = struct.unpack(">I", header)
            size = mark & ~_LAST
            body = _exactly(connection, size) if size <= _MAX_RECORD else None
            if body is None:
                return None
            out += body
            if mark & _LAST:
                return bytes(out)

    def _call(self, record: bytes, links: dict[int, MessageExchange]) -> bytes:
        call = _Arguments(record)
        try:
            number = call.integer()
            call.at = 12
            program, version, procedure = call.integer(), call.integer(), call.integer()
            for _ in range(2):  # credentials and verifier
                call.integer()
                call.opaque()
            known = (program, version) == _CORE
            body = self._procedure(procedure, call, links) if known else None
            status = _OK if body is not None else _PROC_UNAVAILABLE
        except struct.error:
            number, body, status = int.from_bytes(record[:4], "big"), None, _GARBAGE
        return struct.pack(">IIIIII", number, 1, 0, 0, 0, status) + (body or b"")

    def _procedure(
        self, procedure: int, call: _Arguments, links: dict[int, MessageExchange]
    ) -> bytes | None:
        """Return the result of a procedure, None for one that is not there."""
        if procedure == _CREATE_LINK:
            number = next(self._numbers)
            links[number] = MessageExchange(self._instrument)
            return struct.pack(">IIII", _OK, number, 0, _MAX_RECEIVE)
        if procedure == _DESTROY_LINK:
            found = links.pop(call.integer(), None)
            return struct.pack(">I", _NO_LINK if found is None else _OK)
        if procedure not in _LINKED:
            return None
        link = links.get(call.integer())
        if link is None:
            return struct.pack(">I", _NO_LINK) + bytes(_LINKED[procedure][1])
        return _LINKED[procedure][0](link, call)


def _write(link: MessageExchange, call: _Arguments) -> bytes:
    call.at += 8  # time-outs of input/output and of locks
    flags, data = call.integer(), call.opaque()
    link.write(data, bool(flags & _END_FLAG))
    return struct.pack(">II", _OK, len(data))


def _read(link: MessageExchange, call: _Arguments) -> bytes:
    count = call.integer()
    call.at += 8
    flags, character = call.integer(), call.integer()
    stop = character & 0xFF if flags & _TERMCHAR_FLAG else None
    data, ended = link.read(count, stop)
    if not data:
        return struct.pack(">II", _IO_TIMEOUT, 0) + _opaque(b"")
    reason = _END_REASON * ended | _COUNT_REASON * (len(data) == count)
    reason |= _CHAR_REASON * (stop is not None and data[-1] == stop)
    return struct.pack(">II", _OK, reason) + _opaque(data)


def _status(link: MessageExchange, _: _Arguments) -> bytes:
    return struct.pack(">II", _OK, link.status_byte())


def _trigger(link: MessageExchange, _: _Arguments) -> bytes:
    link.trigger()
    return struct.pack(">I", _OK)


def _clear(link: MessageExchange, _: _Arguments) -> bytes:
    link.clear()
    return struct.pack(">I", _OK)


def _nothing(_: MessageExchange, __: _Arguments) -> bytes:
    """Grant remote, local, lock and unlock: one exclusive user is assumed."""
    return struct.pack(">I", _OK)


#: procedures on a link, with the bytes of their results that follow the error
_LINKED: Final[dict[int, tuple[Callable[[MessageExchange, _Arguments], bytes], int]]] = {
    _WRITE: (_write, 4), _READ: (_read, 8), _STATUS: (_status, 4), _TRIGGER: (_trigger, 0),
    _CLEAR: (_clear, 0), _REMOTE: (_nothing, 0), _LOCAL: (_nothing, 0), _LOCK: (_nothing, 0),
    _UNLOCK: (_nothing, 0),
}  # fmt: skip


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    out = bytearray()
    while len(out) < size:
        chunk = connection.recv(min(size - len(out), 1 << 16))
        if not chunk:
            return None
        out += chunk
    return bytes(out)
