"""One model fitted to all devices: which rails act, the search, and what comes out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels
from hil.fit.chains import Likelihood, per_device
from hil.fit.laws import LAWS, N_NODES, Law, curve
from hil.fit.measured import DEPRESSION, POTENTIATION
from hil.fit.mixed import Mixed, maximise, restricted, solve
from hil.fit.naming import middle_step, name_all
from hil.fit.preparing import Rails, moved_out
from hil.fit.reading_off import Reading, Setting
from hil.fit.result import DeviceEstimates, ModelFit, StepTable
from hil.fit.starting import begin, begin_from

Floats = NDArray[np.float64]

QUANTILES: Final = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
FEWEST_FOR_SHAPES: Final = 6  #: devices that a spread of shapes needs
_GRID: Final = 33
_MARGIN: Final = 3.0  # deviations by which an end that was not reached is put further out
_TOGETHER: Final = 0.5  # correlation of the parts of a variance beyond which one is left out
_TOLD: Final = 2.5  # errors by which a part of a variance is to be above 0
_ACTS: Final = 6.0  # in log-likelihood


class Fitted(NamedTuple):
    """A fitted model and the state of its search, from which a search on more data may begin."""

    fit: ModelFit
    mixed: Mixed
    devices: NDArray[np.int64]


def fit_model(name: str, setting: Setting, earlier: Fitted | None = None) -> Fitted:
    """Fit one model to all devices.

    Where the simulator's devices may differ in shape (ν), so they do here; the information
    criteria are those of one shared shape when that gives the smaller AIC. ``earlier`` is the same
    model's fit to some of the devices.
    """
    varies = LAWS[name].varies and setting.devices.size >= FEWEST_FOR_SHAPES
    if not varies or earlier is not None:
        return _fit(name, setting, varies, earlier)
    shared = _fit(name, setting, False, None).fit
    varied = _fit(name, setting, True, None)
    if varied.fit.aic <= shared.aic:
        return varied
    fit = replace(
        varied.fit, n_parameters=shared.n_parameters, log_likelihood=shared.log_likelihood,
        aic=shared.aic, bic=shared.bic,
    )  # fmt: skip
    return varied._replace(fit=fit)


def acting_rails(setting: Setting) -> Rails:
    """Return the rails with those that do not act on the data moved out of the way.

    A rail acts when the likelihood of an affine response falls without it.
    """
    rails, noise, chains = setting.rails, setting.noise, setting.chains
    law = LAWS["soft-bounds"]

    def searched(tried: Rails) -> Mixed:
        mixed = begin(chains, tried, setting.devices, law, noise, False)
        return maximise(Likelihood(chains, law.model, 0, setting.threads), mixed)

    full = searched(rails)
    out = [not rails.reached_low, not rails.reached_high]
    if noise.rel2 + noise.abs2 > 0.0:
        for k in (0, 1):
            apart = searched(moved_out(rails, k == 0, k == 1, (1.0, 1.0)))
            out[k] = full.log_likelihood - apart.log_likelihood < _ACTS
    # Far enough that the rail does not act: a few deviations of a reading after a pulse.
    theta = full.theta.mean(0)
    margins = []
    for k, column in ((0, kernels.LOW), (1, kernels.HIGH)):
        steps = [
            float(curve(law, theta, 0, up, np.array([float(up == (k == 1))]))[0])
            for up, rate in ((True, kernels.RATE_UP), (False, kernels.RATE_DOWN))
            if theta[rate] > 0.0
        ]
        variance = theta[kernels.V_ADD] + theta[kernels.V_MULT] * max(map(abs, steps)) ** 2
        reading = theta[kernels.READ_REL] * theta[column] ** 2 + theta[kernels.READ_ABS]
        margins.append(_MARGIN * float(np.sqrt(variance + reading)))
    return moved_out(rails, out[0], out[1], (margins[0], margins[1]))


def _fit(name: str, setting: Setting, varies: bool, earlier: Fitted | None) -> Fitted:
    law = LAWS[name]
    chains = setting.chains
    n_nodes = N_NODES if law.tabled else 0
    likelihood = Likelihood(chains, law.model, n_nodes, setting.threads)
    mixed = begin(chains, setting.rails, setting.devices, law, setting.noise, varies)
    if earlier is not None:
        begin_from(mixed, earlier.mixed)
    maximise(likelihood, mixed)
    reading = _read_off(setting, law, mixed)
    part = _not_told(reading)
    if part is not None:
        most = max(reading.value(part) + reading.half(part), 0.0)
        other = kernels.V_ADD if part == kernels.V_MULT else kernels.V_MULT
        step = middle_step(law, mixed.theta.mean(0), n_nodes) ** 2
        unit = step if part == kernels.V_MULT else 1.0 / step
        mixed.held.add(part)
        mixed.theta[:, other] += mixed.theta[0, part] * unit
        mixed.theta[:, part] = 0.0
        mixed.paces = None
        maximise(likelihood, mixed)
        reading = _read_off(setting, law, mixed)
        reading.bounds[part] = most
    name_all(reading, n_nodes)
    residuals = likelihood(mixed.theta, slopes=False, residuals=True).residuals
    residuals = residuals[np.isfinite(residuals)]
    quantiles = (
        dict(zip(QUANTILES, np.quantile(residuals, QUANTILES).tolist(), strict=True))
        if residuals.size
        else {}
    )
    n_r = mixed.random.size
    n_parameters = int(reading.free.sum()) + (n_r * (n_r + 1) // 2 if reading.spread else 0)
    fit = ModelFit(
        name, reading.names, n_parameters, chains.n, mixed.log_likelihood,
        2.0 * (n_parameters - mixed.log_likelihood),
        float(np.log(chains.n)) * n_parameters - 2.0 * mixed.log_likelihood, quantiles,
        _curves(setting, law, mixed, n_nodes), _devices(setting, law, mixed), _correlations(
            law, mixed, reading), mixed.converged, tuple(reading.warnings),
    )  # fmt: skip
    return Fitted(fit, mixed, setting.devices)


def _read_off(setting: Setting, law: Law, mixed: Mixed) -> Reading:
    terms = mixed.terms
    if terms is None:
        raise RuntimeError("the search has not run")
    chains = setting.chains
    score, information = (per_device(chains, a) for a in (terms.score, terms.information))
    r = mixed.random
    known = np.linalg.inv(information[:, r[:, None], r[None, :]] + np.linalg.inv(mixed.covariance))
    extra = restricted(mixed, information, known, per_device(chains, terms.share))
    if not mixed.random.size:  # a single device: its cycles are the units
        score, information = terms.score, terms.information
    return Reading(setting, law, mixed, solve(mixed, score, information, extra))


def _not_told(reading: Reading) -> int | None:
    """Return the part of the cycle-to-cycle variance that the data does not tell from the other.

    None where both are known, or where the other can be known whatever this one is.
    """
    if kernels.V_MULT in reading.mixed.held:
        return None
    i, j = reading.place(kernels.V_MULT), reading.place(kernels.V_ADD)
    if i is None or j is None:
        return None
    lows = [reading.value(k) - _TOLD * reading.error(k) for k in (kernels.V_MULT, kernels.V_ADD)]
    size = reading.error(kernels.V_MULT) * reading.error(kernels.V_ADD)
    together = abs(float(reading.errors[i, j])) > _TOGETHER * size
    if lows[0] <= 0.0 and (lows[1] <= 0.0 or together):
        return kernels.V_MULT
    return kernels.V_ADD if lows[1] <= 0.0 and together else None


def _curves(setting: Setting, law: Law, mixed: Mixed, n_nodes: int) -> dict[str, StepTable]:
    theta = mixed.theta.mean(0)
    theta[mixed.random] = mixed.mean
    theta[mixed.shared] = mixed.theta[0, mixed.shared]
    u = np.linspace(0.0, 1.0, _GRID)
    low, span = theta[kernels.LOW], theta[kernels.HIGH] - theta[kernels.LOW]
    out = {}
    for name, up, k in (
        (POTENTIATION, True, kernels.RATE_UP), (DEPRESSION, False, kernels.RATE_DOWN),
    ):  # fmt: skip
        if not theta[k] > 0.0:
            continue
        at = u if up else u[::-1]
        delta = curve(law, theta, n_nodes, up, at)
        spread = np.sqrt(theta[kernels.V_MULT] * delta**2 + theta[kernels.V_ADD])
        unit = span * setting.chains.scale
        out[name] = StepTable((low + u * span) * setting.chains.scale, delta * unit, spread * unit)
    return out


def _column_name(law: Law, column: int) -> str:
    fixed = {kernels.LOW: "range.g_min", kernels.HIGH: "range.g_max"}
    if column in fixed:
        return fixed[column]
    branch = POTENTIATION if column < kernels.RATE_DOWN else DEPRESSION
    rate = column in (kernels.RATE_UP, kernels.RATE_DOWN)
    return f"{branch}.{'rate' if rate else law.shape}"


def _devices(setting: Setting, law: Law, mixed: Mixed) -> DeviceEstimates:
    columns = sorted({*mixed.random.tolist(), kernels.LOW, kernels.HIGH})
    names = tuple(_column_name(law, c) for c in columns)
    terms = mixed.terms
    shape = (setting.n_all, len(columns))
    values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
    if terms is None:
        return DeviceEstimates(names, values, errors)
    r = mixed.random
    information = per_device(setting.chains, terms.information)
    inner = np.linalg.inv(information[:, r[:, None], r[None, :]] + np.linalg.inv(mixed.covariance))
    deviations = np.sqrt(np.diagonal(inner, axis1=1, axis2=2))
    for at, column in enumerate(columns):
        unit = setting.chains.scale if column in (kernels.LOW, kernels.HIGH) else 1.0
        values[setting.devices, at] = mixed.theta[:, column] * unit
        where = np.flatnonzero(r == column)
        own = deviations[:, where[0]] if where.size else np.zeros(len(mixed.theta))
        errors[setting.devices, at] = own * unit
    return DeviceEstimates(names, values, errors)


def _correlations(law: Law, mixed: Mixed, reading: Reading) -> dict[tuple[str, str], float]:
    if reading.spread is None:
        return {}
    root = np.sqrt(np.diag(mixed.covariance))
    names = [_column_name(law, int(c)) for c in mixed.random]
    return {
        (names[i], names[j]): float(mixed.covariance[i, j] / root[i] / root[j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
    }
