"""From blocks and readings to device-level rows: which device got which pulses, g before and after.

The raw readings are recorded beside these rows; a conductance is derived only from a step that
drives exactly one row at the read voltage, so that the sensed column's current is one device's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.errors import StoreError
from hil.geometry import ArrayGeometry
from hil.measurement import Status
from hil.operating import OperatingPoint
from hil.program import READING_PHASES, Phase, PulseBlock
from hil.record.joining import constant, joined
from hil.record.segments import Rows

#: What an entry is to the log: a block that reads, writes or erases; the end of an operation; or
#: the loss of what was known of the conductances.
READ, WRITE, ERASE, FLUSH, FORGET = range(5)
#: Steps of a block are looked at in pieces of about this many device rows.
_PIECE_ROWS: Final = 1_000_000
_LARGEST_INDEX: Final = 2**16 - 1  # of a row, column or layer in a run folder
#: Columns that the kernels fill: those of the table but ``executed`` (= count) and ``temperature``,
#: and the null flags of g0 and g1.
_OUT: Final = tuple(
    np.dtype(t)
    for t in ("i8", "i8", "u1", "u2", "u2", "u2", "f4", "f4", "u4", "f8", "f4", "?", "f4", "?",
              "u4")
)  # fmt: skip


class Driven(NamedTuple):
    """A block that was driven, or a mark between blocks; what the control thread hands over.

    ``log`` is None where only the summary is recorded, ``phase`` −1 for a mark. ``readings`` are
    the columns in the order of :data:`hil.measurement.COLUMNS`; ``n_read`` counts the readings to
    be recorded, ``n_readings`` all that were taken. ``ends`` says that no reading of the same
    operation follows.
    """

    log: DeviceLog | None
    kind: int
    block: PulseBlock | None
    readings: tuple[NDArray[Any], ...] | None
    n_read: int
    ends: bool
    op: int
    ordinal: int
    phase: int
    layer: int
    t_ns: int
    n_steps: int
    n_pulses: int
    n_readings: int
    duration_s: float
    status: int = 0  #: of its device rows, before a reading adds its own


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of a run of entries, one after the other, as the device log needs them."""

    step: NDArray[np.int32]
    line: NDArray[np.int16]
    current_a: NDArray[np.float64]
    status: NDArray[np.uint32]


class DeviceLog:
    """Keeps the conductance last read of every device and completes pulse rows with it.

    Rows wait, in memory, for the reading that follows their pulse, at most until the next write
    block or the end of the operation. All but ``kinds`` and :meth:`most_rows` belongs to the writer
    thread.

    Raises:
        StoreError: the array is larger than a row can say.
    """

    def __init__(self, geometry: ArrayGeometry, op: OperatingPoint) -> None:
        from hil.control import kernels

        if max(geometry.shape) - 1 > _LARGEST_INDEX:
            raise StoreError(
                f"an array of {geometry.shape}: a run records rows and columns up to "
                f"{_LARGEST_INDEX}"
            )
        self._kernels = kernels
        self._geometry, self._op = geometry, op
        self.kinds = [self._kind_of(phase) for phase in Phase]  #: what blocks of each phase are
        self._n_cells = max(geometry.n_rows * geometry.n_cols, 1)
        col_of_line = np.full(geometry.n_lines, -1, dtype=np.int64)
        col_of_line[geometry.read_lines.minus] = np.arange(geometry.n_cols)
        none = np.empty(0, dtype=np.int64)
        erase, write = geometry.erase_lines, geometry.write_lines
        lines = (
            write.plus, write.minus, none if erase is None else erase.plus,
            none if erase is None else erase.minus, col_of_line,
        )  # fmt: skip
        self._lines = tuple(np.array(line, dtype=np.int64) for line in lines)
        self._read_plus = np.array(geometry.read_lines.plus, dtype=np.int64)
        g_siemens = np.full(geometry.shape, np.nan)  # last read since the last write
        owner = np.full(geometry.shape, -1, dtype=np.int64)  # waiting row of a device
        self._known = (g_siemens, owner)
        self._carried: tuple[NDArray[Any], ...] = ()
        self.waiting_since: int | None = None  #: ticket of the entry whose rows wait
        self._warm_up()

    def _kind_of(self, phase: Phase) -> int:
        if phase in READING_PHASES:
            return READ
        if phase is Phase.IDLE:
            return FLUSH
        return ERASE if phase is Phase.ERASE and self._geometry.erase_lines else WRITE

    def most_rows(self, n_steps: int, n_pulses: int) -> int:
        """Return how many device rows a block gives at most; ``n_pulses`` are device pulses."""
        return min(n_pulses, n_steps * self._n_cells)

    def rows(
        self,
        entries: Sequence[Driven],
        tickets: Sequence[int],
        readings: Readings,
        read_first: NDArray[np.int64],
    ) -> Rows | None:
        """Take entries in order; return the device rows that are as complete as they get.

        Entry k's readings are ``read_first[k]`` on, ``n_read`` of them.

        Raises:
            StoreError: a repeat or a layer is larger than a row can say.
        """
        entries, tickets, read_first = self._in_pieces(entries, tickets, read_first)
        blocks: dict[int, tuple[int, PulseBlock, int]] = {}  # one of each: most are used again
        block_of = np.zeros(len(entries), dtype=np.int64)
        for k, entry in enumerate(entries):
            block = entry.block
            if block is not None:
                known = blocks.get(id(block))
                if known is None:
                    known = blocks[id(block)] = (len(blocks), block, entry.kind)
                block_of[k] = known[0]
        steps, firsts = _steps_of([block for _, block, _ in blocks.values()])
        state, level_v, _, _, selected, repeat = steps
        row_of_step = np.empty(len(repeat), dtype=np.int64)
        most = np.empty(len(blocks), dtype=np.int64)
        write_plus, write_minus, erase_plus, _, _ = self._lines
        kinds = np.array([kind for _, _, kind in blocks.values()], dtype=np.int64)
        if not self._kernels.survey(
            kinds, firsts, state, level_v, selected, repeat, self._read_plus, self._op.read_v,
            write_plus, write_minus, erase_plus, self._geometry.n_cols, row_of_step, most,
        ):  # fmt: skip
            raise StoreError("a step repeats its pulse more than 4294967295 times")
        columns = list(zip(*entries, strict=True))
        table = [np.array(columns[at], dtype=np.int64) for at in (1, 10, 6, 8, 9, 4, 5, 15)]
        kind, t_ns, op, phase, layer, n_read, ends, status = table
        if layer.size and layer.max() > _LARGEST_INDEX:
            raise StoreError(f"layer {layer.max()}: a run records layers up to {_LARGEST_INDEX}")
        given = (
            kind, block_of, t_ns, op, phase, layer, read_first, read_first + n_read, ends, status,
        )  # fmt: skip
        n_carried = len(self._carried[0]) if self._carried else 0
        writes = (kind == WRITE) | (kind == ERASE)
        room = n_carried + (int(most[block_of[writes]].sum()) if blocks else 0)
        out = tuple(np.empty(room, dtype) for dtype in _OUT)
        for column, carried in zip(out, self._carried, strict=False):
            column[:n_carried] = carried
        n, waits, newest = self._kernels.derive(
            given, firsts, steps, row_of_step, self._lines, self._op.read_v,
            (readings.step, readings.line, readings.current_a, readings.status), self._known,
            n_carried, out,
        )  # fmt: skip
        self._carried = tuple(column[waits:n].copy() for column in out) if waits < n else ()
        if not self._carried:
            self.waiting_since = None
        elif newest >= 0:
            self.waiting_since = tickets[newest]
        return _as_rows(out, waits)

    def flush(self) -> Rows | None:
        """Return the waiting rows, complete or not, and forget them."""
        carried, self._carried, self.waiting_since = self._carried, (), None
        return _as_rows(carried, len(carried[0])) if carried else None

    def _in_pieces(
        self, entries: Sequence[Driven], tickets: Sequence[int], read_first: NDArray[np.int64]
    ) -> tuple[Sequence[Driven], Sequence[int], NDArray[np.int64]]:
        """Cut write blocks that would give more rows at once than is good for the memory."""
        piece = max(_PIECE_ROWS // self._n_cells, 1)
        read = READ
        # A block that also reads keeps its readings together; its rows are few for each step.
        if not any(e.n_steps > piece and e.kind != read and not e.n_read for e in entries):
            return entries, tickets, read_first
        cut: list[Driven] = []
        numbers: list[int] = []
        firsts: list[int] = []
        for entry, ticket, first in zip(entries, tickets, read_first.tolist(), strict=True):
            block, parts = entry.block, [entry]
            long = entry.n_steps > piece and entry.kind != read and not entry.n_read
            if block is not None and long:
                times_s = np.cumsum(block.period_s * block.repeat)
                parts = [
                    entry._replace(
                        block=block.steps(at, at + piece),
                        ends=entry.ends and at + piece >= block.n_steps,
                        t_ns=entry.t_ns + (int(times_s[at - 1] * 1e9) if at else 0),
                    )
                    for at in range(0, block.n_steps, piece)
                ]
            cut += parts
            numbers += [ticket] * len(parts)
            firsts += [first] * len(parts)
        return cut, numbers, np.array(firsts, dtype=np.int64)

    def _warm_up(self) -> None:
        """Load the compiled loops, so that the first rows of a run do not wait for them."""
        mark = Driven(self, FLUSH, None, None, 0, True, 0, 0, -1, 0, 0, 0, 0, 0, 0.0)
        nothing = Readings(
            joined([], np.dtype(np.int32)), joined([], np.dtype(np.int16)),
            joined([], np.dtype(np.float64)), joined([], np.dtype(np.uint32)),
        )  # fmt: skip
        self.rows([mark], [0], nothing, np.zeros(1, dtype=np.int64))


def _steps_of(blocks: Sequence[PulseBlock]) -> tuple[tuple[NDArray[Any], ...], NDArray[np.int64]]:
    """Return the steps of ``blocks`` one after the other, and where each block's begin."""
    firsts = np.zeros(len(blocks) + 1, dtype=np.int64)
    np.cumsum([block.n_steps for block in blocks], out=firsts[1:])
    n_lines = blocks[0].n_lines if blocks else 0
    widths = [block.widths_2d for block in blocks]
    if len({width.shape[1] for width in widths}) > 1:
        widths = [np.broadcast_to(width, (len(width), n_lines)) for width in widths]
    real, flag = np.dtype(np.float64), np.dtype(np.bool_)
    rise, fall, gap = (
        joined([getattr(block, name) for block in blocks], real)
        for name in ("rise_s", "fall_s", "gap_s")
    )
    shape = (firsts[-1], n_lines)
    edge_s = (rise + fall) / 2 + gap
    edge_s.flags.writeable = False
    steps = (
        joined([block.state for block in blocks], np.dtype(np.uint8)).reshape(shape),
        joined([block.level_v for block in blocks], real).reshape(shape),
        joined(widths, real).reshape(shape[0], widths[0].shape[1] if widths else 1),
        edge_s,
        joined([block.selected for block in blocks], flag).reshape(shape),
        joined([block.repeat for block in blocks], np.dtype(np.int64)),
    )
    return steps, firsts


def _as_rows(out: tuple[NDArray[Any], ...], n: int) -> Rows | None:
    """Return the first ``n`` rows as rows of the ``pulses`` table."""
    if not n:
        return None
    t_ns, op, phase, layer, row, col, v, width, count, i_read, g0, g0_null, g1, g1_null, status = (
        column[:n] for column in out
    )
    temperature = constant(0.0, np.dtype(np.float32), n)
    columns = [t_ns, op, phase, layer, row, col, v, width, count, count, i_read, g0, g1,
               temperature, status]  # fmt: skip
    unknown = constant(True, np.dtype(np.bool_), n)
    uncounted = (status & np.uint32(Status.COUNT_UNKNOWN)) != 0
    return Rows(columns, {9: uncounted, 11: g0_null, 12: g1_null, 13: unknown}, n)
