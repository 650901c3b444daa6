"""A weight matrix on two arrays, W = γA + C: A learns fast, C keeps what was learnt (Tiki-Taka)."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from hil.control.array import SynapseArray
from hil.learning.rule import UpdateSlots
from hil.program import FloatArray


class CoupledArray(SynapseArray):
    """The slow array C, with the fast array :attr:`fast` beside it.

    Products and weights are those of W = γA + C; updates go to A.
    """

    fast: SynapseArray
    gamma: float = 0.0

    def forward(self, x: ArrayLike) -> FloatArray:
        """Return x @ W, see :meth:`SynapseArray.forward`."""
        y = super().forward(x)
        return y + self.gamma * self.fast.forward(x) if self.gamma else y

    def backward(self, d: ArrayLike) -> FloatArray:
        """Return W @ d, see :meth:`SynapseArray.backward`."""
        s = super().backward(d)
        return s + self.gamma * self.fast.backward(d) if self.gamma else s

    def weights(self) -> FloatArray:
        """Return W (n_inputs, n_outputs), read now."""
        w = super().weights()
        return w + self.gamma * self.fast.weights() if self.gamma else w

    def apply(self, slots: Sequence[UpdateSlots]) -> int:
        """Drive the coincidence pulses of one update on A; return the device pulses."""
        return self.fast.apply(slots)

    def apply_slow(self, slots: Sequence[UpdateSlots]) -> int:
        """Drive coincidence pulses on C; return the device pulses."""
        return super().apply(slots)
