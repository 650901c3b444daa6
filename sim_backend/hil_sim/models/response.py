"""Response tables of a device file: what a nominal pulse does to the conductance.

All equations are in the normalised conductance of one device, ``u = (g − g_min)/(g_max − g_min)``,
seen from where the branch starts: u rises from 0 to 1 in potentiation, and ``1 − u`` does in
depression. ``n`` counts nominal pulses and may be fractional (a shorter or weaker pulse): every
model is the *flow* of a rate ``du/dn``, so that two pulses of half the effect equal one pulse.

=============  ==========================  ======================================================
model          rate du/dn                  after n pulses
=============  ==========================  ======================================================
linear         1/N                         u + n/N
exponential    (ν/N)[1/(1 − e^−ν) − u]     u∞ + (u − u∞)e^{−νn/N}, u∞ = 1/(1 − e^−ν)
querlioz       α e^{−βu}                   u + ln(1 + αβn e^{−βu})/β, α = (e^β − 1)/(βN)
soft-bounds    (−ln(1 − sγ)/γ)(1 − γu)     1/γ + (u − 1/γ)(1 − sγ)^n
lookup         r(u), linear between nodes  node to node, exact in every interval
=============  ==========================  ======================================================

Sources: exponential is the A/ν form of NeuroSim (Chen, Peng and Yu, IEEE TCAD 37, 3067, 2018),
``G = B(1 − e^{−P/A}) + G_min`` with ν = N/A; querlioz is Querlioz et al., IEEE Trans. Nanotechnol.
12, 288 (2013); soft-bounds is LinearStep/SoftBounds of aihwkit (Rasch et al., AICAS 2021) with a
slope γ; lookup is the ΔG(G) table of CrossSim (Agarwal et al., IJCNN 2016).

The change by one pulse of a look-up table is ``D(u) + s(u)·q(u, z)`` with a normal deviate z: q = z
or, with ``quantiles``, the measured quantile at the probability Φ(z), brought to mean 0 and
standard deviation 1. n pulses' worth, and a device whose steps are n times larger, have the spread
√n·s.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from hil.config.quantities import Siemens, Table

Model = Literal["linear", "exponential", "querlioz", "soft-bounds", "lookup"]
AFFINE, QUERLIOZ, LOOKUP = 0, 1, 2
Positive = Annotated[float, Field(gt=0.0)]
#: 64 or 63.7; ``true`` and ``"64"`` are refused.
States = Annotated[float, Field(strict=True, ge=1.0)]
Level = Annotated[float, Field(gt=0.0, lt=1.0)]
#: Deviates at which the kernels keep a table's quantiles; linear between and beyond them.
DEVIATES = np.linspace(-3.0, 3.0, 13)

#: model -> (fields that it needs, fields that it may have beside them)
_FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "linear": (frozenset({"states"}), frozenset()),
    "exponential": (frozenset({"states", "nu"}), frozenset()),
    "querlioz": (frozenset({"states", "beta"}), frozenset({"alpha"})),
    "soft-bounds": (frozenset({"states", "slope"}), frozenset()),
    "lookup": (frozenset({"g", "delta_g"}), frozenset({"spread", "levels", "quantiles"})),
}


class BranchTable(Table):
    """One direction of the response; which fields apply depends on ``model``.

    Attributes:
        states: N, pulses across the range (soft bounds: 1/N is the first step); a fitted number
            need not be whole.
        nu: ν of the exponential model, any real number; 0 is the linear response.
        beta, alpha: β > 0 and, instead of the value that crosses the range in N pulses, α.
        slope: γ in 0 … 1; 1 = the step vanishes at the bound.
        g, delta_g, spread: a measured table: conductance, mean change by one nominal pulse
            (positive towards the end of the branch) and its standard deviation.
        levels, quantiles: rising probabilities, and for each the change that is not exceeded with
            it, one value per conductance; they give the noise its shape, ``spread`` its size.
    """

    states: States | None = None
    nu: float | None = None
    beta: Positive | None = None
    alpha: Positive | None = None
    slope: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    g: tuple[Siemens, ...] | None = None
    delta_g: tuple[Siemens, ...] | None = None
    spread: tuple[Siemens, ...] | None = None
    levels: tuple[Level, ...] | None = None
    quantiles: tuple[tuple[Siemens, ...], ...] | None = None

    @field_validator("g")
    @classmethod
    def _rising(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (len(value) < 2 or min(np.diff(value)) <= 0):
            raise ValueError("a look-up table needs at least 2 conductances in rising order")
        return value

    @field_validator("spread")
    @classmethod
    def _not_negative(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value, default=0.0) < 0:
            raise ValueError("a standard deviation must not be negative")
        return value

    @model_validator(mode="after")
    def _same_length(self) -> BranchTable:
        if self.g is not None:
            for name in ("delta_g", "spread"):
                column = getattr(self, name)
                if column is not None and len(column) != len(self.g):
                    raise ValueError(f"{name} has {len(column)} entries, g has {len(self.g)}")
        return self

    @model_validator(mode="after")
    def _quantiles(self) -> BranchTable:
        if (self.levels is None) != (self.quantiles is None):
            raise ValueError("levels and quantiles go together")
        if self.levels is None or self.quantiles is None:
            return self
        if len(self.levels) < 2 or min(np.diff(self.levels)) <= 0:
            raise ValueError("levels: at least 2 probabilities in rising order are needed")
        if len(self.quantiles) != len(self.levels):
            raise ValueError(
                f"quantiles has {len(self.quantiles)} rows, levels has {len(self.levels)} entries"
            )
        if self.g is not None and any(len(row) != len(self.g) for row in self.quantiles):
            raise ValueError(f"quantiles: every row needs {len(self.g)} entries, as g has")
        if np.diff(np.array(self.quantiles), axis=0).min() < 0:
            raise ValueError("quantiles: must not fall from one level to the next")
        return self

    def check(self, model: Model, where: str) -> None:
        """Raise ValueError when fields that ``model`` needs are missing, or others are given."""
        needed, optional = _FIELDS[model]
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        for name in sorted(needed - given):
            raise ValueError(f"{where}.{name}: the {model} model needs it")
        for name in sorted(given - needed - optional):
            raise ValueError(f"{where}.{name}: the {model} model has no such parameter")
        if model == "soft-bounds" and self.states == 1 and self.slope == 1.0:
            raise ValueError(f"{where}.states: must be above 1 with slope 1")


def affine_rate(model: Model, branch: BranchTable, nu: NDArray[np.float64] | float) -> Any:
    """Return (a, b) of the rate ``du/dn = a − b·u`` of an affine model, per nominal pulse.

    ``nu`` is the nonlinearity, a number or one per device; only the exponential model uses it.
    """
    n = float(branch.states or 1)
    if model == "exponential":
        nu = np.asarray(nu, dtype=np.float64)
        flat = np.abs(nu) < 1e-9
        safe = np.where(flat, 1.0, nu)
        return np.where(flat, 1.0, safe / -np.expm1(-safe)) / n, np.where(flat, 0.0, nu / n)
    if model == "soft-bounds" and branch.slope:
        b = -math.log1p(-branch.slope / n)
        return np.float64(b / branch.slope), np.float64(b)
    return np.float64(1.0 / n), np.float64(0.0)


def querlioz_rate(branch: BranchTable) -> tuple[float, float]:
    """Return (α, β); α defaults to (e^β − 1)/(βN), which crosses the range in N pulses."""
    beta = float(branch.beta or 0.0)
    if branch.alpha is not None:
        return branch.alpha, beta
    return math.expm1(beta) / (beta * float(branch.states or 1)), beta


def lookup_nodes(branch: BranchTable, g_min: float, g_max: float, up: bool) -> Any:
    """Return rows (u, rate, spread) of a table, u rising from the start of the branch.

    With quantiles, a row of deviates for each of :data:`DEVIATES` follows.

    The table says D(u), the change by one whole pulse. The rate whose flow over n = 1 gives D back
    is D·ln(1 + D′)/D′, exact for a straight table and second order in D′ otherwise.
    """
    g = np.asarray(branch.g, dtype=np.float64)
    delta = np.asarray(branch.delta_g, dtype=np.float64)
    spread, shape = _spread_and_shape(branch)
    span = g_max - g_min
    u = (g - g_min) / span if up else (g_max - g) / span
    order = np.argsort(u)
    u, delta, spread = u[order], delta[order] / span, spread[order] / span
    slope = np.clip(np.gradient(delta, u), -0.999, None)
    flat = np.abs(slope) < 1e-9
    safe = np.where(flat, 1.0, slope)
    rate = delta * np.where(flat, 1.0, np.log1p(safe) / safe)
    return np.vstack([u, rate, spread, shape[:, order]])


def _spread_and_shape(branch: BranchTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the standard deviation at every node, and (13 or 0, n) deviates at DEVIATES."""
    n = len(branch.g or ())
    given = None if branch.spread is None else np.asarray(branch.spread, dtype=np.float64)
    if branch.levels is None or branch.quantiles is None:
        return np.zeros(n) if given is None else given, np.empty((0, n))
    from statistics import NormalDist

    z = np.array([NormalDist().inv_cdf(level) for level in branch.levels])
    values = np.asarray(branch.quantiles, dtype=np.float64)
    shape = np.array([_linear(DEVIATES, z, column) for column in values.T]).T
    # Moments of what the kernel draws: linear in z between DEVIATES and beyond them.
    fine = np.linspace(-8.0, 8.0, 3201)
    weight = np.exp(-0.5 * fine**2)
    weight /= weight.sum()
    drawn = np.array([_linear(fine, DEVIATES, column) for column in shape.T])
    mean = drawn @ weight
    own = np.sqrt(np.maximum(drawn**2 @ weight - mean**2, 0.0))
    flat = own <= 1e-12 * np.abs(drawn).max(axis=1)
    own[flat] = 0.0
    shape = np.where(flat, DEVIATES[:, None], (shape - mean) / np.where(flat, 1.0, own))
    return own if given is None else given, shape


def _linear(
    x: NDArray[np.float64], xp: NDArray[np.float64], yp: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the values at ``x`` of a line through knots that goes straight on beyond its ends."""
    k = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, xp.size - 2)
    share = (x - xp[k]) / (xp[k + 1] - xp[k])
    out: NDArray[np.float64] = yp[k] + share * (yp[k + 1] - yp[k])
    return out
