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
    out = np.zeros((n_targets, lines.size))
    column = np.full(block.n_lines, -1)
    column[lines] = np.arange(lines.size)
    at = column[readings.line]
    keep = at >= 0
    np.add.at(out, (block.target[readings.step[keep]], at[keep]), charge_c[keep])
    return out


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
    total_i = np.zeros((n_targets, lines.size))
    count = np.zeros((n_targets, lines.size))
    column = np.full(block.n_lines, -1)
    column[lines] = np.arange(lines.size)
    at = column[readings.line]
    keep = at >= 0
    where = (block.target[readings.step[keep]], at[keep])
    np.add.at(total_i, where, readings.current_a[keep])
    np.add.at(count, where, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        g: FloatArray = -total_i / count / read_v
    return g


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
