"""Bring pairs to given weights through pulses: initial weights, and what refresh builds on.

Conductances are shares u of the window here, 0 = g_min and 1 = g_max. Where pairs start depends on
the method: M3 low (|w| on one side), M3′ high (|w| taken off one side), M1 and M2 in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hil.control.array import SynapseArray
from hil.control.response import ResponseCurve, erases
from hil.learning.methods import Method
from hil.program import FloatArray, Phase

#: Reset pulses are rounded up to a multiple of this share of the full branch: devices of a row with
#: equal counts share a step, and more pulses at the end of the range change nothing.
RESET_GRID = 16
COMMON_MODE = 0.5


def pair_targets(method: Method, w: FloatArray, base: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Return (u_plus, u_minus) as shares of the window for w = u_plus − u_minus within ± 1.

    M1 puts w/2 on either side of the middle and M2 all of it on the plus device (both need
    |w| ≤ 1/2 for M2 and ≤ 1 for M1); M3 and M3′ use one end of the window as common mode, or
    ``base`` away from it, as far as |w| leaves room.
    """
    if method == "M1":
        return COMMON_MODE + w / 2, COMMON_MODE - w / 2
    if method == "M2":
        return COMMON_MODE + w, np.full_like(w, COMMON_MODE)
    away: FloatArray | float = np.minimum(base, 1.0 - np.abs(w)) if base else 0.0
    if method == "M3":
        return away + np.maximum(w, 0.0), away + np.maximum(-w, 0.0)
    return 1.0 - away - np.maximum(-w, 0.0), 1.0 - away - np.maximum(w, 0.0)


def starts_high(method: Method) -> bool:
    """Return whether pairs are brought to the upper end first (M3′) and then depressed."""
    return method == "M3'"


def reset_counts(curve: ResponseCurve, u: FloatArray, margin: float) -> NDArray[np.int64]:
    """Return the depression pulses (≥ 1) that surely take devices from u to their lower end."""
    full = curve.full_down
    grid = max(full // RESET_GRID, 1)
    pulses = margin * np.maximum(curve.pulses_down(u, np.full_like(u, curve.down[full])), 1)
    return (np.ceil(pulses / grid) * grid).astype(np.int64)


def raise_counts(curve: ResponseCurve, u: FloatArray, margin: float) -> NDArray[np.int64]:
    """Return the potentiation pulses (≥ 1) that surely take devices from u to their upper end."""
    full = curve.full_up
    grid = max(full // RESET_GRID, 1)
    pulses = margin * np.maximum(curve.pulses_up(u, np.full_like(u, curve.up[full])), 1)
    return (np.ceil(pulses / grid) * grid).astype(np.int64)


def target_counts(curve: ResponseCurve, method: Method, u: FloatArray) -> NDArray[np.int64]:
    """Return the pulses from the method's end of the range to u, negative where they depress."""
    if starts_high(method):
        return -curve.pulses_down(float(curve.down[0]), u)
    return curve.pulses_up(curve.low, u)


def shares(array: SynapseArray) -> tuple[FloatArray, FloatArray]:
    """Return (u_plus, u_minus), read now, as shares of the conductance window."""
    return as_shares(array, *array.read_pairs())


def as_shares(
    array: SynapseArray, plus: FloatArray, minus: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return conductances in siemens as shares of the array's conductance window."""
    low, window = array.op.g_min_siemens, array.window_siemens
    plus, minus = plus - low, minus - low
    plus /= window
    minus /= window
    return plus, minus


def group_by_array(layers: Sequence[SynapseArray]) -> list[list[SynapseArray]]:
    """Return layers grouped by the array that they are tiles of."""
    groups: dict[int, list[SynapseArray]] = {}
    for layer in layers:
        groups.setdefault(id(layer.backend), []).append(layer)
    return list(groups.values())


def initialise(
    layers: Sequence[SynapseArray],
    curves: Sequence[ResponseCurve],
    method: Method,
    weights: Sequence[FloatArray],
    *,
    margin: float = 1.5,
    base: float = 0.0,
) -> int:
    """Bring every pair to its initial weight by pulses, open loop; return the device pulses.

    Devices are first taken to one end of their range (block erase where the cells have one), so
    that it does not matter where they were.

    Args:
        layers: tiles of one array are reset before any of them is programmed.
        curves: the measured response, one per layer.
        method: decides the common mode.
        weights: (n_inputs, n_outputs) per layer, as shares of the window within ± 1/2.
        margin: reset pulses as a multiple of those of a mean device.
        base: of :func:`pair_targets`.
    """
    pulses = 0
    for group in group_by_array(layers):
        if erases(group[0].context) and not starts_high(method):
            pulses += group[0].erase()
            continue
        for layer in group:
            curve = curves[list(layers).index(layer)]
            n = (
                math.ceil(margin * curve.full_up)
                if starts_high(method)
                else -math.ceil(margin * curve.full_down)
            )
            counts = np.full((layer.n_inputs, layer.n_outputs), n)
            pulses += layer.program_pairs(counts, counts)
    for layer, curve, w in zip(layers, curves, weights, strict=True):
        plus, minus = pair_targets(method, w, base)
        pulses += layer.program_pairs(
            target_counts(curve, method, plus), target_counts(curve, method, minus),
            phase=Phase.PROGRAM,
        )  # fmt: skip
    return pulses
