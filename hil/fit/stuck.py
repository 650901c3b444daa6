"""Fractions of devices that are stuck, with exact binomial intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.fit.measured import Responses
from hil.fit.result import NO_DATA, STUCK_HIGH, STUCK_LOW, STUCK_VALUE, Estimate


def stuck_fractions(kinds: NDArray[np.int8], responses: Responses) -> dict[str, Estimate]:
    """Return the fractions by their names in a device file (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    n = int((kinds != NO_DATA).sum())
    out = {}
    for name, code in (
        ("stuck_at_min", STUCK_LOW), ("stuck_at_max", STUCK_HIGH), ("stuck_at_value", STUCK_VALUE),
    ):  # fmt: skip
        k = int((kinds == code).sum())
        low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
        high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
        out[f"variation.{name}"] = Estimate(k / n, low, high)
    rows = (kinds == STUCK_VALUE)[responses.device]
    if rows.any():
        g = responses.after_siemens[rows]
        low, high = np.quantile(g, (0.025, 0.975)).tolist()
        out["variation.stuck_value"] = Estimate(float(np.median(g)), low, high, unit="S")
    return out
