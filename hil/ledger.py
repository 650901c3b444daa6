"""The ledger: what every device has received, kept per line and, where selected, per device.

A parallel update touches every device of the array, so exposures are counted per line and the
pulses of *selected* devices per device; a device's half-selected count is
``row[i] + col[j] − 2 · selected[i, j]``, made when asked for. Stress of half-selected devices is
kept as ∫V²dt per line, which makes their energy approximate: it takes the line's own level, right
for V/2 and ground, an upper bound for V/3, and it multiplies with the conductance last known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.geometry import ArrayGeometry
from hil.program import READING_PHASES, Phase, PulseBlock, by_phase


def widths_2d(block: PulseBlock) -> NDArray[np.float64]:
    """Return widths as (n_steps, 1) or (n_steps, n_lines), in seconds."""
    return block.width_s if block.width_s.ndim == 2 else block.width_s[:, None]


class Ledger:
    """Counts of pulses per device of one array. Updated by the backend after every block.

    Attributes (uint32 counts, float64 V²·s):
        selected_plus, selected_minus: (n_rows, n_cols) write pulses with positive / negative
            device voltage on selected devices; an erase counts as negative.
        row_pulses, col_pulses: (n_rows,), (n_cols,) write pulses with the line selected.
        row_reads, col_reads: read pulses driven on the line.
        g_last_siemens: (n_rows, n_cols) conductance last decoded, NaN = never.
    """

    def __init__(self, geometry: ArrayGeometry) -> None:
        self.geometry = geometry
        rows, cols = geometry.shape
        self.selected_plus = np.zeros((rows, cols), dtype=np.uint32)
        self.selected_minus = np.zeros((rows, cols), dtype=np.uint32)
        self.selected_v2s = np.zeros((rows, cols))
        self.row_pulses = np.zeros(rows, dtype=np.uint32)
        self.col_pulses = np.zeros(cols, dtype=np.uint32)
        self.row_reads = np.zeros(rows, dtype=np.uint32)
        self.col_reads = np.zeros(cols, dtype=np.uint32)
        self.row_v2s = np.zeros(rows)
        self.col_v2s = np.zeros(cols)
        self.g_last_siemens = np.full((rows, cols), np.nan)
        self.device_pulses = 0  #: total pulses on selected devices
        self.most_pulses_bound = 0  #: no device has received more selected pulses than this
        self._scratch = (np.empty(rows, dtype=np.int64), np.empty(cols, dtype=np.int64))
        write, read = geometry.write_lines, geometry.read_lines
        self._write_lines = (write.plus, write.minus)
        self._read_lines = (read.plus, read.minus)
        self._erase_lines = geometry.erase_lines
        self._count: Any = None

    def add(self, block: PulseBlock) -> int:
        """Add an executed block; return the number of pulses on selected devices."""
        if block.phase is Phase.IDLE or not block.n_steps:
            return 0
        block, reads = by_phase(block)
        if reads is not None:
            self.add(reads)
        if block.phase is Phase.ERASE and self._erase_lines is not None:
            return self._add_erase(block)
        if self._count is None:
            from hil._kernels import count_pulses

            self._count = count_pulses
        reading = block.phase in READING_PHASES
        plus, minus = self._read_lines if reading else self._write_lines
        width = widths_2d(block)
        pulses = self._count(
            block.state, block.level_v, width, block.selected, block.repeat, plus, minus, reading,
            block.phase is Phase.ERASE, self.selected_plus, self.selected_minus, self.selected_v2s,
            self.row_pulses, self.col_pulses, self.row_reads, self.col_reads, self.row_v2s,
            self.col_v2s, *self._scratch,
        )  # fmt: skip
        if pulses:
            self.device_pulses += pulses
            self.most_pulses_bound += int(block.repeat.sum())
        return int(pulses)

    def _add_erase(self, block: PulseBlock) -> int:
        erase = self._erase_lines
        if erase is None:
            return 0
        state, level, width = block.state, block.level_v, widths_2d(block)
        driven = np.where(state == 2, level, 0.0)
        v = driven[:, erase.plus] - driven[:, erase.minus]  # per row: both terminals run along rows
        hit = (v != 0.0) & block.selected[:, erase.plus]
        rows = (hit * block.repeat[:, None]).sum(axis=0).astype(np.uint32)
        w = width if width.shape[1] == 1 else width[:, erase.plus]
        v2s = (np.where(hit, v, 0.0) ** 2 * w * block.repeat[:, None]).sum(axis=0)
        self.selected_minus += rows[:, None]
        self.selected_v2s += v2s[:, None]
        pulses = int(rows.sum()) * self.geometry.n_cols
        self.device_pulses += pulses
        self.most_pulses_bound += int(block.repeat.sum())
        return pulses

    def selected(self) -> NDArray[np.int64]:
        """Return (n_rows, n_cols) write pulses that each device received while selected."""
        return self.selected_plus.astype(np.int64) + self.selected_minus

    def half_selected(self) -> NDArray[np.int64]:
        """Return (n_rows, n_cols) write pulses that each device received while half-selected."""
        both = self.selected_plus.astype(np.int64) + self.selected_minus
        lines = (
            self.row_pulses.astype(np.int64)[:, None] + self.col_pulses.astype(np.int64)[None, :]
        )
        half: NDArray[np.int64] = np.maximum(lines - 2 * both, 0)
        return half

    def reads(self) -> NDArray[np.int64]:
        """Return (n_rows, n_cols) read pulses across each device."""
        return self.row_reads.astype(np.int64)[:, None] + self.col_reads.astype(np.int64)[None, :]

    def v2s(self) -> NDArray[np.float64]:
        """Return (n_rows, n_cols) ∫V²dt in V²·s over writes and reads; approximate, see above."""
        stress: NDArray[np.float64] = self.selected_v2s + np.maximum(
            self.row_v2s[:, None] + self.col_v2s[None, :] - self.selected_v2s / 2, 0.0
        )
        return stress

    def energy_joule(self) -> NDArray[np.float64]:
        """Return (n_rows, n_cols) joules, NaN where the conductance was never read; approximate."""
        energy: NDArray[np.float64] = self.v2s() * self.g_last_siemens
        return energy

    def copy(self) -> Ledger:
        """Return an independent copy."""
        other = Ledger(self.geometry)
        for name in self.tables():
            getattr(other, name)[...] = getattr(self, name)
        other.device_pulses = self.device_pulses
        other.most_pulses_bound = self.most_pulses_bound
        return other

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return the stored arrays by name, for saving with a run."""
        names = ("selected_plus", "selected_minus", "selected_v2s", "row_pulses", "col_pulses",
                 "row_reads", "col_reads", "row_v2s", "col_v2s", "g_last_siemens")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def summary(self) -> dict[str, float]:
        """Return totals and worst cases as plain numbers."""
        selected, half = self.selected(), self.half_selected()
        return {
            "device_pulses": int(selected.sum()),
            "most_pulses_on_a_device": int(selected.max()),
            "half_selects": int(half.sum()),
            "most_half_selects_on_a_device": int(half.max()),
            "read_pulses": int(self.row_reads.sum() + self.col_reads.sum()),
        }
