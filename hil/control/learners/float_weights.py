"""Floating-point back-propagation as a learner: no pulse is driven."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.control.array import SynapseArray
from hil.control.baseline import classify, float_step
from hil.control.learners.base import Learner
from hil.control.network import ArrayNetwork
from hil.control.states import State
from hil.datasets.dataset import Dataset
from hil.program import FloatArray


class FloatBackpropagation(Learner):
    """Trains the same network in floating point, online: W += η x δ.

    D. E. Rumelhart, G. E. Hinton, R. J. Williams, Nature 323, 533 (1986), with the neurons and
    errors of this project (:mod:`hil.learning.neuron`) and without bounds or discrete steps.
    """

    def __init__(self, network: ArrayNetwork) -> None:
        super().__init__(network)
        self.weights: list[FloatArray] = []
        self.eta = 0.0

    @property
    def matrices(self) -> tuple[SynapseArray, ...]:
        """None: nothing is driven."""
        return ()

    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Take over the initial weights; no pulse is driven."""
        self.weights = [
            layer.weight_scale * w for layer, w in zip(self.network.layers, weights, strict=True)
        ]
        return 0

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch."""
        self.eta = eta

    def learn(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Learn one sample and return the outputs before."""
        return float_step(self.weights, x, target, self.eta, bias=self.network.bias)

    def state(self) -> State:
        """Return the weights and what every method keeps."""
        return super().state() | {"weights": self.weights}

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        self.weights = list(state["weights"])

    def accuracy(self, dataset: Dataset, *, batch: int = 128) -> float:
        """Return the share of test samples that the floating-point network classifies right."""
        self.predicted = classify(self.weights, dataset.x_test, bias=self.network.bias)
        return float(np.mean(self.predicted == dataset.y_test))
