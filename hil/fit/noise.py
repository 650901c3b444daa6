"""Read noise from repeated reads of devices at rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.measured import Responses, Rests
from hil.fit.result import Estimate

Floats = NDArray[np.float64]

_CYCLES: Final = 60
_NONE: Final = 1e-6  # of the conductance: what numbers of single precision are rounded to
_Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class ReadNoise:
    """Variance of a reading, ``rel2·g² + abs2``, with the estimates of both roots.

    ``precision`` is the information (2, 2) of the two parts, None where they were not measured.
    """

    rel2: float
    abs2: float
    estimates: dict[str, Estimate]
    warnings: tuple[str, ...] = ()
    precision: Floats | None = None

    def per(self, reads: int, unit: float) -> ReadNoise:
        """Return the noise of the mean of ``reads`` readings, in units of ``unit`` siemens."""
        by = np.array([1.0 / reads, 1.0 / reads / unit**2])
        precision = None if self.precision is None else self.precision / by / by[:, None]
        return replace(self, rel2=self.rel2 * by[0], abs2=self.abs2 * by[1], precision=precision)

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
    dof: Floats = n[enough].astype(np.float64) - 1.0
    mean, s2 = mean[enough], squares[enough] / dof
    if not dof.size:
        return None
    unit = float(np.abs(mean).max()) or 1.0
    x: Floats = (mean / unit) ** 2
    s2 = s2 / unit**2
    if float(s2.max()) < _NONE**2:
        nothing = Estimate(0.0, 0.0, 0.0)
        return ReadNoise(0.0, 0.0, {"variation.read_noise": nothing,
                                    "variation.read_noise_siemens": nothing})  # fmt: skip
    value, information = _two_parts(x, s2, dof)
    inverse = np.linalg.pinv(information, rcond=1e-12)
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
    roots = []
    for k, by, symbol in ((0, 1.0, ""), (1, unit, "S")):
        ends = value[k] + _Z * errors[k] * np.array([0.0, -1.0, 1.0])
        middle, lowest, highest = (np.sqrt(np.maximum(ends, 0.0)) * by).tolist()
        known = not (warnings and k == 1)
        roots.append(Estimate(middle, lowest, highest, identifiable=known, unit=symbol))
    names = ("variation.read_noise", "variation.read_noise_siemens")
    units = np.array([1.0, unit**2])
    return ReadNoise(
        float(value[0]), float(value[1]) * unit**2, dict(zip(names, roots, strict=True)), warnings,
        information / units / units[:, None],
    )  # fmt: skip


def _two_parts(x: Floats, s2: Floats, dof: Floats) -> tuple[Floats, Floats]:
    """Return (relative, absolute) variances and their information, by Fisher scoring."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    mean = float((dof * s2).sum() / dof.sum())
    value = np.array([0.5 * mean / float(x.mean()), 0.5 * mean])
    information = np.zeros((2, 2))
    for _ in range(_CYCLES):
        variance = np.maximum(design @ value, 1e-12 * mean)
        weight = 0.5 * dof / variance**2
        information = design.T @ (weight[:, None] * design)
        new = np.linalg.pinv(information, rcond=1e-12) @ (design.T @ (weight * s2))
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
    return value, information


def _inseparable(x: Floats, dof: Floats) -> bool:
    weight = dof / dof.sum()
    centre = float((weight * x).sum())
    return bool((weight * (x - centre) ** 2).sum() < 0.02 * centre**2)


def noise_of_pulses(r: Responses) -> ReadNoise:
    """Guess the read noise from the pulses alone: successive steps share a read, with both signs.

    The fit then finds it with the rest. Steps are taken from their mean at the same place of the
    branch and of the same device.
    """
    same = r.after_siemens == r.before_siemens
    if same.mean() > 0.002:  # equal reads do not come from noise
        return ReadNoise(0.0, 0.0, {})
    step = r.after_siemens - r.before_siemens
    new = np.r_[True, (np.diff(r.chain) != 0) | (np.diff(r.device) != 0)]
    place = np.arange(r.n) - np.maximum.accumulate(np.where(new, np.arange(r.n), 0))
    for labels in (place * 2 + (r.polarity > 0), r.device * 2 + (r.polarity > 0)):
        mean = np.bincount(labels, step) / np.maximum(np.bincount(labels), 1)
        step = step - mean[labels]
    linked = ~new[1:] & (r.before_siemens[1:] == r.after_siemens[:-1])
    shared = -float((step[1:] * step[:-1])[linked].mean()) if linked.any() else 0.0
    variance = max(shared, 0.02 * float(step.var()))
    return ReadNoise(
        0.5 * variance / float(np.mean(r.after_siemens**2)), 0.5 * variance, {},
        ("variation.read_noise: no repeated reads at rest, so it is found from the pulses; the "
         "protocol read-noise would tell it apart better",),
    )  # fmt: skip
