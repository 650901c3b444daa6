"""What a finished search knows: values, their errors, and how to add a named estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.chains import Chains
from hil.fit.intervals import (
    Spread,
    bootstrap_errors,
    spread_of,
    t_quantile,
    variance_interval,
)
from hil.fit.laws import Law
from hil.fit.mixed import Mixed, Solved
from hil.fit.noise import ReadNoise
from hil.fit.preparing import Rails
from hil.fit.result import Estimate

Floats = NDArray[np.float64]

_NORMAL: Final = 1.959963984540054
_DRAWS: Final = 2000  # of the estimates, for intervals of what is not a parameter of the search


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all models share: the data, the rails found and which devices (of all) are fitted."""

    chains: Chains
    noise: ReadNoise
    rails: Rails
    devices: NDArray[np.int64]
    n_all: int
    threads: int
    n_bootstrap: int
    seed: int
    reads: int


#: A sum of columns of theta: column → weight.
Form = dict[int, float]


def _padded(covariance: Floats) -> Floats:
    size = np.sqrt(np.maximum(np.diag(covariance), 1e-24))
    out: Floats = covariance + np.diag(1e-9 * size**2)
    return out


class Reading:
    """Turns a finished search into named estimates."""

    def __init__(self, setting: Setting, law: Law, mixed: Mixed, solved: Solved) -> None:
        self.setting, self.law, self.mixed = setting, law, mixed
        self.n_r = mixed.random.size
        self.free = mixed.free
        rng = np.random.default_rng(setting.seed)
        errors, beyond = bootstrap_errors(solved, setting.n_bootstrap, rng, mixed)
        n_units = len(solved.scores)
        # An error that is the scatter of few devices is itself uncertain (Student's t); what they
        # share is known from all their pulses.
        few = np.ones(len(errors))
        scatter = beyond | (np.arange(few.size) < self.n_r)
        few[scatter] = t_quantile(n_units) / _NORMAL if n_units > 1 else 1.0
        self.errors: Floats = errors * few * few[:, None]
        several = self.n_r > 0 and len(mixed.theta) > 1
        self.spread: Spread | None = spread_of(mixed, solved) if several else None
        self.point = np.concatenate([mixed.mean, mixed.theta[0, mixed.shared]])
        root = np.linalg.cholesky(_padded(self.errors)).astype(np.float64)
        normal = rng.standard_normal((_DRAWS, self.point.size))
        self.draws: Floats = self.point + (normal - normal.mean(0)) @ root.T
        self.names: dict[str, Estimate] = {}
        self.warnings: list[str] = []
        self.bounds: dict[int, float] = {}  #: largest value of columns that were left out

    def place(self, column: int) -> int | None:
        """Return where a column of theta is in the vector of estimates; None = not estimated."""
        at = np.flatnonzero(self.mixed.random == column)
        if at.size:
            return int(at[0])
        at = np.flatnonzero(self.mixed.shared == column)
        return self.n_r + int(at[0]) if at.size else None

    def value(self, column: int) -> float:
        """Return the mean of a column."""
        at = self.place(column)
        return float(self.mixed.theta[:, column].mean() if at is None else self.point[at])

    def error(self, column: int) -> float:
        """Return the error of a column's mean, of which 1.96 make its interval; 0 if held."""
        at = self.place(column)
        return 0.0 if at is None else float(np.sqrt(max(self.errors[at, at], 0.0)))

    def half(self, column: int) -> float:
        """Return half the width of the 95 % interval of a column's mean."""
        return _NORMAL * self.error(column)

    def put(self, name: str, column: int, map_: Callable[[float], float], unit: str = "") -> None:
        """Add an estimate that is a monotone function of a column."""
        value, half = self.value(column), self.half(column)
        one, other = map_(value - half), map_(value + half)
        self.names[name] = Estimate(map_(value), min(one, other), max(one, other), unit=unit)

    def derive(
        self, name: str, function: Callable[[Floats], float], *, unit: str = "", log: bool = False
    ) -> None:
        """Add an estimate that is a function of theta's means, by the delta method."""
        base = self._theta(self.point)
        value = function(base)
        slope = np.zeros(self.point.size)
        for k in np.flatnonzero(self.free):
            own = float(np.sqrt(np.maximum(self.errors[k, k], 1e-18)))
            h = 1e-4 * max(abs(float(self.point[k])), own)
            moved = self.point.copy()
            moved[k] += h
            slope[k] = (function(self._theta(moved)) - value) / h
        error = float(np.sqrt(np.maximum(slope @ self.errors @ slope, 0.0)))
        if log and value > 0.0:
            factor = float(np.exp(min(_NORMAL * error / value, 50.0)))
            self.names[name] = Estimate(value, value / factor, value * factor, unit=unit)
        else:
            half = _NORMAL * error
            self.names[name] = Estimate(value, value - half, value + half, unit=unit)

    def _theta(self, point: Floats) -> Floats:
        theta: Floats = self.mixed.theta.mean(0)
        theta[self.mixed.random] = point[: self.n_r]
        theta[self.mixed.shared] = point[self.n_r :]
        return theta

    def put_variance(self, name: str, products: list[tuple[Form, Form, float]]) -> None:
        """Add a spread: the root of a weighted sum of covariances of forms in the columns."""
        if self.spread is None:
            return
        where = {int(c): k for k, c in enumerate(self.mixed.random)}
        vector = np.zeros(len(self.spread.pairs))
        value = 0.0
        for one, other, weight in products:
            for i, x in one.items():
                for j, y in other.items():
                    if i not in where or j not in where:
                        continue
                    a, b = sorted((where[i], where[j]))
                    vector[self.spread.pairs.index((a, b))] += weight * x * y
                    value += weight * x * y * float(self.spread.covariance[a, b])
        error = float(np.sqrt(np.maximum(vector @ self.spread.error @ vector, 0.0)))
        low, high = variance_interval(max(value, 0.0), error, self.spread.n_devices)
        self.names[name] = Estimate(
            float(np.sqrt(max(value, 0.0))), float(np.sqrt(low)), float(np.sqrt(high))
        )

    def _spread_is_known(self, column: int) -> bool:
        """Return whether the devices differ in a column by more than chance."""
        at = np.flatnonzero(self.mixed.random == column)
        if self.spread is None or not at.size:
            return False
        pair = self.spread.pairs.index((int(at[0]), int(at[0])))
        error = float(np.sqrt(max(float(self.spread.error[pair, pair]), 0.0)))
        value = float(self.spread.covariance[at[0], at[0]])
        return variance_interval(value, error, self.spread.n_devices)[0] > 0.0

    def put_expected(
        self, name: str, function: Callable[[float, float], float], k: int,
        map_: Callable[[float], float] = float,
    ) -> None:  # fmt: skip
        """Add ``map_`` of the devices' mean of a function of two columns, ``k`` and the next.

        The mean of the function is not the function of the means: the spread's second order is
        added where the spread is known to be above 0. Elsewhere its noise would be more than the
        error of a mean that is known well: without read noise the intervals of ν held the truth in
        three of four arrays. The interval is that of the function over draws of the estimates.
        """
        at = np.array([self.value(k), self.value(k + 1)])
        extra = 0.0
        known = self._spread_is_known(k + 1)
        where = [int(np.flatnonzero(self.mixed.random == c)[0])
                 if (self.mixed.random == c).any() else -1 for c in (k, k + 1)]  # fmt: skip
        covariance = self.mixed.covariance
        for i in (0, 1):
            for j in (0, 1):
                if known and where[i] >= 0 and where[j] >= 0:
                    extra += (
                        0.5 * float(covariance[where[i], where[j]]) * _second(function, at, i, j)
                    )
        value = function(*at)
        extra = float(np.clip(extra, -0.25 * abs(value), 0.25 * abs(value))) if np.isfinite(
            value) and np.isfinite(extra) else 0.0  # fmt: skip
        columns = [c for c in (self.place(k), self.place(k + 1)) if c is not None]
        drawn = [map_(function(*pair) + extra) for pair in self.draws[:, columns]]
        low, high = np.quantile(drawn, (0.025, 0.975), method="inverted_cdf")
        self.names[name] = Estimate(map_(value + extra), float(low), float(high))


def _second(function: Callable[[float, float], float], at: Floats, i: int, j: int) -> float:
    """Return a second derivative by central differences."""
    steps = np.diag(1e-3 * np.maximum(np.abs(at), 1e-3) * np.array([1.0, 0.1]))
    a, b = steps[i], steps[j]
    values = [function(*(at + s * a + t * b)) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    size = 4.0 * float(a.sum() * b.sum())
    return (values[0] - values[1] - values[2] + values[3]) / size
