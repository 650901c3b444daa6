"""Inhibit schemes: what selected and unselected lines do while some devices are written.

A scheme is a function of the selected set. Levels are balanced around 0 V, so that no line needs
more than half of the write voltage (except ``ground``). The worst voltage that a device outside
the selected set can see is known here, at compile time.

=========  ==================  ================  ==========================
scheme     selected row / col  unselected        worst half-selected device
=========  ==================  ================  ==========================
v/2        +V/2 / −V/2         0 V               V/2
v/3        +V/2 / −V/2         −V/6 / +V/6       V/3 (all others: −V/3)
ground     +V / 0 V            0 V               V (all of the row: write whole rows)
float      +V/2 / −V/2         floating          V (bound; the array decides)
gate-off   +V/2 / −V/2         cols at +V/2,     0 V behind closed gates
                               gates of rows off
=========  ==================  ================  ==========================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.errors import ProtocolError
from hil.geometry import ArrayGeometry
from hil.operating import Inhibit, OperatingPoint
from hil.program import BoolArray, FloatArray, LineState, line_levels


@dataclass(frozen=True, slots=True)
class InhibitLevels:
    """Line levels as fractions of the write voltage; None = floating."""

    row_on: float
    row_off: float | None
    col_on: float
    col_off: float | None
    worst_half_select: float


_LEVELS: dict[Inhibit, InhibitLevels] = {
    "v/2": InhibitLevels(0.5, 0.0, -0.5, 0.0, 0.5),
    "v/3": InhibitLevels(0.5, -1 / 6, -0.5, 1 / 6, 1 / 3),
    "ground": InhibitLevels(1.0, 0.0, 0.0, 0.0, 1.0),
    "float": InhibitLevels(0.5, None, -0.5, None, 1.0),
    "gate-off": InhibitLevels(0.5, 0.0, -0.5, 0.5, 0.0),
}


def inhibit_levels(scheme: Inhibit) -> InhibitLevels:
    """Return the levels of ``scheme`` as fractions of the write voltage.

    Raises:
        ProtocolError: unknown scheme.
    """
    if scheme not in _LEVELS:
        raise ProtocolError(f"{scheme!r} is none of {', '.join(_LEVELS)}", field="inhibit")
    return _LEVELS[scheme]


def worst_half_select_v(scheme: Inhibit, v_write: float) -> float:
    """Return the largest |voltage| in volts of a device that is not selected."""
    return abs(v_write) * inhibit_levels(scheme).worst_half_select


def check_scheme(geometry: ArrayGeometry, scheme: Inhibit) -> None:
    """Raise ProtocolError when the cells of ``geometry`` cannot be inhibited by ``scheme``."""
    if scheme == "gate-off" and geometry.cell.select is None:
        raise ProtocolError(
            f"gate-off needs cells with a select transistor (1T1R), these are {geometry.cell.name}",
            field="inhibit",
        )


def write_levels(
    geometry: ArrayGeometry,
    scheme: Inhibit,
    rows: BoolArray,
    cols: BoolArray,
    v_write: float | FloatArray,
    gate_v: float = 0.0,
) -> tuple[NDArray[np.uint8], FloatArray, BoolArray]:
    """Return (state, level_v, selected), each (n_steps, n_lines), that write rows x cols.

    Args:
        geometry: the array.
        scheme: inhibit scheme.
        rows, cols: boolean (n_steps, n_rows) and (n_steps, n_cols) selected sets.
        v_write: device voltage of a selected device in volts, one or per step.
        gate_v: level of the gates of selected rows (1T1R); the others are off at 0 V.
    """
    from hil.phases.kernels import fill_lines

    check_scheme(geometry, scheme)
    levels = inhibit_levels(scheme)
    n_steps = rows.shape[0]
    state, level = line_levels(geometry, n_steps)
    selected = np.zeros(state.shape, dtype=np.bool_)
    v = np.broadcast_to(np.asarray(v_write, dtype=np.float64), n_steps).copy()
    for terminal, chosen, on, off in (
        (geometry.cell.write.plus, rows, levels.row_on, levels.row_off),
        (geometry.cell.write.minus, cols, levels.col_on, levels.col_off),
    ):
        driven, first = LineState.DRIVE, geometry.lines(terminal).start
        state_off = LineState.FLOAT if off is None else driven if off else LineState.GROUND
        state_on = driven if on else LineState.GROUND
        fill_lines(
            chosen, first, v, on, off or 0.0, int(state_on), int(state_off), state, level, selected
        )
    if geometry.cell.select is not None:
        span = geometry.lines(geometry.cell.select)
        gated = rows if scheme == "gate-off" else np.broadcast_to(np.True_, rows.shape)
        level[:, span] = np.where(gated, gate_v, 0.0)
        state[:, span] = np.where(gated, LineState.DRIVE, LineState.GROUND)
        selected[:, span] = rows
    return state, level, selected


def open_gates(
    geometry: ArrayGeometry,
    op: OperatingPoint,
    state: NDArray[np.uint8],
    level_v: FloatArray,
    rows: NDArray[np.int64] | slice = slice(None),
) -> None:
    """Drive the gates of ``rows`` to the read level in place (1T1R; nothing for other cells)."""
    if geometry.cell.select is None:
        return
    lines = geometry.gate_lines[rows]
    state[:, lines] = LineState.DRIVE
    level_v[:, lines] = op.gate_read_v
