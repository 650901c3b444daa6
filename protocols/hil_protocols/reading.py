"""Protocols that read: ``read-map`` and ``iv-sweep``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hil.errors import ProtocolError
from hil.operating import Inhibit
from hil.phases.cells import CellRead, checked_once, pieces, with_target
from hil.procedure import ArrayContext
from hil_protocols.base import CellTable
from hil_protocols.compile import Reader
from hil_protocols.fields import VoltLevels, VoltSweep, volts
from hil_protocols.plan import CurveRecord, Plan, Shot
from hil_protocols.selection import Cells, Together, write_groups

ManyReads = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class ReadMap(CellTable):
    """Conductance of the chosen cells; outcome ``g_siemens`` (reads, n_cells) and the last map.

    ``reads`` maps are taken one after the other: what changes between them is read noise and drift.
    With more than one the outcome has the axis ``read``.
    """

    kind: Literal["read-map"]
    reads: ManyReads = 1

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        reader = Reader(context, cells, self.read_repeat)
        axes = ("read",) if self.reads > 1 else ()

        def shots() -> Iterator[Shot]:
            for k in range(self.reads):
                yield from reader.at(*((k,) if axes else ()))

        return Plan(shots, lambda: CurveRecord(reader.read, cells.rows, cells.cols, axes))


class IvSweep(CellTable):
    """Current over voltage; outcome ``voltage_v`` (n_points,), ``current_a`` (n_points, n_cells).

    ``path = "read"`` drives word lines and senses grounded bit lines, row by row. ``"write"``
    drives cells through the inhibit scheme, as a write pulse does, and measures during the pulse
    (two-terminal cells): the way to trace a switching loop.
    """

    kind: Literal["iv-sweep"]
    voltages: VoltLevels = VoltSweep(relative=(0.25, 0.5, 0.75, 1.0))
    path: Literal["read", "write"] = "read"
    there_and_back: bool = False  #: also walk the voltages in reverse
    inhibit: Inhibit | None = None
    together: Together = "cell"

    def start(self, context: ArrayContext) -> Plan:
        """Compile."""
        cells = self.chosen(context)
        write = context.geometry.cell.write
        if self.path == "write" and write != context.geometry.cell.read:
            raise ProtocolError(
                f"{context.geometry.cell.name} cells are written from {write.plus} to "
                f'{write.minus}, which carries no channel current; use path = "read"',
                field="path",
            )
        levels = volts(self.voltages, context.op.read_v)
        if self.there_and_back:
            levels = np.concatenate([levels, levels[-2::-1]])
        reader = CellRead(
            context.geometry, context.op, context.capabilities,
            cells.mask(context.geometry.shape),
        )  # fmt: skip

        def shots() -> Iterator[Shot]:
            blocks: dict[float, list[Shot]] = {}
            for k, v in enumerate(levels):
                if float(v) not in blocks:
                    blocks[float(v)] = list(self._level(context, cells, float(v)))
                for shot in blocks[float(v)]:
                    yield Shot(shot.block, (float(k), float(v)))

        def record() -> CurveRecord:
            axes = ("point", "voltage_v")
            return CurveRecord(reader, cells.rows, cells.cols, axes, "current_a")

        return Plan(shots, record)

    def _level(self, context: ArrayContext, cells: Cells, v: float) -> Iterator[Shot]:
        if self.path == "read":
            yield from Reader(context, cells, self.read_repeat, read_v=v).at()
            return
        geometry, op = context.geometry, context.op
        groups = cells.groups(geometry.shape, self.together)
        block = write_groups(
            geometry, op, groups, v, op.read_s, repeat=self.read_repeat, sense=True
        )
        # CellRead decodes by the position of the row among the rows in use.
        position = np.searchsorted(np.unique(cells.rows), block.target)
        for piece in pieces(with_target(block, position), context.capabilities):
            yield Shot(checked_once(piece))
