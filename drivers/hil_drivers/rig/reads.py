"""Reads that the wiring cannot do at once, as several steps whose currents add up.

A sensed line sits at 0 V, so each device on it passes a current that depends on the level of its
other line alone. Driving the levels one after the other and adding the currents is therefore exact
(without wire resistance), also for devices that are not ohmic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.errors import LimitError
from hil.program import READING_PHASES, LineState, PulseBlock


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """A block as the rig drives it.

    Attributes:
        block: the steps that are driven.
        origin: (block.n_steps,) step of the original block that each serves; currents of steps
            with the same origin add up.
        averages: readings that are averaged to one.
        notes: what was done and why.
    """

    block: PulseBlock
    origin: NDArray[np.int64]
    averages: int = 1
    notes: tuple[str, ...] = ()


def unchanged(block: PulseBlock) -> Lowered:
    """Return the block as it is."""
    return Lowered(block, np.arange(block.n_steps))


def averaged(lowered: Lowered) -> Lowered:
    """Return the block with as many more read pulses as readings are to be averaged.

    Raises:
        LimitError: averaging would repeat a write pulse.
    """
    block = lowered.block
    averages = block.sensing.averages
    sensed = block.sense.any(axis=1)
    if averages <= 1 or not sensed.any():
        return lowered
    if block.phase not in READING_PHASES and (written := sensed & ~block.reading_steps).any():
        raise LimitError("averages", averages, 1, "", step=int(written.argmax()),
                         note=f"a sensed {block.phase.name} pulse is not repeated")  # fmt: skip
    repeat = np.where(sensed, block.repeat * averages, block.repeat)
    return Lowered(
        _with(block, repeat=repeat), lowered.origin, averages,
        (*lowered.notes, f"{averages} read pulses are averaged to one reading"),
    )  # fmt: skip


def can_superpose(block: PulseBlock) -> bool:
    """Return whether the currents of a read may be added up: every sensed line is at 0 V."""
    level = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
    floating = (block.state == LineState.FLOAT).any()
    return bool(
        block.phase in READING_PHASES and not floating and not (block.sense & (level != 0.0)).any()
    )


def level_by_level(
    lowered: Lowered, port_lines: NDArray[np.int64], why: str, *, one_line: bool = False
) -> Lowered:
    """Return a read whose steps each drive one level, the other driven lines at 0 V meanwhile.

    ``port_lines`` are the lines of the read port; other lines (gates) keep their level throughout.
    ``one_line`` drives one line at a time instead of all lines of a level.
    """
    block = lowered.block
    is_port = np.zeros(block.n_lines, dtype=np.bool_)
    is_port[port_lines] = True
    driven = (block.state == LineState.DRIVE) & (block.level_v != 0.0) & is_port
    source: list[int] = []
    masks: list[NDArray[np.bool_]] = []
    for step in range(block.n_steps):
        lines = np.flatnonzero(driven[step])
        group = np.arange(lines.size) if one_line else block.level_v[step, lines]
        values = np.unique(group)
        for value in values:
            mask = np.zeros(block.n_lines, dtype=np.bool_)
            mask[lines[group == value]] = True
            source.append(step)
            masks.append(mask)
        if not values.size:
            source.append(step)
            masks.append(np.zeros(block.n_lines, dtype=np.bool_))
    of = np.array(source)
    off = driven[of] & ~np.array(masks)
    state = np.where(off, LineState.GROUND, block.state[of]).astype(np.uint8)
    parts = PulseBlock.build(
        block.phase, state, np.where(off, 0.0, block.level_v[of]), block.width_s[of],
        rise_s=block.rise_s[of], fall_s=block.fall_s[of], gap_s=block.gap_s[of],
        compliance_a=block.compliance_a, repeat=block.repeat[of], sense=block.sense[of],
        selected=block.selected[of] & ~off, sensing=block.sensing, target=block.target[of],
    )  # fmt: skip
    how = "device by device" if one_line else "one level at a time"
    return Lowered(parts, lowered.origin[of], lowered.averages,
                   (*lowered.notes, f"read {how}, currents added up: {why}"))  # fmt: skip


def _with(block: PulseBlock, repeat: NDArray[np.int64]) -> PulseBlock:
    return PulseBlock(
        block.phase, block.state, block.level_v, block.width_s, block.rise_s, block.fall_s,
        block.gap_s, block.compliance_a, repeat, block.sense, block.selected, block.sensing,
        block.target,
    )  # fmt: skip
