"""Amplitude and width sensitivity from a pulse map: what a pulse is worth in nominal pulses.

A response from u0 to u1 is worth ``T(u1) − T(u0)`` nominal pulses, T the pulses that take a device
along the fitted response. That number, over the pulses given, is ``a(v)·(t/t_nom)^m`` with the
amplitude laws of the device file: power, exponential, sinh; the best by AIC is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.fit.intervals import t_quantile, variance_interval
from hil.fit.measured import PulseMaps
from hil.fit.noise import ReadNoise
from hil.fit.result import Estimate
from hil.fit.retention import pooled

Floats = NDArray[np.float64]

SIDES: Final = {1: "potentiate", -1: "depress"}
_FURTHEST: Final = 0.85  # of the range: beyond it a response says little of the pulse
_FEWEST_DEVICES: Final = 4
_LAWS: Final = ("power", "exponential", "sinh")
_MAP: Final = "the protocol pulse-map with at least 3 amplitudes and 2 widths would tell"


@dataclass(frozen=True, slots=True, eq=False)
class AffineDevices:
    """Response of every device by the affine law: (n_devices,) columns, NaN where not fitted.

    ``first`` and ``slope`` are pairs of columns, potentiation first.
    """

    low: Floats
    high: Floats
    first: tuple[Floats, Floats]
    slope: tuple[Floats, Floats]
    v_mult: float
    v_add: float


@dataclass(frozen=True, slots=True, eq=False)
class Nominal:
    """The pulse that the responses were measured with: magnitudes in volts, width in seconds."""

    volts: dict[int, float]
    width_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    device: NDArray[np.int64]
    polarity: NDArray[np.int64]
    volts: Floats
    tau: Floats
    worth: Floats
    error: Floats


def sensitivity(
    maps: PulseMaps, devices: AffineDevices, nominal: Nominal, noise: ReadNoise, *,
    thresholds: bool = False,
) -> tuple[dict[str, Estimate], str, list[str]]:  # fmt: skip
    """Return estimates by their names in a device file, the law that fits best, and warnings.

    ``thresholds``: only the law that has them is fitted, for devices that do not move where they
    are half-selected. The maps of noisy devices fit the others about as well.
    """
    points, warnings = _points(maps, devices, nominal, noise)
    if points is None:
        return {}, "", warnings
    sides = [s for s in SIDES if (points.polarity == s).any() and s in nominal.volts]
    sides = [s for s in sides if np.unique(points.volts[points.polarity == s]).size >= 3]
    for s in set(SIDES) - set(sides):
        warnings.append(
            f"pulse.{SIDES[s]}_threshold: the data holds fewer than 3 amplitudes of this "
            f"polarity; {_MAP}"
        )
    if not sides:
        return {}, "", warnings
    keep = np.isin(points.polarity, sides)
    points = _Points(*(getattr(points, n)[keep] for n in _Points.__slots__))
    widths = np.unique(np.round(np.log(points.tau), 3)).size
    if widths < 2:
        warnings.append(f"pulse.time_exponent: one width only, taken as 1; {_MAP}")
    fits = [
        _fit(points, law, sides, nominal, widths >= 2)
        for law in (_LAWS[:1] if thresholds else _LAWS)
    ]
    best = min(fits, key=lambda fit: fit.aic)
    if len(fits) > 1 and sorted(fit.aic for fit in fits)[1] - best.aic < 2.0:
        warnings.append(
            "pulse.law: the pulse map hardly tells the amplitude laws apart; amplitudes further "
            "below the nominal one (protocol pulse-map) would"
        )
    out = best.estimates(points)
    spread = _threshold_spread(points, best)
    if spread is not None:
        out["variation.threshold_d2d"] = spread
    return out, best.law, warnings


class _Trace(NamedTuple):
    """Readings of one device at one point of the grid, as shares of its range."""

    device: int
    polarity: int
    volts: float
    tau: float
    pulses: NDArray[np.int64]
    g: Floats
    u: Floats


def _traces(maps: PulseMaps, devices: AffineDevices, nominal: Nominal) -> list[_Trace]:
    order = np.lexsort((maps.pulses, maps.group))
    order = order[np.isfinite(maps.g_siemens[order])]
    out = []
    for piece in np.split(order, np.flatnonzero(np.diff(maps.group[order])) + 1):
        if piece.size < 2 or maps.pulses[piece[0]] != 0:
            continue
        own, sign = int(maps.device[piece[0]]), int(maps.polarity[piece[0]])
        low, high = float(devices.low[own]), float(devices.high[own])
        if not (np.isfinite(high - low) and np.isfinite(devices.first[0 if sign > 0 else 1][own])):
            continue
        g = maps.g_siemens[piece]
        u = (g - low if sign > 0 else high - g) / (high - low)
        out.append(_Trace(
            own, sign, abs(float(maps.amplitude_v[piece[0]])),
            float(maps.width_s[piece[0]]) / nominal.width_s, maps.pulses[piece], g, u,
        ))  # fmt: skip
    return out


def _worth(
    trace: _Trace, at: int, devices: AffineDevices, noise: ReadNoise
) -> tuple[float, float] | None:
    """Return what one pulse was worth up to reading ``at``, in nominal ones, and its variance."""
    side = 0 if trace.polarity > 0 else 1
    first, slope = (float(c[side][trace.device]) for c in (devices.first, devices.slope))
    span = float(devices.high[trace.device] - devices.low[trace.device])
    u = np.minimum(trace.u[[0, at]], 0.97)
    steps = first * (1.0 - slope * u)
    if first <= 0.0 or (steps <= 0.02 * first).any():
        return None
    given = float(trace.pulses[at])
    fading = -float(np.log1p(-min(first * slope, 0.999)))
    moved = float(u[1] - u[0]) / first
    if abs(slope) > 1e-6:
        moved = float(np.log((1.0 - slope * u[0]) / (1.0 - slope * u[1]))) / fading
    read = noise.variance(trace.g[[0, at]]) / span**2
    # noise from pulse to pulse, of which a weak pulse has its share
    own = max(abs(moved), 0.05) * (devices.v_mult + devices.v_add / steps[1] ** 2)
    return moved / given, (float((read / steps**2).sum()) + own) / given**2


def _points(
    maps: PulseMaps, devices: AffineDevices, nominal: Nominal, noise: ReadNoise
) -> tuple[_Points | None, list[str]]:
    """Return what pulses were worth, at every point of the grid up to where no device saturates.

    How many pulses are taken, and the weight, is one for all devices of a point: neither may depend
    on a device's own noise, which would prefer the small responses.
    """
    grid: dict[tuple[int, float, float], list[_Trace]] = {}
    for trace in _traces(maps, devices, nominal):
        key = (trace.polarity, float(f"{trace.volts:.4g}"), float(f"{trace.tau:.4g}"))
        grid.setdefault(key, []).append(trace)
    rows: list[tuple[float, ...]] = []
    saturated = 0
    for (sign, volts, tau), traces in grid.items():
        n = min(trace.u.size for trace in traces)
        high = np.quantile(np.stack([trace.u[:n] for trace in traces]), 0.9, axis=0)
        inside = np.flatnonzero(high[1:] < _FURTHEST) + 1
        found = []
        if inside.size:
            found = [(t.device, _worth(t, int(inside[-1]), devices, noise)) for t in traces]
        known = [(own, *pair) for own, pair in found if pair is not None]
        if not known:
            saturated += 1
            continue
        error = float(np.sqrt(np.mean([variance for _, _, variance in known]))) + 1e-4
        rows += [(own, sign, volts, tau, worth, error) for own, worth, _ in known]
    warnings = []
    if saturated > 0.5 * len(grid):
        warnings.append(
            f"pulse: {saturated} of {len(grid)} points of the pulse map run into the end of the "
            "range and are left out; fewer pulses per point, or weaker ones, would tell more"
        )
    if not rows:
        return None, [*warnings, f"pulse: no point of the pulse map can be used; {_MAP}"]
    table = np.array(rows)
    device, polarity = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    return _Points(device, polarity, *table[:, 2:].T), warnings


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """A fitted amplitude law; parameters per side, then the time exponent where it is searched."""

    law: str
    sides: list[int]
    nominal: Nominal
    timed: bool
    values: Floats
    aic: float

    def model(self, values: Floats, p: _Points, factor: float = 1.0) -> Floats:
        """Return the worth of every point in nominal pulses of the device itself.

        ``factor`` multiplies every threshold (or scale).
        """
        m = float(values[-1]) if self.timed else 1.0
        out = np.zeros(p.volts.size)
        wide = 2 if self.law == "power" else 1
        for k, side in enumerate(self.sides):
            rows = p.polarity == side
            v, v_nom = p.volts[rows], self.nominal.volts[side]
            shape = values[wide * k : wide * (k + 1)]
            if self.law == "power":
                x = np.maximum(v - factor * shape[0], 0.0) / (v_nom - factor * shape[0])
                out[rows] = np.where(x > 0.0, np.maximum(x, 1e-12) ** shape[1], 0.0)
            else:
                f = np.expm1 if self.law == "exponential" else np.sinh
                out[rows] = f(np.minimum(v / factor / shape[0], 60.0)) / f(
                    min(v_nom / factor / float(shape[0]), 60.0)
                )
        worth: Floats = out * p.tau**m
        return worth

    def slopes(self, p: _Points) -> Floats:
        """Return (n_points, n) slopes of the standardised worth by the values."""
        columns = []
        for k in range(self.values.size):
            h = 1e-4 * max(abs(float(self.values[k])), 1e-3)
            up, down = self.values.copy(), self.values.copy()
            up[k] += h
            down[k] -= h
            columns.append((self.model(up, p) - self.model(down, p)) / (2.0 * h) / p.error)
        return np.stack(columns, axis=1)

    def estimates(self, p: _Points) -> dict[str, Estimate]:
        """Return the values with intervals that hold whatever devices have in common."""
        slopes = self.slopes(p)
        residual = (p.worth - self.model(self.values, p)) / p.error
        bread = np.linalg.pinv(slopes.T @ slopes, rcond=1e-12)
        devices, at = np.unique(p.device, return_inverse=True)
        n = devices.size
        if n >= _FEWEST_DEVICES:
            scores = np.zeros((n, self.values.size))
            np.add.at(scores, at, slopes * residual[:, None])
            covariance = np.asarray(bread @ (scores.T @ scores) @ bread * n / (n - 1.0))
            quantile = t_quantile(n)
        else:
            dof = max(residual.size - self.values.size, 1)
            covariance = np.asarray(bread * max(float((residual**2).sum()) / dof, 1.0))
            quantile = t_quantile(dof + 1)
        half = quantile * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        out = {}
        wide = 2 if self.law == "power" else 1
        for k, side in enumerate(self.sides):
            name = SIDES[side]
            ends = [("threshold", "V", side), ("exponent", "", 1)]
            if self.law != "power":
                ends = [("scale", "V", 1)]
            for j, (field, unit, sign) in enumerate(ends):
                value, width = float(self.values[wide * k + j]), float(half[wide * k + j])
                known = width < 0.5 * self.nominal.volts[side] if unit else width < 2.0
                low, high = sorted((sign * (value - width), sign * (value + width)))
                out[f"pulse.{name}_{field}"] = Estimate(
                    sign * value, low, high, known, "" if known else _MAP, unit
                )
        if self.timed:
            m, width = float(self.values[-1]), float(half[-1])
            out["pulse.time_exponent"] = Estimate(m, m - width, m + width)
        return out


def _fit(p: _Points, law: str, sides: list[int], nominal: Nominal, timed: bool) -> _Fit:
    from scipy.optimize import least_squares

    start: list[float] = []
    low: list[float] = []
    high: list[float] = []
    for side in sides:
        v_nom = nominal.volts[side]
        if law == "power":
            start += [0.4 * v_nom, 1.5]
            low += [0.0, 0.2]
            high += [0.98 * v_nom, 8.0]
        else:
            start.append(0.2 * v_nom)
            low.append(0.02 * v_nom)
            high.append(20.0 * v_nom)
    if timed:
        start, low, high = [*start, 1.0], [*low, 0.05], [*high, 5.0]
    empty = _Fit(law, sides, nominal, timed, np.array(start), 0.0)

    def residual(x: Floats) -> Floats:
        out: Floats = (p.worth - empty.model(x, p)) / p.error
        return out

    rough = least_squares(residual, start, bounds=(low, high), loss="soft_l1")
    final = least_squares(residual, rough.x, bounds=(low, high))
    chi2 = 2.0 * float(final.cost)
    scale = max(chi2 / max(p.worth.size - len(start), 1), 1e-12)
    aic = p.worth.size * float(np.log(scale)) + 2.0 * len(start)
    return _Fit(law, sides, nominal, timed, np.asarray(final.x, dtype=np.float64), aic)


def _threshold_spread(p: _Points, fit: _Fit) -> Estimate | None:
    """Return the spread of the threshold factor between devices, estimation variance taken off.

    The two polarities of a device have factors of their own.
    """
    h = 1e-3
    slope = (fit.model(fit.values, p, 1.0 + h) - fit.model(fit.values, p, 1.0 - h)) / (2 * h)
    x, y = slope / p.error, (p.worth - fit.model(fit.values, p)) / p.error
    devices, at = np.unique(2 * p.device + (p.polarity > 0), return_inverse=True)
    information = np.bincount(at, x * x)
    if devices.size < _FEWEST_DEVICES or (information <= 0.0).any():
        return None
    shift = np.bincount(at, x * y) / information
    inner = y - x * shift[at]
    excess = float((inner**2).sum()) / max(y.size - devices.size, 1)
    _, _, between, error = pooled(shift, excess / information)
    low, high = variance_interval(between, error, devices.size)
    return Estimate(float(np.sqrt(between)), float(np.sqrt(low)), float(np.sqrt(high)))
