"""Online training of a network on arrays: epochs of samples, refresh, evaluation, counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.control.costs import ENERGY_NOTE, CostMeter, Costs
from hil.control.learners.base import Learner, Work
from hil.control.network import ArrayNetwork
from hil.control.states import State
from hil.datasets.dataset import Dataset
from hil.errors import ConfigError, RuleError
from hil.learning.neuron import one_hot, squared_error
from hil.learning.schedule import Schedule
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
        write_pulses, refresh_pulses: by updates, and by what keeps devices in their range.
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
    costs: Costs | None = None  #: of all epochs together, None before the end
    #: Test samples after the last epoch: their classes and what the network takes them for.
    predictions: dict[str, NDArray[np.int64]] = field(default_factory=dict)

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


def check_fits(dataset: Dataset, network: ArrayNetwork) -> None:
    """Raise ConfigError when a data set has other features than a network, or more classes."""
    if dataset.n_features != network.n_features or dataset.n_classes > network.n_classes:
        raise ConfigError(
            f"the data set has {dataset.n_features} features and {dataset.n_classes} classes, "
            f"the network {network.n_features} inputs and {network.n_classes} outputs",
            field="dataset",
        )


class Checkpoints(Protocol):
    """Takes the state of a training now and then; called between samples with what makes it."""

    def beside(self, state: Callable[[], State]) -> None:
        """Keep these values with every state from now on: what came before the first sample."""

    def begun(self, state: Callable[[], State]) -> None:
        """Take the state before the first sample."""

    def sample_done(self, state: Callable[[], State]) -> None:
        """Take the state if it is time; a sample was learnt."""

    def epoch_done(self, state: Callable[[], State]) -> None:
        """Take the state if it is time; an epoch that is not the last one is over."""


@dataclass(slots=True)
class _Epoch:
    """The epoch at hand: samples learnt, sums of loss and hits, work and clips at its beginning."""

    samples: int = 0
    loss: float = 0.0
    right: int = 0
    work: Work = field(default_factory=Work)
    clips: ClipCount = field(default_factory=ClipCount)
    begin_s: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began, without the time between a crash and going on."""
        return time.perf_counter() - self.begin_s


class Trainer:
    """Trains a network sample by sample with a learner.

    Args:
        learner: what learns, and how; its network is initialised.
        dataset: samples; features and classes must fit the network.
        schedule: learning rate.
        orders: sample indices of every epoch.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        batch: test samples per forward read.
        on_progress, on_event: observers.
        checkpoints: decides when the state is kept.

    Raises:
        ConfigError: the data set does not fit the network.
    """

    def __init__(
        self,
        learner: Learner,
        dataset: Dataset,
        schedule: Schedule,
        orders: Sequence[NDArray[np.int64]],
        *,
        evaluate_every: int = 1,
        batch: int = 128,
        on_progress: OnProgress | None = None,
        on_event: OnEvent | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        network = learner.network
        check_fits(dataset, network)
        self.learner, self.dataset = learner, dataset
        self.schedule, self.orders = schedule, list(orders)
        self.evaluate_every, self.batch = evaluate_every, batch
        self._on_progress, self._on_event = on_progress, on_event
        self._checkpoints = checkpoints
        self._targets = one_hot(dataset.y_train, network.n_classes)
        self.history = TrainingHistory()
        self._at = _Epoch()
        self._meter: CostMeter | None = None
        self._total = sum(order.size for order in self.orders)

    def state(self) -> State:
        """Return what it takes to go on from the next sample, the learner's state included."""
        at = self._at
        return {
            "epochs": [asdict(epoch) for epoch in self.history.epochs],
            "samples": at.samples, "loss": at.loss, "right": at.right,
            "work": asdict(at.work), "clips": asdict(at.clips), "seconds": at.elapsed_s,
            "learner": self.learner.state(),
            "costs": None if self._meter is None else self._meter.state(),
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from :meth:`state`; the learner was made anew and is given its own back."""
        self.history = TrainingHistory([EpochMetrics(**epoch) for epoch in state["epochs"]])
        self._at = _Epoch(
            state["samples"], state["loss"], state["right"], Work(**state["work"]),
            ClipCount(**state["clips"]), time.perf_counter() - state["seconds"],
        )  # fmt: skip
        self.learner.restore(state["learner"])
        if state["costs"] is not None:
            self._meter = CostMeter(self.learner.matrices, state["costs"])

    @property
    def done(self) -> int:
        """Samples learnt so far."""
        before = self.orders[: len(self.history.epochs)]
        return sum(order.size for order in before) + self._at.samples

    def run(self) -> TrainingHistory:
        """Train the epochs that are left and return what each did.

        Raises:
            RunInterrupted: a stop was requested; the array is in the safe state.
            RuleError: a rule returned something that cannot be turned into pulses.
        """
        history = self.history
        if self._meter is None:
            self._meter = CostMeter(self.learner.matrices)
        if self._checkpoints is not None and not self.done:
            self._checkpoints.begun(self.state)
        for epoch in range(len(history.epochs), len(self.orders)):
            metrics = self._epoch(epoch, self.orders[epoch])
            self._meter.mark()
            history.epochs.append(metrics)
            self._at = _Epoch()
            if self._on_event is not None:
                self._on_event("epoch", asdict(metrics))
            if self._checkpoints is not None and epoch + 1 < len(self.orders):
                self._checkpoints.epoch_done(self.state)
        work = self.learner.work
        if self.learner.predicted is not None:
            labels = np.asarray(self.dataset.y_test, dtype=np.int64)
            history.predictions = {"labels": labels, "predicted": self.learner.predicted}
        history.costs = self._meter.costs(work.write, work.refresh)
        if self._on_event is not None:
            self._on_event("costs", asdict(history.costs) | {"energy": ENERGY_NOTE})
        return history

    def _epoch(self, epoch: int, order: NDArray[np.int64]) -> EpochMetrics:
        learner, eta, at = self.learner, self.schedule.rate(epoch), self._at
        learner.set_rate(eta)
        if not at.samples:
            at.work, at.clips = learner.work.copy(), learner.clips.copy()
            at.begin_s = time.perf_counter()
        x, y, targets = self.dataset.x_train, self.dataset.y_train, self._targets
        done = self.done
        for k in order[at.samples :]:
            try:
                output = learner.learn(x[k], targets[k])
            except RuleError as exc:
                exc.add_note(f"sample {k} of the training part, epoch {epoch + 1}")
                raise
            at.loss += float(squared_error(output, targets[k]))
            at.right += int(output.argmax() == y[k])
            at.samples += 1
            done += 1
            if self._on_progress is not None and done % PROGRESS_EVERY == 0:
                self._on_progress(done, self._total)
            if self._checkpoints is not None:
                self._checkpoints.sample_done(self.state)
        last = epoch == len(self.orders) - 1
        if last:
            noted = learner.finish()
            if noted and self._on_event is not None:
                self._on_event("finished", noted)
        test = float("nan")
        if learner.ready and (last or (epoch + 1) % self.evaluate_every == 0):
            test = learner.accuracy(self.dataset, batch=self.batch)
        if self._on_progress is not None:
            self._on_progress(done, self._total)
        n = max(order.size, 1)
        work = learner.work
        return EpochMetrics(
            epoch, eta, at.loss / n, at.right / n, test, work.write - at.work.write,
            work.refresh - at.work.refresh, work.pairs - at.work.pairs,
            learner.clips.since(at.clips).fraction, at.elapsed_s,
        )  # fmt: skip
