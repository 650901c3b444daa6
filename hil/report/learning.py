"""What a training did: accuracy over epochs beside floating point, pulses, confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.report.devices import Floats
from hil.report.outcome import Outcome, has
from hil.report.recorded import Recorded
from hil.report.text import number


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Epochs of one training, each (n_epochs,); accuracies are shares, NaN = not evaluated.

    Attributes:
        method: what the run calls it, "" where there is only one.
        epoch: from 1.
        float_accuracy: of floating-point back-propagation, empty without.
    """

    method: str
    epoch: NDArray[np.int64]
    test_accuracy: Floats
    train_accuracy: Floats
    train_loss: Floats
    write_pulses: Floats
    refresh_pulses: Floats
    float_accuracy: Floats


@dataclass(frozen=True, eq=False)
class Confusion:
    """Test samples (n_classes, n_classes) by their class and by what the network took them for."""

    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of samples on the diagonal."""
        return float(np.trace(self.counts) / max(int(self.counts.sum()), 1))

    @property
    def shares(self) -> Floats:
        """Share of every class's samples; NaN for a class without samples."""
        total = self.counts.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.asarray(self.counts / np.where(total > 0, total, np.nan))


def learning_curves(recorded: Recorded) -> list[LearningCurve]:
    """Return the trainings of a run; an epoch that was done again counts once, as it was last."""
    epochs: dict[str, dict[int, dict[str, Any]]] = {}
    for event in recorded.events("epoch"):
        epoch = number(event.get("epoch"))
        if np.isfinite(epoch):
            epochs.setdefault(str(event.get("method", "")), {})[int(epoch)] = event
    floats = {}
    for event in recorded.events("float"):
        values = event.get("test_accuracy")
        if isinstance(values, list):
            floats[str(event.get("method", ""))] = np.array([number(v) for v in values])
    curves = []
    for method, done in epochs.items():
        ordered = [done[k] for k in sorted(done)]
        test, train, loss, write, refresh = (
            np.array([number(event.get(name)) for event in ordered])
            for name in ("test_accuracy", "train_accuracy", "train_loss", "write_pulses",
                         "refresh_pulses")
        )  # fmt: skip
        curves.append(
            LearningCurve(method, np.array(sorted(done)) + 1, test, train, loss, write, refresh,
                          floats.get(method, np.zeros(0)))
        )  # fmt: skip
    return curves


def confusion(predictions: Outcome) -> Confusion | None:
    """Return the confusion matrix of a ``predictions`` checkpoint, None where there is none."""
    if not has(predictions, "labels", "predicted"):
        return None
    labels, predicted = (predictions[n].astype(np.int64) for n in ("labels", "predicted"))
    if labels.shape != predicted.shape or min(labels.min(), predicted.min()) < 0:
        return None
    n = int(max(labels.max(), predicted.max())) + 1
    return Confusion(np.bincount(labels * n + predicted, minlength=n * n).reshape(n, n))
