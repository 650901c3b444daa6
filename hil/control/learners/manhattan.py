"""Manhattan rule: every weight moves by one pulse in the direction of its gradient's sign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.control.learners.gradient_sums import GradientSums
from hil.control.network import ArrayNetwork
from hil.control.preparation import initialise
from hil.control.response import ResponseCurve
from hil.program import FloatArray, Phase


class Manhattan(GradientSums):
    """ΔW[i, j] = ± one step, the sign being that of Σ_n x_i(n) δ_j(n) over a batch.

    E. Zamanidoost, F. M. Bayat, D. Strukov, I. Kataeva, "Manhattan rule training for memristive
    crossbar circuit pattern classifiers" (WISP 2015), batch and stochastic; M. Prezioso et al.,
    Nature 521, 61 (2015) trained a crossbar with the batch form. Both devices of a pair get one
    pulse, in opposite directions. The learning rate has no part in it. With ``batch`` 1
    (stochastic) zero gradients, as everywhere, give no pulse.

    Args:
        network: on open arrays.
        curves: measured response, one per layer, for the initial weights.
        batch: samples per update.
    """

    def __init__(
        self, network: ArrayNetwork, curves: Sequence[ResponseCurve], batch: int = 32
    ) -> None:
        super().__init__(network, batch)
        self.curves = curves

    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Bring the pairs to their initial weights around the middle of the window."""
        return initialise(self.network.layers, self.curves, "M1", weights)

    def update(self, k: int, total: FloatArray) -> int:
        """Give every pair with a gradient one pulse on either device, row after row."""
        sign = np.sign(total).astype(np.int64)
        total[...] = 0.0
        return self.network.layers[k].program_pairs(sign, -sign, phase=Phase.UPDATE)
