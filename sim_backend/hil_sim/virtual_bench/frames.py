"""Frames: the drive of several channels, cut where any of them starts a pulse.

Within a frame every channel is left-aligned: it holds one level from the frame's start for its own
width and 0 V after, which is what a step of a pulse block is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.virtual_bench.terminal import NO_CURRENT_A, Terminal

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
_TOLERANCE_S = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Train:
    """What one terminal drives; times in seconds from the start of the run, ascending.

    Attributes:
        start_s, stop_s, level_v: columns over pulses.
        level_a: of a current source, whose voltage limits ``level_v`` are; columns over pulses.
        idle_v: level before, between and after.
        limit_a: current limit.
        window_s, aperture_s: columns over readings: start and length of each measurement.
    """

    terminal: Terminal
    start_s: FloatArray
    stop_s: FloatArray
    level_v: FloatArray
    idle_v: float
    limit_a: float
    window_s: FloatArray
    aperture_s: FloatArray
    level_a: FloatArray | None = None


@dataclass(slots=True, eq=False)
class Frames:
    """Columns over frames, and over trains where two-dimensional (n_frames, n_trains).

    ``limit_a`` is there when it changes from frame to frame, because a train sources current.
    """

    edge_s: FloatArray
    length_s: FloatArray
    level_v: FloatArray
    width_s: FloatArray
    limit_a: FloatArray | None = None


def cut(trains: list[Train], end_s: float) -> tuple[Frames, list[tuple[IntArray, IntArray]]]:
    """Return the frames of ``trains`` and, per train, the (first, after last) frame per reading.

    A reading that is neither the whole active part of one frame nor inside pulses of equal width
    gets frames of its own.
    """
    edges = [np.zeros(1)]
    for train in trains:
        edges.append(train.start_s)
        if train.idle_v != 0.0:
            edges.append(train.stop_s)
    frames = _frames(trains, _merged(np.concatenate(edges), end_s), end_s)
    extra = [
        np.concatenate([train.window_s[bad], (train.window_s + train.aperture_s)[bad]])
        for train in trains
        if (bad := _needs_cut(frames, train)).any()
    ]
    if extra:
        frames = _frames(
            trains, _merged(np.concatenate([frames.edge_s, *extra]), end_s), end_s
        )  # fmt: skip
    return frames, [_span(frames, train) for train in trains]


def _merged(times: FloatArray, end_s: float) -> FloatArray:
    times = np.unique(times)
    times = times[(times >= 0.0) & (times < end_s - _TOLERANCE_S)]
    keep = np.ones(times.size, dtype=np.bool_)
    keep[1:] = np.diff(times) > _TOLERANCE_S
    return times[keep] if times.size else np.zeros(1)


def _frames(trains: list[Train], edge_s: FloatArray, end_s: float) -> Frames:
    after = np.append(edge_s[1:], end_s)
    length = after - edge_s
    shape = (edge_s.size, len(trains))
    level, width = np.zeros(shape), np.zeros(shape)
    limit = None
    if any(train.level_a is not None for train in trains):
        limit = np.tile(np.array([train.limit_a for train in trains]), (edge_s.size, 1))
    for k, train in enumerate(trains):
        level[:, k] = train.idle_v
        width[:, k] = length if train.idle_v != 0.0 else 0.0
        if not train.start_s.size:
            continue
        at = np.searchsorted(train.start_s, edge_s + _TOLERANCE_S, side="right") - 1
        inside = np.maximum(at, 0)
        live = (at >= 0) & (train.stop_s[inside] > edge_s + _TOLERANCE_S)
        level[live, k] = train.level_v[inside[live]]
        if limit is not None and train.level_a is not None:
            limit[live, k] = np.maximum(np.abs(train.level_a[inside[live]]), NO_CURRENT_A)
        width[live, k] = np.minimum(train.stop_s[inside], after)[live] - edge_s[live]
        # Adding and taking away the start costs digits that the pulse's own width still has.
        whole = live & (np.abs(train.start_s[inside] - edge_s) <= _TOLERANCE_S)
        whole &= train.stop_s[inside] <= after + _TOLERANCE_S
        own = train.stop_s[inside] - train.start_s[inside]
        width[whole, k] = np.round(own[whole] * 1e12) * 1e-12
    width[level == 0.0] = 0.0
    return Frames(edge_s, length, level, width, limit)


def _active(frames: Frames) -> tuple[FloatArray, FloatArray]:
    """Return (n_frames,) shortest and longest width among the channels that drive a level."""
    longest = frames.width_s.max(axis=1, initial=0.0)
    on = frames.width_s > 0.0
    shortest = np.where(on, frames.width_s, np.inf).min(axis=1, initial=np.inf)
    return np.minimum(shortest, longest), longest


def _at(frames: Frames, time_s: FloatArray) -> IntArray:
    at = np.searchsorted(frames.edge_s, time_s + _TOLERANCE_S, side="right") - 1
    return np.asarray(np.maximum(at, 0), dtype=np.int64)


def _needs_cut(frames: Frames, train: Train) -> NDArray[np.bool_]:
    shortest, longest = _active(frames)
    first = _at(frames, train.window_s)
    begin = train.window_s - frames.edge_s[first]
    stop = begin + train.aperture_s
    tolerance = 10 * _TOLERANCE_S
    within = (stop <= shortest[first] + tolerance) & (longest - shortest <= tolerance)[first]
    whole = (begin <= tolerance) & (stop >= longest[first] - tolerance)
    whole &= stop <= frames.length_s[first] + tolerance
    return np.asarray(~(within | whole))


def _span(frames: Frames, train: Train) -> tuple[IntArray, IntArray]:
    first = _at(frames, train.window_s)
    last = np.searchsorted(
        frames.edge_s, train.window_s + train.aperture_s - _TOLERANCE_S, side="left"
    )
    return first, np.maximum(last, first + 1).astype(np.int64)


def weights(frames: Frames, train: Train, first: IntArray, after: IntArray) -> FloatArray:
    """Return (n_readings,) factor from a frame's mean current to the reading's (one frame each).

    1 for a window inside the pulse; active width over aperture for a window around it.
    """
    _, longest = _active(frames)
    begin = train.window_s - frames.edge_s[first]
    inside = begin + train.aperture_s <= longest[first] + 10 * _TOLERANCE_S
    return np.asarray(np.where(inside, 1.0, longest[first] / np.maximum(train.aperture_s, 1e-12)))
