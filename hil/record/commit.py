"""Group commit: rows are appended by the control thread and made durable by a writer thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import StoreError
from hil.record import durable
from hil.record.deferred import RowSource
from hil.record.groups import Group, OpenGroup, Staging, batches
from hil.record.policy import CommitPolicy
from hil.record.schema import TableName
from hil.record.segments import warm_up
from hil.record.tables import Tables


class GroupCommit:
    """Tables of one run with one writer thread; tickets count rows over all tables.

    Rows are appended as values, or handed over as entries of a RowSource, which makes their rows in
    the writer thread. An entry's rows count as many tickets as its giver says.

    A failure of the disk surfaces as StoreError at the next append or barrier. After a full disk
    the ballast makes room: rows go on being recorded (so that what was measured is not lost) while
    every append raises. After any other failure, or when the room is used up too, rows are counted
    as lost.

    Appending and :meth:`barrier` are for the control thread. ``on_fault`` is called once, in the
    writer thread, with the error; ``on_tick`` about once a second while rows are written or the
    thread is idle. ``begin`` and ``on_rotated``: see :class:`~hil.record.tables.Tables`; ``tables``
    says what was written.
    """

    def __init__(
        self,
        folder: Path,
        policy: CommitPolicy,
        ballast: durable.Ballast,
        on_fault: Callable[[StoreError], None],
        on_tick: Callable[[], None],
        begin: Mapping[TableName, tuple[int, int]],
        on_rotated: Callable[[TableName, int], None] | None,
    ) -> None:
        self._policy, self._ballast = policy, ballast
        self._queue_limit = policy.queue_bytes
        if ballast.free_on_shrink:
            self._queue_limit = min(policy.queue_bytes, ballast.free_on_shrink // 2)
        self._on_fault, self._on_tick = on_fault, on_tick
        self._folder = folder
        self.tables = Tables(folder, policy, self._make_room, begin, on_rotated)
        self._lock = threading.Lock()  # quicker to enter than the condition around it
        self._cond = threading.Condition(self._lock)
        self._open = OpenGroup()
        self._sources: set[RowSource] = set()
        self._queue: deque[Group] = deque()
        self._queued_bytes = 0
        self._ticket = 0
        self._acked = 0
        self._acked_rows = sum(self.tables.rows.values())
        self._written = 0  # ticket of the last row given to the disk, rows that wait left out
        self._urgent = False
        self._closing = False
        self._dead = False
        self._error: StoreError | None = None
        self._oldest_s = 0.0  # when the oldest row not yet written was appended; 0 = none
        self._yielded_s = 0.0
        warm_up()
        self._thread = threading.Thread(target=self._main, name="hil-recorder", daemon=True)
        self._thread.start()

    @property
    def ticket(self) -> int:
        """Ticket of the last row appended."""
        return self._ticket

    @property
    def acked(self) -> int:
        """All rows with a ticket up to this one are on the disk."""
        return self._acked

    @property
    def acked_rows(self) -> int:
        """Rows on the disk, over all tables."""
        return self._acked_rows

    @property
    def error(self) -> StoreError | None:
        """The failure of the disk, if any."""
        return self._error

    def append_row(self, table: TableName, values: Sequence[Any]) -> int:
        """Append one row of ``table`` (no nullable columns) and return its ticket."""
        with self._lock:
            if self._oldest_s:
                self._pace()
            staging = self._room(table, 1)
            staging.add_row(values)
            self._ticket += 1
            return self._appended(staging)

    def append(
        self,
        table: TableName,
        columns: Sequence[NDArray[Any] | Any],
        n: int,
        nulls: Mapping[int, NDArray[np.bool_] | bool] | None = None,
    ) -> int:
        """Append ``n`` rows, copied (scalars are repeated), and return the ticket of the last.

        ``nulls`` says for every nullable column, by its position, where it is null.
        """
        if n == 0:
            return self._ticket
        with self._lock:
            if self._oldest_s:
                self._pace()
            staging = self._room(table, n)
            staging.add(columns, n, nulls)
            self._ticket += n
            return self._appended(staging)

    def hand_over(
        self, source: RowSource, content: Any, n_tickets: int, n_rows: int, n_bytes: int
    ) -> int:
        """Append what ``source`` makes rows of, by reference, and return the ticket.

        ``n_rows`` and ``n_bytes`` say about how many rows it becomes and what it takes in memory
        and on the disk.
        """
        with self._lock:
            if self._oldest_s:
                self._pace()
            if not self._open.entries:
                if self._open.staged:
                    self._close_group()
                self._start_group()
            group = self._open
            ticket = self._ticket + n_tickets
            group.n_rows += n_rows
            group.n_bytes += n_bytes
            group.entries.append((source, ticket, n_rows, content))
            self._ticket = ticket
            if group.n_rows >= self._policy.handed_rows or group.n_bytes > self._queue_limit // 8:
                self._close_group()
            if self._error is not None:
                self._raise_error()
            return self._ticket

    def barrier(self) -> int:
        """Return, with the last ticket, when every row appended so far is on the disk.

        Handed over entries whose rows wait to be completed give them as they are.

        Raises:
            StoreError: the disk failed, also when it failed earlier.
        """
        with self._cond:
            ticket = self._ticket
            if self._acked < ticket:
                self._urgent = True
                self._cond.notify_all()
            if not self._cond.wait_for(
                lambda: self._acked >= ticket or self._dead, self._policy.stall_s
            ):
                self._error = self._error or self._stalled()
            self._raise_error()
            return ticket

    def close(self) -> None:
        """Write what is left, end the segments and the thread. Does not raise: see ``error``."""
        with self._cond:
            self._closing = True
            self._cond.notify_all()
        self._thread.join(self._policy.stall_s)
        if self._thread.is_alive():
            self._fail(self._stalled())
            return  # the files belong to the thread that hangs in the system
        self.tables.abandon()

    def _room(self, table: TableName, n: int) -> Staging:
        """Return the staging of ``table`` with room for ``n`` rows, closing the group if needed."""
        if not self._open.takes(table, n):
            self._close_group()
        if not self._open:
            self._start_group()
        staged = self._open.staged
        if table not in staged:
            staged[table] = Staging(table, max(n, self._policy.max_rows))
        return staged[table]

    def _start_group(self) -> None:
        now_s = self._open.opened_s = time.monotonic()
        self._oldest_s = self._oldest_s or now_s
        self._cond.notify_all()

    def _appended(self, staging: Staging) -> int:
        if staging.rows >= self._policy.max_rows:
            self._close_group()
        if self._error is not None:
            self._raise_error()
        return self._ticket

    def _close_group(self) -> None:
        group, fresh = self._open.closed(self._ticket), OpenGroup()
        if group is None or self._dead:
            self._open = fresh
            if not self._queued_bytes:
                self._oldest_s = 0.0
            return
        n_bytes, enqueue = group.n_bytes, self._queue.append
        # No call stands between the next lines, so Ctrl-C in a notebook cannot part them.
        self._queued_bytes += n_bytes
        self._open = fresh
        enqueue(group)
        self._cond.notify_all()

    def _pace(self) -> None:
        """Wait for the writer thread: a moment when it is late, for good when it is behind."""
        now_s = time.monotonic()
        if self._is_behind(now_s):
            if not self._cond.wait_for(
                lambda: self._dead or not self._is_behind(time.monotonic()), self._policy.stall_s
            ):
                self._error = self._error or self._stalled()  # after taking the row at hand
        elif now_s - max(self._oldest_s, self._yielded_s) > self._policy.yield_age_s:
            written = self._written
            self._cond.wait_for(lambda: self._written > written or self._dead, self._policy.yield_s)
            self._yielded_s = time.monotonic()

    def _is_behind(self, now_s: float) -> bool:
        return self._queued_bytes > self._queue_limit or (
            0.0 < self._oldest_s < now_s - self._policy.queue_age_s
        )

    def _stalled(self) -> StoreError:
        return StoreError(
            f"{self._folder}: the disk has not acknowledged for {self._policy.stall_s:g} s"
        )

    def _raise_error(self) -> None:
        if self._error is not None:
            raise StoreError(str(self._error))

    def _main(self) -> None:
        finished = False
        try:
            self._write_until_closed()
            finished = True
        finally:
            if not finished:  # a defect, which threading.excepthook shows
                self._fail(StoreError(f"{self._folder}: the recorder's writer thread died"))

    def _write_until_closed(self) -> None:
        while True:
            groups, urgent, last = self._next_groups()
            if not self._dead and (groups or urgent or last):
                try:
                    self._commit(groups, flush=urgent or last)
                except StoreError as exc:
                    self._fail(exc)
                except OSError as exc:
                    self._fail(self._as_store_error(exc))
            self._on_tick()
            if last:
                break
        if self._dead:
            return
        try:
            self.tables.finish()
        except OSError as exc:
            self._fail(self._as_store_error(exc))

    def _next_groups(self) -> tuple[list[Group], bool, bool]:
        """Wait for closed groups; return them, whether to flush, and whether they are the last."""
        with self._cond:
            while not self._queue and not self._urgent and not self._closing:
                if self._open:
                    left_s = self._open.opened_s + self._policy.max_age_s - time.monotonic()
                    if left_s <= 0.0:
                        self._close_group()
                        break
                    self._cond.wait(left_s)
                elif not self._cond.wait(1.0):
                    break  # idle: let on_tick run
            urgent = self._urgent
            if (urgent or self._closing) and self._open:
                self._close_group()
            self._urgent = False
            groups = list(self._queue)
            self._queue.clear()
            return groups, urgent, self._closing

    def _commit(self, groups: list[Group], *, flush: bool) -> None:
        self._sources.update(entry[0] for group in groups for entry in group.entries)
        self.tables.write(batches(groups, self._sources if flush else ()))
        waiting = [source.waiting_since for source in self._sources]
        with self._cond:
            if groups:
                self._written = groups[-1].ticket
            # What waits for its completion is in memory only, so it is not acknowledged.
            self._acked = min([self._written, *(t - 1 for t in waiting if t is not None)])
            self._acked_rows = sum(self.tables.rows.values())
            self._queued_bytes -= sum(group.n_bytes for group in groups)
            if self._queue:
                self._oldest_s = self._queue[0].opened_s
            else:
                self._oldest_s = self._open.opened_s if self._open else 0.0
            self._cond.notify_all()

    def _make_room(self, exc: OSError, path: Path) -> bool:
        """Free the ballast after a full disk; the control thread hears of it all the same."""
        if not self._ballast.shrink():
            return False
        self._report(self._as_store_error(exc, path))
        return True

    def _as_store_error(self, exc: OSError, path: Path | None = None) -> StoreError:
        return durable.store_error("record into", path or self._folder, exc)

    def _report(self, error: StoreError) -> None:
        """Let the control thread know of the first failure."""
        with self._cond:
            if self._error is not None:
                return
            self._error = error
        self._on_fault(error)

    def _fail(self, error: StoreError) -> None:
        """Give up writing: what is acknowledged stays, later rows are lost and counted as such."""
        with self._cond:
            self._dead = True
            self._oldest_s = 0.0
            self._queue.clear()
            self._queued_bytes = 0
            self._cond.notify_all()
        self._report(error)
