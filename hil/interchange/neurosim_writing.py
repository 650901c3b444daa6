"""A device as NeuroSim's values; its labels, or arrays of conductances where they do not do."""

from __future__ import annotations

import math

import numpy as np
from hil_sim.models.conversions import label_of_nu, nu_of_label
from hil_sim.models.device import Device

from hil.interchange.exchange import Exported, comment_lines
from hil.interchange.left_out import left_out
from hil.interchange.neurosim_labels import LABELS, cut, label_weight
from hil.interchange.neurosim_text import write_values
from hil.interchange.steps import NODES, step, straight

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
        elif abs(label) - cut(label) > 1e-4:
            approximate.append(f"NL_{name} = {label:.6g}: NeuroSim cuts it to {cut(label):.2f}")
        nus.append(nu)
        values[f"maxNumLevel{name}"] = pulses
        values[f"NL_{name}"] = label
    values["nonlinearWrite"] = any(nu != 0.0 for nu in nus)
    v = device.variation
    values["sigmaDtoD"] = 0.0
    weight = label_weight(nus)
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
