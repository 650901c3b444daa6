"""Bytes over the socket under a PyVISA-py ``SOCKET`` resource.

PyVISA-py asks for a reply in pieces and sets an attribute for every time-out; each of these hands
the interpreter to another thread. One receive for a whole reply takes a quarter of the time.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Final

from hil.errors import LinkError

_MOST: Final = 1 << 20  # bytes of one receive


class RawSocket:
    """Sends and receives with a bound on the time; TCP_NODELAY is set."""

    def __init__(self, link: socket.socket, address: str) -> None:
        self.link, self._address = link, address
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, payload: bytes, timeout_s: float) -> None:
        """Send all of it; TimeoutError when the instrument takes no data."""
        self.link.settimeout(timeout_s)
        self.link.sendall(payload)

    def receive(self, until_s: float) -> bytes:
        """Return what has come, at least one byte, by ``until_s`` on the monotonic clock.

        Raises:
            TimeoutError: nothing came. LinkError: the other end closed the connection.
        """
        # 0 would mean not to wait at all, and not a time-out.
        self.link.settimeout(max(until_s - time.monotonic(), 1e-6))
        received = self.link.recv(_MOST)
        if not received:
            raise self._closed()
        return received

    def unread(self) -> bool:
        """Return whether something came that nobody asked for; LinkError when it was closed."""
        if not select.select([self.link], [], [], 0.0)[0]:
            return False
        if not self.link.recv(1, socket.MSG_PEEK):
            raise self._closed()
        return True

    def _closed(self) -> LinkError:
        return LinkError("the instrument closed the connection", self._address)
