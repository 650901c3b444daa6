"""From blocks and readings to device-level rows: which device got which pulses, g before and after.

The raw readings are recorded beside these rows; a conductance is derived only from a step that
drives exactly one row at the read voltage, so that the sensed column's current is one device's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.program import READING_PHASES, LineState, Phase, PulseBlock

Columns = dict[str, NDArray[Any]]
_MAX_MASK = 4_000_000  # steps x rows x cols looked at in one go


class DeviceLog:
    """Keeps the conductance last read of every device and completes pulse rows with it."""

    def __init__(self, geometry: ArrayGeometry, op: OperatingPoint) -> None:
        self.geometry, self.op = geometry, op
        self.g_siemens = np.full(geometry.shape, np.nan)  #: last read since the last write
        self._pending: list[Columns] = []
        self._owner = np.full(geometry.shape, -1, dtype=np.int64)  # pending row of a device
        self._n_pending = 0

    def reading(self, block: PulseBlock, readings: MeasurementBlock) -> None:
        """Take the conductances that ``readings`` of a reading phase give."""
        if not len(readings):
            return
        read = self.geometry.read_lines
        driven = (block.state[:, read.plus] == LineState.DRIVE) & (block.level_v[:, read.plus] != 0)
        one = driven.sum(axis=1) == 1
        row_of_step = driven.argmax(axis=1)
        level = block.level_v[np.arange(block.n_steps), read.plus[row_of_step]]
        one &= np.isclose(level, self.op.read_v, rtol=1e-6, atol=0.0)
        column = np.full(block.n_lines, -1)
        column[read.minus] = np.arange(read.minus.size)
        col = column[readings.line]
        keep = (col >= 0) & one[readings.step]
        if not keep.any():
            return
        step = readings.step[keep]
        rows, cols = row_of_step[step], col[keep]
        current_a = readings.current_a[keep]
        g = -current_a / level[step]
        self.g_siemens[rows, cols] = g
        self._complete(rows, cols, g, current_a, readings.status[keep])

    def _complete(
        self, rows: NDArray[Any], cols: NDArray[Any], g: NDArray[Any], i_a: NDArray[Any],
        status: NDArray[Any],
    ) -> None:  # fmt: skip
        owner = self._owner[rows, cols]
        first = 0
        for columns in self._pending:
            at = owner - first
            mine = (at >= 0) & (at < columns["row"].size)
            columns["g1"][at[mine]] = g[mine]
            columns["i_read"][at[mine]] = i_a[mine]
            columns["status"][at[mine]] |= status[mine]
            first += columns["row"].size

    def writing(self, op_id: int, layer: int, t_ns: int, block: PulseBlock) -> list[Columns]:
        """Take a driven write block; return the completed rows of earlier blocks."""
        done = self.flush()
        if block.phase in READING_PHASES or block.phase is Phase.IDLE:
            return done
        start_ns = (
            t_ns + np.concatenate([[0], np.cumsum(block.period_s * block.repeat)[:-1]]) * 1e9
            if block.n_steps
            else np.empty(0)
        )
        per_chunk = max(_MAX_MASK // (self.geometry.n_rows * self.geometry.n_cols), 1)
        for begin in range(0, block.n_steps, per_chunk):
            self._add(op_id, layer, start_ns, block, begin, min(begin + per_chunk, block.n_steps))
        return done

    def _add(
        self,
        op_id: int,
        layer: int,
        start_ns: NDArray[Any],
        block: PulseBlock,
        begin: int,
        end: int,
    ) -> None:
        steps, rows, cols, v, width = self._devices(block, begin, end)
        if not steps.size:
            return
        count = block.repeat[steps]
        self._pending.append(
            {
                "t_ns": start_ns[steps].astype(np.int64),
                "op": np.full(steps.size, op_id),
                "phase": np.full(steps.size, int(block.phase)),
                "layer": np.full(steps.size, layer),
                "row": rows, "col": cols, "v": v, "width": width, "count": count,
                "executed": count, "g0": self.g_siemens[rows, cols],
                "g1": np.full(steps.size, np.nan), "i_read": np.full(steps.size, np.nan),
                "status": np.zeros(steps.size, dtype=np.uint32),
            }
        )  # fmt: skip
        # Later rows of the same device win: the next reading is after all of them.
        self._owner[rows, cols] = self._n_pending + np.arange(steps.size)
        self._n_pending += steps.size
        self.g_siemens[rows, cols] = np.nan

    def _devices(
        self, block: PulseBlock, begin: int, end: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        geometry = self.geometry
        part = slice(begin, end)
        level = np.where(block.state[part] == LineState.DRIVE, block.level_v[part], 0.0)
        selected = block.selected[part]
        erase = geometry.erase_lines
        if block.phase is Phase.ERASE and erase is not None:
            hit = selected[:, erase.plus, None] & np.ones((1, 1, geometry.n_cols), dtype=np.bool_)
            steps, rows, cols = np.nonzero(hit)
            plus, minus = erase.plus[rows], erase.minus[rows]
        else:
            write = geometry.write_lines
            hit = selected[:, write.plus, None] & selected[:, None, write.minus]
            steps, rows, cols = np.nonzero(hit)
            plus, minus = write.plus[rows], write.minus[cols]
        v = level[steps, plus] - level[steps, minus]
        keep = (v != 0.0) & (block.repeat[part][steps] > 0)
        steps, rows, cols, v, plus = steps[keep], rows[keep], cols[keep], v[keep], plus[keep]
        width = block.width_s[part]
        width = width[steps] if width.ndim == 1 else width[steps, plus]
        return steps + begin, rows, cols, v, width

    def flush(self) -> list[Columns]:
        """Return the pending rows, complete or not, and forget them."""
        done, self._pending = self._pending, []
        if done:
            self._owner.fill(-1)
            self._n_pending = 0
        return done
