"""Write-ahead intents: leases that say, before a pulse, which devices may be written.

A lease names devices of one array and a pulse budget for at most a second. It is on the disk before
the first pulse, is renewed while writing goes on, and is closed once everything it covered is
recorded. After a crash the devices of an open lease are unknown: read them, never pulse them again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import StoreError
from hil.record import durable
from hil.record.leases import CLOSE, OPEN, RENEW, Record, encode, new_file, prologue

#: A lease holds this long; one whose block still runs is renewed half-way.
LEASE_NS: Final = 1_000_000_000
#: A lease that nothing has used for this long is closed.
IDLE_NS: Final = 100_000_000
#: A lease is widened this often; then it takes in its whole array, so that writes here and there
#: do not cost a sync each.
_WIDENINGS: Final = 2
_PERIOD_S: Final = 0.1


@dataclass
class _Lease:
    number: int
    written: NDArray[np.bool_]
    budget: int
    until_ns: int
    used: int = 0
    used_ns: int = 0  # when a block last began or ended under it
    in_flight: bool = True
    ticket: int = 0  # of the last row that it covered
    widened: int = 0


@dataclass
class IntentLog:
    """``intents.arrows`` of a run on a rig; :meth:`cover` comes before every block that writes.

    A thread renews leases whose block takes long, and closes those that are over.

    Attributes:
        folder: of the run.
        now_ns: the run's clock.
        acked: ticket up to which everything recorded is on the disk.
        ballast: makes room on a full disk.
        next_number: number of the next lease.
    """

    folder: Path
    now_ns: Callable[[], int]
    acked: Callable[[], int]
    ballast: durable.Ballast
    next_number: int = 1
    _leases: dict[str, _Lease] = field(default_factory=dict)
    _fd: int = -1
    _bytes: int = 0
    _records: int = 0
    _error: StoreError | None = None
    _closing: bool = False
    _thread: threading.Thread | None = None
    _cond: threading.Condition = field(default_factory=threading.Condition)

    def cover(self, array: str, written: NDArray[np.bool_], pulses: int) -> None:
        """Return when a lease that covers a block is on the disk.

        Args:
            array: name of the array.
            written: (n_rows, n_cols) devices that the block may write.
            pulses: device pulses that it may give.

        Raises:
            StoreError: it could not be written; the block must not be driven.
        """
        with self._cond:
            if self._error is not None:
                raise StoreError(str(self._error))
            now_ns = self.now_ns()
            lease = self._leases.get(array)
            if lease is None:
                lease = _Lease(self._take_number(), written.copy(), pulses, now_ns + LEASE_NS)
                self._write(OPEN, array, lease, now_ns)
                self._leases[array] = lease
            else:
                self._widen(array, lease, written, pulses, now_ns)
            lease.used += pulses
            lease.used_ns, lease.in_flight = now_ns, True
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="hil-intents", daemon=True)
                self._thread.start()
            self._cond.notify()

    def completed(self, array: str, ticket: int) -> None:
        """Note that the block covered last has ended, and that ``ticket`` records it."""
        with self._cond:
            lease = self._leases.get(array)
            if lease is not None:
                lease.in_flight, lease.ticket = False, max(lease.ticket, ticket)
                lease.used_ns = self.now_ns()

    def abandon(self, array: str) -> None:
        """Leave the lease of a block that failed open: nobody knows what its devices received."""
        with self._cond:
            self._leases.pop(array, None)

    def resolve(self, numbers: list[int]) -> None:
        """Close leases of an earlier session whose devices have been read back since.

        Raises:
            StoreError: it could not be written.
        """
        with self._cond:
            for number in numbers:
                nothing = _Lease(number, np.zeros((0, 0), np.bool_), 0, 0)
                self._write(CLOSE, "", nothing, self.now_ns())

    def close(self) -> None:
        """Close the leases that are over and the file. Does not raise: what is open stays open."""
        with self._cond:
            self._closing = True
            self._cond.notify()
        if self._thread is not None:
            self._thread.join()
        with self._cond:
            self._settle(self.now_ns(), at_once=True)
            if self._fd >= 0:
                with contextlib.suppress(OSError):
                    durable.sync(self._fd)
                with contextlib.suppress(OSError):
                    os.close(self._fd)
                self._fd = -1

    def _take_number(self) -> int:
        self.next_number += 1
        return self.next_number - 1

    def _widen(
        self, array: str, lease: _Lease, written: NDArray[np.bool_], pulses: int, now_ns: int
    ) -> None:
        """Make a lease cover more devices, more pulses or more time, if it has to."""
        inside = not (written & ~lease.written).any()
        if inside and lease.used + pulses <= lease.budget and now_ns < lease.until_ns:
            return
        before = lease.written, lease.budget, lease.until_ns, lease.widened
        if not inside:
            lease.widened += 1
            whole = lease.widened >= _WIDENINGS
            lease.written = np.ones_like(written) if whole else lease.written | written
        lease.budget = lease.used + 2 * max(lease.used, pulses)
        lease.until_ns = now_ns + LEASE_NS
        try:
            self._write(RENEW, array, lease, now_ns)
        except StoreError:
            lease.written, lease.budget, lease.until_ns, lease.widened = before
            raise

    def _main(self) -> None:
        while True:
            with self._cond:
                if self._closing:
                    return
                self._cond.wait(_PERIOD_S if self._leases else None)
                self._settle(self.now_ns(), at_once=False)

    def _settle(self, now_ns: int, *, at_once: bool) -> None:
        """Renew what is in flight and close what is over; a failure surfaces at the next cover."""
        for array, lease in list(self._leases.items()):
            try:
                if lease.in_flight:
                    if now_ns > lease.until_ns - LEASE_NS // 2:
                        lease.until_ns = now_ns + LEASE_NS
                        self._write(RENEW, array, lease, now_ns)
                elif self.acked() >= lease.ticket and (at_once or now_ns > lease.used_ns + IDLE_NS):
                    self._write(CLOSE, array, lease, now_ns)
                    del self._leases[array]
            except StoreError as exc:
                self._error = self._error or exc

    def _write(self, kind: int, array: str, lease: _Lease, now_ns: int) -> None:
        """Append a record; all but a closing one is on the disk when this returns."""
        record = Record(
            now_ns, lease.number, kind, lease.until_ns, array, lease.written, lease.budget
        )
        head, body = encode(record, self._records)
        try:
            if self._fd < 0:
                path = new_file(self.folder)
                durable.write_new(path, prologue())
                self._fd, self._bytes = durable.open_to_append(path), len(prologue())
            self._append(head, body)
            if kind != CLOSE:  # a close that a power cut takes away costs a reading, nothing else
                durable.sync(self._fd)
        except OSError as exc:
            raise durable.store_error("write an intent into", self.folder, exc) from exc
        self._records += 1

    def _append(self, head: bytes, body: memoryview) -> None:
        try:
            durable.append(self._fd, self._bytes, head, body)
        except OSError as exc:
            if not durable.no_space(exc) or not self.ballast.shrink():
                raise
            durable.append(self._fd, self._bytes, head, body)
        self._bytes += len(head) + len(body)
