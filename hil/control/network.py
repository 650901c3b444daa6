"""A network whose layers are arrays: forward, backward and update through pulses only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from hil.control.array import SynapseArray
from hil.errors import ConfigError, ProtocolError
from hil.learning.asking import check_errors, slots_of
from hil.learning.neuron import error_behind, hard_sigmoid, output_error
from hil.learning.rule import UpdateRule
from hil.program import FloatArray


class ArrayNetwork:
    """Layers of hard-sigmoid neurons between synapse arrays, of any depth.

    With ``bias`` the last input row of every layer is always on. Layers may be arrays of their own
    or tiles of one array.

    Args:
        layers: first to last; inputs of a layer = outputs of the one before (+ 1 with bias).
        bias: whether every layer has a bias row.
        fast: a second array per layer, for methods that use one.

    Raises:
        ConfigError: no layer, or sizes that do not follow one another.
    """

    def __init__(
        self,
        layers: Sequence[SynapseArray],
        *,
        bias: bool = True,
        fast: Sequence[SynapseArray] = (),
    ) -> None:
        if not layers:
            raise ConfigError("a network needs at least one layer", field="network")
        for k, (a, b) in enumerate(pairwise(layers)):
            if a.n_outputs + bias != b.n_inputs:
                raise ConfigError(
                    f"layer {k} has {a.n_outputs} outputs{' and a bias' * bias}, "
                    f"layer {k + 1} has {b.n_inputs} inputs",
                    field="network",
                )
        self.layers = tuple(layers)
        self.fast = tuple(fast)
        self.bias = bias

    @property
    def matrices(self) -> tuple[SynapseArray, ...]:
        """Every matrix of pairs that the network uses: its layers, then their fast arrays."""
        return self.layers + self.fast

    @property
    def n_features(self) -> int:
        """Inputs of the network, without the bias."""
        return self.layers[0].n_inputs - self.bias

    @property
    def n_classes(self) -> int:
        """Outputs of the network."""
        return self.layers[-1].n_outputs

    def _with_bias(self, x: FloatArray) -> FloatArray:
        if not self.bias:
            return x
        out = np.empty((*x.shape[:-1], x.shape[-1] + 1))
        out[..., :-1] = x
        out[..., -1] = 1.0
        return out

    def _inputs(self, x: ArrayLike) -> FloatArray:
        inputs = np.asarray(x, dtype=np.float64)
        if inputs.ndim not in (1, 2) or inputs.shape[-1] != self.n_features:
            raise ProtocolError(
                f"inputs have shape {inputs.shape}, expected ({self.n_features},) or "
                f"(batch, {self.n_features})",
                field="forward",
            )
        return inputs

    def forward(self, x: ArrayLike) -> FloatArray:
        """Return outputs in 0 … 1 for inputs x (n_features,) or (batch, n_features)."""
        y = self._inputs(x)
        for layer in self.layers:
            y = hard_sigmoid(layer.forward(self._with_bias(y)))
        return y

    def classify(self, x: ArrayLike, *, batch: int = 128) -> np.ndarray:
        """Return the class (n_samples,) with the largest weighted sum, read in batches.

        The sum decides, not the output, where several neurons are saturated.
        """
        inputs = self._inputs(x)
        out = np.empty(len(inputs), dtype=np.int64)
        for start in range(0, len(inputs), batch):
            y = inputs[start : start + batch]
            for layer in self.layers[:-1]:
                y = hard_sigmoid(layer.forward(self._with_bias(y)))
            out[start : start + batch] = self.layers[-1].forward(self._with_bias(y)).argmax(axis=1)
        return out

    def forward_pass(self, x: FloatArray) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
        """Return (outputs, inputs of every layer with bias, weighted sums of every layer)."""
        activities, sums = [], []
        y = x
        for layer in self.layers:
            inputs = self._with_bias(y)
            s = layer.forward(inputs)
            activities.append(inputs)
            sums.append(s)
            y = hard_sigmoid(s)
        return y, activities, sums

    def error_before(self, k: int, delta: FloatArray, sums: FloatArray) -> FloatArray:
        """Return the errors of the layer before ``k``, read backward through layer ``k``.

        Args:
            k: a layer but the first.
            delta: (n_outputs,) errors of layer ``k``; all 0 are not read.
            sums: weighted sums of the layer before.

        Raises:
            RuleError: an error is not finite; nothing was read.
        """
        if not np.count_nonzero(delta):
            return np.zeros(self.layers[k - 1].n_outputs)
        try:
            back = self.layers[k].backward(delta)
        except ProtocolError:
            check_errors(delta, k)
            raise
        return error_behind(sums, back)

    def update_layer(
        self, k: int, rule: UpdateRule, x: FloatArray, delta: FloatArray, rng: np.random.Generator
    ) -> int:
        """Pulse layer ``k`` as ``rule`` says for its inputs and errors; return device pulses.

        Raises:
            RuleError: inputs outside 0 … 1, errors that are not finite, or a user's own rule that
                fails; nothing was driven.
        """
        slots = slots_of(rule, x, delta, rng, k)
        return self.layers[k].apply(slots) if len(slots) else 0

    def learn(
        self,
        x: FloatArray,
        target: FloatArray,
        rules: Sequence[UpdateRule],
        rng: np.random.Generator,
    ) -> tuple[FloatArray, int]:
        """Learn one sample (batch 1) and return (outputs before the update, device pulses).

        All errors are read before the first layer is written, as back-propagation asks for.
        """
        y, activities, sums = self.forward_pass(x)
        errors = self.errors(y, target, sums)
        pulses = sum(
            self.update_layer(k, rule, activities[k], errors[k], rng)
            for k, rule in enumerate(rules)
        )
        return y, pulses

    def errors(
        self, y: FloatArray, target: FloatArray, sums: Sequence[FloatArray]
    ) -> list[FloatArray]:
        """Return the errors of every layer for outputs ``y``, read backward."""
        errors = [output_error(y, target)]
        for k in range(len(self.layers) - 1, 0, -1):
            errors.insert(0, self.error_before(k, errors[0], sums[k - 1]))
        return errors

    def weights(self) -> list[FloatArray]:
        """Return the weights of every layer, read now."""
        return [layer.weights() for layer in self.layers]
