"""Streams: what takes their data frames, and whether all came."""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil_drivers.serial_board import messages
from hil_drivers.serial_board.messages import CELL, READING, BoardStatus


class Sink(Protocol):
    """What takes the data frames of a stream."""

    def begin(self) -> None:
        """Begin, or begin again."""

    def take(self, payload: bytes) -> None:
        """Take a data frame; what does not fit is left out."""

    def whole(self, reply: bytes) -> bool:
        """Return whether all that the reply at the end tells of was taken."""


class Records:
    """Gathers the records of a FETCH."""

    def __init__(self, kind: int, first: int) -> None:
        self._size = messages.RECORDS[kind].itemsize
        self._first = first
        self.taken = bytearray()

    def begin(self) -> None:
        """Begin, or begin again."""
        self.taken.clear()

    def take(self, payload: bytes) -> None:
        """Take the records that come next."""
        head = messages.FETCH_PART
        if len(payload) < head.size:
            return
        first, count = head.unpack_from(payload)
        at = self._first + len(self.taken) // self._size
        if first == at and len(payload) - head.size == count * self._size:
            self.taken += memoryview(payload)[head.size :]

    def whole(self, reply: bytes) -> bool:
        """Return whether these are the records that the board sent."""
        return whole(reply, self.taken, len(self.taken) // self._size)


def whole(reply: bytes, records: bytes | bytearray, count: int) -> bool:
    """Return whether ``count`` records are those that a stream's reply tells of."""
    head = messages.STREAMED
    return len(reply) >= head.size and head.unpack_from(reply) == (count, zlib.crc32(records))


def status_of(reply: bytes, address: str) -> BoardStatus:
    """Return the status at the end of a stream's reply."""
    return BoardStatus.of(reply[messages.STREAMED.size :], address)


class Cells:
    """Gathers the data frames of a READ_MATRIX."""

    def __init__(self, first_row: int, n_rows: int, first_col: int, n_cols: int) -> None:
        self._first_row, self._n_rows = first_row, n_rows
        self._first_col, self._n_cols = first_col, n_cols
        self.raw = bytearray()
        self.count = 0
        self._heads: list[tuple[int, int, int]] = []  # cells, width, start of every frame

    def begin(self) -> None:
        """Begin, or begin again."""
        self.raw.clear()
        self._heads.clear()
        self.count = 0

    def take(self, payload: bytes) -> None:
        """Take the cells that come next."""
        head = messages.MATRIX_PART
        if len(payload) < head.size:
            return
        row, col, count, width, t, _ = head.unpack_from(payload)
        due_row, due_col = divmod(self.count, self._n_cols)
        due = (self._first_row + due_row, self._first_col + due_col)
        body = memoryview(payload)[head.size :]
        if (
            (row, col) == due and count <= self._n_cols - due_col
            and len(body) == count * CELL.itemsize
        ):  # fmt: skip
            self.raw += body
            self._heads.append((count, width, t))
            self.count += count

    def whole(self, reply: bytes) -> bool:
        """Return whether these are the cells that the board sent."""
        return whole(reply, self.raw, self.count)

    def readings(self, n_rows: int) -> NDArray[np.void]:
        """Return the cells as readings; ``n_rows`` of the board precede its columns."""
        cells = np.frombuffer(self.raw, CELL)
        out = np.zeros(cells.size, READING)
        out["current"], out["range"], out["status"] = (
            cells["current"],
            cells["range"],
            cells["status"],
        )
        counts = [count for count, _, _ in self._heads]
        out["width"] = np.repeat([width for _, width, _ in self._heads], counts)
        out["t"] = np.repeat([t for _, _, t in self._heads], counts)
        out["line"] = n_rows + self._first_col + np.arange(cells.size) % self._n_cols
        return out
