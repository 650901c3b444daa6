"""The pulsed device classes of aihwkit: their parameters, defaults and update steps.

Names, equations and defaults are those of aihwkit 1.2 (``simulator/configs/devices.py``, MIT;
Rasch et al., AICAS 2021), written from its documentation. A weight w in w_min … w_max is one
device: u = (w − w_min)/(w_max − w_min). With ``s↑ = dw_min(1 + min(up_down, 0))`` and
``s↓ = dw_min(1 − max(up_down, 0))`` an up pulse does, a down pulse mirrored:

==============  ===============================================
ConstantStep    s↑
LinearStep      s↑(1 − γ_up w/w_max), down s↓(1 − γ_down w/w_min)
SoftBounds      LinearStep with γ = 1
ExpStep         s↑ max(1 − A_up e^{γ_up z}, 0), z = 2a w/(w_max − w_min) + b; down e^{−γ_down z}
PowStep         s↑((w_max − w)/(w_max − w_min))^{γ↑}, γ↑ = γ(1 + min(pow_up_down, 0))
PiecewiseStep   s↑ · nodes over the range, linear between
==============  ===============================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hil.errors import ConfigError
from hil.interchange.steps import NODES, FloatArray

Parameters = dict[str, Any]

#: Parameters of every pulsed device, with the defaults that count when a file leaves them out.
COMMON: Final[Parameters] = {
    "construction_seed": 0, "corrupt_devices_prob": 0.0, "corrupt_devices_range": 0.1,
    "diffusion": 0.0, "diffusion_dtod": 0.0, "dw_min": 0.001, "dw_min_dtod": 0.3,
    "dw_min_dtod_log_normal": False, "dw_min_std": 0.3, "enforce_consistency": True,
    "lifetime": 0.0, "lifetime_dtod": 0.0, "perfect_bias": False, "reset": 0.0, "reset_dtod": 0.0,
    "reset_std": 0.01, "up_down": 0.0, "up_down_dtod": 0.01, "w_max": 0.6, "w_max_dtod": 0.3,
    "w_min": -0.6, "w_min_dtod": 0.3, "count_pulses": False,
}  # fmt: skip
_WRITE: Final[Parameters] = {"write_noise_std": 0.0, "apply_write_noise_on_set": True}
_REVERSE: Final[Parameters] = {"reverse_up": False, "reverse_down": False, "reverse_offset": 0.01}
_POW: Final[Parameters] = {
    "pow_gamma": 1.0, "pow_gamma_dtod": 0.1, "pow_up_down": 0.0, "pow_up_down_dtod": 0.0,
}  # fmt: skip
_REFERENCE: Final[Parameters] = {
    "reference_mean": 0.0, "reference_std": 0.0, "subtract_symmetry_point": False,
}  # fmt: skip

#: class -> its own parameters and their defaults.
CLASSES: Final[dict[str, Parameters]] = {
    "ConstantStepDevice": {},
    "SoftBoundsDevice": {"mult_noise": True, **_WRITE, **_REVERSE},
    "SoftBoundsReferenceDevice": {
        "mult_noise": False, **_WRITE, "slope_up_dtod": 0.0, "slope_down_dtod": 0.0, **_REFERENCE,
    },
    "SoftBoundsPmaxDevice": {
        "mult_noise": True, **_WRITE, **_REVERSE, "p_max": 1000, "alpha": 0.0005,
        "range_min": -1.0, "range_max": 1.0,
    },
    "LinearStepDevice": {
        "gamma_up": 0.0, "gamma_down": 0.0, "gamma_up_dtod": 0.05, "gamma_down_dtod": 0.05,
        "allow_increasing": False, "mean_bound_reference": True, "mult_noise": True,
        **_WRITE, **_REVERSE,
    },
    "PowStepDevice": {**_POW, **_WRITE},
    "PowStepReferenceDevice": {**_POW, **_REFERENCE, "n_estimation_steps": -1},
    "ExpStepDevice": {
        "A_up": 0.00081, "A_down": 0.36833, "gamma_up": 12.44625, "gamma_down": 12.78785,
        "a": 0.244, "b": 0.2425, "dw_min_std_add": 0.0, "dw_min_std_slope": 0.0, **_WRITE,
    },
    "PiecewiseStepDevice": {"piecewise_up": [1], "piecewise_down": [1], **_WRITE},
}  # fmt: skip

#: Classes that an export chooses from, the simplest first.
EXPORTED: Final = (
    "ConstantStepDevice", "SoftBoundsDevice", "LinearStepDevice", "PowStepDevice", "ExpStepDevice",
    "PiecewiseStepDevice",
)  # fmt: skip
#: Most nodes of a PiecewiseStep on a GPU.
PIECES: Final = 63


def completed(name: str, given: Mapping[str, Any]) -> Parameters:
    """Return all parameters of a class, defaults filled in, as that class would use them.

    Raises:
        ConfigError: unknown class or parameter, or values that make no device.
    """
    if name not in CLASSES:
        raise ConfigError(f"{name} is none of {', '.join(CLASSES)}", field="device")
    known = {**COMMON, **CLASSES[name], "drift": None}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{name} has no such parameter", field=key)
        numbers = value if isinstance(value, list) else [value]
        if key != "drift" and not all(
            isinstance(x, int | float) and math.isfinite(x) for x in numbers
        ):
            raise ConfigError(f"{value!r} is not a finite number", field=key)
    p = {**known, **given}
    if name == "SoftBoundsPmaxDevice":
        b = (p["range_max"] - p["range_min"]) / -math.expm1(-p["p_max"] * p["alpha"])
        p.update(w_min=p["range_min"], w_max=p["range_min"] + b, dw_min=b * p["alpha"],
                 up_down=1 + 2 * p["range_min"] / b)  # fmt: skip
    if not p["w_min"] < 0.0 < p["w_max"]:
        raise ConfigError(f"w_min = {p['w_min']:g} and w_max = {p['w_max']:g} must lie on either "
                          "side of 0", field="w_min")  # fmt: skip
    if not p["dw_min"] > 0.0:
        raise ConfigError(f"{p['dw_min']:g} is not above 0", field="dw_min")
    if name == "PiecewiseStepDevice" and len(p["piecewise_up"]) != len(p["piecewise_down"]):
        raise ConfigError("differ in length", field="piecewise_up and piecewise_down")
    for key in ("reverse_up", "reverse_down"):
        if p.get(key):
            raise ConfigError("steps that grow towards the bound this way cannot be imported",
                              field=key)  # fmt: skip
    return p


def scales(p: Mapping[str, Any]) -> tuple[float, float]:
    """Return (s↑, s↓), the step sizes in weight units."""
    return p["dw_min"] * (1 + min(p["up_down"], 0.0)), p["dw_min"] * (1 - max(p["up_down"], 0.0))


def weight_step(name: str, p: Mapping[str, Any], up: bool, w: FloatArray) -> FloatArray:
    """Return the mean change of w by one pulse, positive along its direction, weight units."""
    low, high = p["w_min"], p["w_max"]
    s = scales(p)[0 if up else 1]
    if name in ("LinearStepDevice", "SoftBoundsDevice", "SoftBoundsReferenceDevice",
                "SoftBoundsPmaxDevice"):  # fmt: skip
        gamma = p.get("gamma_up" if up else "gamma_down", 1.0)
        if name == "LinearStepDevice" and not p["allow_increasing"]:
            gamma = abs(gamma)
        return np.asarray(s * (1 - gamma * w / (high if up else low)))
    if name == "ExpStepDevice":
        z = 2 * p["a"] * w / (high - low) + p["b"]
        a, gamma = (p["A_up"], p["gamma_up"]) if up else (p["A_down"], -p["gamma_down"])
        return np.asarray(s * np.maximum(1 - a * np.exp(gamma * z), 0.0))
    if name in ("PowStepDevice", "PowStepReferenceDevice"):
        tilt = p["pow_up_down"]
        gamma = p["pow_gamma"] * (1 + min(tilt, 0.0) if up else 1 - max(tilt, 0.0))
        share = (high - w if up else w - low) / (high - low)
        power: FloatArray = np.power(np.maximum(share, 0.0), float(abs(gamma)))
        scaled: FloatArray = s * power
        return scaled
    if name == "PiecewiseStepDevice":
        nodes = p["piecewise_up" if up else "piecewise_down"]
        at = np.linspace(low, high, len(nodes)) if len(nodes) > 1 else np.array([low])
        return np.asarray(s * np.interp(w, at, np.asarray(nodes, dtype=np.float64)))
    return np.full_like(w, s)


def range_steps(name: str, p: Mapping[str, Any], up: bool, u: FloatArray) -> FloatArray:
    """Return D(u) of a class along its branch, a share of the weight range."""
    span = p["w_max"] - p["w_min"]
    w = p["w_min"] + span * u if up else p["w_max"] - span * u
    share: FloatArray = weight_step(name, p, up, w) / span
    return share


def _directions(up: float, down: float) -> Parameters:
    """Return dw_min and up_down of two step sizes in weight units."""
    ratio = down / up
    return {"dw_min": max(up, down), "up_down": 1 - ratio if up >= down else -(1 - 1 / ratio)}


def fitted(name: str, up: FloatArray, down: FloatArray) -> Parameters | None:
    """Return the parameters of a class for steps over equal shares u = 0 … 1 of each branch.

    The weight range is −1 … 1. The best fit in the sense of least squares; None where the class
    has no parameters for such steps.

    Args:
        name: one of :data:`EXPORTED`.
        up, down: (n,) D(u) along each branch.
    """
    u = np.linspace(0.0, 1.0, len(up))
    if name == "ConstantStepDevice":
        sizes = float(up.mean()), float(down.mean())
        return _directions(2 * sizes[0], 2 * sizes[1]) if min(sizes) > 0 else None
    if name in ("SoftBoundsDevice", "LinearStepDevice"):
        return _linear(name, u, up, down)
    if name == "PowStepDevice":
        return _power(u, up, down)
    if name == "ExpStepDevice":
        return _exponential(u, up, down)
    s = [2 * float(d.max()) for d in (up, down)]
    at = np.linspace(0.0, 1.0, min(PIECES, len(u)))
    rising = [np.interp(at, u, up) * 2 / s[0], np.interp(at, u, down)[::-1] * 2 / s[1]]
    nodes = [[float(f"{x:.9g}") for x in column] for column in rising]
    return {**_directions(*s), "piecewise_up": nodes[0], "piecewise_down": nodes[1]}


def _linear(name: str, u: FloatArray, up: FloatArray, down: FloatArray) -> Parameters | None:
    at_zero, gammas = [], []
    for d in (up, down):
        if name == "SoftBoundsDevice":
            start = float(d @ (1 - u) / ((1 - u) @ (1 - u)))
            ends = start, 0.0
        else:
            slope, offset = np.polyfit(u, d, 1)
            ends = float(offset), float(offset + slope)
        # w = 2u − 1: the step at w = 0 is the mean of the ends, in units of half the range.
        at_zero.append(ends[0] + ends[1])
        if not at_zero[-1] > 0.0:
            return None
        gammas.append((ends[0] - ends[1]) / at_zero[-1])
    out = _directions(*at_zero)
    if name == "LinearStepDevice":
        out.update(gamma_up=gammas[0], gamma_down=gammas[1])
        if min(gammas) < 0.0:
            out["allow_increasing"] = True
    return out


def _power(u: FloatArray, up: FloatArray, down: FloatArray) -> Parameters | None:
    sizes, powers = [], []
    for d in (up, down):
        rest = 1 - u[:-1]
        if d.min() < 0.0 or d[:-1].min() <= 0.0:
            return None
        # Weights d: the fit is of the step, not of its logarithm.
        power, offset = np.polyfit(np.log(rest), np.log(d[:-1]), 1, w=d[:-1])
        if power <= 0.0:
            return None
        sizes.append(2 * math.exp(offset))
        powers.append(float(power))
    ratio = powers[1] / powers[0]
    return {
        **_directions(*sizes), "pow_gamma": max(powers),
        "pow_up_down": 1 - ratio if ratio <= 1 else -(1 - 1 / ratio),
    }  # fmt: skip


def _exponential(u: FloatArray, up: FloatArray, down: FloatArray) -> Parameters | None:
    from scipy.optimize import least_squares

    sizes, factors, gammas = [], [], []
    for d in (up, down):
        top = float(d.max())

        def residual(x: FloatArray, d: FloatArray = d, top: float = top) -> FloatArray:
            model = x[0] * np.maximum(1 - np.exp(np.clip(x[1] + x[2] * (2 * u - 1), -60, 60)), 0.0)
            out: FloatArray = model - d / top
            return out

        found = min(
            (least_squares(residual, [1.0, x1, x2], xtol=1e-14, ftol=1e-14, gtol=1e-14)
             for x1, x2 in ((-1.0, 1.0), (-5.0, 5.0), (-2.0, 2.0))),
            key=lambda f: f.cost,
        )  # fmt: skip
        if not found.x[0] > 0.0:
            return None
        sizes.append(2 * top * float(found.x[0]))
        factors.append(math.exp(float(found.x[1])))
        gammas.append(float(found.x[2]))
    return {
        **_directions(*sizes), "A_up": factors[0], "A_down": factors[1],
        "gamma_up": gammas[0], "gamma_down": gammas[1], "a": 1.0, "b": 0.0,
    }  # fmt: skip


def misfit(name: str, p: Mapping[str, Any], up: FloatArray, down: FloatArray) -> float:
    """Return the largest error of a class's steps, a share of the largest step of the branch."""
    full = completed(name, {**p, "w_min": -1.0, "w_max": 1.0})
    u = np.linspace(0.0, 1.0, len(up))
    return max(
        float(np.abs(range_steps(name, full, is_up, u) - d).max() / np.abs(d).max())
        for is_up, d in ((True, up), (False, down))
    )


def sampled(d: FloatArray) -> FloatArray:
    """Return steps at NODES equal shares of the range; fewer are interpolated."""
    out: FloatArray = np.interp(np.linspace(0.0, 1.0, NODES), np.linspace(0.0, 1.0, len(d)), d)
    return out
