"""Blocks for chosen cells: read exactly these, write groups of these, join and bound the pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Capabilities
from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.phases.lowering import lower_for
from hil.phases.reading import read_rows
from hil.program import BoolArray, FloatArray, Phase, PulseBlock, split
from hil.template import BlockTemplate

Indices = NDArray[np.int64]
_PER_STEP = ("state", "level_v", "width_s", "rise_s", "fall_s", "gap_s", "repeat", "sense",
             "selected", "target")  # fmt: skip


def joined(blocks: Sequence[PulseBlock]) -> PulseBlock:
    """Return one block with the steps of all ``blocks``, in order.

    Raises:
        ProtocolError: no block, or blocks whose phase, compliance or sensing differ.
    """
    if not blocks:
        raise ProtocolError("no blocks to join")
    first = blocks[0]
    if len(blocks) == 1:
        return first
    for block in blocks[1:]:
        if (
            block.phase is not first.phase
            or block.sensing != first.sensing
            or not np.array_equal(block.compliance_a, first.compliance_a)
        ):
            raise ProtocolError("blocks of different phase, compliance or sensing cannot be joined")
    per_line = any(block.width_s.ndim == 2 for block in blocks)
    columns = {}
    for name in _PER_STEP:
        parts = [getattr(block, name) for block in blocks]
        if name == "width_s" and per_line:
            parts = [
                w if w.ndim == 2 else np.repeat(w[:, None], first.n_lines, axis=1) for w in parts
            ]
        columns[name] = np.concatenate(parts)
    return PulseBlock.build(
        first.phase, compliance_a=first.compliance_a, sensing=first.sensing, **columns
    )


def repeated(block: PulseBlock, times: int) -> PulseBlock:
    """Return a block whose steps are those of ``block``, ``times`` over."""
    return joined([block] * times)


def as_reading_steps(block: PulseBlock, phase: Phase) -> PulseBlock:
    """Return a read as steps of a writing block of ``phase``: they sense, and select nothing."""
    return dataclasses.replace(block, phase=phase, selected=np.zeros_like(block.selected))


def checked_once(block: PulseBlock) -> PulseBlock:
    """Return the block as its own template: however often it is run, limits are checked once."""
    nothing_else = np.zeros((1, 1))  # bounds of levels to fill in: none but the block's own
    return BlockTemplate(block, nothing_else, nothing_else, corners=(block,)).fill()


def pieces(block: PulseBlock, capabilities: Capabilities) -> list[PulseBlock]:
    """Return the block cut to what ``capabilities`` take at once."""
    return list(split(block, capabilities.max_steps, capabilities.max_block_s))


class CellRead:
    """Reads the conductance of chosen cells and of no other, row by row.

    Args:
        geometry: the array.
        op: operating point (read voltage, width, gate level).
        capabilities: of the backend; what it lacks is lowered to equivalent steps.
        mask: boolean (n_rows, n_cols), the cells to read.
        phase: recorded phase.
        repeat: readings of each cell, averaged.
        read_v: device voltage in volts, the operating point's by default.
    """

    def __init__(
        self,
        geometry: ArrayGeometry,
        op: OperatingPoint,
        capabilities: Capabilities,
        mask: BoolArray,
        *,
        phase: Phase = Phase.READ,
        repeat: int = 1,
        read_v: float | None = None,
    ) -> None:
        self._shape = geometry.shape
        self._read_v = op.read_v if read_v is None else read_v
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        self._rows = rows
        self._col_of_line = np.full(geometry.n_lines, -1)
        minus = geometry.read_lines.minus
        self._col_of_line[minus] = np.arange(minus.size)
        able = dataclasses.replace(capabilities, parallel_sense=True, per_line_width=True)
        block = read_rows(geometry, op, able, rows, cols, phase=phase, repeat=repeat, read_v=read_v)
        wanted = np.zeros((rows.size, geometry.n_lines), dtype=np.bool_)
        wanted[:, minus] = mask[rows]
        selected = block.selected & (wanted | ~block.sense)
        block = dataclasses.replace(block, sense=block.sense & wanted, selected=selected)
        self.blocks = pieces(lower_for(block, capabilities)[0], capabilities)
        self.clear()

    def clear(self) -> None:
        """Forget all readings."""
        self._sum_a = np.zeros(self._shape)
        self._count = np.zeros(self._shape)

    def add(self, block: PulseBlock, readings: MeasurementBlock) -> None:
        """Take the readings of one of :attr:`blocks`."""
        col = self._col_of_line[readings.line]
        row = self._rows[block.target[readings.step]]
        keep = col >= 0
        at = (row[keep], col[keep])
        # A grounded line sinks what the device passes: the current into the array is negative.
        np.subtract.at(self._sum_a, at, readings.current_a[keep])
        np.add.at(self._count, at, 1.0)

    def current_a(self) -> FloatArray:
        """Return (n_rows, n_cols) mean device current in amperes, NaN where not read."""
        with np.errstate(invalid="ignore", divide="ignore"):
            current: FloatArray = self._sum_a / self._count
        return current

    def siemens_at(self, rows: Indices, cols: Indices) -> FloatArray:
        """Return (n,) mean siemens of the cells at (rows, cols), NaN where not read."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: FloatArray = self._sum_a[rows, cols] / self._count[rows, cols]
        return mean / self._read_v

    def siemens(self) -> FloatArray:
        """Return (n_rows, n_cols) mean conductance in siemens, NaN where not read."""
        return self.current_a() / self._read_v


def with_target(block: PulseBlock, target: Indices) -> PulseBlock:
    """Return the block with other targets, one per step."""
    return dataclasses.replace(block, target=target)


def without_sensing(block: PulseBlock) -> PulseBlock:
    """Return the block with the same pulses and no readings."""
    return dataclasses.replace(block, sense=np.zeros_like(block.sense))
