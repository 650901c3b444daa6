"""From blocks and readings to device-level rows: which device got which pulses, g before and after.

The raw readings are recorded beside these rows; a conductance is derived only from a step that
drives exactly one row at the read voltage, so that the sensed column's current is one device's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.geometry import ArrayGeometry
from hil.ledger import widths_2d
from hil.measurement import MeasurementBlock
from hil.operating import OperatingPoint
from hil.program import READING_PHASES, Phase, PulseBlock

Columns = dict[str, NDArray[Any]]
#: Steps of a block are looked at in pieces of about this many device rows.
_PIECE_ROWS = 1_000_000


class DeviceLog:
    """Keeps the conductance last read of every device and completes pulse rows with it.

    Rows wait, in memory, for the reading that follows their pulse, at most until the next write
    block or the end of the operation.
    """

    def __init__(self, geometry: ArrayGeometry, op: OperatingPoint) -> None:
        from hil.control import kernels

        self._kernels = kernels
        self.geometry, self.op = geometry, op
        self.g_siemens = np.full(geometry.shape, np.nan)  #: last read since the last write
        self._owner = np.full(geometry.shape, -1, dtype=np.int64)  # waiting row of a device
        self._col_of_line = np.full(geometry.n_lines, -1, dtype=np.int64)
        self._col_of_line[geometry.read_lines.minus] = np.arange(geometry.n_cols)
        self._waiting: Columns = {}
        self._nothing = np.empty(0)
        self._no_status = np.empty(0, dtype=np.uint32)

    def reading(self, block: PulseBlock, readings: MeasurementBlock) -> None:
        """Take the conductances that ``readings`` of a reading phase give."""
        if not len(readings):
            return
        row_of_step = np.empty(block.n_steps, dtype=np.int64)
        self._kernels.single_row_steps(
            block.state, block.level_v, self.geometry.read_lines.plus, self.op.read_v, row_of_step
        )
        waiting = self._waiting
        self._kernels.decode_devices(
            readings.step, readings.line, readings.current_a, readings.status, row_of_step,
            self._col_of_line, self.op.read_v, self.g_siemens, self._owner,
            waiting.get("g1", self._nothing), waiting.get("i_read", self._nothing),
            waiting.get("status", self._no_status),
        )  # fmt: skip

    def writing(self, op_id: int, layer: int, t_ns: int, block: PulseBlock) -> list[Columns]:
        """Take a driven write block; return the rows of earlier blocks, as complete as they get."""
        done = self.flush()
        if block.phase in READING_PHASES or block.phase is Phase.IDLE or not block.n_steps:
            return done
        period_ns = block.period_s * block.repeat * 1e9
        start_ns = t_ns + (np.cumsum(period_ns) - period_ns).astype(np.int64)
        most = max(self.geometry.n_rows * self.geometry.n_cols, 1)
        piece = max(_PIECE_ROWS // most, 1)
        for begin in range(0, block.n_steps, piece):
            done += self.flush()
            part = block if block.n_steps <= piece else block.steps(begin, begin + piece)
            self._take(op_id, layer, start_ns[begin : begin + piece], part)
        return done

    def _take(self, op_id: int, layer: int, start_ns: NDArray[Any], block: PulseBlock) -> None:
        geometry, kernels = self.geometry, self._kernels
        erase = block.phase is Phase.ERASE and geometry.erase_lines is not None
        lines = geometry.erase_lines if erase else geometry.write_lines
        if lines is None:
            return
        plus, minus = lines.plus, lines.minus
        n = kernels.count_selected(
            block.state, block.level_v, block.selected, block.repeat, plus, minus, erase
        ) * (geometry.n_cols if erase else 1)
        steps, rows, cols = (np.empty(n, dtype=np.int64) for _ in range(3))
        volts, widths = np.empty(n), np.empty(n)
        n = kernels.list_selected(
            block.state, block.level_v, widths_2d(block), block.selected, block.repeat, plus, minus,
            erase, geometry.n_cols, steps, rows, cols, volts, widths,
        )  # fmt: skip
        if not n:
            return
        steps, rows, cols = steps[:n], rows[:n], cols[:n]
        g0 = np.empty(n)
        kernels.take_over(rows, cols, 0, self.g_siemens, g0, self._owner)
        count = block.repeat[steps].astype(np.uint32)
        self._waiting = {
            "t_ns": start_ns[steps], "op": np.full(n, op_id),
            "phase": np.full(n, int(block.phase), dtype=np.uint8),
            "layer": np.full(n, layer, dtype=np.uint16),
            "row": rows.astype(np.uint16), "col": cols.astype(np.uint16),
            "v": volts[:n].astype(np.float32), "width": widths[:n].astype(np.float32),
            "count": count, "executed": count, "g0": g0, "g1": np.full(n, np.nan),
            "i_read": np.full(n, np.nan), "status": np.zeros(n, dtype=np.uint32),
        }  # fmt: skip

    def flush(self) -> list[Columns]:
        """Return the waiting rows, complete or not, and forget them."""
        if not self._waiting:
            return []
        done, self._waiting = self._waiting, {}
        self._kernels.disown(done["row"], done["col"], self._owner)
        return [done]
