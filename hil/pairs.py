"""Differential pairs: where the two devices of a logical weight (i, j, ±) sit on the array.

A logical weight is ``W[i, j] = w_scale · (G⁺ − G⁻)/(Gmax − Gmin)``. Input i is a physical row,
output j a pair of physical columns; with two arrays the minus column is on the second one, with a
reference column all outputs share one minus column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from hil.errors import GeometryError
from hil.geometry import ArrayGeometry

PairKind = Literal["adjacent", "halves", "reference", "two-arrays"]
PAIR_KINDS: Final = ("adjacent", "halves", "reference", "two-arrays")


def alive_lines(
    geometry: ArrayGeometry, row: int = 0, col: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns from (row, col) on such that no crossing of them is a dead cell.

    Greedy: the line with the most dead cells left is dropped until none is left.
    """
    dead = geometry.dead_mask[row:, col:].copy()
    rows = np.arange(row, geometry.n_rows)
    cols = np.arange(col, geometry.n_cols)
    while dead.any():
        per_row, per_col = dead.sum(axis=1), dead.sum(axis=0)
        if per_row.max() >= per_col.max():
            drop = int(per_row.argmax())
            dead, rows = np.delete(dead, drop, axis=0), np.delete(rows, drop)
        else:
            drop = int(per_col.argmax())
            dead, cols = np.delete(dead, drop, axis=1), np.delete(cols, drop)
    return rows, cols


def _index(values: NDArray[np.int64]) -> NDArray[np.int64]:
    values = np.ascontiguousarray(values, dtype=np.int64)
    values.setflags(write=False)
    return values


@dataclass(frozen=True, slots=True, eq=False)
class PairMap:
    """Logical (i, j, ±) to physical (array, row, col).

    Attributes:
        kind: one of :data:`PAIR_KINDS`.
        rows: (n_inputs,) physical row of every input.
        plus_cols, minus_cols: (n_outputs,) physical column of G⁺ and of G⁻ for every output.
        minus_array: 1 when G⁻ is on a second array of the same geometry, else 0.
    """

    kind: PairKind
    rows: NDArray[np.int64]
    plus_cols: NDArray[np.int64]
    minus_cols: NDArray[np.int64]
    minus_array: int = 0

    def __post_init__(self) -> None:
        for name in ("rows", "plus_cols", "minus_cols"):
            object.__setattr__(self, name, _index(getattr(self, name)))
        if self.plus_cols.shape != self.minus_cols.shape or self.plus_cols.ndim != 1:
            raise GeometryError("a pair map needs one plus and one minus column per output")

    @property
    def n_inputs(self) -> int:
        """Number of logical inputs (rows)."""
        return len(self.rows)

    @property
    def n_outputs(self) -> int:
        """Number of logical outputs (column pairs)."""
        return len(self.plus_cols)

    @classmethod
    def build(
        cls,
        kind: PairKind,
        geometry: ArrayGeometry,
        n_inputs: int,
        n_outputs: int,
        *,
        row: int = 0,
        col: int = 0,
    ) -> PairMap:
        """Place ``n_inputs`` x ``n_outputs`` pairs with their corner at (row, col), off dead cells.

        Raises:
            GeometryError: the pairs do not fit; says how many lines are needed and alive.
        """
        if n_inputs < 1 or n_outputs < 1:
            raise GeometryError(
                f"a pair map needs at least 1 x 1 weights, got {n_inputs} x {n_outputs}"
            )
        if not (0 <= row < geometry.n_rows and 0 <= col < geometry.n_cols):
            raise GeometryError(
                f"tile corner ({row}, {col}) is outside the "
                f"{geometry.n_rows} x {geometry.n_cols} array"
            )
        alive_rows, alive_cols = alive_lines(geometry, row, col)
        need = {
            "adjacent": 2 * n_outputs,
            "halves": 2 * n_outputs,
            "reference": n_outputs + 1,
            "two-arrays": n_outputs,
        }
        if kind not in need:
            raise GeometryError(f"unknown pair map {kind!r}; known: {', '.join(PAIR_KINDS)}")
        if len(alive_rows) < n_inputs or len(alive_cols) < need[kind]:
            raise GeometryError(
                f"{n_inputs} x {n_outputs} pairs ({kind}) at ({row}, {col}) need {n_inputs} rows "
                f"and {need[kind]} columns without dead cells; the "
                f"{geometry.n_rows} x {geometry.n_cols} array has {len(alive_rows)} and "
                f"{len(alive_cols)} there"
            )
        rows, cols = alive_rows[:n_inputs], alive_cols[: need[kind]]
        if kind == "adjacent":
            return cls(kind, rows, cols[0::2], cols[1::2])
        if kind == "halves":
            return cls(kind, rows, cols[:n_outputs], cols[n_outputs:])
        if kind == "reference":
            return cls(kind, rows, cols[:-1], np.full(n_outputs, cols[-1]))
        return cls(kind, rows, cols, cols, minus_array=1)

    def check(self, geometry: ArrayGeometry) -> None:
        """Raise GeometryError where the map leaves the array, doubles or uses a dead device."""
        for name, values, bound in (
            ("row", self.rows, geometry.n_rows),
            ("plus column", self.plus_cols, geometry.n_cols),
            ("minus column", self.minus_cols, geometry.n_cols),
        ):
            wrong = np.flatnonzero((values < 0) | (values >= bound))
            if wrong.size:
                k = int(wrong[0])
                raise GeometryError(
                    f"pair map: {name} {int(values[k])} of entry {k} is not within 0 … {bound - 1}"
                )
        if len(np.unique(self.rows)) != self.n_inputs:
            raise GeometryError("pair map: two inputs share a row")
        if len(np.unique(self.plus_cols)) != self.n_outputs:
            raise GeometryError("pair map: two outputs share a plus column")
        if self.minus_array == 0 and np.intersect1d(self.plus_cols, self.minus_cols).size:
            raise GeometryError("pair map: a column is both plus and minus")
        if self.kind != "reference" and len(np.unique(self.minus_cols)) != self.n_outputs:
            raise GeometryError("pair map: two outputs share a minus column (only `reference` may)")
        used = np.concatenate([self.plus_cols, self.minus_cols])
        dead = np.argwhere(geometry.dead_mask[np.ix_(self.rows, used)])
        if dead.size:
            r, c = dead[0]
            raise GeometryError(f"pair map: uses the dead cell ({self.rows[r]}, {used[c]})")

    def physical(self, i: int, j: int, sign: int) -> tuple[int, int, int]:
        """Return (array, row, col) of device ``sign`` (+1 or −1) of weight (i, j)."""
        if not (0 <= i < self.n_inputs and 0 <= j < self.n_outputs) or sign not in (1, -1):
            raise GeometryError(
                f"no device ({i}, {j}, {sign:+d}) in {self.n_inputs} x {self.n_outputs} pairs"
            )
        if sign > 0:
            return 0, int(self.rows[i]), int(self.plus_cols[j])
        return self.minus_array, int(self.rows[i]), int(self.minus_cols[j])

    def logical(self, row: int, col: int, array: int = 0) -> tuple[int, int, int] | None:
        """Return (i, j, sign) of a physical device, None when no weight uses it.

        A device of a shared reference column belongs to every output; j is then -1.
        """
        hit = np.flatnonzero(self.rows == row)
        if not hit.size:
            return None
        i = int(hit[0])
        plus, minus = np.flatnonzero(self.plus_cols == col), np.flatnonzero(self.minus_cols == col)
        if array == 0 and plus.size:
            return i, int(plus[0]), 1
        if array == self.minus_array and minus.size:
            return i, int(minus[0]) if self.kind != "reference" else -1, -1
        return None
