"""Which setting tuning chose: the one with the best mean over its seeds, on validation samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from hil.study.folder import StudyFolder
    from hil.study.points import Point

#: What is compared; in runs that tune it is measured on the validation part.
METRIC: Final = "test_accuracy"


def chosen(folder: StudyFolder, points: Sequence[Point]) -> dict[str, Any] | None:
    """Return the best setting of one combination's tuning points; None while one is not done.

    Of equal settings the first is taken. A setting whose run failed counts as not done.
    """
    found: dict[str, list[float]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for point in points:
        key = json.dumps(dict(point.tuned), sort_keys=True)
        numbers = folder.numbers(point.id)
        if METRIC not in numbers:
            return None
        settings[key] = dict(point.tuned)
        found.setdefault(key, []).append(float(numbers[METRIC]))
    best = max(found, key=lambda key: float(np.mean(found[key])))
    return settings[best]
