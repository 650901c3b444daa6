"""Write pulses: coincidence updates, counted programming, block erase."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.schemes import write_levels
from hil.program import BoolArray, FloatArray, LineState, Phase, PulseBlock, line_levels
from hil.template import BlockTemplate  # fmt: skip

Indices = NDArray[np.int64]


class CoincidenceUpdate:
    """Templates of the update phase of one tile: devices where row bit and column bit meet.

    Row i gets the row's part of the write voltage when its bit is 1, column j the column's part;
    only coincident devices see all of it. One template per (polarity, number of slots).

    Args:
        geometry: the array.
        op: operating point (voltages, width, inhibit scheme).
        rows: (n_inputs,) physical rows of the tile.
    """

    def __init__(self, geometry: ArrayGeometry, op: OperatingPoint, rows: Indices) -> None:
        self.geometry, self.op, self.rows = geometry, op, rows
        self._row_lines = geometry.write_lines.plus[rows]
        self._gate_lines = geometry.gate_lines[rows if geometry.cell.select else slice(0)]
        self._templates: dict[tuple[int, int], BlockTemplate] = {}
        self._n_lines = geometry.n_lines
        self._kernels: Any = None

    def template(self, polarity: int, n_slots: int) -> BlockTemplate:
        """Return the checked-once template of ``n_slots`` slots of one polarity (+1 or −1)."""
        key = polarity, n_slots
        if key not in self._templates:
            if polarity not in (1, -1):
                raise ProtocolError(f"polarity must be +1 or -1, got {polarity}", field="polarity")
            op, geometry = self.op, self.geometry
            v = op.potentiate_v if polarity > 0 else op.depress_v
            rows = np.zeros((n_slots, geometry.n_rows), dtype=np.bool_)
            rows[:, self.rows] = True
            cols = np.ones((n_slots, geometry.n_cols), dtype=np.bool_)
            # Every combination of selected and unselected lines, alone and beside each other.
            some_rows, some_cols = rows.copy(), cols.copy()
            some_rows[:, self.rows[1::2]] = False
            some_cols[:, 1::2] = False
            sets = [(rows, cols), (rows, cols & False), (rows & False, cols)]
            sets += [(some_rows, some_cols), (rows & False, cols & False)]
            corners = [self._lines(v, r, c) for r, c in sets]
            off = corners[-1]
            self._templates[key] = BlockTemplate.switching(
                corners[0], off.state, off.level_v, tuple(corners)
            )
        return self._templates[key]

    def _lines(self, v_write: float, rows: BoolArray, cols: BoolArray) -> PulseBlock:
        op = self.op
        state, level, selected = write_levels(
            self.geometry, op.inhibit, rows, cols, v_write, op.gate_write_v
        )
        return PulseBlock.build(
            Phase.UPDATE, state, level, op.write_s, rise_s=op.rise_s, fall_s=op.fall_s,
            gap_s=op.gap_s, compliance_a=op.compliance_a, selected=selected,
        )  # fmt: skip

    def col_lines(self, cols: Indices) -> Indices:
        """Return the line indices of physical columns, for :meth:`block`."""
        return self.geometry.write_lines.minus[cols]

    def block(
        self,
        polarity: int,
        row_bits: BoolArray,
        *columns: tuple[BoolArray, Indices],
        every_slot: bool = False,
    ) -> PulseBlock | None:
        """Return the update block of row bits and column bits, None where nothing is driven.

        Slots in which no row or no column is chosen are left out, unless ``every_slot``.

        Args:
            polarity: +1 potentiates, −1 depresses.
            row_bits: (n_slots, n_inputs).
            columns: pairs of bits (n_slots, n) and their lines (n,); bits of one line add up.
        """
        if self._kernels is None:
            from hil.phases import kernels

            self._kernels = kernels
        n_slots, n_used = row_bits.shape[0], 0
        on = np.zeros((n_slots, self._n_lines), dtype=np.bool_)
        used = np.zeros(n_slots, dtype=np.bool_)
        spread_bits = self._kernels.spread_bits
        for bits, lines in columns:
            n_used = spread_bits(row_bits, bits, self._row_lines, self._gate_lines, lines, on, used)
        if n_used != n_slots and not every_slot:
            if not n_used:
                return None
            on, n_slots = on[used], n_used
        return self.template(polarity, n_slots).fill_bits(on)


def program_counts(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    counts: NDArray[np.int64],
    *,
    v_write: float | None = None,
    width_s: float | None = None,
    phase: Phase = Phase.PROGRAM,
) -> PulseBlock:
    """Return the block that gives every device its count of write pulses, row after row.

    One step drives one row and the columns that need the same further pulses, repeated as often as
    they all do; a row with k distinct counts takes k steps.

    Args:
        geometry: the array.
        op: operating point; ``v_write`` and ``width_s`` override its pulse.
        counts: (n_rows, n_cols) pulses, all ≥ 0 (potentiation) or all ≤ 0 (depression).
        v_write: device voltage of a pulse in volts.
        width_s: its width in seconds.
        phase: recorded phase.

    Raises:
        ProtocolError: shape, or counts of both signs without ``v_write``.
    """
    if counts.shape != geometry.shape:
        raise ProtocolError(f"shape {counts.shape}, array {geometry.shape}", field="counts")
    rows = np.flatnonzero(counts.any(axis=1))
    at, cols = np.nonzero(counts[rows])
    rows = rows[at]
    return program_cells(
        geometry, op, rows, cols, counts[rows, cols], v_write=v_write, width_s=width_s, phase=phase
    )


def program_cells(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    rows: Indices,
    cols: Indices,
    counts: NDArray[np.int64],
    *,
    v_write: float | None = None,
    width_s: float | None = None,
    phase: Phase = Phase.PROGRAM,
) -> PulseBlock:
    """Return the block of :func:`program_counts` for the devices (rows[k], cols[k]) alone.

    ``counts`` are their write pulses, none 0; no device may be listed twice.
    """
    from hil.phases.kernels import mark_crossings

    lowest, highest = int(counts.min(initial=0)), int(counts.max(initial=0))
    if lowest < 0 and (highest > 0 or v_write is not None):
        raise ProtocolError("counts of both signs in one block", field="counts")
    if v_write is None:
        v_write = op.depress_v if lowest < 0 else op.potentiate_v
    order, starts, rises = _steps(rows, np.abs(counts))
    line = rows[order]
    chosen_rows = np.zeros((starts.size, geometry.n_rows), dtype=np.bool_)
    chosen_rows[np.arange(starts.size), line[starts]] = True
    chosen = np.zeros((starts.size, geometry.n_cols), dtype=np.bool_)
    mark_crossings(starts, line, cols[order], chosen)
    state, level, selected = write_levels(
        geometry, op.inhibit, chosen_rows, chosen, v_write, op.gate_write_v
    )
    return PulseBlock.build(
        phase, state, level, op.write_s if width_s is None else width_s, rise_s=op.rise_s,
        fall_s=op.fall_s, gap_s=op.gap_s, compliance_a=op.compliance_a,
        repeat=rises, selected=selected, target=line[starts],
    )  # fmt: skip


def program_columns(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    cols: Indices,
    counts: NDArray[np.int64],
    *,
    phase: Phase = Phase.PROGRAM,
) -> PulseBlock:
    """Return the block that gives the devices of a few columns their write pulses, side by side.

    One step drives one column and the rows that need the same further pulses: far fewer steps than
    row by row where only a few columns are written. ``target`` is the position in ``cols``.

    Args:
        geometry: the array.
        op: operating point.
        cols: (n,) physical columns.
        counts: (n_rows, n) pulses, all ≥ 0 (potentiation) or all ≤ 0 (depression).
        phase: recorded phase.

    Raises:
        ProtocolError: shape, or counts of both signs.
    """
    from hil.phases.kernels import mark_crossings

    if counts.shape != (geometry.n_rows, cols.size):
        raise ProtocolError(
            f"shape {counts.shape}, expected {(geometry.n_rows, cols.size)}", field="counts"
        )
    lowest, highest = int(counts.min(initial=0)), int(counts.max(initial=0))
    if lowest < 0 < highest:
        raise ProtocolError("counts of both signs in one block", field="counts")
    v_write = op.depress_v if lowest < 0 else op.potentiate_v
    by_column = np.abs(counts.T)
    line, rows = np.nonzero(by_column)
    order, starts, rises = _steps(line, by_column[line, rows])
    line = line[order]
    chosen = np.zeros((starts.size, geometry.n_cols), dtype=np.bool_)
    chosen[np.arange(starts.size), cols[line[starts]]] = True
    chosen_rows = np.zeros((starts.size, geometry.n_rows), dtype=np.bool_)
    mark_crossings(starts, line, rows[order], chosen_rows)
    state, level, selected = write_levels(
        geometry, op.inhibit, chosen_rows, chosen, v_write, op.gate_write_v
    )
    return PulseBlock.build(
        phase, state, level, op.write_s, rise_s=op.rise_s, fall_s=op.fall_s, gap_s=op.gap_s,
        compliance_a=op.compliance_a, repeat=rises, selected=selected, target=line[starts],
    )  # fmt: skip


def _steps(line: Indices, pulses: NDArray[np.int64]) -> tuple[Indices, Indices, NDArray[np.int64]]:
    """Return an order of devices, where steps begin in it, and the further pulses of every step.

    A line takes one step per distinct count of its devices, for those that need at least so many:
    in this order they are those from the step's beginning to the end of the line.
    """
    order = np.lexsort((pulses, line))
    upto = pulses[order]
    begins = np.diff(line[order], prepend=-1) != 0
    rises = np.where(begins, upto, np.diff(upto, prepend=0))
    starts = np.flatnonzero(rises)
    return order, starts, rises[starts]


def erase_rows(geometry: ArrayGeometry, op: OperatingPoint, rows: Indices) -> PulseBlock:
    """Return the block erase of the whole blocks that ``rows`` belong to (three-terminal cells).

    Every device of those blocks is erased, also in rows that were not named: the caller programs
    them again.

    Raises:
        ProtocolError: the cells have no erase port, or the operating point no erase pulse.
    """
    erase = geometry.erase_lines
    if erase is None:
        raise ProtocolError(f"{geometry.cell.name} cells have no erase port", field="erase")
    if op.erase_v == 0 or op.erase_s == 0:
        raise ProtocolError("the operating point has no erase pulse", field="erase_voltage")
    state, level = line_levels(geometry, 1)
    selected = np.zeros(state.shape, dtype=np.bool_)
    wells = np.unique(erase.plus[rows])
    state[0, wells] = LineState.DRIVE
    level[0, wells] = op.erase_v
    selected[0, wells] = True
    selected[0, erase.minus[np.isin(erase.plus, wells)]] = True
    return PulseBlock.build(
        Phase.ERASE, state, level, op.erase_s, rise_s=op.rise_s, fall_s=op.fall_s, gap_s=op.gap_s,
        compliance_a=op.compliance_a, selected=selected,
    )  # fmt: skip


def pulse_train(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    rows: Indices,
    cols: Indices,
    v_write: float | FloatArray,
    width_s: float | FloatArray,
    *,
    repeat: int | NDArray[np.int64] = 1,
    phase: Phase = Phase.PROGRAM,
    sense: bool = False,
    compliance_a: float | None = None,
    gate_v: float | None = None,
) -> PulseBlock:
    """Return write pulses on every device of ``rows`` x ``cols`` at once, one step per amplitude.

    With ``sense`` the current of the columns is measured during each pulse (forming, compliance).
    """
    v, width, n = np.broadcast_arrays(v_write, width_s, repeat)
    n_steps = v.size
    on_rows = np.zeros((n_steps, geometry.n_rows), dtype=np.bool_)
    on_rows[:, rows] = True
    on_cols = np.zeros((n_steps, geometry.n_cols), dtype=np.bool_)
    on_cols[:, cols] = True
    state, level, selected = write_levels(
        geometry, op.inhibit, on_rows, on_cols, v.ravel().astype(np.float64),
        op.gate_write_v if gate_v is None else gate_v,
    )  # fmt: skip
    sensed = np.zeros(state.shape, dtype=np.bool_)
    if sense:
        sensed[:, geometry.write_lines.minus[cols]] = True
    return PulseBlock.build(
        phase, state, level, width.ravel(), rise_s=op.rise_s, fall_s=op.fall_s, gap_s=op.gap_s,
        compliance_a=op.compliance_a if compliance_a is None else compliance_a,
        repeat=n.ravel(), sense=sensed, selected=selected,
    )  # fmt: skip
