"""Readings over a part of a pulse whose current changes, since its lines end at different times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.measurement import MeasurementBlock
from hil.program import DEFAULT_SENSE, LineState, PulseBlock


def needs_windows(block: PulseBlock) -> bool:
    """Return whether a mean over the window differs from one over the whole pulse."""
    plan = block.sensing
    if plan.delay_s == 0.0 and plan.aperture_s is None:
        return False
    if block.width_s.ndim == 1 or not block.sense.any():
        return False
    driven = (block.state == LineState.DRIVE) & (block.level_v != 0.0)
    return bool((driven & (block.width_s != block.step_width_s[:, None])).any())


def windowed(
    block: PulseBlock, drive: Callable[[PulseBlock], MeasurementBlock]
) -> MeasurementBlock:
    """Drive each pulse in the segments between its lines' ends; average those in the window."""
    parts = []
    for step in range(block.n_steps):
        for pulse in range(int(block.repeat[step])):
            part = _pulse(block, step, drive)
            part.step[:], part.pulse[:] = step, pulse
            parts.append(part)
    columns = [part.columns() for part in parts]
    if not columns:
        return MeasurementBlock.empty()
    return MeasurementBlock(*(np.concatenate([c[name] for c in columns]) for name in columns[0]))


def _pulse(
    block: PulseBlock, step: int, drive: Callable[[PulseBlock], MeasurementBlock]
) -> MeasurementBlock:
    width, whole = block.width_s[step], float(block.step_width_s[step])
    plan = block.sensing
    begin = min(plan.delay_s, whole)
    end = whole if plan.aperture_s is None else min(begin + plan.aperture_s, whole)
    edges = _edges([*width[block.state[step] == LineState.DRIVE].tolist(), begin, end, whole])
    starts, lengths = edges[:-1], np.diff(edges)
    middles = starts + 0.5 * lengths
    inside = (middles > begin) & (middles < end)
    last = np.arange(starts.size) == starts.size - 1
    segments = PulseBlock.build(
        block.phase, np.broadcast_to(block.state[step], (starts.size, block.n_lines)),
        np.where(width > middles[:, None], block.level_v[step], 0.0), lengths,
        rise_s=np.where(starts == 0.0, block.rise_s[step], 0.0),
        fall_s=np.where(last, block.fall_s[step], 0.0),
        gap_s=np.where(last, block.gap_s[step], 0.0), compliance_a=block.compliance_a,
        sense=inside[:, None] & block.sense[step], sensing=DEFAULT_SENSE,
    )  # fmt: skip
    seen = drive(segments)
    n_lines, weight = int(block.sense[step].sum()), lengths[inside] / lengths[inside].sum()
    current = weight @ seen.current_a.reshape(-1, n_lines)
    status = np.bitwise_or.reduce(seen.status.reshape(-1, n_lines), axis=0)
    first = MeasurementBlock(*(column[:n_lines].copy() for column in seen.columns().values()))
    return replace(first, current_a=current, status=status)


def _edges(times: list[float]) -> NDArray[np.float64]:
    """Return the distinct times from 0 on, in order; times on the grid differ by 1 ns at least."""
    ordered = np.unique([0.0, *times])
    return np.asarray(ordered[np.append(True, np.diff(ordered) > 0.5e-9)])
