"""Device-to-device and cycle-to-cycle numbers of potentiation and depression curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.report.pulse_curves import LtpLtd

Floats = NDArray[np.float64]
#: Largest distance from the diagonal that has the label 1; √2 since it is taken vertically.
_LABEL_UNIT = 0.07 * np.sqrt(2.0)


@dataclass(frozen=True, eq=False)
class Variation:
    """Numbers of every device, (n_devices,) each, NaN where not known.

    Attributes:
        low_share, high_share: ends of its curve, mean over cycles, less the mean of all devices,
            as shares of the mean window.
        c2c_share: standard deviation from cycle to cycle as a share of the mean window.
        label_up, label_down: NeuroSim's label of how nonlinear a branch is, closed form: the
            largest distance of the normalised curve from the diagonal, over 0.07 √2 (P.-Y. Chen,
            X. Peng, S. Yu, IEEE TCAD 37, 3067, 2018).
    """

    low_share: Floats
    high_share: Floats
    c2c_share: Floats
    label_up: Floats
    label_down: Floats

    @property
    def n_devices(self) -> int:
        """How many devices there are."""
        return int(self.low_share.size)


def variation_of(curve: LtpLtd) -> Variation | None:
    """Return the variation of a set of curves, None where there is no window."""
    up, down = curve.pulse <= curve.n_up, curve.pulse >= curve.n_up
    if up.sum() < 3 or not np.isfinite(curve.g_siemens).any():
        return None
    mean = curve.cell_siemens
    low, high = mean[up][0], mean[up][-1]
    both = np.isfinite(low) & np.isfinite(high)
    window = float(np.mean(high[both] - low[both])) if both.any() else 0.0
    if not window > 0.0:
        return None
    settled = curve.settled
    c2c = np.full(mean.shape[1], np.nan)
    if settled.shape[0] > 1:
        whole = np.isfinite(settled).all(axis=(0, 1))
        spread = settled[:, :, whole].var(axis=0, ddof=1)
        c2c[whole] = np.sqrt(spread.mean(axis=0)) / window
    labels_down = np.full(mean.shape[1], np.nan)
    if down.sum() >= 3:
        labels_down = _labels(curve.pulse[down], mean[down])
    below, above = ((end - float(end[both].mean())) / window for end in (low, high))
    return Variation(below, above, c2c, _labels(curve.pulse[up], mean[up]), labels_down)


def _labels(pulse: NDArray[np.int64], g: Floats) -> Floats:
    """Return the label of every column of ``g`` (n_points, n_devices) over its pulses."""
    x = ((pulse - pulse[0]) / max(int(pulse[-1] - pulse[0]), 1))[:, None]
    span = g[-1] - g[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        y = (g - g[0]) / span
    known = np.isfinite(y).all(axis=0)
    out = np.full(g.shape[1], np.nan)
    out[known] = np.abs(y[:, known] - x).max(axis=0) / _LABEL_UNIT
    return out
