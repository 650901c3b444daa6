"""The response laws that are fitted: which parameters they have, and where a search begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels

Floats = NDArray[np.float64]

N_NODES: Final = 9
#: From about here on a branch saturates before the rail, and ν says nothing more.
LARGEST_NU: Final = 20.0


@dataclass(frozen=True, slots=True)
class Law:
    """One response law.

    Attributes:
        model: its number in :mod:`hil.fit.kernels`.
        shape: the device file's name of its shape, "" for none.
        low, high: bounds of a device's shape.
        stride: largest change of a shape in one step of the search.
        spread: of the shape between devices where the search begins.
        varies: whether the simulator's devices may differ in shape.
    """

    model: int
    shape: str
    low: float = 0.0
    high: float = 0.0
    stride: float = 1.0
    spread: float = 0.3
    varies: bool = False

    @property
    def tabled(self) -> bool:
        """True for the look-up model, whose curve is a table of nodes."""
        return self.model == kernels.LOOKUP


LAWS: Final[dict[str, Law]] = {
    "linear": Law(kernels.LINEAR, ""),
    "exponential": Law(kernels.AFFINE, "nu", -400.0, 1.6, 1.0, 0.1, True),
    "querlioz": Law(kernels.QUERLIOZ, "beta", -12.0, 20.0),
    "soft-bounds": Law(kernels.AFFINE, "slope", -8.0, 1.5, 0.3, 0.1),
    "power": Law(kernels.POWER, "exponent", -0.5, 12.0, 0.5),
    "lookup": Law(kernels.LOOKUP, ""),
}
#: Models of the simulator, and the power law, which goes into a device file as a table.
ALL: Final = tuple(LAWS)


def start(law: Law, first: float, slope: float) -> tuple[float, float]:
    """Return rate and shape whose step is about ``first − slope·u``."""
    first = max(first, 1e-6)
    ratio = float(np.clip(slope / first, -2.0, 0.97))
    if law.model == kernels.LINEAR or law.tabled:
        return max(first - 0.5 * slope, 0.1 * first), 0.0
    if law.model == kernels.QUERLIOZ:
        beta = max(1.5 * ratio, 0.2) if ratio > 0 else min(1.5 * ratio, -0.2)
        return first * beta / math.expm1(beta), beta
    if law.model == kernels.AFFINE:
        return first, ratio
    return first, float(np.clip(ratio, 0.05, 1.0))


def nu_of_slope(slope: float) -> float:
    """Return ν of an affine law ``rate·(1 − slope·u)``, at most :data:`LARGEST_NU`."""
    return -math.log(max(1.0 - slope, math.exp(-LARGEST_NU)))


def rate_of_affine(first: float, slope: float) -> float:
    """Return 1/N of the exponential model, N the pulses across the range, of an affine law.

    A pulse takes off the share ``first·slope = 1 − e^(−ν/N)`` of the distance to the asymptote.
    """
    nu = nu_of_slope(slope)
    if first <= 0.0:
        return 0.0
    fading = min(first * slope, 1.0 - 1e-12)
    return first if abs(nu) < 1e-9 else -math.log1p(-fading) / nu


def curve(law: Law, theta: Floats, n_nodes: int, up: bool, u: Floats) -> Floats:
    """Return the mean step, as a share of the range, at ``u`` from the start of the branch."""
    k = kernels.RATE_UP if up else kernels.RATE_DOWN
    if law.tabled:
        first = kernels.N_PLAIN + (0 if up else n_nodes)
        grid = np.linspace(0.0, 1.0, n_nodes)
        nodes: Floats = theta[k] * np.interp(u, grid, theta[first : first + n_nodes])
        return nodes
    rate, shape = float(theta[k]), float(theta[k + 1])
    return np.array([kernels.mean_step(law.model, float(x), rate, shape)[0] for x in u])
