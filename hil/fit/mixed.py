"""Devices of one array as draws from a distribution: likelihood of all of them together.

Every device has its own rates, shapes and rails (random effects, normal with mean μ and covariance
Σ); cycle-to-cycle variances and the nodes of a table are shared (fixed effects). The likelihood of
a device is replaced by its parabola at the current values, Newton steps on all of them go in turn
with EM steps on Σ, restricted to what is left after the means were estimated (REML; Laird and Ware,
Biometrics 38, 963, 1982; Breslow and Clayton, JASA 88, 9, 1993). Σ is the spread between devices
without the estimation variance, which a spread of single estimates would hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels
from hil.fit.chains import Likelihood, Terms, per_device

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RETREATS: Final = 4
_DROP: Final = 10.0  # of a device's log-likelihood in one step
#: Columns that are variances, which a step never takes below 0.
VARIANCES: Final = (kernels.V_MULT, kernels.V_ADD, kernels.READ_REL, kernels.READ_ABS)
_OUTER: Final = 25
_INNER: Final = 12
_SMALLEST_SHARE: Final = 1e-6  # of a variance: below it is 0
_MORE: Final = 0.2  # by which a variance is raised to see what it does to the information
_PACED: Final = (1, 4, 9)  # steps at which that is seen
_STILL: Final = 0.05  # standard errors that a mean still moves when the search ends


@dataclass(slots=True, eq=False)
class Mixed:
    """State of the search.

    Attributes:
        theta: (n_devices, n_parameters), what the filter takes.
        random, shared: numbers of the columns that vary by device, and of those that do not.
        mean, covariance: of the random columns.
        low, high: (n_parameters,) bounds of a device's value.
        stride: (n_parameters,) largest change in one step.
    """

    theta: Floats
    random: Ints
    shared: Ints
    mean: Floats
    covariance: Floats
    low: Floats
    high: Floats
    stride: Floats
    log_likelihood: float = -np.inf
    converged: bool = False
    terms: Terms | None = None
    known: Floats | None = None  #: (n_shared,) what else was measured of the shared columns
    precision: Floats | None = None  #: (n_shared, n_shared) of ``known``, information
    steps: int = 0
    held: set[int] = field(default_factory=set)  #: shared columns that are not searched
    paces: dict[int, float] | None = None  #: of each variance, see :func:`paces`

    @property
    def free(self) -> NDArray[np.bool_]:
        """Which of the means and shared parameters are searched."""
        shared = [int(k) not in self.held for k in self.shared]
        return np.array([True] * self.random.size + shared, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """The parabola of all devices, solved for one Σ.

    ``delta`` are the changes of the means and the shared parameters, ``scores`` (n_units, q) and
    ``informations`` (n_units, q, q) each device's part in them; ``inverse`` the covariance of the
    estimates. ``modes`` are the changes of the devices' own parameters, ``inner`` their covariance
    given the rest.
    """

    delta: Floats
    inverse: Floats
    scores: Floats
    informations: Floats
    modes: Floats
    inner: Floats
    leverage: Floats


def solve(mixed: Mixed, score: Floats, information: Floats, extra: Floats) -> Solved:
    """Solve for the change of means, shared parameters and all devices.

    ``extra`` (n_shared,) is added to the score of the shared parameters.
    """
    r, f = mixed.random, mixed.shared
    n_r = r.size
    omega = np.linalg.inv(mixed.covariance)
    g_r, g_f = score[:, r], score[:, f]
    j_rr = information[:, r[:, None], r[None, :]]
    j_rf = information[:, r[:, None], f[None, :]]
    j_ff = information[:, f[:, None], f[None, :]]
    inner = np.linalg.inv(j_rr + omega)
    apart = mixed.theta[:, r] - mixed.mean
    pull = g_r - apart @ omega
    along = omega @ inner  # (D, R, R)
    crossed = inner @ j_rf  # (D, R, F)
    u_mean = apart @ omega + np.einsum("dij,dj->di", along, pull)
    u_shared = g_f - np.einsum("dij,di->dj", crossed, pull)
    m_mean = omega - along @ omega
    m_cross = along @ j_rf
    m_shared = j_ff - np.swapaxes(j_rf, 1, 2) @ crossed
    q = n_r + f.size
    scores = np.concatenate([u_mean, u_shared], axis=1)
    informations = np.empty((len(score), q, q))
    informations[:, :n_r, :n_r] = m_mean
    informations[:, :n_r, n_r:] = m_cross
    informations[:, n_r:, :n_r] = np.swapaxes(m_cross, 1, 2)
    informations[:, n_r:, n_r:] = m_shared
    free = mixed.free
    total, wanted = informations.sum(0), scores.sum(0)
    wanted[n_r:] += extra
    if mixed.known is not None and mixed.precision is not None:
        total[n_r:, n_r:] += mixed.precision
        wanted[n_r:] += mixed.precision @ (mixed.known - mixed.theta[0, f])
    inverse = np.zeros((q, q))
    inverse[np.ix_(free, free)] = safe_inverse(total[np.ix_(free, free)])
    delta = inverse @ wanted
    d_mean, d_shared = delta[:n_r], delta[n_r:]
    modes = np.einsum(
        "dij,dj->di", inner, pull + omega @ d_mean - np.einsum("dij,j->di", j_rf, d_shared)
    )
    # how (device − mean) moves with the means and the shared parameters
    leverage = np.concatenate([inner @ omega - np.eye(n_r), -crossed], axis=2)
    return Solved(delta, inverse, scores, informations, modes, inner, leverage)


def safe_inverse(matrix: Floats) -> Floats:
    """Return the inverse of a positive matrix, scaled; 0 for rows without any information."""
    diagonal = np.diag(matrix)
    known = diagonal > 1e-200
    inverse = np.zeros_like(matrix)
    if not known.any():
        return inverse
    size = np.sqrt(diagonal[known])
    scaled = matrix[np.ix_(known, known)] / size / size[:, None]
    values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    inverse[np.ix_(known, known)] = (
        (vectors / np.maximum(values, 1e-9)) @ vectors.T / size / size[:, None]
    )
    return inverse


def _new_covariance(mixed: Mixed, solved: Solved) -> Floats:
    """Return Σ after one restricted EM step."""
    n_r = mixed.random.size
    apart = mixed.theta[:, mixed.random] + solved.modes - mixed.mean - solved.delta[:n_r]
    spread = apart.T @ apart / len(apart) + solved.inner.mean(0)
    spread += (solved.leverage @ solved.inverse @ np.swapaxes(solved.leverage, 1, 2)).mean(0)
    out: Floats = (spread + spread.T) / 2
    return out


def restricted(mixed: Mixed, information: Floats, inner: Floats, share: Floats) -> Floats:
    """Return what the spread of the devices adds to the score of the shared parameters.

    It is the slope of −½ ln|information + 1/Σ|. Estimating a device's rates, shapes and rails uses
    up as many readings, so each variance is to be divided by what is left: that of the reads, too,
    which the rails are known by. The part of each follows from its pace, without read noise from
    its share of the predictive variance. And a shape or table that multiplies rates would grow at
    their cost.
    """
    extra = np.zeros(mixed.shared.size)
    r = mixed.random
    if not r.size:
        return extra
    product = inner @ information[:, r[:, None], r[None, :]]
    spent = np.trace(product, axis1=1, axis2=2)
    rows = np.maximum(share[:, 2], 1.0)
    where = {int(c): k for k, c in enumerate(mixed.random)}
    n_nodes = (mixed.theta.shape[1] - kernels.N_PLAIN) // 2
    for at, column in enumerate(mixed.shared.tolist()):
        if column in VARIANCES:
            value = float(mixed.theta[0, column])
            if mixed.paces is not None:
                extra[at] = 0.5 * float(spent.sum()) * mixed.paces[column]
            elif value > 0.0 and column in (kernels.V_MULT, kernels.V_ADD):
                part = share[:, 0 if column == kernels.V_MULT else 1] / rows
                extra[at] = 0.5 * float((spent * part).sum()) / value
            continue
        rate = column - 1
        if column >= kernels.N_PLAIN:
            up = column < kernels.N_PLAIN + n_nodes
            rate = kernels.RATE_UP if up else kernels.RATE_DOWN
        if rate in (kernels.RATE_UP, kernels.RATE_DOWN) and rate in where:
            k = where[rate]
            own = inner[:, k, k] * information[:, rate, column] / mixed.theta[:, rate]
            extra[at] = -float(own.sum())
    return extra


def paces(likelihood: Likelihood, mixed: Mixed, information: Floats) -> dict[int, float]:
    """Return which share of the information of the devices' own is lost per unit of a variance.

    With read noise this is not told by the variance's share in single readings: along a branch,
    noise of cycles adds up and that of reads does not, and rails are known by reads alone.
    """
    r = mixed.random
    if not r.size:
        return dict.fromkeys(VARIANCES, 0.0)
    own = np.ix_(np.arange(len(information)), r, r)
    known = information[own]
    inner = np.linalg.inv(known + np.linalg.inv(mixed.covariance))
    spent = float(np.einsum("dij,dji->", known, inner))
    out = dict.fromkeys(VARIANCES, 0.0)
    for column in VARIANCES:
        value = float(mixed.theta[0, column])
        if not value > 0.0:
            continue
        theta = mixed.theta.copy()
        theta[:, column] *= 1.0 + _MORE
        fallen = information - per_device(likelihood.chains, likelihood(theta).information)
        share = float(np.einsum("dij,dji->", fallen[own], inner)) / spent / np.log1p(_MORE)
        out[column] = float(np.clip(share, 0.0, 1.0)) / value
    return out


def laplace(mixed: Mixed, terms_ll: Floats, information: Floats) -> float:
    """Return the log-likelihood with the devices' own values integrated out."""
    r = mixed.random
    apart = mixed.theta[:, r] - mixed.mean
    prior = np.einsum("di,ij,dj->d", apart, np.linalg.inv(mixed.covariance), apart)
    j = information[:, r[:, None], r[None, :]]
    _, log_det = np.linalg.slogdet(np.eye(r.size) + mixed.covariance @ j)
    return float((terms_ll - 0.5 * prior - 0.5 * log_det).sum())


def maximise(
    likelihood: Likelihood, mixed: Mixed, *, steps: int = _OUTER,
    progress: Callable[[int], None] | None = None,
) -> Mixed:  # fmt: skip
    """Search the means, shared parameters, Σ and the devices' own values; changes ``mixed``."""
    chains = likelihood.chains
    floor = np.diag((1e-3 * np.sqrt(np.diag(mixed.covariance))) ** 2)
    terms = likelihood(mixed.theta)
    read = bool((mixed.theta[0, [kernels.READ_REL, kernels.READ_ABS]] > 0.0).any())
    paced = not read or mixed.paces is not None
    for step in range(steps):
        score, information = (per_device(chains, a) for a in (terms.score, terms.information))
        if step in _PACED and not paced:
            mixed.paces = paces(likelihood, mixed, information)
        share = per_device(chains, terms.share)
        base, mean0 = mixed.theta.copy(), mixed.mean.copy()
        solved = None
        for inner in range(_INNER):
            known = np.linalg.inv(
                information[:, mixed.random[:, None], mixed.random[None, :]]
                + np.linalg.inv(mixed.covariance)
            )
            extra = restricted(mixed, information, known, share)
            solved = solve(mixed, score, information, extra)
            if inner == _INNER - 1:
                break
            mixed.covariance = _new_covariance(mixed, solved) + floor
        if solved is None:
            break
        errors = np.sqrt(np.maximum(np.diag(solved.inverse), 1e-300))
        _move(mixed, base, mean0, solved)
        before, terms = terms, likelihood(mixed.theta)
        terms = _step_back(likelihood, mixed, base, before, terms)
        mixed.steps = step + 1
        moved = np.abs(np.concatenate([mixed.mean - mean0, (mixed.theta - base)[0, mixed.shared]]))
        free = np.diag(solved.inverse) > 0.0
        if progress is not None:
            progress(step)
        if step > 2 and (moved[free] < _STILL * errors[free]).all():
            mixed.converged = True
            break
    mixed.terms = terms
    information = per_device(chains, terms.information)
    mixed.log_likelihood = laplace(mixed, per_device(chains, terms.log_likelihood), information)
    return mixed


def _step_back(
    likelihood: Likelihood, mixed: Mixed, base: Floats, before: Terms, terms: Terms
) -> Terms:
    """Take most of the step back for devices that it made far less likely; return the new terms."""
    chains = likelihood.chains
    reference = per_device(chains, before.log_likelihood)
    for _ in range(_RETREATS):
        worse = ~(per_device(chains, terms.log_likelihood) > reference - _DROP)
        if not worse.any():
            break
        rows = np.ix_(worse, mixed.random)
        if mixed.random.size:
            mixed.theta[rows] += 0.75 * (base[rows] - mixed.theta[rows])
        if worse.mean() > 0.5:  # the shared parameters went too far
            shared = mixed.shared
            mixed.theta[:, shared] += 0.5 * (base[:, shared] - mixed.theta[:, shared])
        terms = likelihood(mixed.theta)
    return terms


def _move(mixed: Mixed, base: Floats, mean0: Floats, solved: Solved) -> None:
    """Take the step, no further than the strides and bounds allow."""
    r, f = mixed.random, mixed.shared
    n_r = r.size
    stride = mixed.stride[r]
    mixed.mean = mean0 + np.clip(solved.delta[:n_r], -stride, stride)
    mixed.mean = np.clip(mixed.mean, mixed.low[r], mixed.high[r])
    new = base[:, r] + np.clip(solved.modes, -stride, stride)
    mixed.theta[:, r] = np.clip(new, mixed.low[r], mixed.high[r])
    for at, column in enumerate(f):
        value, change = float(base[0, column]), float(solved.delta[n_r + at])
        if column in VARIANCES:
            if int(column) in mixed.held:
                continue
            value = float(np.clip(value + change, value / 5.0, value * 5.0))
        else:
            value += float(np.clip(change, -mixed.stride[column], mixed.stride[column]))
        mixed.theta[:, column] = np.clip(value, mixed.low[column], mixed.high[column])
