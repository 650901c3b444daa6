"""Online training of a network on arrays: epochs of samples, refresh, evaluation, counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.control.network import ArrayNetwork
from hil.control.refresh import Refresh, Refreshed
from hil.datasets.dataset import Dataset
from hil.errors import ConfigError
from hil.learning.methods import RatedRule
from hil.learning.neuron import one_hot, squared_error
from hil.learning.rule import UpdateRule
from hil.learning.schedule import ExponentialDecay
from hil.learning.triggers import ClipCount

#: Samples between two reports of progress.
PROGRESS_EVERY = 50

#: Called with (samples done, samples in all).
OnProgress = Callable[[int, int], None]
#: Called with a kind (``epoch``, ``response``, …) and its fields, e.g. for ``RunFolder.event``.
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """What one epoch did; pulses are pulses on selected devices.

    Attributes:
        epoch: from 0.
        eta: learning rate.
        train_loss: mean of ½ Σ (target − y)² before each update.
        train_accuracy: share of samples classified right before their update.
        test_accuracy: NaN where the epoch was not evaluated.
        write_pulses, refresh_pulses: by updates, and by resetting and programming again.
        reprogrammed_pairs: pairs that refresh programmed again.
        clipped_fraction: share of the rule's probabilities that were cut to 1.
        seconds: wall-clock time.
    """

    epoch: int
    eta: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    write_pulses: int
    refresh_pulses: int
    reprogrammed_pairs: int
    clipped_fraction: float
    seconds: float


@dataclass
class TrainingHistory:
    """Epochs of a training, in order."""

    epochs: list[EpochMetrics] = field(default_factory=list)

    @property
    def test_accuracy(self) -> float:
        """Test accuracy after the last epoch, NaN before the first evaluation."""
        return self.epochs[-1].test_accuracy if self.epochs else float("nan")

    def total(self, name: str) -> int:
        """Return the sum over epochs of a count, e.g. ``write_pulses``."""
        return int(sum(getattr(epoch, name) for epoch in self.epochs))


def sample_orders(
    n_samples: int, epochs: int, limit: int | None, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the order of samples of every epoch, at most ``limit`` of them."""
    return [rng.permutation(n_samples)[:limit] for _ in range(epochs)]


def _clips(rules: Sequence[UpdateRule]) -> ClipCount:
    total = ClipCount()
    for rule in rules:
        clips = getattr(rule, "clips", None)
        if isinstance(clips, ClipCount):
            total.drawn += clips.drawn
            total.clipped += clips.clipped
    return total


class Trainer:
    """Trains a network through pulses, sample by sample.

    Args:
        network: the network; its pairs are initialised.
        rules: one per layer.
        dataset: samples; features and classes must fit the network.
        schedule: learning rate, given to rules that have ``set_rate``.
        orders: sample indices of every epoch.
        rng: random bits of the rules.
        refresh: None = never.
        refresh_every: samples between refreshes, counted over epochs.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        batch: test samples per forward read.
        on_progress, on_event: observers.

    Raises:
        ConfigError: rules or data set do not fit the network.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        rules: Sequence[UpdateRule],
        dataset: Dataset,
        schedule: ExponentialDecay,
        orders: Sequence[NDArray[np.int64]],
        rng: np.random.Generator,
        *,
        refresh: Refresh | None = None,
        refresh_every: int = 100,
        evaluate_every: int = 1,
        batch: int = 128,
        on_progress: OnProgress | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        if len(rules) != len(network.layers):
            raise ConfigError(f"{len(rules)} rules for {len(network.layers)} layers", field="rule")
        if dataset.n_features != network.n_features or dataset.n_classes > network.n_classes:
            raise ConfigError(
                f"the data set has {dataset.n_features} features and {dataset.n_classes} classes, "
                f"the network {network.n_features} inputs and {network.n_classes} outputs",
                field="dataset",
            )
        if refresh_every < 1:
            raise ConfigError(f"must be at least 1, got {refresh_every}", field="refresh.every")
        self.network, self.rules, self.dataset = network, list(rules), dataset
        self.schedule, self.orders, self.rng = schedule, list(orders), rng
        self.refresh, self.refresh_every = refresh, refresh_every
        self.evaluate_every, self.batch = evaluate_every, batch
        self._on_progress, self._on_event = on_progress, on_event
        self._targets = one_hot(dataset.y_train, network.n_classes)
        self._done = 0
        self._total = sum(order.size for order in self.orders)

    def accuracy(self) -> float:
        """Return the share of test samples that the network classifies right, read now."""
        guess = self.network.classify(self.dataset.x_test, batch=self.batch)
        return float((guess == self.dataset.y_test).mean())

    def run(self) -> TrainingHistory:
        """Train all epochs and return what each did.

        Raises:
            RunInterrupted: a stop was requested; the array is in the safe state.
            RuleError: a rule returned something that cannot be turned into pulses.
        """
        history = TrainingHistory()
        for epoch, order in enumerate(self.orders):
            metrics = self._epoch(epoch, order)
            history.epochs.append(metrics)
            if self._on_event is not None:
                fields = {name: getattr(metrics, name) for name in EpochMetrics.__slots__}
                self._on_event("epoch", fields)
        return history

    def _epoch(self, epoch: int, order: NDArray[np.int64]) -> EpochMetrics:
        begin = time.perf_counter()
        eta = self.schedule.rate(epoch)
        for rule in self.rules:
            if isinstance(rule, RatedRule):
                rule.set_rate(eta)
        before = _clips(self.rules)
        loss, right, pulses, refreshed = 0.0, 0, 0, Refreshed()
        x, y, targets = self.dataset.x_train, self.dataset.y_train, self._targets
        for k in order:
            output, written = self.network.learn(x[k], targets[k], self.rules, self.rng)
            pulses += written
            loss += float(squared_error(output, targets[k]))
            right += int(output.argmax() == y[k])
            self._done += 1
            if self.refresh is not None and self._done % self.refresh_every == 0:
                refreshed += self.refresh.run()
            if self._on_progress is not None and self._done % PROGRESS_EVERY == 0:
                self._on_progress(self._done, self._total)
        last = epoch == len(self.orders) - 1
        evaluated = last or (epoch + 1) % self.evaluate_every == 0
        test = self.accuracy() if evaluated else float("nan")
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
        after = _clips(self.rules)
        n = max(order.size, 1)
        return EpochMetrics(
            epoch, eta, loss / n, right / n, test, pulses, refreshed.pulses, refreshed.pairs,
            ClipCount(after.drawn - before.drawn, after.clipped - before.clipped).fraction,
            time.perf_counter() - begin,
        )  # fmt: skip
