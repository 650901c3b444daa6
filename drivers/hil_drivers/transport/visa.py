"""PyVISA sessions: PyVISA-py by default, NI or Keysight VISA where that is what is installed."""

from __future__ import annotations

import socket
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendUnavailable, ConfigError, LinkError
from hil_drivers.transport import prologix
from hil_drivers.transport.blocks import definite_block, parse_block_header
from hil_drivers.transport.failures import translated
from hil_drivers.transport.rawsocket import RawSocket
from hil_drivers.transport.session import SHORT_TIMEOUT_S, BinaryType, LinkSettings

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

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
            controller, instrument = prologix.split(resource)
            rname.parse_resource_name(instrument)
        except rname.InvalidResourceName as exc:
            raise ConfigError(
                f"{resource!r} is no VISA resource such as TCPIP0::192.168.0.5::5025::SOCKET",
                field="resource",
            ) from exc
        # Only PyVISA-py knows these controllers.
        chosen = "@py" if controller else choose_library(resource, library)
        try:
            # PyVISA-py warns of every optional library that is missing, used here or not.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                manager = pyvisa.ResourceManager(chosen)
        except (OSError, ValueError, ImportError) as exc:
            raise BackendUnavailable(f"{resource}: VISA library {chosen} cannot be used: {exc}"
                                     ) from exc  # fmt: skip
        milliseconds = round(open_timeout_s * 1000)
        self._controller: Any = None
        with translated(resource, "opening", open_timeout_s):
            if controller:
                self._controller = prologix.join(manager, controller, milliseconds)
            try:
                opened = manager.open_resource(instrument, open_timeout=milliseconds)
            except BaseException:
                prologix.leave(self._controller)
                raise
        self._resource: MessageBasedResource = opened  # type: ignore[assignment]
        self._socket = self._raw_socket()
        self._timeout_ms = -1
        self._left = b""  # of a message that held more than the line that was asked for
        self._configure()

    # -- set-up ----------------------------------------------------------------------------

    def _raw_socket(self) -> RawSocket | None:
        """The socket under a PyVISA-py ``SOCKET`` resource, None for every other link."""
        sessions = getattr(self._resource.visalib, "sessions", None)
        if sessions is None or not self.address.upper().endswith("::SOCKET"):
            return None
        found = getattr(sessions.get(self._resource.session), "interface", None)
        return RawSocket(found, self.address) if isinstance(found, socket.socket) else None

    def _configure(self) -> None:
        from pyvisa import constants
        from pyvisa.errors import VisaIOError

        self._resource.chunk_size = _CHUNK
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
        if self._controller is not None:
            prologix.refuse_closed(self._controller, self.address)
        milliseconds = max(1, round(timeout_s * 1000))
        if self._socket is None and milliseconds != self._timeout_ms:
            self._resource.timeout = milliseconds
            if self._controller is not None:  # it is the controller's session that waits
                self._controller.timeout = milliseconds
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
            body = self._block(expected, time.monotonic() + timeout_s)
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
            pass  # a link that is dead already is closed
        finally:
            if self._socket is not None:  # which PyVISA leaves open where its own close fails
                self._socket.link.close()
            prologix.leave(self._controller)

    # -- bytes -----------------------------------------------------------------------------

    def _send(self, payload: bytes, timeout_s: float) -> None:
        self._limit(timeout_s)
        self.transactions += 1
        if self._socket is None:
            self._resource.write_raw(payload)
        else:
            self._socket.send(payload, timeout_s)

    def _refuse_stale(self, message: str) -> None:
        with translated(self.address, "looking for stale replies", 0.0):
            self._limit(SHORT_TIMEOUT_S)
            if self._left or (self._socket is not None and self._socket.unread()):
                raise LinkError(f"an unread reply is in the link before {message[:60]!r}",
                                self.address)  # fmt: skip

    def _line(self, timeout_s: float) -> str:
        """Read one line; what follows it is kept for the next read."""
        self._limit(timeout_s)
        end = self._link.read_termination.encode("ascii")
        if self._socket is None:
            self._left = self._left or self._resource.read_raw()
        else:
            until_s = time.monotonic() + timeout_s
            while end not in self._left:
                self._left += self._socket.receive(until_s)
        line, _, self._left = self._left.partition(end)
        return line.decode("ascii").rstrip("\r\n\0")

    def _take(self, count: int, until_s: float) -> bytes:
        """Return the next ``count`` bytes."""
        while self._socket is not None and len(self._left) < count:
            self._left += self._socket.receive(until_s)
        taken, self._left = self._left[:count], self._left[count:]
        if len(taken) < count:
            taken += self._resource.read_bytes(count - len(taken))
        return taken

    def _block(self, expected: int, until_s: float) -> bytes:
        digits = parse_block_header(self._take(2, until_s), self.address)
        if digits:
            length = int(self._take(digits, until_s).decode("ascii"))
            if length != expected:
                raise LinkError(f"a block of {length} bytes came, {expected} were asked for",
                                self.address)  # fmt: skip
        end = self._link.read_termination.encode("ascii")
        body = self._take(expected + len(end), until_s)
        if body[expected:] != end:
            raise LinkError(f"a block of {expected} bytes does not end where it should",
                            self.address)  # fmt: skip
        return body[:expected]
