"""Readings to quantities: charges, conductances and weighted sums."""

from __future__ import annotations

import numpy as np

from hil.measurement import MeasurementBlock
from hil.program import FloatArray, PulseBlock


def target_charge_coulomb(
    block: PulseBlock, readings: MeasurementBlock, lines: np.ndarray, n_targets: int
) -> FloatArray:
    """Return (n_targets, len(lines)) charge in coulombs into the array, summed over each target.

    ``lines`` are ascending line indices; steps with the same ``target`` (slices, counts, repeats)
    add up. Readings of other lines are left out.
    """
    charge_c = readings.current_a * readings.width_s
    if _in_order(block, readings, lines, n_targets):
        return charge_c.reshape(n_targets, lines.size)
    where, keep = _cells(block, readings, lines)
    size = n_targets * lines.size
    total = np.bincount(where, charge_c[keep], size)
    return np.asarray(total, dtype=np.float64).reshape(n_targets, lines.size)


def conductance_siemens(
    block: PulseBlock, readings: MeasurementBlock, read_v: float, lines: np.ndarray, n_targets: int
) -> FloatArray:
    """Return (n_targets, len(lines)) conductance in siemens at ``read_v`` from grounded lines.

    A grounded line sinks what the device passes, so the current into the array is negative there.
    Repeated readings of a target are averaged.
    """
    if _in_order(block, readings, lines, n_targets):
        only: FloatArray = (readings.current_a / -read_v).reshape(n_targets, lines.size)
        return only
    where, keep = _cells(block, readings, lines)
    size = n_targets * lines.size
    total_i = np.bincount(where, weights=readings.current_a[keep], minlength=size)
    count = np.bincount(where, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        g: FloatArray = -total_i / count / read_v
    return g.reshape(n_targets, lines.size)


def _cells(
    block: PulseBlock, readings: MeasurementBlock, lines: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return flat (target, line) indices of readings, and which readings are of ``lines``."""
    column = np.full(block.n_lines, -1)
    column[lines] = np.arange(lines.size)
    at = column[readings.line]
    keep = at >= 0
    return block.target[readings.step[keep]] * lines.size + at[keep], keep


def _in_order(
    block: PulseBlock, readings: MeasurementBlock, lines: np.ndarray, n_targets: int
) -> bool:
    """Return whether there is one reading of each line for each target, in order."""
    return (
        len(readings) == n_targets * lines.size
        and block.n_steps == n_targets
        and (n_targets == 0 or (block.target[0] == 0 and block.target[-1] == n_targets - 1))
        and bool((block.repeat == 1).all())
    )
