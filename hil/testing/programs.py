"""Small programmes of the contract suite, built from nothing but geometry and operating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.geometry import ArrayGeometry, PortLines
from hil.operating import OperatingPoint
from hil.program import LineState, Phase, PulseBlock, line_levels

FloatArray = NDArray[np.float64]


def _edges(op: OperatingPoint) -> dict[str, Any]:
    return {"rise_s": op.rise_s, "fall_s": op.fall_s, "gap_s": op.gap_s}


def _open_gates(
    geometry: ArrayGeometry, state: NDArray[np.uint8], level_v: FloatArray, gate_v: float
) -> None:
    if geometry.cell.select is not None:
        span = geometry.lines(geometry.cell.select)
        state[:, span], level_v[:, span] = LineState.DRIVE, gate_v


def read_steps(
    geometry: ArrayGeometry, op: OperatingPoint, drives: NDArray[np.bool_], *,
    backward: bool = False, sense_driven: bool = False, repeat: int = 1,
    width_s: FloatArray | None = None, compliance_a: FloatArray | float = np.inf,
) -> PulseBlock:  # fmt: skip
    """Return one read step per row of ``drives``: (n_steps, n_rows), or (n_steps, n_cols) backward.

    Driven devices see ``op.read_v`` in either direction; the other side is grounded and sensed, or
    with ``sense_driven`` the driven side. ``width_s`` (n_steps, lines of the driven side) codes
    the inputs in time.
    """
    lines = geometry.read_lines
    side, other = (lines.minus, lines.plus) if backward else (lines.plus, lines.minus)
    state, level = line_levels(geometry, len(drives))
    _open_gates(geometry, state, level, op.gate_read_v)
    state[:, side] = LineState.DRIVE
    level[:, side] = np.where(drives, -op.read_v if backward else op.read_v, 0.0)
    sense = np.zeros(state.shape, dtype=np.bool_)
    sense[:, side if sense_driven else other] = True
    width: FloatArray | float = op.read_s
    if width_s is not None:
        width = np.full(state.shape, width_s.max())
        width[:, side] = width_s
    return PulseBlock.build(
        Phase.BACKWARD if backward else Phase.FORWARD, state, level, width, sense=sense,
        repeat=repeat, sensing=op.sensing, compliance_a=compliance_a, **_edges(op),
    )  # fmt: skip


def write_step(
    geometry: ArrayGeometry, op: OperatingPoint, rows: Sequence[int], cols: Sequence[int], *,
    up: bool = True, repeat: int = 1, width_s: FloatArray | float | None = None,
    scale: float = 1.0,
) -> PulseBlock:  # fmt: skip
    """Return one write step on the crossings of ``rows`` and ``cols``, V/2 on either side.

    ``width_s`` may be (n_cols,): the columns' own widths, the rows then last as long as the widest.
    """
    lines: PortLines = geometry.write_lines
    state, level = line_levels(geometry, 1)
    _open_gates(geometry, state, level, op.gate_write_v)
    half = scale * (op.potentiate_v if up else op.depress_v) / 2
    state[:, lines.plus], state[:, lines.minus] = LineState.DRIVE, LineState.DRIVE
    level[:, lines.plus[list(rows)]] = half
    level[:, lines.minus[list(cols)]] = -half
    width: FloatArray | float = op.write_s if width_s is None or np.ndim(width_s) else width_s
    if width_s is not None and np.ndim(width_s):
        width = np.full(state.shape, np.max(width_s))
        width[:, lines.minus] = width_s
    return PulseBlock.build(Phase.PROGRAM, state, level, width, repeat=repeat, **_edges(op))


def zero_step(geometry: ArrayGeometry, op: OperatingPoint, *, sense: bool = False) -> PulseBlock:
    """Return a step that drives every line at 0 V for the width of a write pulse."""
    state, level = line_levels(geometry, 1)
    state[:] = LineState.DRIVE
    return PulseBlock.build(Phase.PROGRAM, state, level, op.write_s, sense=sense, **_edges(op))


def sliced(block: PulseBlock) -> PulseBlock:
    """Return steps with one width each that drive what a one-step block with line widths drives."""
    level, width = block.level_v[0], block.width_s[0]
    edges = np.unique(width[(level != 0.0) & (width > 0.0)])
    starts = np.concatenate([[0.0], edges[:-1]])
    levels = np.where(width[None, :] > starts[:, None], level[None, :], 0.0)
    state = np.broadcast_to(block.state[0], levels.shape)
    return PulseBlock.build(
        block.phase, state, levels, edges - starts, gap_s=block.gap_s[0],
        rise_s=block.rise_s[0], fall_s=block.fall_s[0],
        sense=np.broadcast_to(block.sense[0], levels.shape), sensing=block.sensing,
    )  # fmt: skip


def one_line_each(block: PulseBlock) -> PulseBlock:
    """Return the block with every step repeated for each sensed line, for one-meter backends."""
    steps, lines = np.nonzero(block.sense)
    sense = np.zeros((steps.size, block.n_lines), dtype=np.bool_)
    sense[np.arange(steps.size), lines] = True
    width = block.width_s[steps]
    return PulseBlock.build(
        block.phase, block.state[steps], block.level_v[steps], width,
        rise_s=block.rise_s[steps], fall_s=block.fall_s[steps], gap_s=block.gap_s[steps],
        compliance_a=block.compliance_a, repeat=block.repeat[steps], sense=sense,
        sensing=block.sensing,
    )  # fmt: skip
