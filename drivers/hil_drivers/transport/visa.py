"""PyVISA sessions: PyVISA-py by default, NI or Keysight VISA where that is what is installed."""

from __future__ import annotations

import select
import socket
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendUnavailable, ConfigError, LinkError
from hil_drivers.transport.blocks import definite_block, parse_block_header
from hil_drivers.transport.failures import translated
from hil_drivers.transport.session import SHORT_TIMEOUT_S, BinaryType, LinkSettings

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

#: PyVISA-py waits without bound for a socket to take data, so that pieces are sent when it can.
_PIECE: Final = 4096
_CHUNK: Final = 1 << 20
#: Interfaces that PyVISA-py reaches only with extra system libraries.
_NATIVE_FIRST: Final = ("GPIB", "USB", "PXI", "VXI")


def choose_library(resource: str, library: str = "auto") -> str:
    """Return the VISA library for a resource: ``@py``, ``@ivi`` or the path that was asked for.

    ``auto`` is PyVISA-py; GPIB, USB, PXI and VXI go to an installed NI or Keysight VISA.
    """
    if library != "auto":
        return library
    if resource.upper().startswith(_NATIVE_FIRST):
        from pyvisa.ctwrapper.highlevel import IVIVisaLibrary

        if IVIVisaLibrary.get_library_paths():
            return "@ivi"
    return "@py"


class VisaSession:
    """One open VISA resource; see :class:`hil_drivers.transport.session.Session`.

    TCP_NODELAY is set on raw sockets: without it a write followed by a query takes 44 ms, with it
    0.04 ms. Before a message is sent that will be answered, the link must hold nothing unread; a
    stale or doubled reply is a LinkError and is never taken for the answer.

    Raises:
        ConfigError: the resource string is none.
        BackendUnavailable: no VISA library for this interface.
        LinkError: nothing listens at the address.
    """

    def __init__(
        self,
        resource: str,
        link: LinkSettings | None = None,
        *,
        library: str = "auto",
        open_timeout_s: float = 5.0,
    ) -> None:
        import pyvisa
        from pyvisa import rname

        self.address = resource
        self.transactions = 0
        self._link = link or LinkSettings()
        self._closed = False
        try:
            rname.parse_resource_name(resource)
        except rname.InvalidResourceName as exc:
            raise ConfigError(
                f"{resource!r} is no VISA resource such as TCPIP0::192.168.0.5::5025::SOCKET",
                field="resource",
            ) from exc
        chosen = choose_library(resource, library)
        try:
            # PyVISA-py warns of every optional library that is missing, used here or not.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                manager = pyvisa.ResourceManager(chosen)
        except (OSError, ValueError, ImportError) as exc:
            raise BackendUnavailable(f"{resource}: VISA library {chosen} cannot be used: {exc}"
                                     ) from exc  # fmt: skip
        with translated(resource, "opening", open_timeout_s):
            opened = manager.open_resource(resource, open_timeout=round(open_timeout_s * 1000))
        self._resource: MessageBasedResource = opened  # type: ignore[assignment]
        self._socket = self._raw_socket()
        self._timeout_ms = -1
        self._left = b""  # of a message that held more than the line that was asked for
        self._configure()

    # -- set-up ----------------------------------------------------------------------------

    def _raw_socket(self) -> socket.socket | None:
        """The socket under a PyVISA-py ``SOCKET`` resource, None for every other link."""
        sessions = getattr(self._resource.visalib, "sessions", None)
        if sessions is None or not self.address.upper().endswith("::SOCKET"):
            return None
        found = getattr(sessions.get(self._resource.session), "interface", None)
        return found if isinstance(found, socket.socket) else None

    def _configure(self) -> None:
        from pyvisa import constants
        from pyvisa.errors import VisaIOError

        self._resource.chunk_size = _CHUNK
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._resource.read_termination = self._link.read_termination
        except VisaIOError as exc:
            # Prologix resources refuse the attribute and end replies by themselves.
            if exc.error_code != constants.StatusCode.error_nonsupported_attribute:
                raise LinkError(f"opening: {exc.description}", self.address) from exc
        if self.address.upper().startswith("ASRL"):
            parity = constants.Parity[self._link.parity]
            baud = constants.ResourceAttribute.asrl_baud_rate
            self._resource.set_visa_attribute(baud, self._link.baud)
            self._resource.set_visa_attribute(constants.ResourceAttribute.asrl_parity, parity)

    def _limit(self, timeout_s: float) -> None:
        if self._closed:
            raise LinkError("the session is closed", self.address)
        milliseconds = max(1, round(timeout_s * 1000))
        if self._socket is not None:
            # Every wait on a raw socket is bounded exactly before the library is asked; a coarse
            # bound changes rarely, and setting one takes as long as a short message.
            milliseconds = 1 << milliseconds.bit_length()
        if milliseconds != self._timeout_ms:
            self._resource.timeout = milliseconds
            self._timeout_ms = milliseconds

    # -- messages --------------------------------------------------------------------------

    def write(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> None:
        """Send one message."""
        with translated(self.address, "sending", timeout_s):
            self._send((message + self._link.write_termination).encode("ascii"), timeout_s)

    def write_binary(
        self, header: str, values: NDArray[Any], timeout_s: float = SHORT_TIMEOUT_S
    ) -> None:
        """Send ``header`` and the array's bytes as a definite-length block."""
        end = self._link.write_termination.encode("ascii")
        with translated(self.address, "sending a block", timeout_s):
            self._send(header.encode("ascii") + definite_block(values) + end, timeout_s)

    def read(self, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Return one reply line."""
        with translated(self.address, "waiting for a reply", timeout_s):
            return self._line(timeout_s)

    def query(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Send one message and return the reply line."""
        self._refuse_stale(message)
        self.write(message, timeout_s)
        with translated(self.address, f"query {message[:60]!r}", timeout_s):
            return self._line(timeout_s)

    def query_binary(
        self, message: str, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Send one message and return a block of exactly ``count`` numbers."""
        self._refuse_stale(message)
        self.write(message, timeout_s)
        return self._numbers(count, dtype, f"block after {message[:60]!r}", timeout_s)

    def read_binary(
        self, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Return a block of exactly ``count`` numbers."""
        return self._numbers(count, dtype, "waiting for a block", timeout_s)

    def _numbers(
        self, count: int, dtype: BinaryType, doing: str, timeout_s: float
    ) -> NDArray[np.float64]:
        expected = count * np.dtype(dtype).itemsize
        with translated(self.address, doing, timeout_s):
            self._limit(timeout_s)
            if not self._left:
                self._wait_readable(timeout_s)
            body = self._block(expected)
        return np.frombuffer(body, dtype=dtype).astype(np.float64)

    def clear(self) -> None:
        """Device clear; on raw sockets and serial lines, which have none, drop what is unread."""
        from pyvisa import constants

        if self._socket is not None and not self.transactions and not self._closed:
            return  # nothing was asked: PyVISA-py would wait 0.1 s for what cannot come
        self._left = b""
        with translated(self.address, "device clear", SHORT_TIMEOUT_S):
            self._limit(SHORT_TIMEOUT_S)
            if self.address.upper().startswith("ASRL"):
                self._resource.flush(constants.BufferOperation.discard_read_buffer)
            else:
                self._resource.clear()

    def close(self) -> None:
        """Close; idempotent, never raises."""
        from pyvisa.errors import Error

        if self._closed:
            return
        self._closed = True
        try:
            self._resource.close()
        except (Error, OSError):
            return  # a link that is dead already is closed

    # -- bytes -----------------------------------------------------------------------------

    def _send(self, payload: bytes, timeout_s: float) -> None:
        self._limit(timeout_s)
        self.transactions += 1
        if self._socket is None:
            self._resource.write_raw(payload)
            return
        deadline = time.monotonic() + timeout_s
        for start in range(0, len(payload), _PIECE):
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([], [self._socket], [], left_s)[1]:
                raise TimeoutError("the instrument takes no data")
            self._resource.write_raw(payload[start : start + _PIECE])

    def _wait_readable(self, timeout_s: float) -> None:
        """Return when a raw socket has data; LinkError at once when its other end closed it.

        PyVISA-py would ask a closed socket again and again until the time is up.
        """
        if self._socket is None or self._pending_bytes():
            return
        if not select.select([self._socket], [], [], timeout_s)[0]:
            raise TimeoutError("no data")
        if not self._socket.recv(1, socket.MSG_PEEK):
            raise LinkError("the instrument closed the connection", self.address)

    def _pending_bytes(self) -> int:
        sessions: Any = self._resource.visalib.sessions  # type: ignore[attr-defined]
        return len(getattr(sessions[self._resource.session], "_pending_buffer", b""))

    def _refuse_stale(self, message: str) -> None:
        if self._left:
            raise LinkError(f"an unread reply is in the link before {message[:60]!r}", self.address)
        if self._socket is None:
            return
        with translated(self.address, "looking for stale replies", 0.0):
            if not self._pending_bytes():
                if not select.select([self._socket], [], [], 0.0)[0]:
                    return
                if not self._socket.recv(1, socket.MSG_PEEK):
                    raise LinkError("the instrument closed the connection", self.address)
            raise LinkError(f"an unread reply is in the link before {message[:60]!r}", self.address)

    def _line(self, timeout_s: float) -> str:
        """Read one line; what follows it in the same message is kept for the next read."""
        self._limit(timeout_s)
        data = self._left
        if not data:
            self._wait_readable(timeout_s)
            data = self._resource.read_raw()
        line, end, self._left = data.partition(self._link.read_termination.encode("ascii"))
        return (line + end).decode("ascii").rstrip("\r\n\0")

    def _take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        taken, self._left = self._left[:count], self._left[count:]
        if len(taken) < count:
            taken += self._resource.read_bytes(count - len(taken))
        return taken

    def _block(self, expected: int) -> bytes:
        read = self._take
        head = read(2)
        digits = parse_block_header(head, self.address)
        if digits:
            length = int(read(digits).decode("ascii"))
            if length != expected:
                raise LinkError(f"a block of {length} bytes came, {expected} were asked for",
                                self.address)  # fmt: skip
        end = self._link.read_termination.encode("ascii")
        body = read(expected + len(end))
        if body[expected:] != end:
            raise LinkError(f"a block of {expected} bytes does not end where it should",
                            self.address)  # fmt: skip
        return body[:expected]
