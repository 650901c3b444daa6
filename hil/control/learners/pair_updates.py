"""Online back-propagation by coincidence pulses on pairs: M1, M2, M3, M3′, M3c, and own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hil.control.learners.base import Learner
from hil.control.network import ArrayNetwork
from hil.control.preparation import initialise
from hil.control.refresh import Refresh, Refreshed
from hil.control.response import ResponseCurve
from hil.control.roles import ExchangingArray
from hil.control.states import Resumable, State, restore_rng, rng_state
from hil.errors import ConfigError
from hil.learning.asking import blaming
from hil.learning.methods import Method, RatedRule
from hil.learning.rule import UpdateRule
from hil.learning.triggers import ClipCount
from hil.program import FloatArray


class PairUpdates(Learner):
    """The reconstructed rule: forward, backward and update in hardware for every sample.

    A reconstruction of S. Lim et al., "Adaptive learning rule for hardware-based deep neural
    networks using electronic synapse devices" (Neural Computing and Applications 31, 8101, 2019),
    of which only the abstracts could be read. M3c's exchange of devices is this project's own.

    Args:
        network: on open arrays.
        rules: one per layer.
        curves: measured response, one per layer.
        method: where pairs start.
        rng: random bits of the rules.
        refresh: None = never.
        refresh_every: samples between refreshes.
        exchange_every: samples between two exchanges of a column pair, None = never.
        margin: reset pulses before the initial weights, as a multiple of a mean device's.
        base: share of the window that the initial weights lie above the end of it, as refresh's.

    Raises:
        ConfigError: not one rule per layer.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        rules: Sequence[UpdateRule],
        curves: Sequence[ResponseCurve],
        method: Method,
        rng: np.random.Generator,
        *,
        refresh: Refresh | None = None,
        refresh_every: int = 100,
        exchange_every: int | None = None,
        margin: float = 1.5,
        base: float = 0.0,
    ) -> None:
        super().__init__(network)
        if len(rules) != len(network.layers):
            raise ConfigError(f"{len(rules)} rules for {len(network.layers)} layers", field="rule")
        if refresh_every < 1:
            raise ConfigError(f"must be at least 1, got {refresh_every}", field="refresh.every")
        self.rules, self.curves, self.method, self.rng = list(rules), curves, method, rng
        self.refresh, self.refresh_every = refresh, refresh_every
        self.exchange_every, self.margin, self.base = exchange_every, margin, base
        self._samples = 0

    def initialise(self, weights: Sequence[FloatArray]) -> int:
        """Bring the pairs to their initial weights and return the device pulses."""
        return initialise(
            self.network.layers, self.curves, self.method, weights,
            margin=self.margin, base=self.base,
        )  # fmt: skip

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch."""
        for k, rule in enumerate(self.rules):
            if isinstance(rule, RatedRule):
                with blaming(rule, "set_rate", k):
                    rule.set_rate(eta)

    @property
    def clips(self) -> ClipCount:
        """Probabilities that were drawn and cut to 1 so far."""
        total = ClipCount()
        for rule in self.rules:
            clips = getattr(rule, "clips", None)
            if isinstance(clips, ClipCount):
                total.drawn += clips.drawn
                total.clipped += clips.clipped
        return total

    def learn(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Learn one sample, refresh and exchange where it is time; return the outputs before."""
        output = self.update(x, target)
        self._samples += 1
        if self.refresh is not None:
            if self.exchange_every is not None and self._samples % self.exchange_every == 0:
                self._count(self.refresh.exchange())
            if self._samples % self.refresh_every == 0:
                self._count(self.refresh.run())
        return output

    def update(self, x: FloatArray, target: FloatArray) -> FloatArray:
        """Read forward and backward, then pulse all layers; return the outputs before."""
        output, pulses = self.network.learn(x, target, self.rules, self.rng)
        self.work.write += pulses
        return output

    def state(self) -> State:
        """Return generator, counters of rules and refresh, roles, and what every method keeps."""
        return super().state() | {
            "samples": self._samples, "rng": rng_state(self.rng),
            "rules": [rule_state(rule, k) for k, rule in enumerate(self.rules)],
            "refresh": None if self.refresh is None else self.refresh.state(),
            "exchanged": [layer.exchanged.copy() for layer in self._exchanging],
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`."""
        super().restore(state)
        self._samples = state["samples"]
        restore_rng(self.rng, state["rng"])
        for k, (rule, kept) in enumerate(zip(self.rules, state["rules"], strict=True)):
            restore_rule(rule, kept, k)
        if self.refresh is not None:
            self.refresh.restore(state["refresh"])
        for layer, exchanged in zip(self._exchanging, state["exchanged"], strict=True):
            layer.exchanged[...] = exchanged

    @property
    def _exchanging(self) -> list[ExchangingArray]:
        return [layer for layer in self.network.layers if isinstance(layer, ExchangingArray)]

    def finish(self) -> dict[str, Any]:
        """Return the outputs whose pairs have exchanged their devices, per layer (M3c)."""
        exchanged = [np.flatnonzero(layer.exchanged).tolist() for layer in self._exchanging]
        return {"exchanged": exchanged} if exchanged else {}

    def _count(self, done: Refreshed) -> None:
        self.work.refresh += done.pulses
        self.work.pairs += done.pairs


def rule_state(rule: UpdateRule, layer: int) -> State | None:
    """Return what the rule of a layer keeps between samples; None for one that keeps nothing."""
    if not isinstance(rule, Resumable):
        return None
    with blaming(rule, "state", layer):
        return rule.state()


def restore_rule(rule: UpdateRule, state: State | None, layer: int) -> None:
    """Give the rule of a layer back what :func:`rule_state` returned."""
    if state is not None and isinstance(rule, Resumable):
        with blaming(rule, "restore", layer):
            rule.restore(state)
