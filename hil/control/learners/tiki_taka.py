"""Tiki-Taka: gradients gather on a fast array and are handed to a slow one, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.control.coupled import CoupledArray
from hil.control.learners.pair_updates import PairUpdates, restore_rule, rule_state
from hil.control.network import ArrayNetwork
from hil.control.pair_writing import write_pairs
from hil.control.preparation import initialise, shares
from hil.control.response import ResponseCurve
from hil.control.states import State
from hil.errors import ConfigError
from hil.learning.asking import slots_of
from hil.learning.methods import PairRule
from hil.learning.rule import UpdateRule, UpdateSlots
from hil.program import FloatArray


class TikiTaka(PairUpdates):
    """A ← A + η x δ by coincidences; every few samples C ← C + λ v (v·A) with v one-hot.

    T. Gokmen, W. Haensch, "Algorithm for training neural networks on resistive device arrays",
    Frontiers in Neuroscience 14, 103 (2020): W = γA + C, one vector of A is read and added to C by
    pulses at a time, in turn, and A's devices are measured against references at their symmetry
    point, to which random up and down pulses pull them. λ follows the schedule of η.

    Here both arrays are of method M2: G⁺ moves both ways, G⁻ is the reference. A's symmetry points
    are reached by pulses of alternating polarity and copied to its G⁻ by read-verify-write; C's
    references are in the middle of the window.

    Args:
        network: its layers are :class:`~hil.control.coupled.CoupledArray`.
        rules: of A, one per layer, method M2.
        transfer_rules: of C, one per layer, method M2.
        curves: measured response of C's arrays and then of A's.
        rng: random bits of the rules.
        transfer_every: samples between two transfers of a row in every layer.
        transfer_rate: λ in the first epoch.
        symmetry_pulses: of alternating polarity.

    Raises:
        ConfigError: layers without a fast array.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        rules: Sequence[UpdateRule],
        transfer_rules: Sequence[PairRule],
        curves: Sequence[ResponseCurve],
        rng: np.random.Generator,
        *,
        transfer_every: int = 2,
        transfer_rate: float = 0.1,
        symmetry_pulses: int = 1000,
    ) -> None:
        n = len(network.layers)
        super().__init__(network, rules, curves[:n], "M2", rng)
        self.slow = [layer for layer in network.layers if isinstance(layer, CoupledArray)]
        if len(self.slow) != n:
            raise ConfigError("tiki-taka needs a second array per layer", field="placement.layers")
        self.fast_curves = list(curves[n:])
        self.transfer_rules, self.transfer_every = list(transfer_rules), transfer_every
        self.transfer_rate, self.symmetry_pulses = transfer_rate, symmetry_pulses
        self._first_eta: float | None = None
        self._turn = [0] * n

    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Bring C to its initial weights and A to its symmetry points; return the pulses."""
        pulses = super().initialise(weights)
        fast = [layer.fast for layer in self.slow]
        none = [np.zeros((a.n_inputs, a.n_outputs)) for a in fast]
        pulses += initialise(fast, self.fast_curves, "M2", none, margin=self.margin)
        for array in fast:
            ones = np.ones((1, array.n_inputs), np.bool_), np.ones((1, array.n_outputs), np.bool_)
            for k in range(self.symmetry_pulses):
                slot = UpdateSlots(-1 if k % 2 else 1, *ones, np.zeros_like(ones[1]))
                pulses += array.apply([slot])
            if self.symmetry_pulses:
                plus, _ = shares(array)
                pulses += write_pairs(array, None, np.clip(plus, 0.0, 1.0)).pulses
        return pulses

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch, and λ in proportion."""
        super().set_rate(eta)
        self._first_eta = self._first_eta or eta
        for rule in self.transfer_rules:
            rule.set_rate(self.transfer_rate * eta / self._first_eta)

    def state(self) -> State:
        """Return whose turn it is, the rules of C, and what :class:`PairUpdates` keeps."""
        return super().state() | {
            "turn": self._turn, "first_eta": self._first_eta,
            "transfer_rules": [rule_state(rule, k) for k, rule in enumerate(self.transfer_rules)],
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        self._turn, self._first_eta = list(state["turn"]), state["first_eta"]
        kept = state["transfer_rules"]
        for k, (rule, its) in enumerate(zip(self.transfer_rules, kept, strict=True)):
            restore_rule(rule, its, k)

    def learn(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Learn one sample on A, and transfer where it is time; return the outputs before."""
        output = super().learn(x, target)
        if self._samples % self.transfer_every == 0:
            for k, layer in enumerate(self.slow):
                self.work.write += self._transfer(k, layer)
        return output

    def _transfer(self, k: int, layer: CoupledArray) -> int:
        row = np.zeros(layer.n_inputs)
        row[self._turn[k]] = 1.0
        self._turn[k] = (self._turn[k] + 1) % layer.n_inputs
        slots = slots_of(self.transfer_rules[k], row, layer.fast.forward(row), self.rng, k)
        return layer.apply_slow(slots) if len(slots) else 0
