"""Floating-point back-propagation with the same network, initial weights and order of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hil.datasets.dataset import Dataset
from hil.learning.neuron import hard_sigmoid, one_hot, output_error, slope
from hil.learning.schedule import Schedule
from hil.program import FloatArray


def _with_bias(x: FloatArray, bias: bool) -> FloatArray:
    return np.append(x, 1.0) if bias else x


def classify(weights: Sequence[FloatArray], x: FloatArray, *, bias: bool) -> NDArray[np.int64]:
    """Return the class (n_samples,) of inputs (n_samples, n_features) in floating point."""
    y = x
    s = x
    for w in weights:
        s = y @ w[: y.shape[1]] + (w[-1] if bias else 0.0)
        y = hard_sigmoid(s)
    out: NDArray[np.int64] = s.argmax(axis=1)
    return out


def float_backpropagation(
    dataset: Dataset,
    weights: Sequence[FloatArray],
    schedule: Schedule,
    orders: Sequence[NDArray[np.int64]],
    *,
    bias: bool = True,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[list[FloatArray], list[float]]:
    """Train online (batch 1) in floating point; return (weights, test accuracy per epoch).

    W += η x δ with the same neurons and errors as on the array, without dead zone, bounds or
    discrete steps.

    Args:
        dataset: samples.
        weights: initial weights (n_inputs, n_outputs) per layer; not changed.
        schedule: learning rate per epoch.
        orders: sample indices of every epoch, those of the training on the array.
        bias: whether the last row of every layer is an always-on input.
        on_epoch: called with (epoch, test accuracy).
    """
    w = [layer.copy() for layer in weights]
    targets = one_hot(dataset.y_train, dataset.n_classes)
    accuracies = []
    for epoch, order in enumerate(orders):
        eta = schedule.rate(epoch)
        for k in order:
            float_step(w, dataset.x_train[k], targets[k], eta, bias=bias)
        accuracies.append(float((classify(w, dataset.x_test, bias=bias) == dataset.y_test).mean()))
        if on_epoch is not None:
            on_epoch(epoch, accuracies[-1])
    return w, accuracies


def float_step(
    w: list[FloatArray], x: FloatArray, target: FloatArray, eta: float, *, bias: bool
) -> FloatArray:
    """Change the weights ``w`` of all layers by η x δ for one sample; return the outputs before."""
    activities, sums = [], []
    y = x
    for layer in w:
        a = _with_bias(y, bias)
        s = a @ layer
        activities.append(a)
        sums.append(s)
        y = hard_sigmoid(s)
    delta = output_error(y, target)
    for k in range(len(w) - 1, -1, -1):
        back = w[k] @ delta if k else None
        w[k] += eta * np.outer(activities[k], delta)
        if back is not None:
            delta = slope(sums[k - 1]) * back[: sums[k - 1].size]
    return y
