"""Learners that sum gradients in the controller, and then pulse devices one by one."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from hil.control.learners.base import Learner
from hil.control.network import ArrayNetwork
from hil.control.states import State
from hil.learning.asking import check_errors
from hil.program import FloatArray


class GradientSums(Learner):
    """Reads forward and backward through the arrays and sums x·δ of every weight.

    Args:
        network: on open arrays.
        batch: samples between two updates.
    """

    def __init__(self, network: ArrayNetwork, batch: int) -> None:
        super().__init__(network)
        self.batch = batch
        self._samples = 0
        self._sums = [np.zeros((layer.n_inputs, layer.n_outputs)) for layer in network.layers]

    def learn(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Add the sample's gradient and update after every batch; return the outputs before."""
        output, activities, sums = self.network.forward_pass(x)
        errors = self.network.errors(output, target, sums)
        for k, delta in enumerate(errors):
            check_errors(delta, k)
        for total, a, delta in zip(self._sums, activities, errors, strict=True):
            total += np.outer(a, delta)
        self._samples += 1
        if self._samples % self.batch == 0:
            for k, total in enumerate(self._sums):
                self.work.write += self.update(k, total)
        return output

    def state(self) -> State:
        """Return the sums and what every method keeps."""
        return super().state() | {"samples": self._samples, "sums": self._sums}

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        self._samples, self._sums = state["samples"], list(state["sums"])

    @abstractmethod
    def update(self, k: int, total: FloatArray) -> int:
        """Pulse layer ``k`` for a sum of x·δ (n_inputs, n_outputs); return the device pulses.

        What was used of the sum is set to 0, in place.
        """
