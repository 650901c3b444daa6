"""The device of NeuroSim's values, from labels or from arrays of conductances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hil_sim.models.conversions import nu_of_label
from hil_sim.models.device import Device
from hil_sim.models.response import BranchTable, Model

from hil.errors import ConfigError
from hil.interchange.exchange import Imported, build_device
from hil.interchange.neurosim_labels import label_weight
from hil.interchange.neurosim_text import MEANINGS, read_values
from hil.interchange.steps import FloatArray, Response, lookup_branch, response_of


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
    weight = label_weight(nus)
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
