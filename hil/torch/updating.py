"""How a tile's devices are pulsed: measured response, initial weights, updates, refresh."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hil.control.array import SynapseArray
from hil.control.preparation import initialise, pair_targets
from hil.control.refresh import Refresh
from hil.control.response import ResponseCurve, erases, measure_response
from hil.errors import BackendError, ConfigError
from hil.learning.methods import Method, PairRule, step_per_coincidence
from hil.learning.rule import UpdateSlots
from hil.learning.triggers import StochasticCoincidence
from hil.program import FloatArray


class PulsedUpdates:
    """Turns samples of a layer into coincidence pulses on its array.

    The expectation of a sample's change is ``η · x[i] · δ[j]``: rows and columns are drawn as by
    the trigger T3, the magnitudes of x and δ balanced first so that few slots do.

    Args:
        array: with pairs.
        method: ``M1``, ``M2``, ``M3`` or ``M3'``.
        rng: the update's random bits.
        refresh_every: samples between refreshes of M3 and M3′, 0 = never.
        max_slots: most coincidences of one sample.
        pulses: pulses of each branch when the response is measured.
        devices: devices whose response is measured.

    Raises:
        ConfigError: the method does not suit the array.
        BackendError: pulses do not move the devices as the method needs it.
    """

    def __init__(
        self,
        array: SynapseArray,
        method: Method,
        rng: np.random.Generator,
        *,
        refresh_every: int,
        max_slots: int,
        pulses: int,
        devices: int,
    ) -> None:
        pairs = array.pairs
        if erases(array.context) and pairs is not None:
            used = pairs.n_inputs * np.union1d(pairs.plus_cols, pairs.minus_cols).size
            if used < array.geometry.n_rows * array.geometry.n_cols and pairs.minus_array == 0:
                raise ConfigError(
                    "cells with a block erase need a tile that covers its whole array",
                    field="pairs",
                )
        self.array, self.method, self.rng = array, method, rng
        self.curve: ResponseCurve = measure_response(array, devices=devices, pulses=pulses)
        step = step_per_coincidence(method, self.curve.step_up, self.curve.step_down)
        if not step > 0.0:
            raise BackendError(
                f"method {method} needs depression pulses, and they do not lower the conductance "
                "of these devices"
            )
        self.trigger = StochasticCoincidence(0.0, array.weight_scale * step, max_slots=max_slots)
        self.rule = PairRule(method, self.trigger)
        unidirectional = method in ("M3", "M3'")
        self.refresh = Refresh([array], [self.curve], method) if unidirectional else None
        self.refresh_every = refresh_every
        self.samples = 0
        self.refreshed = 0

    def program(self, weights: FloatArray) -> int:
        """Bring all pairs to ``weights`` (n_inputs, n_outputs), open loop; return device pulses.

        Raises:
            ConfigError: wrong shape, NaN, or a weight that a pair cannot have.
        """
        shape = self.array.n_inputs, self.array.n_outputs
        if weights.shape != shape:
            raise ConfigError(f"have shape {weights.shape}, the tile's is {shape}", field="weights")
        w = weights / self.array.weight_scale
        plus, minus = pair_targets(self.method, w)
        low, high = self.curve.low, self.curve.high
        ends = np.array([plus.min(), plus.max(), minus.min(), minus.max()])
        if not (np.isfinite(ends).all() and ends.min() >= -1e-9 and ends.max() <= high + 1e-9):
            pulses = len(self.curve.up) - 1
            most = self.array.weight_scale * (high - low)
            raise ConfigError(
                f"reach {np.abs(weights).max():g}; pairs with method {self.method} on these devices"
                f" hold up to {most * (0.5 if self.method == 'M2' else 1.0):.4g}: the {pulses}"
                f" pulses measured reach {high:.0%} of the conductance window",
                field="weights",
            )
        return initialise([self.array], [self.curve], self.method, [w])

    def update(self, x: FloatArray, delta: FloatArray, eta: float) -> int:
        """Change the weights by about η x δᵀ for one sample after another; return device pulses.

        Args:
            x: (n_samples, n_inputs), signed.
            delta: (n_samples, n_outputs), positive asks for larger weights.
            eta: learning rate.
        """
        self.rule.set_rate(eta)
        pulses = 0
        for sample, error in zip(x, delta, strict=True):
            for sign in (1.0, -1.0):
                part = np.maximum(sign * sample, 0.0)
                top, largest = float(part.max()), float(np.abs(error).max())
                if top > 0.0 and largest > 0.0:
                    pulses += self.array.apply(self._slots(part, sign * error, top, largest))
            self.samples += 1
            if (
                self.refresh is not None
                and self.refresh_every
                and self.samples % self.refresh_every == 0
            ):
                done = self.refresh.run()
                pulses += done.pulses
                self.refreshed += done.pairs
        return pulses

    def _slots(
        self, x: FloatArray, delta: FloatArray, top: float, largest: float
    ) -> Sequence[UpdateSlots]:
        balance = math.sqrt(largest / top)
        return self.rule.slots(x * balance, delta / balance, self.rng)
