"""How often, and for how long, each line was driven for reads: a part of the ledger."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.program import PulseBlock
from hil.template import BlockTemplate

Tables = tuple[NDArray[np.uint32], NDArray[np.float64], NDArray[np.uint32], NDArray[np.float64]]


@cache
def ledger_kernels() -> Any:
    """Return the compiled loops of the ledger, loaded by the first block."""
    from hil import _ledger_kernels

    return _ledger_kernels


class ReadCounts:
    """Adds reading blocks to a ledger's tables of lines.

    Args:
        lines: numbers of the rows' and of the columns' read lines.
        tables: (row_reads, row_v2s, col_reads, col_v2s) of the ledger, added to in place.
    """

    def __init__(self, lines: tuple[NDArray[np.int64], NDArray[np.int64]], tables: Tables) -> None:
        self._lines, self._tables = lines, tables

    def add(self, block: PulseBlock) -> None:
        """Add an executed block of reads."""
        template = block.template
        if template is not None and template.differs_in_widths(block):
            sides = self._driven_sides(template)
            if sides is not None:
                count = ledger_kernels().count_driven_reads
                for side in sides:
                    count(block.level_v, block.width_s, block.repeat, *side)
                return
        known = self._known_reads(block)
        if known is None:
            self._count(block, *self._tables)
            return
        for table, more in zip(self._tables, known, strict=True):
            table += more

    def _count(
        self, block: PulseBlock, row_reads: Any, row_v2s: Any, col_reads: Any, col_v2s: Any
    ) -> None:
        ledger_kernels().count_all_reads(
            block.state, block.level_v, block.widths_2d, block.repeat, *self._lines,
            row_reads, row_v2s, col_reads, col_v2s,
        )  # fmt: skip

    def _driven_sides(self, template: BlockTemplate) -> tuple[tuple[NDArray[Any], ...], ...] | None:
        """Return what counts reads of a template's own levels, one entry for each side it drives.

        None where its steps drive different lines.
        """
        key = self, "driven"
        known: tuple[tuple[NDArray[Any], ...], ...] | None
        if key in template.plans:
            known = template.plans[key]
            return known
        base, sides = template.block, []
        for lines, reads, v2s in zip(
            self._lines, self._tables[::2], self._tables[1::2], strict=True
        ):
            places = ledger_kernels().driven_lines(base.state, base.level_v, lines)
            sides.append((places, lines, reads, v2s))
        alike = all(side[0].min(initial=0) >= 0 for side in sides)
        known = tuple(side for side in sides if side[0].size) if alike else None
        template.plans[key] = known
        return known

    def _known_reads(self, block: PulseBlock) -> tuple[NDArray[Any], ...] | None:
        """Return what a block of its template's own levels adds, found once; None for another.

        None, too, where a line is read in several steps: stress is added up in order.
        """
        template = block.template
        if template is None or not template.is_own(block):
            return None
        known: tuple[NDArray[Any], ...] | None
        if self in template.plans:
            known = template.plans[self]
            return known
        known = tuple(np.zeros_like(table) for table in self._tables)
        self._count(block, *known)
        most = int(block.repeat.min(initial=1))
        if known[0].max(initial=0) > most or known[2].max(initial=0) > most:
            known = None
        template.plans[self] = known
        return known
