"""Devices to and from aihwkit: an ``rpu_config`` as Python text or as JSON.

One weight of aihwkit stands for one device here: w = 2u − 1 with u its share of the conductance
range. Pairs of devices and reads are not part of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from hil_sim.models.device import Device

from hil.errors import ConfigError
from hil.interchange import aihwkit_steps as ai
from hil.interchange.aihwkit_text import Written, as_json, as_python, read_config
from hil.interchange.exchange import Exported, Imported, build_device, comment_lines
from hil.interchange.left_out import left_out
from hil.interchange.steps import NODES, lookup_branch, response_of, spread, step

Syntax = Literal["python", "json"]
#: A simpler class is taken instead of PiecewiseStep where its steps are off by at most this share.
NEAR: Final = 1e-6
_SPREAD_NODES = 5
#: Largest variation that a device file holds; factors of a range are cut at 0.05 and 1.95.
_MOST: Final = {
    "g_max_d2d": 0.5, "g_min_d2d": 0.5, "step_d2d": 2.0, "step_d2d_branch": 2.0, "step_c2c": 2.0,
    "range_c2c": 2.0,
}  # fmt: skip


def export(device: Device, syntax: Syntax = "python", class_name: str | None = None) -> Exported:
    """Return the device as an ``rpu_config``.

    Args:
        device: any device.
        syntax: ``python`` or ``json``.
        class_name: device class of aihwkit, None = the simplest that has the device's steps.

    Raises:
        ConfigError: no such class, or it cannot have such steps.
    """
    u = np.linspace(0.0, 1.0, NODES)
    up, down = step(device, True, u), step(device, False, u)
    name, parameters, off = _choose(up, down, class_name)
    held = {"model", "potentiation", "depression"}
    approximate = []
    if off > NEAR:
        approximate.append(f"steps: {name} is off by up to {off:.2%} of the largest step")
    full = {"w_min": -1.0, "w_max": 1.0, **parameters}
    noise, more, noise_held = _noise(device, name, full)
    approximate += more
    between, more, between_held = _between(device, name, full)
    approximate += more
    stuck, more, stuck_held = _stuck(device)
    approximate += more
    held |= noise_held | between_held | stuck_held
    device_values = {**full, **noise, **between, **stuck}
    forward: dict[str, Any] = {}
    span = device.range.g_max - device.range.g_min
    if device.variation.read_noise_siemens > 0.0:
        forward = {
            "w_noise": 2 * device.variation.read_noise_siemens / span,
            "w_noise_type": "ADDITIVE_CONSTANT",
        }
        held.add("variation.read_noise_siemens")
    not_held = left_out(device, held)
    not_held.append("pairs: one weight is one device, w = -1 at g_min and 1 at g_max")
    made = Exported({}, name, not_held, approximate)
    written = Written(
        name, device_values, forward, comment_lines(device, "aihwkit rpu_config", made)
    )
    text = as_json(written) if syntax == "json" else as_python(written)
    return Exported({"": text}, name, not_held, approximate)


def _choose(
    up: np.ndarray, down: np.ndarray, class_name: str | None
) -> tuple[str, dict[str, Any], float]:
    if class_name is not None:
        name = class_name.removesuffix("Device") + "Device"
        if name not in ai.EXPORTED:
            raise ConfigError(
                f"{class_name!r} is none of {', '.join(ai.EXPORTED)}", field="--class"
            )
        parameters = ai.fitted(name, up, down)
        if parameters is None:
            raise ConfigError(f"{name} cannot have steps like these", field="--class")
        return name, parameters, ai.misfit(name, parameters, up, down)
    best: tuple[str, dict[str, Any], float] | None = None
    for name in ai.EXPORTED:
        parameters = ai.fitted(name, up, down)
        if parameters is None:
            continue
        off = ai.misfit(name, parameters, up, down)
        if best is None or off < best[2]:
            best = name, parameters, off
        if off <= NEAR:
            return name, parameters, off
    if best is None:
        raise ConfigError("no pulse moves the conductance", field="potentiation")
    return best


def _noise(
    device: Device, name: str, p: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], set[str]]:
    """Return (parameters, approximations, held fields) of cycle-to-cycle noise."""
    v = device.variation
    u = np.linspace(0.0, 1.0, _SPREAD_NODES)
    table = device.model == "lookup" and any(
        b.spread is not None or b.quantiles is not None
        for b in (device.potentiation, device.depression)
    )
    if v.range_c2c == 0.0 and not table:
        held = {"variation.step_c2c"} if v.step_c2c else set()
        extra = {"mult_noise": True} if "mult_noise" in ai.CLASSES[name] else {}
        return {**extra, "dw_min_std": v.step_c2c}, [], held
    sizes = ai.scales(ai.completed(name, dict(p)))
    if "mult_noise" in ai.CLASSES[name] and v.step_c2c == 0.0 and not table:
        sigma = 2 * v.range_c2c / (sum(sizes) / 2)
        said = []
        if abs(sizes[0] / sizes[1] - 1) > 1e-9:
            said = [
                f"variation.range_c2c = {v.range_c2c:g}: {name} ties additive noise to the step, "
                f"so it is {sigma * sizes[0] / 2:.4g} for up and {sigma * sizes[1] / 2:.4g} for "
                "down pulses"
            ]
        return {"mult_noise": False, "dw_min_std": sigma}, said, {"variation.range_c2c"}
    # Multiplicative noise of the same mean variance.
    shares = []
    for up in (True, False):
        d = step(device, up, u)
        shares.append((float(np.mean(spread(device, up, u) ** 2)), float(np.mean(d**2))))
    sigma = math.sqrt(sum(s for s, _ in shares) / sum(d for _, d in shares))
    extra = {"mult_noise": True} if "mult_noise" in ai.CLASSES[name] else {}
    fields = [f"{k} = {getattr(v, k):g}" for k in ("step_c2c", "range_c2c") if getattr(v, k)]
    if table:
        fields.append("the table's spread")
    said = [
        f"cycle-to-cycle noise ({', '.join(fields)}): {name} holds one number, dw_min_std = "
        f"{sigma:.4g} times the step, the same mean variance"
    ]
    return {**extra, "dw_min_std": sigma}, said, {"variation.step_c2c", "variation.range_c2c"}


def _between(
    device: Device, name: str, p: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], set[str]]:
    """Return (parameters, approximations, held fields) of device-to-device variation."""
    v, r = device.variation, device.range
    span = r.g_max - r.g_min
    # A step of its own for each branch is a common part and an opposite part of equal size.
    opposite = v.step_d2d_branch / math.sqrt(2)
    out: dict[str, Any] = {
        "dw_min_dtod": math.hypot(v.step_d2d, opposite), "up_down_dtod": opposite,
        "w_max_dtod": 2 * v.g_max_d2d * r.g_max / span,
        "w_min_dtod": 2 * v.g_min_d2d * r.g_min / span,
    }  # fmt: skip
    said = []
    if v.step_d2d_law == "log-normal" and out["dw_min_dtod"]:
        out["dw_min_dtod_log_normal"] = True
        if opposite:
            said.append("variation.step_d2d_branch: log-normal here, normal there")
    if opposite and abs(p["up_down"]) > 1e-9:
        said.append(
            "variation.step_d2d_branch: relative to dw_min there, to each branch's step here"
        )
    if v.step_d2d and abs(p["up_down"]) > 1e-9:
        said.append("variation.step_d2d: adds to both branches alike there, multiplies them here")
    if v.g_min_d2d or v.g_max_d2d:
        said.append("range variation: steps do not grow with a device's own range there")
    if name == "LinearStepDevice":
        out.update(gamma_up_dtod=0.0, gamma_down_dtod=0.0)
    if name == "PowStepDevice":
        out["pow_gamma_dtod"] = 0.0
    held = {f"variation.{k}" for k in (
        "step_d2d", "step_d2d_branch", "step_d2d_law", "g_min_d2d", "g_max_d2d")}  # fmt: skip
    if v.nu_d2d and name == "LinearStepDevice":
        for branch, key in ((device.potentiation, "gamma_up"), (device.depression, "gamma_down")):
            nu = branch.nu or 0.0
            out[f"{key}_dtod"] = v.nu_d2d * abs(nu) / 2 / math.cosh(nu / 2) ** 2
        said.append(f"variation.nu_d2d = {v.nu_d2d:g}: as spread of gamma, to first order")
        held.add("variation.nu_d2d")
    return out, said, held


def _stuck(device: Device) -> tuple[dict[str, Any], list[str], set[str]]:
    v = device.variation
    total = v.stuck_at_min + v.stuck_at_max + v.stuck_at_value
    if total == 0.0:
        return {}, [], set()
    said = [f"stuck devices ({total:.2%}): at random weights in -1 … 1 there"]
    return (
        {"corrupt_devices_prob": total, "corrupt_devices_range": 1.0},
        said,
        {f"variation.{k}" for k in ("stuck_at_min", "stuck_at_max", "stuck_at_value")},
    )


#: Parameters that a device file holds.
_HELD: Final = frozenset({
    "dw_min", "up_down", "w_min", "w_max", "dw_min_std", "dw_min_dtod", "dw_min_dtod_log_normal",
    "up_down_dtod", "w_max_dtod", "w_min_dtod", "gamma_up", "gamma_down", "allow_increasing",
    "mult_noise", "A_up", "A_down", "a", "b", "pow_gamma", "pow_up_down", "piecewise_up",
    "piecewise_down", "p_max", "alpha", "range_min", "range_max",
    # They say how aihwkit works, not what the device does.
    "construction_seed", "enforce_consistency", "perfect_bias", "count_pulses",
    "mean_bound_reference", "apply_write_noise_on_set", "reverse_offset", "n_estimation_steps",
    "reset", "reset_dtod", "reset_std", "diffusion_dtod", "lifetime_dtod",
    "corrupt_devices_range",
})  # fmt: skip


def import_(text: str, like: Device, path: str | None = None) -> Imported:
    """Return the device of an ``rpu_config``, Python text or JSON; nothing is executed.

    Args:
        text: the file.
        like: gives what aihwkit does not hold: conductances, pulses, currents, operating point.
        path: of the file, for errors.

    Raises:
        ConfigError: no device of a known class in it, or one that cannot be taken over.
    """
    config = read_config(text, path)
    try:
        p = ai.completed(config.name, config.device)
    except ConfigError as exc:
        raise ConfigError(exc.message, path=path, line=config.line, field=exc.field) from exc
    low, high = like.range.g_min, like.range.g_max
    response = response_of(
        lambda u: ai.range_steps(config.name, p, True, u),
        lambda u: ai.range_steps(config.name, p, False, u), low, high,
    )  # fmt: skip
    if config.name == "PiecewiseStepDevice" and response.model == "lookup":
        nodes = len(p["piecewise_up"])
        u = np.linspace(0.0, 1.0, nodes)
        g = low + (high - low) * u
        tables = [
            lookup_branch(g, ai.range_steps(config.name, p, True, u) * (high - low)),
            lookup_branch(g, ai.range_steps(config.name, p, False, 1 - u) * (high - low)),
        ]
        if nodes > 2:
            response = type(response)("lookup", tables[0], tables[1])
    approximate: list[str] = []
    variation, said, lost = _variation(p, low, high)
    approximate += said
    if config.forward.get("w_noise"):
        variation["read_noise_siemens"] = f"{config.forward['w_noise'] * (high - low) / 2:.12g} S"
    neutral = {
        **ai.COMMON,
        **ai.CLASSES[config.name],
        "drift": None,
        **dict.fromkeys(("gamma_up_dtod", "gamma_down_dtod", "pow_gamma_dtod"), 0.0),
    }
    not_held = [
        f"{key} = {p[key]!r}"
        for key in p
        if key not in _HELD and key in neutral and p[key] != neutral[key] and p[key] is not None
    ]
    not_held += lost
    not_held += [f"rpu_config: {line}" for line in config.ignored]
    defaults = [key for key in ("dw_min", "dw_min_dtod", "dw_min_std", "up_down_dtod", "w_max",
                                "w_max_dtod", "w_min", "w_min_dtod")
                if key not in config.device and config.name != "SoftBoundsPmaxDevice"]  # fmt: skip
    device, assumed = build_device(
        f"{like.name}-{config.name.removesuffix('Device').lower()}", like, response, g_range=None,
        variation=variation, origin=f"imported from aihwkit, {config.name}",
    )  # fmt: skip
    if defaults:
        assumed.append("aihwkit's defaults: " + ", ".join(f"{k} = {p[k]:g}" for k in defaults))
    return Imported(device, f"aihwkit {config.name}", not_held, approximate, assumed)


def _variation(
    p: Mapping[str, Any], low: float, high: float
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return (variation fields, approximations, what is too much to be held)."""
    said: list[str] = []
    out: dict[str, Any] = {}
    half, span = (p["w_max"] - p["w_min"]) / 2, high - low
    additive = not p.get("mult_noise", True)
    if p["dw_min_std"] and additive:
        sizes = ai.scales(p)
        out["range_c2c"] = p["dw_min_std"] * sum(sizes) / 2 / (2 * half)
        if abs(sizes[0] / sizes[1] - 1) > 1e-9:
            said.append("additive noise: one size for both directions here")
    elif p["dw_min_std"]:
        out["step_c2c"] = p["dw_min_std"]
    opposite = p["up_down_dtod"]
    if opposite:
        out["step_d2d_branch"] = opposite * math.sqrt(2)
    common = p["dw_min_dtod"] ** 2 - opposite**2
    if common < -1e-12:
        said.append(
            f"up_down_dtod = {opposite:g} is above dw_min_dtod = {p['dw_min_dtod']:g}: the "
            "branches' steps vary on their own here, not against each other"
        )
    elif common > 1e-18:
        out["step_d2d"] = math.sqrt(common)
    if p["dw_min_dtod_log_normal"] and (out.get("step_d2d") or opposite):
        out["step_d2d_law"] = "log-normal"
    if p["w_max_dtod"]:
        out["g_max_d2d"] = p["w_max_dtod"] * p["w_max"] / half / 2 * span / high
    if p["w_min_dtod"]:
        out["g_min_d2d"] = p["w_min_dtod"] * -p["w_min"] / half / 2 * span / low
    if p["corrupt_devices_prob"]:
        out["stuck_at_value"] = p["corrupt_devices_prob"]
        out["stuck_value"] = f"{(low + high) / 2:.12g} S"
        said.append("corrupt devices: stuck at the middle of the range here, at random there")
    lost = []
    for key, most in _MOST.items():
        if out.get(key, 0.0) > most:
            lost.append(f"variation.{key} would be {out.pop(key):.3g}, at most {most:g} is held")
    return out, said, lost
