"""Read noise from repeated reads of devices at rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.measured import Rests
from hil.fit.result import Estimate

Floats = NDArray[np.float64]

_CYCLES: Final = 60
_NONE: Final = 1e-6  # of the conductance: what numbers of single precision are rounded to
_Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class ReadNoise:
    """Variance of one reading: ``rel2·g² + abs2``, with the estimates of both roots."""

    rel2: float
    abs2: float
    estimates: dict[str, Estimate]
    warnings: tuple[str, ...] = ()

    def variance(self, g: Floats) -> Floats:
        """Return the variance of a reading of ``g`` siemens, in siemens squared."""
        return self.rel2 * g * g + self.abs2


def read_noise(rests: Rests) -> ReadNoise | None:
    """Fit relative and absolute read noise to the variances within groups of reads.

    Variances of normal readings are χ²-distributed; the two parts are found by maximum likelihood,
    each at least 0. None when no group has two readings.
    """
    keep = np.isfinite(rests.g_siemens)
    _, at, n = np.unique(rests.group[keep], return_inverse=True, return_counts=True)
    g = rests.g_siemens[keep]
    mean = np.bincount(at, g) / np.maximum(n, 1)
    squares = np.bincount(at, (g - mean[at]) ** 2)
    enough = n >= 2
    dof, mean, s2 = n[enough] - 1.0, mean[enough], squares[enough] / (n[enough] - 1.0)
    if not dof.size:
        return None
    unit = float(np.abs(mean).max()) or 1.0
    x, s2 = (mean / unit) ** 2, s2 / unit**2
    if float(s2.max()) < _NONE**2:
        nothing = Estimate(0.0, 0.0, 0.0)
        return ReadNoise(0.0, 0.0, {"variation.read_noise": nothing,
                                    "variation.read_noise_siemens": nothing})  # fmt: skip
    value, inverse = _two_parts(x, s2, dof)
    warnings: tuple[str, ...] = ()
    if _inseparable(x, dof):
        # The reads are at one conductance: only the sum of the two is known there.
        total = float((dof * s2).sum() / (dof * x).sum())
        value = np.array([total, 0.0])
        inverse = np.diag([2.0 * total**2 / dof.sum(), 0.0])
        warnings = (
            "variation.read_noise_siemens: the reads at rest are at one conductance, so relative "
            "and absolute read noise cannot be told apart and all is taken as relative; the "
            "protocol read-noise on devices in different states would tell",
        )  # fmt: skip
    errors = np.sqrt(np.maximum(np.diag(inverse), 0.0))
    roots = [
        Estimate(*(float(np.sqrt(max(v, 0.0))) * by for v in (b, b - _Z * e, b + _Z * e)),
                 identifiable=not (warnings and k == 1), unit=unit_name)
        for k, (b, e, by, unit_name) in enumerate(
            zip(value, errors, (1.0, unit), ("", "S"), strict=True)
        )
    ]  # fmt: skip
    names = ("variation.read_noise", "variation.read_noise_siemens")
    return ReadNoise(
        float(value[0]), float(value[1]) * unit**2, dict(zip(names, roots, strict=True)), warnings
    )


def _two_parts(x: Floats, s2: Floats, dof: Floats) -> tuple[Floats, Floats]:
    """Return (relative, absolute) variances and their covariance, by Fisher scoring."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    mean = float((dof * s2).sum() / dof.sum())
    value = np.array([0.5 * mean / float(x.mean()), 0.5 * mean])
    inverse = np.zeros((2, 2))
    for _ in range(_CYCLES):
        variance = np.maximum(design @ value, 1e-12 * mean)
        weight = 0.5 * dof / variance**2
        information = design.T @ (weight[:, None] * design)
        inverse = np.linalg.pinv(information, rcond=1e-12)
        new = inverse @ (design.T @ (weight * s2))
        for k in (0, 1):
            if new[k] < 0.0:  # one part alone explains the reads
                other = 1 - k
                new[k] = 0.0
                d = design[:, other]
                new[other] = float((weight * d * s2).sum() / (weight * d * d).sum())
        if np.allclose(new, value, rtol=1e-10, atol=0.0):
            value = new
            break
        value = new
    return value, inverse


def _inseparable(x: Floats, dof: Floats) -> bool:
    weight = dof / dof.sum()
    centre = float((weight * x).sum())
    return bool((weight * (x - centre) ** 2).sum() < 0.02 * centre**2)
