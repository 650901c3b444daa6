"""The ledger: what every device has received, kept per line and, where selected, per device.

A parallel update touches every device of the array, so exposures are counted per line and the
pulses of *selected* devices per device; a device's half-selected count is
``row[i] + col[j] − 2 · selected[i, j]``, made when asked for. Stress of half-selected devices is
kept as ∫V²dt per line, which makes their energy approximate: it takes the line's own level, right
for V/2 and ground, an upper bound for V/3, and it multiplies with the conductance last known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.alike import Alike, short
from hil.errors import ConfigError
from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock, Status
from hil.program import READING_PHASES, Phase, PulseBlock, by_phase
from hil.read_counts import ReadCounts, ledger_kernels

#: Tables that add up, per device and per line, and their types.
_PER_DEVICE: Final = {
    "selected_plus": np.uint32, "selected_minus": np.uint32, "selected_v2s": np.float64,
    "selected_s": np.float64, "selected_lines_s": np.float64, "settled_joule": np.float64,
    "settled_v2s": np.float64,
}  # fmt: skip
_PER_LINE: Final = {"pulses": np.uint32, "reads": np.uint32, "v2s": np.float64, "s": np.float64}
#: Readings with one of these bits are no conductance.
_UNUSABLE: Final = np.uint32(
    Status.OVERFLOW | Status.UNPARSABLE | Status.TIMEOUT | Status.COUNT_UNKNOWN
    | Status.SUSPECT_LINK
)  # fmt: skip


class Ledger:
    """Counts of pulses per device of one array. Updated by the backend after every block.

    Attributes (uint32 counts, float64 V²·s and seconds):
        selected_plus, selected_minus: (n_rows, n_cols) write pulses with positive / negative
            device voltage on selected devices; an erase counts as negative.
        selected_v2s, selected_s: (n_rows, n_cols) ∫V²dt and time of these pulses.
        selected_lines_s: (n_rows, n_cols) time for which the device's two lines were driven by
            them, added up.
        row_pulses, col_pulses: (n_rows,), (n_cols,) write pulses with the line selected.
        row_reads, col_reads: read pulses driven on the line.
        row_v2s, col_v2s: ∫V²dt of the line; row_s, col_s: time of its write pulses, selected.
        settled_joule: (n_rows, n_cols) energy up to ∫V²dt = settled_v2s, the last reading.
        g_last_siemens: (n_rows, n_cols) conductance last decoded, NaN = never.
        carried: (n_rows, n_cols) pulses on selected devices before this ledger began.
    """

    settled_joule: NDArray[np.float64]
    settled_v2s: NDArray[np.float64]
    row_pulses: NDArray[np.uint32]
    col_pulses: NDArray[np.uint32]
    row_reads: NDArray[np.uint32]
    col_reads: NDArray[np.uint32]
    row_v2s: NDArray[np.float64]
    col_v2s: NDArray[np.float64]
    row_s: NDArray[np.float64]
    col_s: NDArray[np.float64]
    g_last_siemens: NDArray[np.float64]

    def __init__(self, geometry: ArrayGeometry) -> None:
        self.geometry = geometry
        rows, cols = geometry.shape
        self._pulsed = {
            n: np.zeros((rows, cols), t) for n, t in _PER_DEVICE.items() if "settled" not in n
        }
        # Pulses that are all alike, those of an update template, are only counted at first.
        self._alike: list[Alike] = []
        self._alike_counts = np.zeros((0, rows, cols), np.uint32)
        self._alike_rows = np.zeros((0, rows), np.uint32)  # further pulses, of all a row's devices
        self._alike_v2s = np.zeros(0)
        self.settled_joule, self.settled_v2s = np.zeros((rows, cols)), np.zeros((rows, cols))
        self.g_last_siemens = np.zeros((rows, cols))
        for name, dtype in _PER_LINE.items():
            setattr(self, f"row_{name}", np.zeros(rows, dtype))
            setattr(self, f"col_{name}", np.zeros(cols, dtype))
        self.g_last_siemens[...] = np.nan
        self.carried: NDArray[np.int64] | None = None
        self.device_pulses = 0  #: total pulses on selected devices
        self.most_pulses_bound = 0  #: no device has received more selected pulses than this
        self._scratch = (np.empty(rows, dtype=np.int64), np.empty(cols, dtype=np.int64))
        write, read = geometry.write_lines, geometry.read_lines
        self._write_lines = (write.plus, write.minus)
        self._read_lines = (read.plus, read.minus)
        self._erase_lines = geometry.erase_lines
        self._col_of_line = np.full(geometry.n_lines, -1, dtype=np.int64)
        self._col_of_line[read.minus] = np.arange(cols)
        self._reads = ReadCounts(
            self._read_lines, (self.row_reads, self.row_v2s, self.col_reads, self.col_v2s)
        )

    def add(self, block: PulseBlock) -> int:
        """Add an executed block; return the number of pulses on selected devices."""
        if block.phase in READING_PHASES:
            self._reads.add(block)
            return 0
        if block.phase is Phase.IDLE or not block.n_steps:
            return 0
        block, reads = by_phase(block)
        if reads is not None:
            self._reads.add(reads)
        if block.phase is Phase.ERASE and self._erase_lines is not None:
            return self._add_erase(block)
        alike = self._alike_of(block)
        plus, minus = self._write_lines
        if alike is not None:
            pulses = ledger_kernels().count_crossings(
                block.selected, plus, minus, alike.row, alike.col, self._alike_counts[alike.at],
                self._alike_rows[alike.at], self.row_pulses, self.col_pulses, self.row_v2s,
                self.col_v2s, self.row_s, self.col_s, *self._scratch,
            )  # fmt: skip
        else:
            pulses = ledger_kernels().count_pulses(
                block.state, block.level_v, block.widths_2d, block.selected, block.repeat, plus,
                minus, block.phase is Phase.ERASE, *self._pulsed.values(), self.row_pulses,
                self.col_pulses, self.row_v2s, self.col_v2s, self.row_s, self.col_s, *self._scratch,
            )  # fmt: skip
        if pulses:
            self.device_pulses += pulses
            self.most_pulses_bound += block.n_steps if alike else int(block.repeat.sum())
        return int(pulses)

    def _alike_of(self, block: PulseBlock) -> Alike | None:
        """Return what every pulse of a switched block is, found once; None where they differ."""
        template = block.template
        if template is None or not block.switched:
            return None
        plans = template.plans
        if self not in plans:
            plans[self] = alike = Alike.of(template, *self._write_lines, len(self._alike))
            if alike is not None:
                self._alike.append(alike)
                self._alike_counts = np.append(self._alike_counts, np.zeros_like(
                    self.g_last_siemens, np.uint32)[None], axis=0)  # fmt: skip
                self._alike_rows = np.append(self._alike_rows, np.zeros_like(
                    self.row_pulses, np.uint32)[None], axis=0)  # fmt: skip
                self._alike_v2s = np.append(self._alike_v2s, alike.v2s)
        known: Alike | None = plans[self]
        return known

    def _spread_rows(self) -> None:
        """Give the pulses of whole rows to their devices."""
        if np.count_nonzero(self._alike_rows):
            self._alike_counts += self._alike_rows[:, :, None]
            self._alike_rows[...] = 0

    def _total(self, name: str) -> NDArray[Any]:
        """Return a table of selected devices, with the pulses that were only counted so far."""
        tables = self._pulsed
        self._spread_rows()
        for alike, counts in zip(self._alike, self._alike_counts, strict=True):
            if not counts.any():
                continue
            tables["selected_plus" if alike.positive else "selected_minus"][...] += counts
            tables["selected_v2s"][...] += counts * alike.v2s
            tables["selected_s"][...] += counts * alike.width_s
            tables["selected_lines_s"][...] += counts * alike.lines_s
            counts[...] = 0
        return tables[name]

    @property
    def selected_plus(self) -> NDArray[np.uint32]:
        """(n_rows, n_cols) write pulses with positive device voltage."""
        return self._total("selected_plus")

    @property
    def selected_minus(self) -> NDArray[np.uint32]:
        """(n_rows, n_cols) write pulses with negative device voltage."""
        return self._total("selected_minus")

    @property
    def selected_v2s(self) -> NDArray[np.float64]:
        """(n_rows, n_cols) ∫V²dt of write pulses."""
        return self._total("selected_v2s")

    @property
    def selected_s(self) -> NDArray[np.float64]:
        """(n_rows, n_cols) seconds of write pulses."""
        return self._total("selected_s")

    @property
    def selected_lines_s(self) -> NDArray[np.float64]:
        """(n_rows, n_cols) seconds for which a device's two lines were driven, added up."""
        return self._total("selected_lines_s")

    def _add_erase(self, block: PulseBlock) -> int:
        erase = self._erase_lines
        if erase is None:
            return 0
        state, level, width = block.state, block.level_v, block.widths_2d
        driven = np.where(state == 2, level, 0.0)
        v = driven[:, erase.plus] - driven[:, erase.minus]  # per row: both terminals run along rows
        hit = (v != 0.0) & block.selected[:, erase.plus]
        rows = (hit * block.repeat[:, None]).sum(axis=0).astype(np.uint32)
        w = width if width.shape[1] == 1 else width[:, erase.plus]
        v2s = (short(np.where(hit, v, 0.0) ** 2 * w) * block.repeat[:, None]).sum(axis=0)
        tables = self._pulsed
        tables["selected_minus"][...] += rows[:, None]
        tables["selected_v2s"][...] += v2s[:, None]
        tables["selected_s"][...] += (short(hit * w) * block.repeat[:, None]).sum(axis=0)[:, None]
        pulses = int(rows.sum()) * self.geometry.n_cols
        self.device_pulses += pulses
        self.most_pulses_bound += int(block.repeat.sum())
        return pulses

    def note(self, block: PulseBlock, readings: MeasurementBlock, read_v: float) -> None:
        """Take over the conductances in siemens that a block's readings give.

        Those are readings of steps in which one row alone is driven, at ``read_v`` volts. Readings
        that are NaN or marked as wrong are passed over.
        """
        self._spread_rows()
        ledger_kernels().note_conductances(
            self._rows_alone(block, read_v), readings.step, readings.line, readings.current_a,
            readings.status, _UNUSABLE, self._col_of_line, read_v, self._pulsed["selected_v2s"],
            self._alike_counts, self._alike_v2s, self.row_v2s, self.col_v2s, self.g_last_siemens,
            self.settled_joule, self.settled_v2s,
        )  # fmt: skip

    def _rows_alone(self, block: PulseBlock, read_v: float) -> NDArray[np.int64]:
        template, key = block.template, (self, read_v)
        own = template is not None and template.is_own(block)
        if template is not None and own and key in template.plans:
            known: NDArray[np.int64] = template.plans[key]
            return known
        rows: NDArray[np.int64] = ledger_kernels().rows_alone(
            block.state, block.level_v, self._read_lines[0], read_v
        )
        if template is not None and own:
            template.plans[key] = rows
        return rows

    def carry(self, pulses: NDArray[np.int64]) -> None:
        """Count (n_rows, n_cols) pulses that the devices received before towards their budget."""
        self.carried = pulses.astype(np.int64)
        self.most_pulses_bound = int(self.life().max(initial=0))

    def life(self) -> NDArray[np.int64]:
        """Return (n_rows, n_cols) write pulses on selected devices, with those carried over."""
        return self.selected() if self.carried is None else self.selected() + self.carried

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

    def stress_s(self) -> NDArray[np.float64]:
        """Return (n_rows, n_cols) seconds under write pulses, selected or half-selected."""
        lines = self.row_s[:, None] + self.col_s[None, :] - self.selected_lines_s
        stress: NDArray[np.float64] = self.selected_s + np.maximum(lines, 0.0)
        return stress

    def energy_joule(self) -> NDArray[np.float64]:
        """Return (n_rows, n_cols) joules, NaN where the conductance was never read; approximate."""
        since = self.v2s() - self.settled_v2s
        energy: NDArray[np.float64] = self.settled_joule + since * self.g_last_siemens
        return energy

    def copy(self) -> Ledger:
        """Return an independent copy."""
        other = Ledger(self.geometry)
        other.restore(self.tables())
        other.carried = self.carried
        other.most_pulses_bound = self.most_pulses_bound
        return other

    def since(self, before: Ledger) -> Ledger:
        """Return what was added after ``before``, a copy made earlier."""
        other = self.copy()
        for name in other.sums():
            getattr(other, name)[...] -= getattr(before, name)
        other.device_pulses -= before.device_pulses
        return other

    def include(self, tables: Mapping[str, NDArray[Any]]) -> None:
        """Add the tables of another ledger of this array, later than this one.

        Raises:
            ConfigError: a table is missing or is that of another array.
        """
        other = Ledger(self.geometry)
        other.restore(tables)
        for name in self.sums():
            getattr(self, name)[...] += getattr(other, name)
        known = ~np.isnan(other.g_last_siemens)
        self.g_last_siemens[known] = other.g_last_siemens[known]
        self.device_pulses += other.device_pulses
        self.most_pulses_bound = int(self.life().max(initial=0))

    def restore(self, tables: Mapping[str, NDArray[Any]]) -> None:
        """Take over the tables of :meth:`tables`.

        Raises:
            ConfigError: a table is missing or is that of another array.
        """
        for name, mine in self.tables().items():
            given = tables.get(name)
            if given is None or given.shape != mine.shape:
                what = "is missing" if given is None else f"has shape {given.shape}"
                raise ConfigError(f"{what}, the array's is {mine.shape}", field=f"ledger.{name}")
            mine[...] = given
        self.device_pulses = int(self.selected().sum())
        self.most_pulses_bound = int(self.life().max(initial=0))

    def sums(self) -> tuple[str, ...]:
        """Return the names of the tables that add up: all but the last conductance."""
        return tuple(name for name in self.tables() if name != "g_last_siemens")

    def tables(self) -> dict[str, NDArray[Any]]:
        """Return the stored arrays by name, for saving with a run."""
        lines = [f"{side}_{name}" for name in _PER_LINE for side in ("row", "col")]
        return {name: getattr(self, name) for name in (*_PER_DEVICE, *lines, "g_last_siemens")}

    def classes(self) -> dict[str, NDArray[Any]]:
        """Return what is derived per device, (n_rows, n_cols) each, for reading with a run."""
        return {
            "half_selected": self.half_selected(), "reads": self.reads(),
            "stress_s": self.stress_s(), "energy_joule": self.energy_joule(),
        }  # fmt: skip

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
