"""The current–voltage law from sweeps within the read voltage: which of the simulator's, how bent.

With ``x = v/v0`` a device's current is ``g·φ(v)``, φ(v) ∝ sinh x or tanh x, or v forward and
v/ratio reverse, and φ(v) = v at the read voltage. Then ln(I/v) is a number of the device plus a
curve that all devices share. Its one parameter is the curvature κ, 1/v0² of sinh and −1/v0² of
tanh (0 is ohmic), or the logarithm of the ratio. Devices are the units of the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.fit.intervals import t_quantile
from hil.fit.measured import Sweeps
from hil.fit.result import Estimate
from hil.units import parse_quantity

Floats = NDArray[np.float64]

_FEWEST_VOLTAGES: Final = 3
_FEWEST_DEVICES: Final = 4  # from which on the spread between devices is the error
_MOVED: Final = 0.1  # of the conductance between two visits of a voltage: the device switched
_STEEPEST: Final = 400.0  # largest |κ|·v² that is searched
_MISSED: Final = 0.05  # of the current, from which on a law that misses it is told
_LEAST_RATIO: Final = 1.05  # below it a device counts as one that does not rectify
_REWEIGHTED: Final = 5
_SWEEP: Final = "the protocol iv-sweep"


@dataclass(frozen=True, slots=True)
class CurrentLaw:
    """What the sweeps tell of [current].

    Attributes:
        law: as a device file names it; ``ohmic`` where no other is told from it, "" of no use.
        estimates: by their names in a device file, and the curvature (1/V²) and the ratio as
            derived values, also where they are not told from those of an ohmic device.
        warnings: plain sentences.
    """

    law: str
    estimates: dict[str, Estimate]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """ln(I/v) of devices at voltages, with the weight of each: (n,) columns.

    ``besides`` is a curve of any size that is left out of every comparison.
    """

    device: NDArray[np.int64]
    volts: Floats
    y: Floats
    weight: Floats
    n_devices: int
    besides: Floats | None = None

    def centred(self, values: Floats) -> Floats:
        """Return values less the weighted mean of their device, and less ``besides``."""
        out = self._less_means(values)
        if self.besides is None:
            return out
        other = self._less_means(self.besides)
        square = float((self.weight * other**2).sum())
        return out - other * (float((self.weight * other * out).sum()) / max(square, 1e-300))

    def misfit(self, shape: Floats) -> float:
        """Return the weighted sum of squares about a curve that all devices share."""
        return float((self.weight * self.centred(self.y - shape) ** 2).sum())

    def _less_means(self, values: Floats) -> Floats:
        total = np.bincount(self.device, self.weight, self.n_devices)
        mean = np.bincount(self.device, self.weight * values, self.n_devices) / total
        out: Floats = values - mean[self.device]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    value: float
    half: float  #: half the width of the interval
    shape: Floats

    @property
    def low(self) -> float:
        return self.value - self.half

    @property
    def high(self) -> float:
        return self.value + self.half


def current_law(sweeps: Sweeps) -> CurrentLaw:
    """Fit the laws to the sweeps; the one that is told best from an ohmic one is taken.

    Devices that switch during their sweep are left out.
    """
    points, warnings = _points(sweeps)
    if points is None:
        return CurrentLaw("", {}, tuple(warnings))
    size = np.abs(points.volts)
    span = f"{size.min():.3g} … {size.max():.3g} V"
    out: dict[str, Estimate] = {}
    told: list[tuple[float, str, str, Estimate, Floats]] = []
    reverse = (points.volts < 0.0).astype(np.float64)
    both = points.volts.min() < 0.0 < points.volts.max()
    bent = None
    if np.unique(size).size >= _FEWEST_VOLTAGES:
        most = _STEEPEST / float(size.max()) ** 2
        among = replace(points, besides=reverse) if both else points
        bent = _search(among, lambda k: _bend(size, k), most)
        out["derived.current_curvature"] = Estimate(bent.value, bent.low, bent.high)
        if abs(bent.value) > bent.half:
            value, one, other = (
                float(1.0 / np.sqrt(abs(k))) for k in (bent.value, bent.low, bent.high)
            )
            scale = Estimate(value, min(one, other), max(one, other), unit="V")
            law = "sinh" if bent.value > 0.0 else "saturating"
            told.append((abs(bent.value) / bent.half, law, "current.scale", scale, bent.shape))
    else:
        warnings.append(
            f"current: fewer than {_FEWEST_VOLTAGES} voltages; {_SWEEP} at more of them would tell"
        )
    if both:
        besides = None if bent is None else _slope(lambda k: _bend(size, k), bent.value, most)
        flat = points.y if bent is None else points.y - bent.shape
        found = _search(replace(points, y=flat, besides=besides), lambda k: -k * reverse, 40.0)
        value, low, high = (float(np.exp(k)) for k in (found.value, found.low, found.high))
        ratio = Estimate(value, low, high)
        out["derived.current_ratio"] = ratio
        if low > 1.0 and value > _LEAST_RATIO:
            told.append(
                (found.value / found.half, "rectifying", "current.ratio", ratio, found.shape)
            )
        elif high < 1.0 and value < 1.0 / _LEAST_RATIO:
            warnings.append("current: more current in reverse than forward, which no law of a "
                            "device file has; it is left out")  # fmt: skip
    if not told:
        if bent is not None:
            warnings.append(
                f"current.scale: not told from an ohmic device within {span} "
                f"({_least(bent)}); {_SWEEP} to higher voltages would tell more"
            )
        return CurrentLaw("ohmic" if out else "", out, tuple(warnings))
    _, law, name, estimate, shape = max(told, key=lambda one: one[0])
    out[name] = estimate
    missed = _missed(points, shape)
    if missed > _MISSED:
        warnings.append(
            f"current: the {law} law misses the measured currents by up to {missed:.0%} within "
            f"{span}; the device file knows no law that is nearer"
        )
    return CurrentLaw(law, out, tuple(warnings))


def agrees(table: Mapping[str, Any], estimates: Mapping[str, Estimate]) -> bool:
    """Return whether the law of a table [current] is within what the sweeps allow."""
    curvature = estimates.get("derived.current_curvature")
    ratio = estimates.get("derived.current_ratio")
    law = str(table.get("law", "ohmic"))
    k = {"sinh": 1.0, "saturating": -1.0}.get(law, 0.0)
    if k:
        k /= parse_quantity(table["scale"], "voltage") ** 2
    r = float(table["ratio"]) if law == "rectifying" else 1.0
    if curvature is not None and k not in curvature:
        return False
    if ratio is None:
        return True
    return ratio.low / _LEAST_RATIO <= r <= ratio.high * _LEAST_RATIO


def _points(sweeps: Sweeps) -> tuple[_Points | None, list[str]]:
    known = np.isfinite(sweeps.current_a) & (sweeps.current_a * sweeps.voltage_v > 0.0)
    _, group = np.unique(sweeps.group, return_inverse=True)
    steady, moved = _steady(sweeps, group, known)
    warnings = []
    if moved:
        warnings.append(
            f"current: {moved} devices changed by more than {_MOVED:.0%} during the sweep and are "
            f'left out; {_SWEEP} below the switching voltage, path = "read", would tell'
        )
    keep = known & steady[group]
    if not keep.any():
        warnings.append("current: no sweep can be used; [current] is not fitted")
        return None, warnings
    _, device = np.unique(group[keep], return_inverse=True)
    volts = sweeps.voltage_v[keep]
    y = np.log(sweeps.current_a[keep] / volts)
    n = int(device.max()) + 1
    flat = _Points(device, volts, y, np.ones(volts.size), n)
    return _Points(device, volts, y, _weights(flat), n), warnings


def _steady(
    sweeps: Sweeps, group: NDArray[np.int64], known: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], int]:
    """Return which groups have the same current whenever they meet a voltage, and how many not."""
    steady = np.ones(int(group.max()) + 1, dtype=np.bool_)
    order = np.lexsort((sweeps.voltage_v, group))
    order = order[known[order]]
    same = (np.diff(group[order]) == 0) & (np.diff(sweeps.voltage_v[order]) == 0.0)
    y = np.log(np.abs(sweeps.current_a[order]))
    if not same.any():
        return steady, 0
    change = np.bincount(group[order][1:][same], np.diff(y)[same] ** 2, steady.size)
    times = np.bincount(group[order][1:][same], minlength=steady.size)
    steady = change <= 2.0 * _MOVED**2 * np.maximum(times, 1)
    return steady, int((~steady).sum())


def _weights(p: _Points) -> Floats:
    """Return 1/variance of every point: a share of the current, and a floor below it.

    The two parts, a + b/v², are fitted to what devices scatter by at every voltage.
    """
    if p.n_devices < _FEWEST_DEVICES:
        return p.weight
    from scipy.optimize import nnls

    volts, at, n = np.unique(p.volts, return_inverse=True, return_counts=True)
    residual = p.centred(p.y)
    residual = residual - (np.bincount(at, residual) / n)[at]
    variance = np.bincount(at, residual**2) / np.maximum(n - 1, 1)
    parts = np.stack([np.ones(volts.size), (np.abs(volts).max() / volts) ** 2], axis=1)
    model = np.full(volts.size, max(float(variance.mean()), 1e-12))
    for _ in range(_REWEIGHTED):
        size, _ = nnls(parts / model[:, None], variance / model)
        model = np.maximum(parts @ size, 1e-12)
    out: Floats = (1.0 / model)[at]
    return out


def _bend(size: Floats, curvature: float) -> Floats:
    """Return ln(φ(v)/v) but for a constant, which every device has of its own."""
    x = np.maximum(np.sqrt(abs(curvature)) * size, 1e-9)
    # of sinh without overflow
    bend = x + np.log(-np.expm1(-2.0 * x)) - np.log(2.0 * x) if curvature >= 0.0 else (
        np.log(np.tanh(x) / x))  # fmt: skip
    return np.asarray(bend, dtype=np.float64)


def _search(p: _Points, shape_of: Callable[[float], Floats], most: float) -> _Found:
    """Return the best parameter in ±``most``, with its interval over devices."""
    from scipy.optimize import minimize_scalar

    unit = most / _STEEPEST
    end = float(np.arcsinh(_STEEPEST))

    def value_of(s: float) -> float:
        return unit * float(np.sinh(s))

    best = minimize_scalar(
        lambda s: p.misfit(shape_of(value_of(s))), bounds=(-end, end), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    value = value_of(float(best.x))
    shape = shape_of(value)
    slope = p.centred(_slope(shape_of, value, most))
    residual = p.centred(p.y - shape)
    information = float((p.weight * slope**2).sum())
    scores = np.bincount(p.device, p.weight * slope * residual, p.n_devices)
    n = p.n_devices
    if n >= _FEWEST_DEVICES:
        error = float(np.sqrt((scores**2).sum() * n / (n - 1.0))) / information
        return _Found(value, t_quantile(n) * error, shape)
    dof = max(residual.size - n - 2, 1)
    variance = max(float((p.weight * residual**2).sum()) / dof, 1e-12)
    return _Found(value, t_quantile(dof + 1) * float(np.sqrt(variance / information)), shape)


def _slope(shape_of: Callable[[float], Floats], value: float, most: float) -> Floats:
    h = max(1e-4 * abs(value), 1e-5 * most / _STEEPEST)
    out: Floats = (shape_of(value + h) - shape_of(value - h)) / (2.0 * h)
    return out


def _least(bent: _Found) -> str:
    parts = [
        f"{name} above {1.0 / np.sqrt(k):.3g} V"
        for name, k in (("v0 of sinh", bent.high), ("v_sat of saturating", -bent.low))
        if k > 0.0
    ]
    return ", ".join(parts)


def _missed(p: _Points, shape: Floats) -> float:
    """Return the largest mean error of a law over devices at a voltage, as a share of current."""
    residual = p.centred(p.y - shape)
    _, at, n = np.unique(p.volts, return_inverse=True, return_counts=True)
    mean = np.bincount(at, residual) / n
    noise = np.sqrt(np.bincount(at, (residual - mean[at]) ** 2) / np.maximum(n - 1, 1) / n)
    return float(np.max(np.maximum(np.abs(mean) - 3.0 * noise, 0.0)))
