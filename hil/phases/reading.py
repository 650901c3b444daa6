"""Read conductances: the whole array or a part of it, row by row or device by device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.lowering import lower_for
from hil.program import LineState, Phase, Programme, PulseBlock, line_levels, split

Indices = NDArray[np.int64]


def read_rows(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    capabilities: Capabilities,
    rows: Indices,
    cols: Indices,
    *,
    phase: Phase = Phase.READ,
    repeat: int = 1,
    read_v: float | None = None,
) -> PulseBlock:
    """Return the block that drives one row per step to the read voltage and senses ``cols``.

    All other lines are grounded, so no current of other rows reaches a sensed column. ``target`` is
    the position in ``rows``. A backend that senses one line at a time gets one step per device.
    """
    state, level = line_levels(geometry, rows.size)
    steps = np.arange(rows.size)
    word = geometry.read_lines.plus[rows]
    bit = geometry.read_lines.minus[cols]
    state[steps, word] = LineState.DRIVE
    level[steps, word] = op.read_v if read_v is None else read_v
    if geometry.cell.select is not None:
        gate = geometry.gate_lines[rows]
        state[steps, gate] = LineState.DRIVE
        level[steps, gate] = op.gate_read_v
    sense = np.zeros(state.shape, dtype=np.bool_)
    sense[:, bit] = True
    selected = sense.copy()
    selected[steps, word] = True
    block = PulseBlock.build(
        phase, state, level, op.read_s, rise_s=op.rise_s, fall_s=op.fall_s, gap_s=op.gap_s,
        compliance_a=op.compliance_a, repeat=repeat, sense=sense, selected=selected,
        sensing=op.sensing,
    )  # fmt: skip
    return lower_for(block, capabilities)[0]


def read_map(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    capabilities: Capabilities,
    rows: Indices | None = None,
    cols: Indices | None = None,
    *,
    phase: Phase = Phase.READ,
    repeat: int = 1,
) -> Programme:
    """Return the programme that reads every device of ``rows`` x ``cols`` (default: all)."""
    row_list = np.arange(geometry.n_rows) if rows is None else rows
    col_list = np.arange(geometry.n_cols) if cols is None else cols

    def make() -> Iterator[PulseBlock]:
        block = read_rows(
            geometry, op, capabilities, row_list, col_list, phase=phase, repeat=repeat
        )
        yield from split(block, capabilities.max_steps, capabilities.max_block_s)

    return Programme(make, "read-map")


def idle(geometry: ArrayGeometry, wait_s: float, *, target: int = 0) -> PulseBlock:
    """Return a block that waits ``wait_s`` seconds with every output off."""
    state = np.full((1, geometry.n_lines), LineState.GROUND, dtype=np.uint8)
    return PulseBlock.build(
        Phase.IDLE, state, 0.0, 0.0, gap_s=wait_s, target=np.array([target]), selected=False
    )
