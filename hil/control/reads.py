"""Conductances of an array, read through pulses: of chosen devices, and of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hil.control.indexing import Indices, crossings
from hil.control.runner import Runner
from hil.pairs import PairMap
from hil.phases.cells import CellRead, checked_once
from hil.phases.decode import conductance_siemens
from hil.phases.reading import read_map
from hil.program import BoolArray, FloatArray, Programme


def conductances(runner: Runner, rows: Indices, cols: Indices, programme: Programme) -> FloatArray:
    """Return (rows, cols) siemens that a read programme gives, NaN where nothing was read."""
    lines = runner.backend.geometry.read_lines.minus[cols]
    parts = [
        conductance_siemens(block, readings, runner.op.read_v, lines, rows.size)
        for block, readings in runner.programme(programme)
    ]
    if len(parts) == 1:
        return parts[0]
    total, seen = np.zeros((rows.size, cols.size)), np.zeros((rows.size, cols.size))
    for g in parts:
        read = ~np.isnan(g)
        total[read] += g[read]
        seen[read] += 1
    mean: FloatArray = total / np.where(seen > 0, seen, np.nan)
    return mean


class PairReads:
    """Reads all pairs of a matrix again and again; the programme is compiled and checked once."""

    def __init__(self, runners: Sequence[Runner], pairs: PairMap) -> None:
        wanted = [[pairs.plus_cols, pairs.minus_cols]]
        if len(runners) == 2:
            wanted = [[pairs.plus_cols], [pairs.minus_cols]]
        rows = np.sort(pairs.rows)
        rank = np.searchsorted(rows, pairs.rows)
        self._sides: list[tuple[Runner, Indices, Indices, Programme, list[Any]]] = []
        for runner, columns in zip(runners, wanted, strict=True):
            backend = runner.backend
            cols = np.unique(np.concatenate(columns))
            blocks = read_map(backend.geometry, runner.op, backend.capabilities, rows, cols)
            programme = Programme.of(*map(checked_once, blocks), name=blocks.name)
            at = [crossings(rank, np.searchsorted(cols, c)) for c in columns]
            self._sides.append((runner, rows, cols, programme, at))

    def read(self) -> tuple[FloatArray, FloatArray]:
        """Return (g_plus, g_minus), each (n_inputs, n_outputs) in siemens."""
        sides = []
        for runner, rows, cols, programme, at in self._sides:
            g = conductances(runner, rows, cols, programme)
            sides += [g[index] for index in at]
        return sides[0], sides[1]


class SomeReads:
    """Reads the devices of some pairs, and no others, again and again; compiled and checked once.

    Args:
        runners: of the array, or of both.
        pairs: where the pairs are.
        which: (n_inputs, n_outputs), the pairs to read.
    """

    def __init__(self, runners: Sequence[Runner], pairs: PairMap, which: BoolArray) -> None:
        i, j = np.nonzero(which)
        rows, plus, minus = pairs.rows[i], pairs.plus_cols[j], pairs.minus_cols[j]
        wanted = [[plus, minus]] if len(runners) == 1 else [[plus], [minus]]
        self._sides: list[tuple[Runner, CellRead, Programme, Indices, list[Indices]]] = []
        for runner, columns in zip(runners, wanted, strict=True):
            backend = runner.backend
            mask = np.zeros(backend.geometry.shape, dtype=np.bool_)
            for cols in columns:
                mask[rows, cols] = True
            cells = CellRead(backend.geometry, runner.op, backend.capabilities, mask)
            programme = Programme.of(*map(checked_once, cells.blocks), name="read-pairs")
            self._sides.append((runner, cells, programme, rows, columns))

    def read(self) -> tuple[FloatArray, FloatArray]:
        """Return (g_plus, g_minus), each (n,) in siemens, of the pairs in their order."""
        sides = []
        for runner, cells, programme, rows, columns in self._sides:
            cells.clear()
            for block, readings in runner.programme(programme):
                cells.add(block, readings)
            sides += [cells.siemens_at(rows, cols) for cols in columns]
        return sides[0], sides[1]
