"""Progressive back-propagation: every layer is updated as soon as its error is known."""

from __future__ import annotations

from hil.control.learners.pair_updates import PairUpdates
from hil.learning.neuron import output_error
from hil.program import FloatArray


class ProgressiveBackpropagation(PairUpdates):
    """Updates the layers from the last to the first, each before the next error is read.

    E. R. W. van Doremaele, T. Stevens, S. Ringeling et al., "Hardware implementation of
    backpropagation using progressive gradient descent for in situ training of multilayer neural
    networks", Science Advances 10, eado8999 (2024): each layer is updated progressively, in place,
    so that no partial derivative has to be stored. Reconstructed from the abstract: the error of
    layer k − 1 is read backward through layer k after layer k was updated, which differs from
    back-propagation in second order of the learning rate,
    δ_{k−1} = f′(s_{k−1}) · (W_k + ΔW_k) δ_k. Pairs and trigger are those of the training file.
    """

    def update(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Read forward; then layer by layer pulse it and read the next error through it."""
        network = self.network
        output, activities, sums = network.forward_pass(x)
        delta = output_error(output, target)
        for k in range(len(network.layers) - 1, -1, -1):
            self.work.write += network.update_layer(
                k, self.rules[k], activities[k], delta, self.rng
            )
            if k:
                delta = network.error_before(k, delta, sums[k - 1])
        return output
