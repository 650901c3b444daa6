"""Streams: records that leave the board in data frames, and the reply after the last."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.board.codes import (
    ALL,
    CELL,
    FETCH_HEAD,
    MATRIX_HEAD,
    SUM,
    Code,
    Op,
    Refused,
)  # fmt: skip
from hil_sim.virtual_bench.board.core import Core
from hil_sim.virtual_bench.board.run import Run


class Stream(ABC):
    """Data frames of one request.

    Attributes:
        op: of the request.
        again: returns the same stream from its first record.
        sent: records so far; check: CRC-32 of their bytes.
    """

    op: Op
    again: Callable[[], Stream]

    def __init__(self, core: Core) -> None:
        self.core = core
        self.sent, self.check = 0, 0

    @abstractmethod
    def next(self) -> bytes | None:
        """Return the payload of the next data frame; None when there is none (yet)."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether everything is sent that will ever be there."""

    def reply(self) -> bytes:
        """Return the payload of the reply."""
        return SUM.pack(self.sent, self.check) + self.core.status_block()

    def _count(self, records: bytes, count: int) -> bytes:
        self.sent += count
        self.check = zlib.crc32(records, self.check)
        return records


class Fetch(Stream):
    """FETCH: readings (0), delivered levels (1) or statuses of steps (2)."""

    op = Op.FETCH

    def __init__(self, core: Core, kind: int, first: int, count: int) -> None:
        super().__init__(core)
        self.again = partial(Fetch, core, kind, first, count)
        self.kind, self.run = kind, core.run
        promised, size = self._promise(core)
        if first > promised:
            raise Refused(Code.RANGE, promised, "beyond what the run promises")
        self._at = self._first = first
        self._end = promised if count == ALL else min(first + count, promised)
        self._most = (core.features.max_payload - FETCH_HEAD.size) // size
        # Waiting for the end without taking anything is what a count of 0 is for.
        self._waits = kind == 0 and count == 0

    def _promise(self, core: Core) -> tuple[int, int]:
        """Return how many records there will be and the bytes of one."""
        if self.kind == 1:
            if core.loaded is None:
                raise Refused(Code.NOT_LOADED)
            levels = core.loaded.steps.level_v
            self._levels = levels.astype("<f4").reshape(-1)
            return levels.size, 4
        if self.kind > 2:
            raise Refused(Code.RANGE, self.kind, "no such kind")
        if self.run is None:
            return 0, 2
        if self.kind == 2:
            return len(self.run.step_status), 2
        return len(self.run.readings), self.run.readings.dtype.itemsize

    def _there(self) -> NDArray[np.generic]:
        """Return the records that are there by now."""
        if self.kind == 1:
            return self._levels
        if self.run is None:
            return np.empty(0, dtype="<u2")
        if self.kind == 0:
            return self.run.records()
        return self.run.step_status if self.run.over else self.run.step_status[: self.run.ended]

    def next(self) -> bytes | None:
        """Return the payload of the next data frame; None when there is none (yet)."""
        there = self._there()
        stop = min(len(there), self._end, self._at + self._most)
        if stop <= self._at:
            return None
        part, first = there[self._at : stop], self._at
        self._at = stop
        return FETCH_HEAD.pack(first, len(part)) + self._count(part.tobytes(), len(part))

    @property
    def complete(self) -> bool:
        """Whether everything is sent that will ever be there."""
        over = self.kind == 1 or self.run is None or self.run.over
        if self._waits:
            return over
        return self._at >= self._end or (over and self._at >= len(self._there()))


class Matrix(Stream):
    """READ_MATRIX: the readings of a run as cells, row by row."""

    op = Op.READ_MATRIX

    def __init__(self, core: Core, run: Run, first_row: int, first_col: int, n_cols: int) -> None:
        super().__init__(core)
        self.again = partial(Matrix, core, run, first_row, first_col, n_cols)
        self.run, self._row, self._col, self._n_cols = run, first_row, first_col, n_cols
        self._most = (core.features.max_payload - MATRIX_HEAD.size) // CELL.itemsize

    def next(self) -> bytes | None:
        """Return the payload of the next data frame; None when there is none (yet)."""
        there = self.run.records()
        k, j = divmod(self.sent, self._n_cols)
        count = min(self._n_cols - j, self._most, len(there) - self.sent)
        if count <= 0:
            return None
        part = there[self.sent : self.sent + count]
        cells = np.empty(count, dtype=CELL)
        for name in ("current", "range", "status"):
            cells[name] = part[name]
        row = self._row + k
        head = MATRIX_HEAD.pack(
            row, self._col + j, count, int(part["width"][0]), int(part["t"][0]),
            float(self.run.loaded.steps.level_v[k, row]),
        )  # fmt: skip
        return head + self._count(cells.tobytes(), count)

    @property
    def complete(self) -> bool:
        """Whether everything is sent that will ever be there."""
        return self.run.over and self.sent >= self.run.taken
