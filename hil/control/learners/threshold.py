"""Threshold learning: ternary weights of binary devices that switch at large gradients only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hil.control.learners.gradient_sums import GradientSums
from hil.control.network import ArrayNetwork
from hil.control.response import ResponseCurve, erases
from hil.control.states import State
from hil.errors import ConfigError
from hil.program import FloatArray, Phase


class ThresholdLearning(GradientSums):
    """Weights −1, 0, +1 (times the weight scale); one level up or down beyond a threshold.

    "Threshold learning algorithm for memristive neural network with binary switching behavior",
    Neural Networks 176, 106355 (2024): two well separated resistance states represent ternary
    weights, and a weight is updated when the gradient that back-propagation determines exceeds a
    threshold. Only its abstract was read. Here the gradient is the sum of x·δ over the samples
    since the weight last moved: with the gradient of single samples or small batches the weights
    of a neuron move all at once and do not settle.

    +1 has G⁺ at the upper end of the range, −1 has G⁻ there, 0 neither. The controller knows the
    levels, so that a switch needs no read. The learning rate has no part in it.

    Args:
        network: on open arrays whose devices can be depressed by pulses.
        curves: measured response, one per layer: how many pulses switch a device.
        threshold: |Σ x·δ| beyond which a weight moves.
        margin: pulses of a switch as a multiple of those of a mean device.

    Raises:
        ConfigError: devices that only a block erase resets.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        curves: Sequence[ResponseCurve],
        *,
        threshold: float,
        margin: float = 1.5,
    ) -> None:
        super().__init__(network, 1)
        check_devices(network)
        self.threshold = threshold
        self._set = [math.ceil(margin * curve.full_up) for curve in curves]
        self._reset = [-math.ceil(margin * curve.full_down) for curve in curves]
        self.levels: list[NDArray[np.int64]] = []

    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Reset every device, then set the side of the larger initial weights."""
        pulses = 0
        self.levels = []
        for k, (layer, w) in enumerate(zip(self.network.layers, weights, strict=True)):
            size = np.abs(w)
            level = np.where(size > size.max() / 2, np.sign(w), 0.0).astype(np.int64)
            reset = np.full(level.shape, self._reset[k])
            pulses += layer.program_pairs(reset, reset)
            pulses += layer.program_pairs(self._set[k] * (level > 0), self._set[k] * (level < 0))
            self.levels.append(level)
        return pulses

    def state(self) -> State:
        """Return the levels and what every method keeps."""
        return super().state() | {"levels": self.levels}

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        self.levels = list(state["levels"])

    def reread(self) -> None:
        """Take the levels from the weights, read now: the side beyond half of the window."""
        self.levels = []
        for layer in self.network.layers:
            share = layer.weights() / layer.weight_scale
            self.levels.append(np.where(np.abs(share) > 0.5, np.sign(share), 0.0).astype(np.int64))

    def update(self, k: int, total: FloatArray) -> int:
        """Switch one device of every pair whose gradient is beyond the threshold."""
        beyond = np.abs(total) > self.threshold
        if not beyond.any():
            return 0
        before = self.levels[k]
        move = np.where(beyond, np.sign(total), 0.0)
        total[beyond] = 0.0
        after = np.clip(before + move.astype(np.int64), -1, 1)
        self.levels[k] = after
        on, off = self._set[k], self._reset[k]
        plus = on * ((after == 1) & (before == 0)) + off * ((before == 1) & (after == 0))
        minus = on * ((after == -1) & (before == 0)) + off * ((before == -1) & (after == 0))
        if not (plus.any() or minus.any()):
            return 0
        return self.network.layers[k].program_pairs(plus, minus, phase=Phase.UPDATE)


def check_devices(network: ArrayNetwork) -> None:
    """Raise ConfigError when the devices of a network can only be erased in blocks."""
    if any(erases(layer.context) for layer in network.layers):
        raise ConfigError(
            "threshold learning switches single devices off, these need a block erase",
            field="rule.method",
        )
