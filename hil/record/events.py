"""The event log: JSON lines, each on the disk before the call returns."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hil.errors import StoreError
from hil.record import durable
from hil.record.jsonable import to_json


class EventLog:
    """``events.jsonl`` of one run; lines may come from any thread.

    With ``again`` it goes on with the file of an earlier session; a line that was cut off stays.
    """

    def __init__(self, folder: Path, ballast: durable.Ballast, *, again: bool = False) -> None:
        self.path = folder / "events.jsonl"
        self._ballast = ballast
        self._lock = threading.Lock()
        before = self.path.read_bytes() if again and self.path.exists() else None
        self._hash = hashlib.sha256(before or b"")
        self._bytes = len(before or b"")
        if before is None:
            self._fd = durable.create(self.path)
            durable.sync_folder(folder)
        else:
            self._fd = durable.open_to_append(self.path)
            if before and not before.endswith(b"\n"):
                try:
                    self._write(b"\n")
                except OSError:
                    self.close()
                    raise

    def append(self, t_ns: int, kind: str, fields: dict[str, Any]) -> None:
        """Append one line and sync it; on a full disk the ballast makes room.

        Raises:
            StoreError: it could not be written, or the log is closed; it ends with the line before.
        """
        head = {"t_ns": t_ns, "utc": datetime.now(UTC).isoformat(), "kind": kind}
        line = to_json({**head, **fields})
        with self._lock:
            if self._fd < 0:
                raise StoreError(f"cannot record {kind!r} into {self.path}: the run is closed")
            try:
                self._write(line)
            except OSError as exc:
                raise durable.store_error("record into", self.path, exc) from exc

    def part(self) -> dict[str, Any]:
        """Return size and sha256 of the log for the stop record."""
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        """Close the file, where every line is on the disk already; idempotent, never raises.

        The number is forgotten: the system may give it to the next file that anyone opens.
        """
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _write(self, line: bytes) -> None:
        try:
            durable.append(self._fd, self._bytes, line)
        except OSError as exc:
            if not durable.no_space(exc) or not self._ballast.shrink():
                raise
            durable.append(self._fd, self._bytes, line)
        self._bytes += len(line)
        self._hash.update(line)
        durable.sync(self._fd)
