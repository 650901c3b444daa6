"""A finished search as named estimates: the parameters of a device file, with intervals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hil.fit import kernels
from hil.fit.intervals import t_quantile, variance_interval
from hil.fit.laws import Law, curve, nu_of_slope, rate_of_affine
from hil.fit.measured import DEPRESSION, POTENTIATION
from hil.fit.reading_off import Form, Reading
from hil.fit.result import Estimate

Floats = NDArray[np.float64]

_WIDEST = 5.0  # an interval of ν or β wider than this says nothing about the curve
_STEEPEST = 0.9999  # slope at which ν is taken for its spread, where it saturates


def name_all(reading: Reading, n_nodes: int) -> None:
    """Add all estimates and warnings of a finished search to ``reading``."""
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
            reading.derive(f"{branch}.alpha", partial(_alpha, k=k), log=True)
    for name, column in (
        ("variation.step_c2c", kernels.V_MULT), ("variation.range_c2c", kernels.V_ADD),
    ):  # fmt: skip
        reading.put(name, column, lambda x: float(np.sqrt(max(x, 0.0))))
        if column in mixed.held:
            most = float(np.sqrt(reading.bounds.get(column, np.inf)))
            other = "range_c2c" if column == kernels.V_MULT else "step_c2c"
            reading.names[name] = Estimate(
                0.0, 0.0, most, False, f"not told from variation.{other}, which has it all"
            )
            reading.warnings.append(
                f"{name}: steps are of about one size, so spreads in proportion to the step and to "
                f"the range are not told apart; all is given as variation.{other}. Pulses of other "
                "amplitudes would tell (protocol pulse-map)"
            )
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
        reading.derive(f"{branch}.delta_g[{k}]", partial(step, node=node), unit="S")


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
        slope = min(means[k + 1], _STEEPEST)
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
    slope = min(reading.value(k + 1), _STEEPEST)
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
    half = t_quantile(n) * float(np.sqrt(variance / n))
    field = "range.g_min" if low else "range.g_max"
    reading.names[field] = Estimate(mean, mean - half, mean + half, unit="S")
    relative = variance / mean**2
    interval = variance_interval(relative, relative * float(np.sqrt(2.0 / (n - 1))), n)
    reading.names[name] = Estimate(float(np.sqrt(relative)), *np.sqrt(interval).tolist())


def _name_derived(reading: Reading, branches: list[tuple[str, int]], n_nodes: int) -> None:
    law = reading.law
    middle = np.array([0.5])

    def noise(theta: Floats) -> float:
        step = middle_step(law, theta, n_nodes)
        return float(np.sqrt(max(theta[kernels.V_MULT] * step**2 + theta[kernels.V_ADD], 1e-12)))

    reading.derive("derived.effective_states", lambda th: 1.0 / (2.0 * noise(th)), log=True)
    if len(branches) == 2:

        def asymmetry(theta: Floats) -> float:
            up = float(curve(law, theta, n_nodes, True, middle)[0])
            down = float(curve(law, theta, n_nodes, False, middle)[0])
            return (up - down) / (up + down)

        reading.derive("derived.asymmetry", asymmetry)
    if law.shape == "nu":
        for branch, k in branches:
            reading.put(f"derived.{branch}_label", k + 1, partial(_label, branch))


def _label(branch: str, slope: float) -> float:
    """Return NeuroSim's label, negative for a depression that falls fast first."""
    from hil_sim.models.conversions import label_of_nu

    label = label_of_nu(nu_of_slope(slope))
    return label if branch == POTENTIATION else -label


def _name_unreached(reading: Reading) -> None:
    """Mark what the pulses did not reach, and shapes that the data leaves open."""
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


def middle_step(law: Law, theta: Floats, n_nodes: int) -> float:
    """Return the mean step in the middle of the range, as a share of it, over the branches."""
    at = np.array([0.5])
    steps = [
        float(curve(law, theta, n_nodes, up, at)[0])
        for up, k in ((True, kernels.RATE_UP), (False, kernels.RATE_DOWN))
        if theta[k] > 0.0
    ]
    return float(np.mean(steps))
