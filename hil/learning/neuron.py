"""The neuron of the reconstructed rule: hard sigmoid, its one-bit gate, squared error."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.program import FloatArray

#: Weighted sums beyond ± this value saturate the neuron.
SATURATION = 2.0


def hard_sigmoid(s: FloatArray) -> FloatArray:
    """Return f(s) = clip(s/4 + 1/2, 0, 1), dimensionless."""
    out: FloatArray
    if s.ndim == 1 and s.dtype == np.float64:
        out = np.empty(s.size)
        _kernels().squash(s, out)
        return out
    out = np.minimum(np.maximum(s * 0.25 + 0.5, 0.0), 1.0)
    return out


def gate(s: FloatArray) -> FloatArray:
    """Return 1 where f is not saturated and 0 elsewhere: the one bit that hardware needs for f′."""
    return (np.abs(s) < SATURATION).astype(np.float64)


def slope(s: FloatArray) -> FloatArray:
    """Return f′(s), 1/4 where f is not saturated and 0 elsewhere."""
    return 0.25 * gate(s)


def error_behind(s: FloatArray, back: FloatArray) -> FloatArray:
    """Return f′(s) · back for one sample: the errors of a layer from what was read behind it."""
    out = np.empty(s.size)
    _kernels().error_behind(s, SATURATION, back, out)
    return out


@cache
def _kernels() -> Any:
    from hil.learning import kernels

    return kernels


def squared_error(y: FloatArray, target: FloatArray) -> FloatArray:
    """Return ½ Σ (target − y)² over the last axis, dimensionless."""
    error: FloatArray = 0.5 * np.square(target - y).sum(axis=-1)
    return error


def output_error(y: FloatArray, target: FloatArray) -> FloatArray:
    """Return δ = target − y of the output layer.

    The slope of the output neurons is left out: its 1/4 belongs to the learning rate, and the gate
    would stop a neuron that is saturated on the wrong side from ever coming back.
    """
    return target - y


def one_hot(labels: NDArray[np.int64], n_classes: int) -> FloatArray:
    """Return (n_samples, n_classes) targets, 1 at the label and 0 elsewhere."""
    out = np.zeros((len(labels), n_classes))
    out[np.arange(len(labels)), labels] = 1.0
    return out
