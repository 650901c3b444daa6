"""Currents without the drops along the paths (leads, relays, probes) of the lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.geometry import ArrayGeometry
from hil.measurement import MeasurementBlock
from hil.program import LineState, PulseBlock

_ROUNDS = 50
_MOST = 0.5  # of the level; beyond it a drop is no correction any more


def without_paths(
    current_a: NDArray[np.float64],
    rows: MeasurementBlock,
    block: PulseBlock,
    path_ohm: NDArray[np.float64],
    geometry: ArrayGeometry,
) -> NDArray[np.float64]:
    """Return the currents in amperes that would flow if paths had no resistance.

    Where one line is driven per step and the others are sensed or at 0 V, the network is solved
    from all readings of the block, so that lines that share a path are taken into account as far as
    the block reads them. Where several lines are driven, or the driven one is sensed, each current
    is corrected by its own drop and an even share of the others'.

    Args:
        current_a: (n_readings,) corrected for everything else.
        rows: the readings.
        block: the block as it was asked for.
        path_ohm: (n_lines,) resistances.
        geometry: of the array; gates carry no current, and rows behind closed gates none either.
    """
    if not path_ohm.any() or not len(rows):
        return current_a
    level = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
    port = geometry.read_lines
    level[:, np.setdiff1d(np.arange(block.n_lines), [*port.plus, *port.minus])] = 0.0
    held = block.state != LineState.FLOAT
    if geometry.cell.select is not None:
        held = np.zeros_like(held)
    n_driven = np.count_nonzero(level, axis=1)
    single = (n_driven[rows.step] == 1) & (level[rows.step, rows.line] == 0.0)
    out = current_a.copy()
    out[single] *= _one_driven(current_a, rows, held, level, path_ohm, single)
    rest = ~single & (n_driven[rows.step] > 0)
    out[rest] *= _several_driven(current_a, rows, level, path_ohm)[rest]
    return out


def _one_driven(
    current_a: NDArray[np.float64],
    rows: MeasurementBlock,
    held_at: NDArray[np.bool_],
    level: NDArray[np.float64],
    ohm: NDArray[np.float64],
    use: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return true over measured current for the readings ``use``.

    With G the conductances, d the driven and j the sensed line, and V_j = R_j I_j the potential to
    which the sensed line rises: I_j = G_dj (V - R_d ΣI - V_j) - V_j Σ G_ij over the other lines i
    that are held at 0 V.
    """
    n = level.shape[1]
    step, sensed = rows.step[use], rows.line[use]
    drive = level.astype(bool).argmax(axis=1)
    d = drive[step]
    g = -current_a[use] / level[step, d]
    sums, counts = np.zeros((n, n)), np.zeros((n, n))
    known = np.isfinite(g)  # a reading that overflowed says nothing of its neighbours
    np.add.at(sums, (d[known], sensed[known]), g[known])
    np.add.at(counts, (d[known], sensed[known]), 1.0)
    measured = sums / np.maximum(counts, 1.0)
    held = np.zeros((n, n))
    held[d] = held_at[step]
    np.fill_diagonal(held, 0.0)
    left = 1.0 - (ohm * measured.sum(axis=1))[:, None] - ohm * measured
    good = left > _MOST
    left[~good] = 1.0
    true = measured
    for _ in range(_ROUNDS):
        before, true = true, measured * (1.0 + ohm * (held @ true)) / left
        if np.allclose(true, before, rtol=1e-9, atol=0.0):
            break
    ratio = np.where(good, (1.0 + ohm * (held @ true)) / left, 1.0)
    return np.asarray(ratio[d, sensed])


def _several_driven(
    current_a: NDArray[np.float64],
    rows: MeasurementBlock,
    level: NDArray[np.float64],
    ohm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return true over measured current where several lines are driven, or the sensed one is."""
    own_v = np.abs(level[rows.step, rows.line])
    others = np.abs(level[rows.step])
    others[np.arange(len(rows)), rows.line] = 0.0
    n = np.maximum(np.count_nonzero(others, axis=1), 1)
    across = np.where(own_v > 0.0, own_v, others.sum(axis=1) / n)
    total = np.zeros((level.shape[0], int(rows.pulse.max()) + 1))
    np.add.at(total, (rows.step, rows.pulse), np.nan_to_num(current_a))
    shared = np.abs(total[rows.step, rows.pulse]) / n * ((others > 0.0) @ ohm) / n
    drop = np.abs(current_a) * ohm[rows.line] + np.where(own_v > 0.0, 0.0, shared)
    usable = (across > 0.0) & (drop < _MOST * across)
    return np.where(usable, across / np.where(usable, across - drop, 1.0), 1.0)
