"""A labelled data set, checked once: inputs in 0 … 1, labels from 0, training and test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError

#: Most classes of a data set: an output needs a column pair of an array.
MAX_CLASSES = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Training and test samples of a classification task. Make it with :meth:`checked`.

    Attributes:
        name: for tables and records.
        x_train, x_test: float64 (n_samples, n_features) in 0 … 1.
        y_train, y_test: int64 (n_samples,) labels in 0 … n_classes − 1.
        n_classes: number of classes.
    """

    name: str
    x_train: NDArray[np.float64]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float64]
    y_test: NDArray[np.int64]
    n_classes: int

    @property
    def n_features(self) -> int:
        """Inputs of one sample, without a bias."""
        return int(self.x_train.shape[1])

    @classmethod
    def checked(
        cls, name: str, x_train: Any, y_train: Any, x_test: Any, y_test: Any,
        n_classes: int | None = None, *, copy: bool = True,
    ) -> Dataset:  # fmt: skip
        """Return a data set of arrays that were checked; images are flattened.

        Args:
            name: of the data set.
            x_train, x_test: (n_samples, …) numbers in 0 … 1.
            y_train, y_test: (n_samples,) whole numbers from 0.
            n_classes: number of classes; None = the largest training label + 1, at least 2.
            copy: False takes x_train and x_test over where they have the right type; they become
                read-only.

        Raises:
            ConfigError: a part is empty, has the wrong shape, NaN, values outside 0 … 1, or labels
                that are no whole numbers or out of range; ``field`` names the array.
        """
        x_train, x_test = _inputs("x_train", x_train, copy), _inputs("x_test", x_test, copy)
        y_train = _labels("y_train", y_train, len(x_train), n_classes)
        if n_classes is None:
            n_classes = max(int(y_train.max()) + 1, 2)
        y_test = _labels("y_test", y_test, len(x_test), n_classes)
        if x_test.shape[1] != x_train.shape[1]:
            raise ConfigError(
                f"has {x_test.shape[1]} features, x_train has {x_train.shape[1]}", field="x_test"
            )
        for values in (x_train, y_train, x_test, y_test):
            values.setflags(write=False)
        return cls(name, x_train, y_train, x_test, y_test, n_classes)

    def limited(self, train: int | None, test: int | None) -> Dataset:
        """Return the data set with at most ``train`` and ``test`` first samples of each part."""
        return Dataset(
            self.name, self.x_train[:train], self.y_train[:train], self.x_test[:test],
            self.y_test[:test], self.n_classes,
        )  # fmt: skip

    def validating(self, share: float, seed: int) -> Dataset:
        """Return the training part split in two: ``share`` of every class takes the test's place.

        Raises:
            ConfigError: the share leaves a part empty.
        """
        train, held = stratified_split(self.y_train, share, seed)
        return Dataset(
            self.name, self.x_train[train], self.y_train[train], self.x_train[held],
            self.y_train[held], self.n_classes,
        )  # fmt: skip


def _inputs(field: str, values: Any, copy: bool) -> NDArray[np.float64]:
    try:
        x = (np.array if copy else np.asarray)(values, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"is no array of numbers: {exc}", field=field) from exc
    if x.ndim < 2 or x.size == 0:
        raise ConfigError(
            f"is empty or has the wrong shape {x.shape}, expected (samples, features)", field=field
        )
    x = np.ascontiguousarray(x.reshape(len(x), -1))
    lowest, highest = x.min(), x.max()
    if lowest >= 0.0 and highest <= 1.0:  # which no NaN is
        return x
    bad = ~np.isfinite(x)
    if bad.any():
        sample, feature = np.argwhere(bad)[0]
        raise ConfigError(
            f"sample {sample}, feature {feature} is {x[sample, feature]}", field=field
        )
    raise ConfigError(
        f"values from {lowest:g} to {highest:g}, must be within 0 … 1 (divide by the largest)",
        field=field,
    )


def _labels(field: str, values: Any, n_samples: int, n_classes: int | None) -> NDArray[np.int64]:
    y = np.asarray(values)
    if y.shape != (n_samples,):
        raise ConfigError(f"has shape {y.shape}, expected ({n_samples},)", field=field)
    if y.dtype.kind not in "iu":
        whole = y.dtype.kind == "f" and bool((np.isfinite(y) & (y == np.floor(y))).all())
        if not whole:
            raise ConfigError(f"labels must be whole numbers, type is {y.dtype}", field=field)
    top = MAX_CLASSES if n_classes is None else n_classes
    wrong = np.flatnonzero((y < 0) | (y >= top))
    if wrong.size:
        raise ConfigError(
            f"label {y[wrong[0]]} of sample {wrong[0]} is not within 0 … {top - 1}", field=field
        )
    return y.astype(np.int64)


def stratified_split(
    labels: NDArray[np.integer[Any]], test_share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices (train, test), ascending, with ``test_share`` of every class in the test part.

    The same seed gives the same split on every machine (PCG64 of ``seed``).

    Raises:
        ConfigError: the share leaves a part empty.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[: round(members.size * test_share)]] = True
    if chosen.all() or not chosen.any():
        raise ConfigError(
            f"a test share of {test_share:g} leaves no training or no test samples of "
            f"{len(labels)}",
            field="test_share",
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
