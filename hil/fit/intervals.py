"""Intervals: bootstrap over devices (or cycles, for few devices), and those of spreads.

Means and shared parameters: devices are drawn with replacement and the joint parabola of the
likelihood is solved again for each draw. A device brings all its cycles along, so their variation
is in it; for one device the cycles are drawn. Draws of 30 devices give a standard error that itself
is uncertain by an eighth, and less where parameters are many. So the error is the one of the
likelihood's information, which a right model makes exact, and that of the draws where it is larger
by more than chance: there the devices scatter more than the model says. Where there are fewer
devices than :data:`FEWEST`, it is that of the information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.mixed import Mixed, Solved, safe_inverse

Floats = NDArray[np.float64]

FEWEST: Final = 12  #: devices (or cycles of a single device) that a bootstrap needs
_LEVEL: Final = 0.975
_DRAWS_AT_ONCE: Final = 64
_CHANCE: Final = 3.0  # standard errors by which the variance of the draws has to be larger


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Σ between devices with the covariance of its entries.

    ``pairs`` lists the entries (i, j), i ≤ j, that ``error`` (n_pairs, n_pairs) is about.
    """

    covariance: Floats
    pairs: list[tuple[int, int]]
    error: Floats
    n_devices: int


def bootstrap_errors(
    solved: Solved, n_draws: int, rng: np.random.Generator, mixed: Mixed
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the covariance (q, q) of the estimates, and whose error (q,) is that of the draws."""
    scores, informations = solved.scores, solved.informations
    n, q = scores.shape
    if n < FEWEST or n_draws < 2:
        return solved.inverse, np.zeros(q, dtype=np.bool_)
    centred = scores - scores.mean(0)
    flat = informations.reshape(n, q * q)
    estimates = np.zeros((n_draws, q))
    at = np.flatnonzero(mixed.free)
    # What was measured besides is drawn from its own error.
    apart, root = np.zeros((q, q)), np.zeros((q, q))
    if mixed.precision is not None:
        n_r = mixed.random.size
        values, vectors = np.linalg.eigh(mixed.precision)
        apart[n_r:, n_r:] = mixed.precision
        root[n_r:, n_r:] = vectors * np.sqrt(np.maximum(values, 0.0))
    for start in range(0, n_draws, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, n_draws - start)
        weights = rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)
        sums = weights @ centred + rng.standard_normal((size, q)) @ root.T
        matrices = (weights @ flat).reshape(size, q, q)
        for k in range(size):
            inverse = safe_inverse((matrices[k] + apart)[np.ix_(at, at)])
            estimates[start + k, at] = inverse @ sums[k, at]
    drawn = estimates.var(axis=0, ddof=1) * n / (n - 1.0)
    told = np.diag(solved.inverse)
    beyond = (told > 0.0) & (drawn > told * (1.0 + _CHANCE * np.sqrt(2.0 / (n - 1.0))))
    wider = np.ones(q)
    wider[beyond] = np.sqrt(drawn[beyond] / told[beyond])
    return solved.inverse * wider * wider[:, None], beyond


def t_quantile(n: int) -> float:
    """Return the 97.5 % quantile of Student's t for ``n`` units."""
    from scipy.stats import t

    return float(t.ppf(_LEVEL, max(n - 1, 1)))


def spread_of(mixed: Mixed, solved: Solved) -> Spread:
    """Return Σ with the covariance of its entries, from their Fisher information."""
    n_r = mixed.random.size
    w = solved.informations[:, :n_r, :n_r]
    n = len(w)
    pairs = [(i, j) for i in range(n_r) for j in range(i, n_r)]
    information = np.zeros((len(pairs), len(pairs)))
    for a, (i, j) in enumerate(pairs):
        for b, (k, m) in enumerate(pairs[: a + 1]):
            # ½ tr(W E_ij W E_km) with E symmetric
            value = w[:, j, k] * w[:, m, i] + w[:, j, m] * w[:, k, i]
            if k == m:
                value = value / 2.0
            if i == j:
                value = value / 2.0
            information[a, b] = information[b, a] = float(value.sum())
    error = safe_inverse(information) * n / max(n - 1.0, 1.0)
    return Spread(mixed.covariance, pairs, error, n)


def variance_interval(value: float, error: float, n: int) -> tuple[float, float]:
    """Return the interval of a variance between ``n`` devices whose standard error is ``error``.

    Variance and estimation variance together are χ²-distributed; the latter is taken off.
    """
    from scipy.stats import chi2

    dof = max(n - 1, 1)
    total = max(error * np.sqrt(dof / 2.0), value)
    own = total - value
    low = dof * total / float(chi2.ppf(_LEVEL, dof)) - own
    high = dof * total / float(chi2.ppf(1.0 - _LEVEL, dof)) - own
    return max(low, 0.0), max(high, 0.0)
