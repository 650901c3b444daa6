"""Devices to and from NeuroSim: the values of ``Param``/``Cell`` as assignments.

MLP+NeuroSim V3 sets them in the constructors of ``Cell.cpp`` (``RealDevice``, or ``MeasuredDevice``
with arrays of conductances), DNN+NeuroSim V2.1 as arguments of its training script
(``max_level``, ``nonlinearityLTP``, ``c2cVari`` …). Names and meanings are those of the published
programs; the nonlinearity label has a closed form (:mod:`hil_sim.models.conversions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from hil_sim.models.conversions import label_of_nu, nu_of_label
from hil_sim.models.device import Device
from hil_sim.models.response import BranchTable, Model

from hil.errors import ConfigError
from hil.interchange.exchange import Exported, Imported, build_device, comment_lines
from hil.interchange.left_out import left_out
from hil.interchange.neurosim_text import MEANINGS, read_values, write_values
from hil.interchange.steps import (
    NODES,
    FloatArray,
    Response,
    lookup_branch,
    response_of,
    step,
    straight,
)

#: Labels in NeuroSim's table; it cuts them to two decimals.
LABELS: Final = (0.01, 9.0)
_MOST_PULSES = 2000
_LEAST_GAIN = 1e-6
#: Above this share of the largest step, labels do not do and arrays are written besides.
_LABELS_DO = 0.01


def export(device: Device) -> Exported:
    """Return the device as NeuroSim's values; arrays of conductances where labels do not do.

    Labels and numbers of states are those of a ``RealDevice``. A response that is not exponential
    comes as ``MeasuredDevice`` arrays, too.
    """
    span = device.range.g_max - device.range.g_min
    approximate: list[str] = []
    held = {"model", "range", "potentiation", "depression"}
    values: dict[str, float | bool | list[float]] = {
        "maxConductance": device.range.g_max, "minConductance": device.range.g_min,
    }  # fmt: skip
    nus = []
    exact = True
    for up, name in ((True, "LTP"), (False, "LTD")):
        nu, pulses, off = _curve(device, up)
        exact &= off <= _LABELS_DO
        if off > 1e-6:
            approximate.append(
                f"{name}: an exponential curve of {pulses} pulses is off by up to {off:.2%} of the "
                "largest step"
            )
        label = label_of_nu(nu)
        label = label if up else -label
        if 0 < abs(label) < LABELS[0]:
            approximate.append(f"NL_{name} = {label:.3g}: NeuroSim's table begins at {LABELS[0]}")
        elif abs(label) - _cut(label) > 1e-4:
            approximate.append(f"NL_{name} = {label:.6g}: NeuroSim cuts it to {_cut(label):.2f}")
        nus.append(nu)
        values[f"maxNumLevel{name}"] = pulses
        values[f"NL_{name}"] = label
    values["nonlinearWrite"] = any(nu != 0.0 for nu in nus)
    v = device.variation
    values["sigmaDtoD"] = 0.0
    weight = _label_weight(nus)
    if v.nu_d2d and weight:
        values["sigmaDtoD"] = v.nu_d2d * weight
        approximate.append(
            f"variation.nu_d2d = {v.nu_d2d:g}: spread of the labels there, to first order"
        )
        held.add("variation.nu_d2d")
    values["sigmaCtoC"] = v.range_c2c * span
    values["readNoise"] = v.read_noise > 0
    values["sigmaReadNoise"] = v.read_noise
    values["conductanceRangeVar"] = v.g_min_d2d > 0 or v.g_max_d2d > 0
    values["maxConductanceVar"] = v.g_max_d2d * device.range.g_max
    values["minConductanceVar"] = v.g_min_d2d * device.range.g_min
    held |= {f"variation.{k}" for k in ("range_c2c", "read_noise", "g_min_d2d", "g_max_d2d")}
    values |= _electrical(device, held, approximate)
    kind = "RealDevice"
    if not exact:
        arrays, said = _measured(device)
        values |= arrays
        approximate += said
        kind = "RealDevice and MeasuredDevice"
    not_held = left_out(device, held)
    made = Exported({}, kind, not_held, approximate)
    args = {
        "max_level": max(values["maxNumLevelLTP"], values["maxNumLevelLTD"]),
        "nonlinearityLTP": values["NL_LTP"], "nonlinearityLTD": values["NL_LTD"],
        "c2cVari": v.range_c2c, "d2dVari": values["sigmaDtoD"],
        "onoffratio": device.range.g_max / device.range.g_min,
    }  # fmt: skip
    said_args = " ".join(f"--{key} {value:.6g}" for key, value in args.items())
    comments = [
        *comment_lines(device, "NeuroSim device values (MLP+NeuroSim V3, Cell.cpp)", made),
        f"DNN+NeuroSim V2.1: {said_args}",
    ]
    return Exported({"": write_values(values, comments)}, kind, not_held, approximate)


def _cut(label: float) -> float:
    """Return the size of a label as NeuroSim looks it up."""
    return int(abs(label) * 100) / 100


def _curve(device: Device, up: bool) -> tuple[float, int, float]:
    """Return (ν, pulses across the range, largest error as a share of the largest step)."""
    u = np.linspace(0.0, 1.0, NODES)
    d = step(device, up, u)
    ends = straight(device, up)
    if ends is None:
        slope, offset = np.polyfit(u, d, 1)
        ends = float(offset), float(offset + slope)
    steepest = nu_of_label(LABELS[1])
    nu, pulses = 0.0, 1.0
    if ends[0] > 0.0:
        ratio = min(max(ends[1] / ends[0], math.exp(-steepest)), math.exp(steepest))
        nu = 0.0 if abs(ratio - 1.0) < 1e-9 else -math.log(ratio)
        # The first pulse and the shape stay; the last step follows.
        pulses = 1.0 / ends[0] if nu == 0.0 else nu / -math.log1p(-ends[0] * (1 - ratio))
    whole = max(round(pulses), 1)
    k = math.exp(-nu / whole)
    back = np.full_like(u, 1.0 / whole) if nu == 0.0 else (1 / -math.expm1(-nu) - u) * (1 - k)
    return nu, whole, float(np.abs(back - d).max() / np.abs(d).max())


def _label_weight(nus: list[float]) -> float:
    """Return the mean over the branches of ν·dNL/dν: label spread per relative spread of ν."""
    h = 1e-4
    slopes = [
        abs(label_of_nu(nu * (1 + h)) - label_of_nu(nu * (1 - h))) / (2 * h) if nu else 0.0
        for nu in nus
    ]
    return sum(slopes) / len(slopes)


def _electrical(
    device: Device, held: set[str], approximate: list[str]
) -> dict[str, float | bool | list[float]]:
    pulse, drive, current = device.pulse, device.drive, device.current
    out: dict[str, float | bool | list[float]] = {
        "readVoltage": drive.read_voltage, "readPulseWidth": drive.read_width,
        "writeVoltageLTP": pulse.potentiate_voltage, "writeVoltageLTD": -pulse.depress_voltage,
        "writePulseWidthLTP": pulse.width, "writePulseWidthLTD": pulse.width,
        "nonIdenticalPulse": False, "cmosAccess": device.cell != "1R", "nonlinearIV": False,
    }  # fmt: skip
    held |= {"pulse.potentiate_voltage", "pulse.depress_voltage", "pulse.width",
             "drive.read_voltage", "drive.read_width"}  # fmt: skip
    same = {"drive.potentiate_voltage": drive.potentiate_voltage == pulse.potentiate_voltage,
            "drive.depress_voltage": drive.depress_voltage == pulse.depress_voltage,
            "drive.write_width": drive.write_width == pulse.width}  # fmt: skip
    held |= {key for key, equal in same.items() if equal}
    if device.cell == "1T1R":
        held.add("cell")
    if current.law == "sinh" and current.scale is not None:
        out["nonlinearIV"] = True
        out["NL"] = 2 * math.cosh(pulse.potentiate_voltage / (2 * current.scale))
        held |= {"current.law", "current.scale"}
        approximate.append("NL: I(V)/I(V/2) at the LTP pulse; NeuroSim uses it for crossbars only")
        if current.read_voltage == drive.read_voltage:
            held.add("current.read_voltage")
    return out


def _measured(device: Device) -> tuple[dict[str, list[float]], list[str]]:
    """Return the arrays of a MeasuredDevice and what is not quite so in them."""
    low, high = device.range.g_min, device.range.g_max
    out, said = {}, []
    for up, name in ((True, "LTP"), (False, "LTD")):
        u = [0.0]
        while u[-1] < 1.0 and len(u) <= _MOST_PULSES:
            gain = float(step(device, up, np.array([u[-1]]))[0])
            if gain < _LEAST_GAIN:
                break
            u.append(min(u[-1] + gain, 1.0))
        if u[-1] < 1.0:
            said.append(f"{name} array: ends at the bound; the curve comes to {u[-1]:.4f} of it")
            u.append(1.0)
        shares = np.array(u)
        g = low + (high - low) * shares if up else high - (high - low) * shares
        g[0], g[-1] = (low, high) if up else (high, low)
        out[f"rawDataConductance{name}"] = g.tolist()
    return out, said


def import_(text: str, like: Device, path: str | None = None) -> Imported:
    """Return the device of a file with NeuroSim's values, also a whole ``Cell.cpp``.

    Args:
        text: assignments; of a ``Cell.cpp`` the constructor of ``RealDevice`` is read. Arrays of a
            MeasuredDevice win over labels.
        like: gives what NeuroSim does not hold: thresholds, terminals, operating point.
        path: of the file, for errors.

    Raises:
        ConfigError: no labels and no arrays, or values that make no device.
    """
    p, where = read_values(text, path)
    assumed = [f"read from {where}"] if where else []
    approximate: list[str] = []
    g_range: tuple[float, float] | None
    if "rawDataConductanceLTP" in p:
        response, g_range = _from_arrays(p, path)
        kind, nus = "MeasuredDevice", [0.0, 0.0]
        for key in ("NL_LTP", "NL_LTD", "maxNumLevelLTP", "maxNumLevelLTD"):
            p.pop(key, None)
    else:
        response, nus = _from_labels(p, path)
        kind = "RealDevice"
        pair = p.get("minConductance"), p.get("maxConductance")
        if (pair[0] is None) != (pair[1] is None):
            raise ConfigError("go together", path=path, field="minConductance, maxConductance")
        g_range = None if pair[0] is None or pair[1] is None else (pair[0], pair[1])
    low, high = g_range or (like.range.g_min, like.range.g_max)
    variation = _variation(p, nus, low, high, approximate)
    tables = _tables(p, like, approximate)
    device, said = build_device(
        f"{like.name}-neurosim", like, response, g_range=g_range, variation=variation,
        origin=f"imported from NeuroSim, {kind}", tables=tables,
    )  # fmt: skip
    if "cmosAccess" in p and p["cmosAccess"] != (like.cell != "1R"):
        has = "has" if p["cmosAccess"] else "has no"
        approximate.append(f"the file's cell {has} a select device; {like.name} is {like.cell}")
    known = set(MEANINGS)
    not_held = [f"{key} = {value!r}" for key, value in p.items() if key not in known]
    if p.get("nonIdenticalPulse"):
        not_held.append("nonIdenticalPulse = true: pulses here are alike")
    return Imported(device, f"NeuroSim {kind}", not_held, approximate, [*assumed, *said])


def _from_labels(p: Mapping[str, Any], path: str | None) -> tuple[Response, list[float]]:
    nus: list[float] = []
    tables: list[dict[str, Any]] = []
    linear = p.get("nonlinearWrite") is False
    for name in ("LTP", "LTD"):
        levels = _needed(p, f"maxNumLevel{name}", path)
        label = 0.0 if linear else _needed(p, f"NL_{name}", path)
        if levels != int(levels) or levels < 1:
            raise ConfigError(f"{levels:g} is not a whole number of pulses", path=path,
                              field=f"maxNumLevel{name}")  # fmt: skip
        try:
            nu = nu_of_label(float(label), depression=name == "LTD")
        except ValueError as exc:
            raise ConfigError(str(exc), path=path, field=f"NL_{name}") from exc
        nus.append(nu)
        tables.append({"states": int(levels), "nu": nu})
    if linear or nus == [0.0, 0.0]:
        for table in tables:
            del table["nu"]
    branches = [BranchTable.model_validate(table) for table in tables]
    model: Model = "exponential" if "nu" in tables[0] else "linear"
    return Response(model, branches[0], branches[1]), nus


def _needed(p: Mapping[str, Any], key: str, path: str | None) -> float:
    if key not in p:
        raise ConfigError("is missing", path=path, field=key)
    return float(p[key])


def _from_arrays(p: Mapping[str, Any], path: str | None) -> tuple[Response, tuple[float, float]]:
    """Return the table of MeasuredDevice arrays: from each conductance to the next."""
    steps = []
    for name, sign in (("LTP", 1.0), ("LTD", -1.0)):
        key = f"rawDataConductance{name}"
        g: FloatArray = np.asarray(p.get(key, ()), dtype=np.float64)
        if g.size < 3:
            raise ConfigError("needs at least 3 conductances", path=path, field=key)
        gain = sign * np.diff(g)
        if not gain.min() > 0.0:
            raise ConfigError("must rise" if sign > 0 else "must fall", path=path, field=key)
        # The last point has no step of its own. The one before may be cut or jump to the bound.
        onward = gain[-2] + (gain[-2] - gain[-3]) if gain.size > 2 else gain[-1]
        last = max(min(float(gain[-1]), float(onward)), 0.0)
        gain = np.append(gain, last)
        steps.append((g, gain) if sign > 0 else (g[::-1], gain[::-1]))
    (up, gain_up), (down, gain_down) = steps
    if up[0] != down[0] or up[-1] != down[-1]:
        raise ConfigError("must have the same ends, one rising and one falling", path=path,
                          field="rawDataConductanceLTP, rawDataConductanceLTD")  # fmt: skip
    if not up[0] > 0.0:
        raise ConfigError(f"{up[0]:g} S is not above 0", path=path, field="rawDataConductanceLTP")
    low, high = float(up[0]), float(up[-1])
    span = high - low
    # Where labels would have done, the model has a name again.
    found = response_of(
        lambda u: np.interp(u, (up - low) / span, gain_up / span),
        lambda u: np.interp(u, ((high - down) / span)[::-1], (gain_down / span)[::-1]), low, high,
    )  # fmt: skip
    if found.model != "lookup":
        return found, (low, high)
    return Response("lookup", lookup_branch(up, gain_up), lookup_branch(down, gain_down)), (
        low, high,
    )  # fmt: skip


def _variation(
    p: Mapping[str, Any], nus: list[float], low: float, high: float, approximate: list[str]
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if p.get("sigmaCtoC"):
        out["range_c2c"] = p["sigmaCtoC"] / (high - low)
    elif p.get("c2cVari"):
        out["range_c2c"] = p["c2cVari"]
    if p.get("sigmaReadNoise") and p.get("readNoise", True):
        out["read_noise"] = p["sigmaReadNoise"]
    if p.get("conductanceRangeVar", True):
        for key, field, mean in (("maxConductanceVar", "g_max_d2d", high),
                                 ("minConductanceVar", "g_min_d2d", low)):  # fmt: skip
            if p.get(key):
                out[field] = p[key] / mean
    weight = _label_weight(nus)
    if p.get("sigmaDtoD"):
        if weight:
            out["nu_d2d"] = p["sigmaDtoD"] / weight
            approximate.append(
                f"sigmaDtoD = {p['sigmaDtoD']:g} on the labels: as relative spread of ν, to first "
                "order"
            )
        else:
            approximate.append(f"sigmaDtoD = {p['sigmaDtoD']:g}: left out, there are no labels")
    return out


def _tables(
    p: Mapping[str, Any], like: Device, approximate: list[str]
) -> dict[str, dict[str, Any]]:
    pulse: dict[str, Any] = {}
    drive: dict[str, Any] = {}
    for key, name, sign in (
        ("writeVoltageLTP", "potentiate", 1),
        ("writeVoltageLTD", "depress", -1),
    ):
        if key not in p:
            continue
        v = sign * abs(p[key])
        ratio = v / getattr(like.pulse, f"{name}_voltage")
        pulse[f"{name}_voltage"] = drive[f"{name}_voltage"] = f"{v:.12g} V"
        for part in ("threshold", "scale"):  # they keep their place relative to the pulse
            own = getattr(like.pulse, f"{name}_{part}")
            if own is not None and ratio != 1.0:
                pulse[f"{name}_{part}"] = f"{own * ratio:.12g} V"
                approximate.append(f"pulse.{name}_{part}: that of {like.name} times {ratio:.4g}")
    widths = [p[key] for key in ("writePulseWidthLTP", "writePulseWidthLTD") if key in p]
    if widths:
        pulse["width"] = drive["write_width"] = f"{widths[0]:.12g} s"
        if widths[0] != widths[-1]:
            approximate.append(
                f"writePulseWidthLTD = {widths[-1]:g} s: one width here, that of LTP"
            )
    if "readVoltage" in p:
        drive["read_voltage"] = f"{p['readVoltage']:.12g} V"
    if "readPulseWidth" in p:
        drive["read_width"] = f"{p['readPulseWidth']:.12g} s"
    out = {"pulse": pulse, "drive": drive}
    if p.get("nonlinearIV") and p.get("NL", 0.0) > 2.0 and "writeVoltageLTP" in p:
        scale = abs(p["writeVoltageLTP"]) / (2 * math.acosh(p["NL"] / 2))
        read = p.get("readVoltage", like.current.read_voltage)
        out["current"] = {
            "law": "sinh",
            "scale": f"{scale:.12g} V",
            "read_voltage": f"{read:.12g} V",
        }
    elif p.get("nonlinearIV") is False and like.current.law == "sinh":
        approximate.append(f"nonlinearIV = false, but {like.name} has a sinh law: it is kept")
    return {name: fields for name, fields in out.items() if fields}
