"""Direct gradient calculation: perturb a weight, measure the cost, perturb the next one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hil.control.learners.base import Learner
from hil.control.network import ArrayNetwork
from hil.control.preparation import initialise
from hil.control.response import ResponseCurve
from hil.control.states import State, restore_rng, rng_state
from hil.errors import ConfigError, RuleError
from hil.learning.neuron import squared_error
from hil.program import FloatArray, Phase


class DirectGradient(Learner):
    """Measures ∂C/∂W of every weight in turn, then updates all weights; no backward read.

    H. Kim et al., "Direct gradient calculation: simple and variation-tolerant on-chip training
    method for neural networks", Advanced Intelligent Systems 3, 2100064 (2021); M. Jabri and
    B. Flower, "Weight perturbation", Neural Computation 3, 546 (1991):
    ∂C/∂W ≈ (C(W + ΔW) − C(W))/ΔW, one weight after the other. Here the perturbation is real: G⁺ is
    potentiated by ``pulses`` and, when the cost has been read, depressed by as many. C is the mean
    of ½ Σ (target − y)² over a batch; it holds the slope 1/4 of the output neurons, which elsewhere
    is left to η, so 4η is used. Counts of update pulses are rounded at random to keep the mean.

    Args:
        network: on open arrays; small, since an update takes a forward batch per weight.
        curves: measured response, one per layer.
        rng: rounds the counts.
        batch: samples per update.
        pulses: of a perturbation.
        max_weights: most weights that are accepted.

    Raises:
        ConfigError: too many weights, or devices that pulses cannot depress.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        curves: Sequence[ResponseCurve],
        rng: np.random.Generator,
        *,
        batch: int = 16,
        pulses: int = 4,
        max_weights: int = 1000,
    ) -> None:
        super().__init__(network)
        check_size(network, max_weights)
        if any(curve.step_down <= 0.0 for curve in curves):
            raise ConfigError(
                "perturbations are taken back by depression, which does not move these devices",
                field="rule.method",
            )
        self.curves, self.rng, self.batch, self.pulses = curves, rng, batch, pulses
        self.eta = 0.0
        self._x: list[FloatArray] = []
        self._targets: list[FloatArray] = []

    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Bring the pairs to their initial weights around the middle of the window."""
        return initialise(self.network.layers, self.curves, "M1", weights)

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch."""
        self.eta = eta

    def learn(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Keep the sample and update after every batch; return the outputs before."""
        output = self.network.forward(x)
        self._x.append(x)
        self._targets.append(target)
        if len(self._x) == self.batch:
            inputs, targets = np.array(self._x), np.array(self._targets)
            gradients = [self._measure(k, inputs, targets) for k in range(len(self.curves))]
            for k, gradient in enumerate(gradients):
                self._update(k, gradient)
            self._x.clear()
            self._targets.clear()
        return output

    def state(self) -> State:
        """Return the samples of the batch so far, the generator and what every method keeps."""
        return super().state() | {
            "rng": rng_state(self.rng), "x": self._x, "targets": self._targets
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        restore_rng(self.rng, state["rng"])
        self._x, self._targets = list(state["x"]), list(state["targets"])

    def _cost(self, inputs: FloatArray, targets: FloatArray, k: int) -> float:
        """Return the cost as read now, for a weight of layer ``k``; RuleError if not finite."""
        cost = float(squared_error(self.network.forward(inputs), targets).mean())
        if not math.isfinite(cost):
            raise RuleError(f"layer {k}: the cost was read as {cost:g}, it must be finite")
        return cost

    def _measure(self, k: int, inputs: FloatArray, targets: FloatArray) -> FloatArray:
        layer = self.network.layers[k]
        step = self.pulses * self.curves[k].step_up * layer.weight_scale
        shape = layer.n_inputs, layer.n_outputs
        gradient, none = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        base = self._cost(inputs, targets, k)
        for index in np.ndindex(shape):
            perturb = none.copy()
            perturb[index] = self.pulses
            self.work.refresh += layer.program_pairs(perturb, none, phase=Phase.UPDATE)
            gradient[index] = (self._cost(inputs, targets, k) - base) / step
            self.work.refresh += layer.program_pairs(-perturb, none, phase=Phase.UPDATE)
        return gradient

    def _update(self, k: int, gradient: FloatArray) -> None:
        layer, curve = self.network.layers[k], self.curves[k]
        step = (curve.step_up + curve.step_down) * layer.weight_scale
        wanted = -4.0 * self.eta * gradient / step
        counts = np.floor(wanted + self.rng.random(wanted.shape)).astype(np.int64)
        self.work.write += layer.program_pairs(counts, -counts, phase=Phase.UPDATE)


def check_size(network: ArrayNetwork, max_weights: int) -> None:
    """Raise ConfigError when a network has more than ``max_weights`` weights."""
    n = sum(layer.n_inputs * layer.n_outputs for layer in network.layers)
    if n > max_weights:
        raise ConfigError(
            f"{n} weights would take {n} forward batches per update; at most {max_weights} are "
            "accepted",
            field="rule.direct_gradient.max_weights",
        )
