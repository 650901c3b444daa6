"""Wire logs: every exchange with every instrument in one file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import HilError, StoreError
from hil_drivers.transport.session import SHORT_TIMEOUT_S, BinaryType, Session


@dataclass(frozen=True, slots=True)
class Exchange:
    """One line of a wire log.

    ``op`` is write, write_binary, read, read_binary, query, query_binary or clear; ``block`` holds
    a binary payload or reply in base64; ``error`` the class and text of the failure, if it failed.
    """

    n: int
    t_s: float
    instrument: str
    op: str
    sent: str = ""
    reply: str = ""
    block: str = ""
    dtype: str = ""
    error: str = ""


class WireLog:
    """Writer of one wire log file (JSON lines), shared by all instruments of a station.

    The common order of the lines is the order of the exchanges. Every line is flushed, so that a
    crash loses none; use it as a context manager. Without a path the lines are kept in memory until
    :meth:`move_to`.

    Raises:
        StoreError: the file cannot be written.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path: Path | None = None
        self._lock = threading.Lock()
        self._n = 0
        self._start_s = time.monotonic()
        self._file: IO[str] = io.StringIO()
        if path is not None:
            self.move_to(path)

    @property
    def n_exchanges(self) -> int:
        """Exchanges logged so far."""
        return self._n

    def move_to(self, path: str | Path) -> None:
        """Append what is in memory, and from now on every exchange, to the file ``path``.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._lock:
            try:
                file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115
                if isinstance(self._file, io.StringIO) and not self._file.closed:
                    file.write(self._file.getvalue())
                    file.flush()
            except OSError as exc:
                raise StoreError(f"wire log {path} cannot be written: {exc}") from exc
            self._seal()
            self._file, self.path = file, Path(path)

    def session(self, instrument: str, session: Session) -> LoggedSession:
        """Return a session that logs everything it passes on to ``session``."""
        return LoggedSession(self, instrument, session)

    def add(self, instrument: str, op: str, **fields: str) -> None:
        """Append one exchange."""
        with self._lock:
            if self._file.closed:
                return
            exchange = Exchange(self._n, round(time.monotonic() - self._start_s, 6), instrument, op,
                                **fields)  # fmt: skip
            self._n += 1
            line = {k: v for k, v in asdict(exchange).items() if v != ""}
            try:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            except OSError as exc:
                raise StoreError(f"wire log {self.path} cannot be written: {exc}") from exc

    def close(self) -> None:
        """Close the file and write its sha256 beside it; idempotent.

        It goes on until the safe state after a run, when the run's stop record is written already;
        so its digest has a file of its own, which ``sha256sum -c`` and ``verify`` of a run read.

        Raises:
            StoreError: the digest cannot be written.
        """
        with self._lock:
            self._seal()

    def _seal(self) -> None:
        if self._file.closed:
            return
        self._file.close()
        if self.path is None:
            return
        try:
            with self.path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            beside = self.path.with_name(f"{self.path.name}.sha256")
            beside.write_bytes(f"{digest}  {self.path.name}\n".encode())
        except OSError as exc:
            raise StoreError(f"wire log {self.path} cannot be sealed: {exc}") from exc

    def __enter__(self) -> WireLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LoggedSession:
    """A session that passes everything on and writes it to a wire log."""

    def __init__(self, log: WireLog, instrument: str, session: Session) -> None:
        self._log = log
        self._instrument = instrument
        self._inner = session

    @property
    def address(self) -> str:
        """The address of the session inside."""
        return self._inner.address

    @property
    def transactions(self) -> int:
        """Messages sent by the session inside."""
        return self._inner.transactions

    def _failed(self, op: str, sent: str, exc: HilError) -> None:
        self._log.add(self._instrument, op, sent=sent, error=f"{type(exc).__name__}: {exc}")

    def write(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> None:
        """Send and log one message."""
        try:
            self._inner.write(message, timeout_s)
        except HilError as exc:
            self._failed("write", message, exc)
            raise
        self._log.add(self._instrument, "write", sent=message)

    def write_binary(
        self, header: str, values: NDArray[Any], timeout_s: float = SHORT_TIMEOUT_S
    ) -> None:
        """Send and log one block."""
        try:
            self._inner.write_binary(header, values, timeout_s)
        except HilError as exc:
            self._failed("write_binary", header, exc)
            raise
        self._log.add(self._instrument, "write_binary", sent=header, dtype=values.dtype.str,
                      block=block_text(values))  # fmt: skip

    def read(self, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Read and log one reply."""
        try:
            reply = self._inner.read(timeout_s)
        except HilError as exc:
            self._failed("read", "", exc)
            raise
        self._log.add(self._instrument, "read", reply=reply)
        return reply

    def query(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Query and log both directions."""
        try:
            reply = self._inner.query(message, timeout_s)
        except HilError as exc:
            self._failed("query", message, exc)
            raise
        self._log.add(self._instrument, "query", sent=message, reply=reply)
        return reply

    def query_binary(
        self, message: str, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Query a block and log both directions."""
        try:
            values = self._inner.query_binary(message, count, dtype, timeout_s)
        except HilError as exc:
            self._failed("query_binary", message, exc)
            raise
        self._log.add(self._instrument, "query_binary", sent=message, dtype=dtype,
                      block=block_text(values.astype(dtype)))  # fmt: skip
        return values

    def read_binary(
        self, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Read and log a block."""
        try:
            values = self._inner.read_binary(count, dtype, timeout_s)
        except HilError as exc:
            self._failed("read_binary", "", exc)
            raise
        self._log.add(self._instrument, "read_binary", dtype=dtype,
                      block=block_text(values.astype(dtype)))  # fmt: skip
        return values

    def clear(self) -> None:
        """Clear the device and log that."""
        try:
            self._inner.clear()
        except HilError as exc:
            self._failed("clear", "", exc)
            raise
        self._log.add(self._instrument, "clear")

    def close(self) -> None:
        """Close the session inside; the log stays open."""
        self._inner.close()


def block_text(values: NDArray[Any]) -> str:
    """Return an array's memory in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def load_wire_log(path: str | Path) -> dict[str, list[Exchange]]:
    """Return the exchanges of a wire log by instrument, in order.

    Raises:
        StoreError: the file cannot be read or a line is no exchange.
    """
    found: dict[str, list[Exchange]] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise StoreError(f"wire log {path} cannot be read: {exc}") from exc
    for number, line in enumerate(lines, 1):
        try:
            exchange = Exchange(**json.loads(line))
        except (json.JSONDecodeError, TypeError) as exc:
            raise StoreError(f"{path}:{number}: no line of a wire log: {exc}") from exc
        found.setdefault(exchange.instrument, []).append(exchange)
    return found
