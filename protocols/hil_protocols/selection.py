"""Which cells a protocol acts on, and which of them are pulsed in one step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.schemes import write_levels
from hil.program import BoolArray, Phase, PulseBlock

Together = Literal["cell", "row", "array"]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Chosen cells in row-major order: ``rows`` and ``cols``, each (n_cells,)."""

    rows: Indices
    cols: Indices

    def __len__(self) -> int:
        return int(self.rows.size)

    def mask(self, shape: tuple[int, int]) -> BoolArray:
        """Return the boolean (n_rows, n_cols) mask."""
        out = np.zeros(shape, dtype=np.bool_)
        out[self.rows, self.cols] = True
        return out

    def groups(self, shape: tuple[int, int], together: Together) -> tuple[BoolArray, BoolArray]:
        """Return (rows, cols), boolean (n_groups, n_rows) and (n_groups, n_cols).

        Each group is a set of rows times a set of columns that holds chosen cells only; all groups
        together hold every cell once. ``row`` makes one group per row, ``array`` joins rows with
        the same columns, ``cell`` takes one cell at a time.
        """
        if together == "cell":
            n = np.arange(len(self))
            rows = np.zeros((len(self), shape[0]), dtype=np.bool_)
            cols = np.zeros((len(self), shape[1]), dtype=np.bool_)
            rows[n, self.rows] = True
            cols[n, self.cols] = True
            return rows, cols
        mask = self.mask(shape)
        used = np.flatnonzero(mask.any(axis=1))
        if together == "row":
            rows = np.zeros((used.size, shape[0]), dtype=np.bool_)
            rows[np.arange(used.size), used] = True
            return rows, mask[used]
        patterns, group = np.unique(mask[used], axis=0, return_inverse=True)
        rows = np.zeros((len(patterns), shape[0]), dtype=np.bool_)
        rows[group.ravel(), used] = True
        return rows, patterns


def _sorted(rows: Indices, cols: Indices) -> Cells:
    order = np.lexsort((cols, rows))
    return Cells(rows[order], cols[order])


def all_cells(geometry: ArrayGeometry) -> Cells:
    """Return every cell that is not dead."""
    rows, cols = np.nonzero(~geometry.dead_mask)
    if not rows.size:
        raise ProtocolError("every cell of the array is dead", field="cells")
    return Cells(rows, cols)


def sampled_cells(geometry: ArrayGeometry, count: int, seed: int) -> Cells:
    """Return ``count`` cells drawn by ``seed``; ProtocolError when there are fewer."""
    alive = all_cells(geometry)
    if count > len(alive):
        raise ProtocolError(f"{count} cells asked for, {len(alive)} are there", field="sample")
    rng = np.random.default_rng([seed, 0x5EED])
    pick = np.sort(rng.choice(len(alive), size=count, replace=False))
    return Cells(alive.rows[pick], alive.cols[pick])


def listed_cells(geometry: ArrayGeometry, cells: Iterable[tuple[int, int]]) -> Cells:
    """Return the listed cells.

    Raises:
        ProtocolError: a cell is outside the array, dead, or listed twice.
    """
    seen: set[tuple[int, int]] = set()
    for k, (row, col) in enumerate(cells):
        field = f"cells[{k}]"
        if row >= geometry.n_rows or col >= geometry.n_cols:
            raise ProtocolError(
                f"cell ({row}, {col}) is outside the {geometry.n_rows} x {geometry.n_cols} array",
                field=field,
            )
        if geometry.dead_mask[row, col]:
            raise ProtocolError(f"cell ({row}, {col}) is dead", field=field)
        if (row, col) in seen:
            raise ProtocolError(f"cell ({row}, {col}) is listed twice", field=field)
        seen.add((row, col))
    pairs = np.array(sorted(seen), dtype=np.int64)
    return _sorted(pairs[:, 0], pairs[:, 1])


def write_groups(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    groups: tuple[BoolArray, BoolArray],
    v_write: float,
    width_s: float,
    *,
    repeat: int = 1,
    phase: Phase = Phase.PROGRAM,
    sense: bool = False,
) -> PulseBlock:
    """Return one step per group of :meth:`Cells.groups` that writes all its cells at once.

    ``target`` is the first row of the group. With ``sense`` the currents of its columns are
    measured during the pulse.

    Raises:
        ProtocolError: the ground scheme is to write a part of a row.
    """
    rows, cols = groups
    if op.inhibit == "ground":
        for row_set, col_set in zip(rows, cols, strict=True):
            missed = ~geometry.dead_mask & row_set[:, None] & ~col_set[None, :]
            if missed.any():
                row, col = np.argwhere(missed)[0]
                raise ProtocolError(
                    f"the ground scheme writes whole rows: cell ({row}, {col}) is not chosen but "
                    "would be written",
                    field="inhibit",
                )
    state, level, selected = write_levels(
        geometry, op.inhibit, rows, cols, v_write, op.gate_write_v
    )
    sensed = np.zeros(state.shape, dtype=np.bool_)
    if sense:
        sensed[:, geometry.write_lines.minus] = cols
    return PulseBlock.build(
        phase, state, level, width_s, rise_s=op.rise_s, fall_s=op.fall_s, gap_s=op.gap_s,
        compliance_a=op.compliance_a, repeat=repeat, sense=sensed, selected=selected,
        sensing=op.sensing, target=rows.argmax(axis=1),
    )  # fmt: skip
