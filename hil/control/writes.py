"""Counted write pulses of an array: of whole count maps, and of the devices of some pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hil.control.runner import Runner
from hil.errors import GeometryError
from hil.pairs import PairMap
from hil.phases.writing import program_cells
from hil.program import BoolArray, Phase, Programme, PulseBlock, split

Counts = NDArray[np.int64]


def by_sign(counts: Counts) -> list[Counts]:
    """Return the counts below 0 and those above 0, without those of which there is none."""
    lowest, highest = int(counts.min(initial=0)), int(counts.max(initial=0))
    if lowest < 0 < highest:
        return [np.minimum(counts, 0), np.maximum(counts, 0)]
    return [counts] if lowest or highest else []


def drive(runner: Runner, blocks: Iterable[PulseBlock]) -> int:
    """Check and drive a programme of ``blocks``; return the pulses on selected devices."""
    before = runner.backend.ledger.device_pulses
    caps = runner.backend.capabilities
    pieces = [p for block in blocks for p in split(block, caps.max_steps, caps.max_block_s)]
    for _ in runner.programme(Programme.of(*pieces)):
        pass
    return runner.backend.ledger.device_pulses - before


def program_some(
    runners: Sequence[Runner], pairs: PairMap, which: BoolArray, plus: Counts, minus: Counts,
    phase: Phase,
) -> int:  # fmt: skip
    """Give the devices of the pairs in ``which`` their pulses; return those on selected devices.

    Args:
        runners: of the array, or of both.
        pairs: where the pairs are.
        which: (n_inputs, n_outputs).
        plus, minus: whole numbers, one per pair in ``which`` in their order; > 0 potentiation, < 0
            depression, which is driven first.
        phase: recorded phase.

    Raises:
        GeometryError: the pairs share a reference column.
    """
    if pairs.kind == "reference":
        raise GeometryError("pairs with a shared reference column are programmed all together")
    i, j = np.nonzero(which)
    rows, cols = pairs.rows[i], (pairs.plus_cols[j], pairs.minus_cols[j])
    jobs = [(rows, cols[0], plus), (rows, cols[1], minus)]
    if len(runners) == 1:
        jobs = [(np.concatenate([rows, rows]), np.concatenate(cols), np.concatenate([plus, minus]))]
    total = 0
    for runner, (at, to, counts) in zip(runners, jobs, strict=True):
        geometry = runner.backend.geometry
        blocks = [
            program_cells(geometry, runner.op, at[some], to[some], counts[some], phase=phase)
            for some in (counts < 0, counts > 0)
            if some.any()
        ]
        total += drive(runner, blocks)
    return total
