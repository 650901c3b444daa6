"""A recorded serial port in place of a board."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from hil.errors import LinkError, LinkTimeout
from hil_drivers.transport.serialport import SerialPort
from hil_drivers.transport.wirelog import Exchange, load_wire_log

_NOTHING_S = 0.001  #: between two looks where the recording has nothing to read next


def recorded_port(path: str | Path, name: str) -> list[Exchange]:
    """Return what went over the port of instrument ``name`` in a wire log.

    Raises:
        StoreError: the file cannot be read or is no wire log.
        LinkError: it has no such instrument.
    """
    recorded = load_wire_log(path)
    if name not in recorded:
        raise LinkError(f"the wire log {path} has no instrument {name!r}", name)
    return recorded[name]


def bytes_of(exchange: Exchange) -> bytes:
    """Return the bytes that were written or read."""
    if exchange.block:
        return base64.b64decode(exchange.block)
    return (exchange.sent or exchange.reply).encode("ascii")


class ReplayPort(SerialPort):
    """Answers from a recording; bytes sent that differ from it are a LinkError.

    Args:
        name: the instrument's.
        exchanges: of the recording.
        by_clock: whether bytes are sent whenever it is time for them: these are not compared.
    """

    def __init__(
        self, name: str, exchanges: Iterable[Exchange],
        by_clock: Callable[[bytes], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        # No port is opened, so that the rest of SerialPort's own __init__ has nothing to do here.
        self._begin(f"recording of {name}", None, name)
        self._open, self._by_clock = True, by_clock
        self._recorded = [
            exchange
            for exchange in exchanges
            if exchange.op in ("read", "write")
            and not exchange.error.startswith(LinkTimeout.__name__)
            and not (exchange.op == "write" and by_clock(bytes_of(exchange)))
        ]
        self._at = 0

    @property
    def due(self) -> bytes:
        """The bytes that are to be sent next; none where the recording ends or has a reply."""
        if self._at == len(self._recorded) or self._reads_next():
            return b""
        return bytes_of(self._recorded[self._at])

    def reopened(self) -> ReplayPort:
        """Return itself, open: another session goes on where the last one was."""
        self._open, self._cancelled = True, False
        return self

    @property
    def unread(self) -> int:
        """Bytes that come before the next ones are sent."""
        while self._reads_next():
            self._left += self._come()
        return len(self._left)

    def _reads_next(self) -> bool:
        return self._at < len(self._recorded) and self._recorded[self._at].op == "read"

    def _taken(self) -> Exchange:
        exchange = self._recorded[self._at]
        self._at += 1
        if exchange.error:
            raise LinkError(exchange.error, self.address)
        return exchange

    def _give(self, payload: bytes) -> None:
        if self._by_clock(payload):
            return
        if self._at == len(self._recorded):
            raise LinkError(f"{payload!r} is not in the recording, which has ended", self.address)
        if self.due != payload:
            due = self._recorded[self._at]
            raise LinkError(f"{payload!r} came where the recording has {due.op} {bytes_of(due)!r} "
                            f"(exchange {due.n})", self.address)  # fmt: skip
        self._taken()

    def _come(self) -> bytes:
        if self._reads_next():
            return bytes_of(self._taken())
        time.sleep(_NOTHING_S)
        return b""

    def close(self) -> None:
        """Close; the recording keeps its place."""
        self._open = False

    def _refuse_closed(self) -> None:
        if not self._open:
            raise LinkError("the port is closed", self.address)
