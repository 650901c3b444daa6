"""What a training would do that its author may not want: said, not refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hil.config.training import Training
from hil.control.array import SynapseArray
from hil.control.response import BRANCH_END, ResponseCurve
from hil.datasets.dataset import Dataset

#: Most classes that are named one by one.
_NAMED = 16


def of_dataset(training: Training, dataset: Dataset) -> list[str]:
    """Return what to say about a data set: classes without a training sample.

    A file that gives ``classes`` itself means what it says.
    """
    counts = np.bincount(dataset.y_train, minlength=dataset.n_classes)
    empty = np.flatnonzero(counts == 0)
    if training.dataset.classes is not None or not empty.size:
        return []
    listed = ", ".join(str(label) for label in empty[:_NAMED]) + ", …" * (empty.size > _NAMED)
    return [
        f"dataset: {empty.size} of {dataset.n_classes} classes have no training sample ({listed}), "
        f"the largest label is {dataset.y_train.max()}; each takes an output all the same. Give "
        "`classes` if this is meant"
    ]


def of_response(
    training: Training, layers: Sequence[SynapseArray], curves: Sequence[ResponseCurve]
) -> list[str]:
    """Return what to say about a refresh whose threshold the measured devices hardly reach."""
    refresh = training.effective_refresh
    if refresh is None:
        return []
    said: dict[int, str] = {}
    for k, (layer, curve) in enumerate(zip(layers, curves, strict=False)):
        falls = training.rule.pairs == "M3'"  # shares are then counted from the upper end
        rising = 1.0 - curve.down if falls else curve.up
        reach = float(rising[0] + BRANCH_END * (rising[-1] - rising[0]))
        if refresh.threshold >= reach:
            said.setdefault(
                id(layer.backend),
                f"refresh.threshold: {refresh.threshold:g} of the conductance window is hardly "
                f"ever reached: {len(curve.up) - 1} pulses took the measured devices of layer {k} "
                f"to {float(rising[-1]):.3g}. Pairs may never be refreshed; if the devices go "
                "further, let characterise.pulses cross their range",
            )
    return list(said.values())
