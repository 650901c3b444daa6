"""One model fitted to all devices: search, intervals, and parameters by their names in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels
from hil.fit.intervals import (
    Spread,
    bootstrap_errors,
    spread_of,
    t_quantile,
    variance_interval,
)
from hil.fit.laws import LAWS, N_NODES, Law, curve, nu_of_slope, rate_of_affine
from hil.fit.measured import DEPRESSION, POTENTIATION
from hil.fit.mixed import Chains, Likelihood, Mixed, Solved, maximise, per_device, restricted, solve
from hil.fit.noise import ReadNoise
from hil.fit.preparing import Rails, moved_out
from hil.fit.result import DeviceEstimates, Estimate, ModelFit, StepTable
from hil.fit.starting import begin, begin_from

Floats = NDArray[np.float64]

QUANTILES: Final = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
FEWEST_FOR_SHAPES: Final = 6  #: devices that a spread of shapes needs
_GRID: Final = 33
_MARGIN: Final = 3.0  # deviations by which an end that was not reached is put further out
_ACTS: Final = 6.0  # in log-likelihood
_DRAWS: Final = 2000  # of the estimates, for intervals of what is not a parameter of the search
_WIDEST: Final = 5.0  # an interval of ν or β wider than this says nothing about the curve


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
        self.errors, self.how = bootstrap_errors(solved, setting.n_bootstrap, rng, mixed)
        self.n_units = len(solved.scores)
        self.t = t_quantile(self.n_units)
        self.spread: Spread | None = spread_of(mixed, solved) if self.n_units > 1 else None
        self.point = np.concatenate([mixed.mean, mixed.theta[0, mixed.shared]])
        root: Floats = np.linalg.cholesky(_padded(self.errors))
        scale = self.t / 1.959963984540054
        normal = rng.standard_normal((_DRAWS, self.point.size))
        self.draws: Floats = self.point + scale * (normal - normal.mean(0)) @ root.T
        self.names: dict[str, Estimate] = {}
        self.warnings: list[str] = []

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
        """Return the standard error of a column's mean, 0 where it is held."""
        at = self.place(column)
        return 0.0 if at is None else float(np.sqrt(max(self.errors[at, at], 0.0)))

    def put(self, name: str, column: int, map_: Callable[[float], float], unit: str = "") -> None:
        """Add an estimate that is a monotone function of a column."""
        value, error = self.value(column), self.error(column)
        one, other = (map_(value + sign * self.t * error) for sign in (-1.0, 1.0))
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
            factor = float(np.exp(min(self.t * error / value, 50.0)))
            self.names[name] = Estimate(value, value / factor, value * factor, unit=unit)
        else:
            half = self.t * error
            self.names[name] = Estimate(value, value - half, value + half, unit=unit)

    def _theta(self, point: Floats) -> Floats:
        theta = self.mixed.theta.mean(0)
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

    def put_expected(
        self, name: str, function: Callable[[float, float], float], k: int,
        map_: Callable[[float], float] = float,
    ) -> None:  # fmt: skip
        """Add ``map_`` of the devices' mean of a function of two columns, ``k`` and the next.

        The mean of the function is not the function of the means: the spread's second order is
        added. The interval is that of the function over draws of the estimates.
        """
        at = np.array([self.value(k), self.value(k + 1)])
        extra = 0.0
        where = [int(np.flatnonzero(self.mixed.random == c)[0])
                 if (self.mixed.random == c).any() else -1 for c in (k, k + 1)]  # fmt: skip
        covariance = self.mixed.covariance
        for i in (0, 1):
            for j in (0, 1):
                if where[i] >= 0 and where[j] >= 0:
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


class Fitted(NamedTuple):
    """A fitted model and the state of its search, from which a search on more data may begin."""

    fit: ModelFit
    mixed: Mixed


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
    if _inseparable(reading):
        mixed.held.add(kernels.V_MULT)
        total = reading.value(kernels.V_ADD)
        step = _middle_step(law, mixed.theta.mean(0), n_nodes)
        mixed.theta[:, kernels.V_ADD] = total + mixed.theta[0, kernels.V_MULT] * step**2
        mixed.theta[:, kernels.V_MULT] = 0.0
        maximise(likelihood, mixed)
        reading = _read_off(setting, law, mixed)
        reading.warnings.append(
            "variation.step_c2c: steps are of about one size, so a spread in proportion to the "
            "step cannot be told from one in proportion to the range; all is given as "
            "variation.range_c2c. Pulses of other amplitudes would tell (protocol pulse-map)"
        )
    _name_all(reading, n_nodes)
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
    return Fitted(fit, mixed)


def _read_off(setting: Setting, law: Law, mixed: Mixed) -> Reading:
    terms = mixed.terms
    if terms is None:
        raise RuntimeError("the search has not run")
    chains = setting.chains
    score, information = (per_device(chains, a) for a in (terms.score, terms.information))
    r = mixed.random
    known = np.linalg.inv(information[:, r[:, None], r[None, :]] + np.linalg.inv(mixed.covariance))
    extra = restricted(mixed, information, known, per_device(chains, terms.share))
    return Reading(setting, law, mixed, solve(mixed, score, information, extra))


def _inseparable(reading: Reading) -> bool:
    """True when neither part of the cycle-to-cycle variance is known to be above 0."""
    if kernels.V_MULT in reading.mixed.held:
        return False
    lows = [
        reading.value(k) - reading.t * reading.error(k) for k in (kernels.V_MULT, kernels.V_ADD)
    ]
    return max(lows) <= 0.0


def _middle_step(law: Law, theta: Floats, n_nodes: int) -> float:
    at = np.array([0.5])
    steps = [
        float(curve(law, theta, n_nodes, up, at)[0])
        for up, k in ((True, kernels.RATE_UP), (False, kernels.RATE_DOWN))
        if theta[k] > 0.0
    ]
    return float(np.mean(steps))


def _name_all(reading: Reading, n_nodes: int) -> None:
    setting, law, mixed = reading.setting, reading.law, reading.mixed
    scale = setting.chains.scale
    for name, column in (("range.g_min", kernels.LOW), ("range.g_max", kernels.HIGH)):
        reading.put(name, column, lambda x: x * scale, "S")
    branches = [
        (name, k)
        for name, k in ((POTENTIATION, kernels.RATE_UP), (DEPRESSION, kernels.RATE_DOWN))
        if mixed.theta[0, k] > 0.0
    ]
    for branch, k in branches:
        if law.tabled:
            _name_nodes(reading, branch, k == kernels.RATE_UP, n_nodes)
            continue
        if law.shape == "nu":
            reading.put_expected(
                f"{branch}.states", rate_of_affine, k, lambda x: 1.0 / x if x > 0.0 else np.inf
            )
            reading.put_expected(f"{branch}.nu", lambda _, slope: nu_of_slope(slope), k)
            continue
        reading.put(f"{branch}.states", k, lambda x: 1.0 / max(x, 1e-9))
        if law.shape:
            reading.put(f"{branch}.{law.shape}", k + 1, float)
        if law.model == kernels.QUERLIOZ:
            reading.derive(f"{branch}.alpha", lambda th, k=k: _alpha(th, k), log=True)
    for name, column in (
        ("variation.step_c2c", kernels.V_MULT), ("variation.range_c2c", kernels.V_ADD),
    ):  # fmt: skip
        reading.put(name, column, lambda x: float(np.sqrt(max(x, 0.0))))
        if column in mixed.held:
            reading.names[name] = Estimate(0.0, 0.0, np.inf, False, "not told from the other part")
    reads = reading.setting.reads
    reading.put("variation.read_noise", kernels.READ_REL,
                lambda x: float(np.sqrt(max(x, 0.0) * reads)))  # fmt: skip
    reading.put("variation.read_noise_siemens", kernels.READ_ABS,
                lambda x: float(np.sqrt(max(x, 0.0) * reads)) * scale, "S")  # fmt: skip
    _name_spreads(reading, [k for _, k in branches])
    _name_derived(reading, branches, n_nodes)
    _name_unreached(reading)


def _name_nodes(reading: Reading, branch: str, up: bool, n_nodes: int) -> None:
    """Add the nodes of a table: the mean step in siemens, from the lower end to the upper."""
    first = kernels.N_PLAIN + (0 if up else n_nodes)
    unit = reading.setting.chains.scale
    rate = kernels.RATE_UP if up else kernels.RATE_DOWN

    def step(theta: Floats, node: int) -> float:
        span = theta[kernels.HIGH] - theta[kernels.LOW]
        return float(theta[rate] * theta[first + node] * span * unit)

    for k in range(n_nodes):
        node = k if up else n_nodes - 1 - k
        reading.derive(
            f"{branch}.delta_g[{k}]", lambda theta, node=node: step(theta, node), unit="S"
        )


def _alpha(theta: Floats, k: int) -> float:
    beta = float(theta[k + 1])
    return float(theta[k]) * (1.0 if abs(beta) < 1e-6 else float(np.expm1(beta)) / beta)


def _name_spreads(reading: Reading, rates: list[int]) -> None:
    law = reading.law
    means = {int(c): reading.value(int(c)) for c in reading.mixed.random}
    for name, column in (
        ("variation.g_min_d2d", kernels.LOW), ("variation.g_max_d2d", kernels.HIGH),
    ):  # fmt: skip
        if column in means:
            form = {column: 1.0 / means[column]}
            reading.put_variance(name, [(form, form, 1.0)])
        else:
            _spread_of_rails(reading, name, column)
    forms = [_rate_form(reading, k) for k in rates]
    if len(forms) == 2:
        x, y = forms
        reading.put_variance("variation.step_d2d", [(x, y, 1.0)])
        reading.put_variance("variation.step_d2d_branch", [(x, x, 0.5), (y, y, 0.5), (x, y, -1.0)])
    elif forms:
        reading.put_variance("variation.step_d2d", [(forms[0], forms[0], 1.0)])
    varying = [k for k in rates if k + 1 in means]
    if not varying or law.shape != "nu":
        return
    products = []
    for k in varying:
        slope = min(means[k + 1], 0.9999)
        form = {k + 1: 1.0 / (1.0 - slope) / max(nu_of_slope(slope), 1e-3)}
        # a spread of ν in per cent is known best where ν is neither small nor saturated
        at = np.flatnonzero(reading.mixed.random == k + 1)[0]
        pair = reading.spread.pairs.index((at, at)) if reading.spread else 0
        error = float(reading.spread.error[pair, pair]) if reading.spread else 1.0
        products.append((form, form, 1.0 / max(error * form[k + 1] ** 4, 1e-30)))
    total = sum(weight for _, _, weight in products)
    reading.put_variance("variation.nu_d2d", [(x, y, w / total) for x, y, w in products])


def _rate_form(reading: Reading, k: int) -> Form:
    """Return the relative change of 1/N with the columns of theta."""
    first = reading.value(k)
    if reading.law.shape != "nu":
        return {k: 1.0 / first}
    slope = min(reading.value(k + 1), 0.9999)
    rate = rate_of_affine(first, slope)
    h = 1e-5
    form = {k: (rate_of_affine(first * (1 + h), slope) / rate - 1.0) / (h * first)}
    if k + 1 in reading.mixed.random:
        step = h * (1.0 - slope)
        form[k + 1] = (rate_of_affine(first, slope + step) / rate - 1.0) / step
    return form


def _spread_of_rails(reading: Reading, name: str, column: int) -> None:
    """Add mean and spread of rails that were read without noise."""
    rails = reading.setting.rails
    low = column == kernels.LOW
    ends = (rails.low if low else rails.high)[reading.setting.devices]
    if not (rails.reached_low if low else rails.reached_high) or ends.size < 2:
        return
    n, mean, variance = ends.size, float(ends.mean()), float(ends.var(ddof=1))
    half = reading.t * float(np.sqrt(variance / n))
    field = "range.g_min" if low else "range.g_max"
    reading.names[field] = Estimate(mean, mean - half, mean + half, unit="S")
    relative = variance / mean**2
    interval = variance_interval(relative, relative * float(np.sqrt(2.0 / (n - 1))), n)
    reading.names[name] = Estimate(float(np.sqrt(relative)), *np.sqrt(interval).tolist())


def _name_derived(reading: Reading, branches: list[tuple[str, int]], n_nodes: int) -> None:
    law = reading.law
    middle = np.array([0.5])

    def noise(theta: Floats) -> float:
        step = _middle_step(law, theta, n_nodes)
        return float(np.sqrt(max(theta[kernels.V_MULT] * step**2 + theta[kernels.V_ADD], 1e-12)))

    reading.derive("derived.effective_states", lambda th: 1.0 / (2.0 * noise(th)), log=True)
    if len(branches) == 2:

        def asymmetry(theta: Floats) -> float:
            up = float(curve(law, theta, n_nodes, True, middle)[0])
            down = float(curve(law, theta, n_nodes, False, middle)[0])
            return (up - down) / (up + down)

        reading.derive("derived.asymmetry", asymmetry)
    if law.shape == "nu":
        from hil_sim.models.conversions import label_of_nu

        for branch, k in branches:
            sign = 1.0 if branch == POTENTIATION else -1.0
            reading.put(
                f"derived.{branch}_label", k + 1,
                lambda x, s=sign: s * label_of_nu(min(nu_of_slope(x), 500.0)),
            )  # fmt: skip


def _name_unreached(reading: Reading) -> None:
    rails, names, law = reading.setting.rails, reading.names, reading.law
    missing = [
        (end, field)
        for end, field, reached in (
            ("lower", "range.g_min", rails.reached_low),
            ("upper", "range.g_max", rails.reached_high),
        )
        if not reached
    ]
    for end, field in missing:
        at = names[field].value
        low, high = (0.0, at) if end == "lower" else (at, np.inf)
        note = f"the pulses did not reach the {end} end"
        names[field] = Estimate(at, low, high, False, note, "S")
        for name, estimate in list(names.items()):
            if name.partition(".")[2] in ("states", law.shape):
                names[name] = replace(estimate, identifiable=False, note=note)
        reading.warnings.append(
            f"{field}: {note}; it is put just beyond what was seen, and states and shape refer to "
            "that range. The protocol ltp-ltd with more pulses per branch would reach it"
        )
    if law.shape:
        for branch in (POTENTIATION, DEPRESSION):
            shape = names.get(f"{branch}.{law.shape}")
            if shape is not None and shape.high - shape.low > _WIDEST:
                field = f"{branch}.{law.shape}"
                note = f"the data allows {shape.low:.3g} to {shape.high:.3g}"
                names[field] = Estimate(shape.value, shape.low, shape.high, False, note)
                reading.warnings.append(
                    f"{field}: not identifiable, {note}; the protocol ltp-ltd with more cycles, "
                    "or pulses that fill the range, would tell"
                )


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
