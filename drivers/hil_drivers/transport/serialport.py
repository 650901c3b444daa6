"""Serial ports as byte streams: opened for one program alone, logged, and nothing is sent twice."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from hil.errors import ConfigError, HilError, LinkError, LinkTimeout
from hil_drivers.transport.session import SHORT_TIMEOUT_S

if TYPE_CHECKING:
    from hil_drivers.transport.wirelog import WireLog

Parity = Literal["none", "even", "odd"]

#: Longest wait inside one call of pySerial, in seconds. It is set once: pySerial sets every
#: attribute of the port again when its time-out changes.
_POLL_S: Final = 0.02
_MOST: Final = 1 << 16  # bytes of one read
_PARITY: Final = {"none": "N", "even": "E", "odd": "O"}
_PSEUDO: Final = ("/dev/pts/", "/dev/ttys")


def has_parity(resource: str) -> bool:
    """Return whether ``resource`` is a port with parity: no socket and no pseudo terminal.

    Linux refuses to set the parity of a pseudo terminal (EINVAL).
    """
    return "://" not in resource and not os.path.realpath(resource).startswith(_PSEUDO)


class SerialPort:
    """One open serial port, used by one thread; :meth:`cancel`, `write` and `close` from any.

    Args:
        resource: ``COM3``, ``/dev/ttyACM0``, a path in ``/dev/serial/by-id``, or a URL of pySerial
            such as ``socket://127.0.0.1:4000``.
        baud: bits per second.
        parity: left out where there is none, see :func:`has_parity`.
        log: every byte goes into it, under ``name``.
        name: the instrument's, in the log.

    Raises:
        ConfigError: no port is called that.
        LinkError: the port is not there, or another program has it open.
    """

    def __init__(
        self, resource: str, *, baud: int = 115200, parity: Parity = "none",
        log: WireLog | None = None, name: str = "",
    ) -> None:  # fmt: skip
        import serial

        self._begin(resource, log, name)
        setting = _PARITY[parity] if has_parity(resource) else "N"
        # Exclusive: a terminal program on the same port would take part of the replies.
        exclusive = None if "://" in resource else True
        try:
            with _Guarded(self, "opening", "open"):
                self._port: Any = serial.serial_for_url(
                    resource, baudrate=baud, parity=setting, timeout=_POLL_S,
                    write_timeout=SHORT_TIMEOUT_S, exclusive=exclusive,
                )  # fmt: skip
        except LinkError as exc:
            if isinstance(exc.__cause__, ValueError):
                raise ConfigError(f"{resource!r} is no serial port: {exc.__cause__}",
                                  field="resource") from exc  # fmt: skip
            raise

    def _begin(self, address: str, log: WireLog | None, name: str) -> None:
        self.address = address
        self.transactions = 0  #: writes so far
        self._log, self._name = log, name
        self._left = bytearray()
        self._cancelled = False
        # A port is not closed under a thread that is in the middle of a call: its bytes would go to
        # whatever the system gives the number of the descriptor to next.
        self._giving, self._taking = threading.Lock(), threading.Lock()

    @property
    def unread(self) -> int:
        """Bytes that have come and were not read."""
        self._refuse_closed()
        with _Guarded(self, "looking for bytes", "read"):
            return len(self._left) + int(self._port.in_waiting)

    def write(self, payload: bytes) -> None:
        """Send all of ``payload``, once.

        Raises:
            LinkError: the port is gone; LinkTimeout: it takes nothing.
        """
        with self._giving:
            self._refuse_closed()
            self.transactions += 1
            with _Guarded(self, "sending", "write", payload):
                self._give(payload)
        self.note("write", payload)

    def _give(self, payload: bytes) -> None:
        descriptor = getattr(self._port, "fd", None)
        if descriptor is None:  # not POSIX, or a socket
            self._port.write(payload)
            return
        view, until_s = memoryview(payload), time.monotonic() + SHORT_TIMEOUT_S
        while view:  # pySerial's write waits once more after the last byte
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(descriptor, view) :]
                continue
            left_s = until_s - time.monotonic()
            if left_s <= 0.0 or not select.select([], [descriptor], [], left_s)[1]:
                raise LinkTimeout("sending: the port takes nothing", self.address)

    def read_exactly(self, count: int, timeout_s: float = SHORT_TIMEOUT_S) -> bytes:
        """Return the next ``count`` bytes.

        Raises:
            LinkTimeout: fewer came in time; they stay unread. LinkError: the port is gone.
        """
        return self._until(lambda: count if len(self._left) >= count else 0, timeout_s,
                           f"of {count} bytes")  # fmt: skip

    def read_until(self, end: bytes, timeout_s: float = SHORT_TIMEOUT_S, most: int = 4096) -> bytes:
        """Return what comes up to and with ``end``.

        Raises:
            LinkTimeout: ``end`` did not come in time; what came stays unread.
            LinkError: more than ``most`` bytes came without it, or the port is gone.
        """

        def found() -> int:
            at = self._left.find(end)
            if at < 0 and len(self._left) > most:
                raise LinkError(f"{len(self._left)} bytes came without {end!r}", self.address)
            return at + len(end) if at >= 0 else 0

        return self._until(found, timeout_s, f"bytes without {end!r}")

    def read_some(self, timeout_s: float = SHORT_TIMEOUT_S) -> bytes:
        """Return what has come, at least one byte; nothing when nothing comes in time.

        Raises:
            LinkError: the port is gone.
        """
        return self._until(lambda: len(self._left), timeout_s, None)

    def drain(self, quiet_s: float, most_s: float) -> int:
        """Drop what is unread until nothing comes for ``quiet_s``; return the bytes dropped.

        Raises:
            LinkTimeout: bytes still come after ``most_s``. LinkError: the port is gone.
        """
        dropped, until_s = 0, time.monotonic() + most_s
        while got := self.read_some(quiet_s):
            dropped += len(got)
            if time.monotonic() > until_s:
                raise LinkTimeout(f"bytes still came after {most_s:g} s", self.address)
        return dropped

    def _until(self, enough: Callable[[], int], timeout_s: float, what: str | None) -> bytes:
        """Return as many bytes as ``enough`` says once it says more than none.

        ``what`` ends the error of a time-out; None makes a time-out return nothing.
        """
        self._refuse_closed()
        until_s = time.monotonic() + timeout_s
        with _Guarded(self, "waiting for a reply", "read"):
            while not (count := enough()):
                with self._taking:
                    self._refuse_closed()
                    got = self._come()
                if got:
                    self._left += got
                elif self._cancelled:
                    raise LinkError("the wait for a reply was cancelled", self.address)
                elif time.monotonic() >= until_s:
                    if what is None:
                        return b""
                    raise LinkTimeout(f"no answer within {timeout_s:.3g} s: {len(self._left)} "
                                      f"{what} came", self.address)  # fmt: skip
        taken = bytes(self._left[:count])
        del self._left[:count]
        self.note("read", taken)
        return taken

    def _come(self) -> bytes:
        """Return what comes within ``_POLL_S``, nothing when nothing does."""
        link: socket.socket | None = getattr(self._port, "_socket", None)
        if link is not None:  # pySerial does not say how much there is, and reads byte by byte
            if not select.select([link], [], [], _POLL_S)[0]:
                return b""
            if not (received := link.recv(_MOST)):
                raise LinkError("the other end closed the connection", self.address)
            return received
        descriptor = getattr(self._port, "fd", None)
        if descriptor is None:  # not POSIX
            some: bytes = self._port.read(min(self._port.in_waiting, _MOST) or 1)
            return some
        # A third of the time of pySerial's read, which waits for the first byte and then for more.
        if not select.select([descriptor], [], [], _POLL_S)[0]:
            return b""
        got = os.read(descriptor, _MOST)
        if not got:
            raise LinkError("waiting for a reply: the port says that bytes are there, and there "
                            "are none: it is gone", self.address)  # fmt: skip
        return got

    def cancel(self) -> None:
        """End every wait for bytes, now and later, with a LinkError; from any thread."""
        self._cancelled = True

    def close(self) -> None:
        """Close once no thread is in a call; idempotent, never raises."""
        self._cancelled = True
        with self._giving, self._taking:
            link: socket.socket | None = getattr(self._port, "_socket", None)
            with contextlib.suppress(OSError):  # a port that is gone is closed
                self._port.close()
            if link is not None:  # which pySerial leaves open when the other end has gone
                link.close()

    def _refuse_closed(self) -> None:
        if not self._port.is_open:
            raise LinkError("the port is closed", self.address)

    def note(self, op: str, payload: bytes, error: str = "") -> None:
        """Log one exchange: as text where it is printable, in base64 where it is not."""
        if self._log is None:
            return
        fields = {"error": error}
        text = payload.decode("latin-1")
        if text.isascii() and text.replace("\n", "").isprintable():
            fields["sent" if op == "write" else "reply"] = text
        else:
            fields |= {"dtype": "|u1", "block": base64.b64encode(payload).decode("ascii")}
        self._log.add(self._name, op, **fields)


class _Guarded:
    """Context that turns what pySerial raises into link errors, and logs what failed."""

    __slots__ = ("_doing", "_op", "_payload", "_port")

    def __init__(self, port: SerialPort, doing: str, op: str, payload: bytes = b"") -> None:
        self._port, self._doing, self._op, self._payload = port, doing, op, payload

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None or not isinstance(exc, Exception):
            return
        failure = exc if isinstance(exc, HilError) else self._translated(exc)
        if failure is None:
            return
        self._port.note(self._op, self._payload, f"{type(failure).__name__}: {failure}")
        if failure is not exc:
            raise failure from exc

    def _translated(self, exc: Exception) -> HilError | None:
        import serial

        if isinstance(exc, serial.SerialTimeoutException):
            return LinkTimeout(f"{self._doing}: the port takes nothing", self._port.address)
        # termios.error, which POSIX ports raise when they have gone, is no OSError.
        if type(exc).__module__ == "termios" or isinstance(exc, OSError | ValueError):
            why = _why_not_opened(exc) if self._op == "open" else None
            return LinkError(why or f"{self._doing}: {exc}", self._port.address)
        return None


def _why_not_opened(exc: Exception) -> str | None:
    """Return what to do about a port that does not open; None where that is not known.

    pySerial keeps the system's error number on POSIX and puts its name into the text on Windows,
    where access is denied to a port that another program has open.
    """
    number, said = getattr(exc, "errno", None), str(exc)
    if number == errno.ENOENT or "FileNotFoundError" in said:
        return "there is no such port; `hil doctor` lists those there are"
    if number in (errno.EAGAIN, errno.EBUSY) or "PermissionError" in said:
        return "another program has the port open"
    if number == errno.EACCES:
        return "no permission to open it; on Linux the user has to be in the group `dialout`"
    if "configure port" in said:
        return "it is no serial port"
    return None
