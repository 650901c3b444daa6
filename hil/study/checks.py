"""What a point would fail with at its start: data set, room on the arrays, the user's rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.config.station import Station
from hil.config.training import Training
from hil.errors import ConfigError
from hil.study.contents import Contents

if TYPE_CHECKING:
    from hil.datasets.dataset import Dataset

#: Module of a rule -> digest of its sources when this process loaded it; Python keeps what it has.
_LOADED: Final[dict[str, str]] = {}


class TrainingChecks:
    """Checks trainings as they begin; what they have in common is checked once.

    Without ``data`` neither data sets are read nor layers placed, whose sizes they give.
    """

    def __init__(self, contents: Contents, *, data: bool = True) -> None:
        self._contents, self._data = contents, data
        self._datasets: dict[str, Dataset] = {}
        self._done: set[str] = set()

    def check(self, training: Training, station: Station, *, sim: bool) -> None:
        """Check a training on a station.

        Raises:
            ConfigError: the data set cannot be read, the layers do not fit the arrays, or the
                user's rule cannot be loaded.
        """
        rule = training.rule
        if rule.rule is not None:
            self._once([rule.rule, rule.options], lambda: self._load_rule(training))
        if not self._data:
            return
        dataset = self._dataset(training)
        arrays = [table.model_dump(mode="json", exclude={"device"}) for table in station.array]
        network = training.network
        sizes = [dataset.n_features, *network.hidden, dataset.n_classes, network.bias]
        key = [sizes, rule.method, training.placement.model_dump(), arrays]
        self._once(key, lambda: _place(training, dataset, station, sim))

    def _once(self, key: Any, check: Callable[[], None]) -> None:
        text = json.dumps(key, sort_keys=True)
        if text not in self._done:
            check()
            self._done.add(text)

    def _load_rule(self, training: Training) -> None:
        from hil.learning.loading import load_rule

        name = str(training.rule.rule)
        module = name.partition(":")[0]
        load_rule(name, training.rule.options)
        digest = self._contents.module(module)
        if digest is None:
            raise ConfigError(f"{module!r} has no source file that a study could tell changes by",
                              field="rule.rule")  # fmt: skip
        if _LOADED.setdefault(module, digest) != digest:
            raise ConfigError(f"{module!r} was edited after this process had loaded it; start "
                              "Python again", field="rule.rule")  # fmt: skip

    def _dataset(self, training: Training) -> Dataset:
        """Return a sample of the data set, which has its size."""
        from hil.datasets.dataset import Dataset
        from hil.datasets.sources import load_dataset

        table = training.dataset.model_dump(mode="json", exclude={"train_limit", "test_limit"})
        key = json.dumps(table, sort_keys=True)
        if key not in self._datasets:
            try:
                whole = load_dataset(training)
            except ConfigError as exc:
                if exc.path is None:
                    raise ConfigError(exc.message, field="dataset") from exc
                field = "dataset.folder" if training.dataset.kind == "mnist" else "dataset.file"
                raise ConfigError(f"{exc.path}: {exc.message}", field=field) from exc
            self._datasets[key] = Dataset.checked(
                whole.name, whole.x_train[:1], whole.y_train[:1], whole.x_test[:1],
                whole.y_test[:1], whole.n_classes,
            )  # fmt: skip
        return self._datasets[key]


def _place(training: Training, dataset: Dataset, station: Station, sim: bool) -> None:
    """Place the layers as the training will; nothing is opened."""
    from hil.control.placement import build_network
    from hil.control.session import open_session

    folder = Path() if station.path is None else station.path.parent
    with open_session(station, sim=sim, drive=False, out=folder) as session:
        # The station file is a copy that will be gone when the error is read.
        sites = [replace(site, file=None) for site in session.sites()]
        build_network(training, dataset, sites)
