"""Triggers: which devices of a layer get a pulse for one sample's activities and errors.

A trigger sees magnitudes only; which device of a pair is pulsed, and with which polarity, is the
method's business (:mod:`hil.learning.methods`). All three are reconstructions, not the equations
of a paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from hil.errors import ConfigError
from hil.program import BoolArray, FloatArray

#: Longest train of slots in one update block; longer ones are cut.
MAX_SLOTS_PER_BLOCK = 32


@dataclass(slots=True)
class ClipCount:
    """How many line probabilities of a stochastic trigger were asked for, and how many above 1."""

    drawn: int = 0
    clipped: int = 0

    @property
    def fraction(self) -> float:
        """Share of the probabilities other than 0 that were above 1 and had to be cut to 1."""
        return self.clipped / self.drawn if self.drawn else 0.0

    def copy(self) -> ClipCount:
        """Return a copy that does not count on."""
        return ClipCount(self.drawn, self.clipped)

    def since(self, earlier: ClipCount) -> ClipCount:
        """Return what was counted after ``earlier``."""
        return ClipCount(self.drawn - earlier.drawn, self.clipped - earlier.clipped)


class Trigger(Protocol):
    """Turns activities and error magnitudes into coincidence bits."""

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch."""

    def coincidences(
        self, x: FloatArray, size: FloatArray, rng: np.random.Generator
    ) -> tuple[BoolArray, BoolArray]:
        """Return row bits (n_slots, n_inputs) and column bits (n_slots, n_outputs).

        Args:
            x: (n_inputs,) activities ≥ 0.
            size: (n_outputs,) |δ| ≥ 0, 0 inside the dead zone.
            rng: the run's generator.
        """


def _threshold(name: str, value: float) -> float:
    if not value >= 0.0 or math.isinf(value):
        raise ConfigError(f"must be at least 0 and finite, got {value:g}", field=name)
    return value


class ProductThreshold:
    """T1: a pulse where ``x[i] · |δ[j]| > θ``.

    Not crossbar-local: which columns are selected depends on the row, so the rows take turns (rows
    that need the same columns share a slot) and something outside the array must know every
    product. A reference for the others. The learning rate has no part in it.
    """

    def __init__(self, theta: float) -> None:
        self.theta = _threshold("theta", theta)

    def set_rate(self, eta: float) -> None:
        """Do nothing: the step is one pulse whatever the rate is."""

    def coincidences(
        self, x: FloatArray, size: FloatArray, rng: np.random.Generator
    ) -> tuple[BoolArray, BoolArray]:
        """Return one slot for every distinct set of columns."""
        hit = np.outer(x, size) > self.theta
        active = np.flatnonzero(hit.any(axis=1))
        if not active.size:
            return np.zeros((0, x.size), np.bool_), np.zeros((0, size.size), np.bool_)
        cols, slot = np.unique(hit[active], axis=0, return_inverse=True)
        rows = np.zeros((len(cols), x.size), dtype=np.bool_)
        rows[slot.ravel(), active] = True
        return rows, cols


class SeparableThresholds:
    """T2: a pulse where ``x[i] > θ_x`` and ``|δ[j]| > θ_δ`` (Manhattan with a dead zone)."""

    def __init__(self, theta_x: float, theta_delta: float) -> None:
        self.theta_x = _threshold("theta_x", theta_x)
        self.theta_delta = _threshold("theta_delta", theta_delta)

    def set_rate(self, eta: float) -> None:
        """Do nothing: the step is one pulse whatever the rate is."""

    def coincidences(
        self, x: FloatArray, size: FloatArray, rng: np.random.Generator
    ) -> tuple[BoolArray, BoolArray]:
        """Return one slot."""
        return (x > self.theta_x)[None, :], (size > self.theta_delta)[None, :]


class StochasticCoincidence:
    """T3: row bits ~ Bern(√κ·x), column bits ~ Bern(√κ·|δ|), so that E[ΔW] = η·x·δ.

    κ = η/(ΔW̄·BL) with ΔW̄ the mean change of a weight by one coincidence. A probability above 1
    asks for more slots: as many as bring it to 1 are used for that sample, up to ``max_slots``;
    beyond, it is cut to 1 and counted in :attr:`clips` (the expectation then falls short).

    ``balanced`` bits are Bern(√κ·m·x) and Bern(√κ·|δ|/m) with m = √(max|δ| / max x) of the sample:
    both largest probabilities are the same, so that errors, which are far smaller than activities,
    do not leave those to be cut. Source: T. Gokmen, M. Onen, W. Haensch, Front. Neurosci. 11, 538
    (2017), "update management".

    Args:
        eta: learning rate.
        mean_step: ΔW̄ in units of the weight, above 0.
        slots: BL, fewest pulse slots.
        max_slots: most pulse slots of one sample.
        balanced: whether rows and columns share the probabilities equally.
    """

    def __init__(
        self,
        eta: float,
        mean_step: float,
        *,
        slots: int = 1,
        max_slots: int | None = None,
        balanced: bool = False,
    ) -> None:
        if not (mean_step > 0.0 and math.isfinite(mean_step)):
            raise ConfigError(f"must be above 0, got {mean_step:g}", field="mean_step")
        if slots < 1:
            raise ConfigError(f"must be at least 1, got {slots}", field="slots")
        self.mean_step = mean_step
        self.balanced = balanced
        self.slots = slots
        self.max_slots = slots if max_slots is None else max_slots
        if self.max_slots < slots:
            raise ConfigError(f"{self.max_slots} is below slots = {slots}", field="max_slots")
        self.clips = ClipCount()
        self.set_rate(eta)

    def set_rate(self, eta: float) -> None:
        """Take over the learning rate of the epoch.

        Raises:
            ConfigError: it is negative or not finite.
        """
        self.eta = _threshold("eta", eta)

    def slots_for(self, largest: float) -> int:
        """Return the pulse slots of a sample whose largest activity or error is ``largest``."""
        wanted = self.eta / self.mean_step * largest * largest
        return min(max(self.slots, math.ceil(wanted - 1e-9)), self.max_slots)

    def coincidences(
        self, x: FloatArray, size: FloatArray, rng: np.random.Generator
    ) -> tuple[BoolArray, BoolArray]:
        """Return the slots of one sample; none where no error is left."""
        kernels = loaded_kernels()
        top_x, top_size = kernels.largest(x, size)
        if top_x == 0.0 or top_size == 0.0 or self.eta == 0.0:
            return np.zeros((0, x.size), np.bool_), np.zeros((0, size.size), np.bool_)
        top = math.sqrt(top_x * top_size) if self.balanced else max(top_x, top_size)
        n = self.slots_for(top)
        root = math.sqrt(self.eta / (self.mean_step * n))
        share = math.sqrt(top_size / top_x) if self.balanced else 1.0
        chance = rng.random((n, x.size + size.size))
        rows, cols = np.empty((n, x.size), np.bool_), np.empty((n, size.size), np.bool_)
        drawn, clipped = kernels.coincide(x, size, root * share, root / share, chance, rows, cols)
        self.clips.drawn += drawn
        if root * top > 1.0 + 1e-9:
            self.clips.clipped += clipped
        return rows, cols


@cache
def loaded_kernels() -> Any:
    """Return :mod:`hil.learning.kernels`, loaded on first use: Numba takes long to import."""
    from hil.learning import kernels

    return kernels
