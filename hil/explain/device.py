"""What one device sees in a step: the voltage between its terminals, and how it is selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hil.errors import GeometryError
from hil.geometry import ArrayGeometry
from hil.program import READING_PHASES, FloatArray, LineState, Phase, PulseBlock

Selection = Literal["selected", "half-selected", "unselected", "floating", "gate closed", "read"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a device sees during one step.

    ``v`` in volts is the port's voltage while both lines are on; ``spans`` are the (end time in s,
    volts) pieces when the widths of its two lines differ.
    """

    port: str
    v: float
    width_s: float
    selection: Selection
    spans: tuple[tuple[float, float], ...]


def check_cell(geometry: ArrayGeometry, cell: tuple[int, int]) -> None:
    """Raise GeometryError when the array has no such cell."""
    row, col = cell
    if not (0 <= row < geometry.n_rows and 0 <= col < geometry.n_cols):
        raise GeometryError(
            f"cell ({row}, {col}) is outside the {geometry.n_rows} x {geometry.n_cols} array",
            field="cell",
        )


def port_of(geometry: ArrayGeometry, phase: Phase, cell: tuple[int, int]) -> tuple[str, int, int]:
    """Return (name, plus line, minus line) of the port that ``phase`` acts through at ``cell``."""
    row, col = cell
    if phase is Phase.ERASE and geometry.erase_lines is not None:
        name, lines = "erase", geometry.erase_lines
    elif phase in READING_PHASES:
        name, lines = "read", geometry.read_lines
    else:
        name, lines = "write", geometry.write_lines
    plus = lines.plus[row if lines.plus_by_row else col]
    minus = lines.minus[row if lines.minus_by_row else col]
    return name, int(plus), int(minus)


def seen(geometry: ArrayGeometry, block: PulseBlock, step: int, cell: tuple[int, int]) -> Seen:
    """Return what device ``cell`` sees in ``step``; a floating line leaves its voltage NaN."""
    name, plus, minus = port_of(geometry, block.phase, cell)
    widths = block.widths_2d[step]
    states = block.state[step]

    def level(line: int) -> tuple[float, float]:
        width = float(widths[line] if widths.size > 1 else widths[0])
        on = states[line] == LineState.DRIVE
        return (float(block.level_v[step, line]) if on else 0.0), (width if on else 0.0)

    (v_plus, w_plus), (v_minus, w_minus) = level(plus), level(minus)
    ends = sorted({w for v, w in ((v_plus, w_plus), (v_minus, w_minus)) if w > 0 and v != 0})
    spans = tuple(
        (end, (v_plus if w_plus >= end else 0.0) - (v_minus if w_minus >= end else 0.0))
        for end in ends
    )
    if all(v == 0.0 for _, v in spans):
        spans = ()
    largest = max(spans, key=lambda s: abs(s[1]), default=(0.0, 0.0))
    chosen = int(block.selected[step, plus]) + int(block.selected[step, minus])
    selection: Selection
    if LineState.FLOAT in (states[plus], states[minus]):
        selection = "floating"
        return Seen(name, np.nan, ends[-1] if ends else 0.0, selection, ())
    if geometry.cell.select is not None and not _gate_open(geometry, block, step, cell[0]):
        # The transistor in series takes the whole voltage; the device sees none of it.
        return Seen(name, 0.0, 0.0, "gate closed", ())
    if name == "read":
        selection = "read" if spans else "unselected"
    else:
        by_count: tuple[Selection, ...] = ("unselected", "half-selected", "selected")
        selection = by_count[chosen]
    return Seen(name, largest[1], largest[0], selection, spans)


def _gate_open(geometry: ArrayGeometry, block: PulseBlock, step: int, row: int) -> bool:
    if geometry.cell.select is None:
        return True
    gate = geometry.lines(geometry.cell.select).start + row
    return bool(block.state[step, gate] == LineState.DRIVE and block.level_v[step, gate] > 0)


def start_times_s(block: PulseBlock) -> FloatArray:
    """Return (n_steps,) start of every step after the start of the block, in seconds."""
    ends = np.cumsum(block.period_s * block.repeat)
    starts: FloatArray = np.concatenate([[0.0], ends[:-1]]) if block.n_steps else ends
    return starts
