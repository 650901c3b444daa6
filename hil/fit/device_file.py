"""From a fit to a device file: what the simulator takes as it is, with where it comes from.

What the data do not tell is taken from the device file of the run's station where there is one, and
otherwise assumed; either is said in ``provenance`` and in the warnings.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from hil_sim.models.device import Device
from hil_sim.models.electrical import VariationTable
from hil_sim.models.text import device_toml

from hil.config.toml_file import validate
from hil.errors import ConfigError, FitError
from hil.fit.current import agrees
from hil.fit.fit_table import as_text, fit_table, identified, quantities, quantity, rounded
from hil.fit.lookup import LEVELS, MeasuredTable, Tables
from hil.fit.measured import BRANCHES, DEPRESSION, POTENTIATION
from hil.fit.pulse_table import delivered, drive_table, pulse_table
from hil.fit.reading import Source
from hil.fit.result import Estimate, FitResult, ModelFit, StepTable

_BASE_TABLES: Final = ("transistor", "erase", "forming")
_SHAPES: Final = {"exponential": "nu", "querlioz": "beta", "soft-bounds": "slope"}


@dataclass
class FittedDevice:
    """A device made of a fit: the device, its file's text, and what had to be assumed."""

    device: Device
    text: str
    warnings: list[str] = field(default_factory=list)


def model_named(result: FitResult, model: str | None) -> ModelFit:
    """Return the fit of ``model``, by default the best.

    Raises:
        FitError: this model was not fitted.
    """
    if model is None:
        return result.best
    for fitted in result.models:
        if fitted.model == model:
            return fitted
    known = ", ".join(fitted.model for fitted in result.models)
    raise FitError(f"no model {model!r} was fitted; there are {known}")


def fitted_device(
    result: FitResult, source: Source, tables: Tables | None, name: str, model: str | None = None,
    warnings: Sequence[str] = (),
) -> FittedDevice:  # fmt: skip
    """Make a device of a fit.

    Args:
        result: the fit.
        source: what was read.
        tables: the look-up tables of the same data, if they could be made.
        name: of the device.
        model: the best by default.
        warnings: more of them for the file.

    Raises:
        FitError: the model was not fitted, or what was found is no device.
    """
    chosen = model_named(result, model)
    estimates = {**result.common, **chosen.parameters}
    said = list(warnings)
    base = tomllib.loads(source.device_text) if source.device_text else {}
    kind, branches = _branches(chosen, estimates, tables, said)
    op = delivered(source, said)
    cell = source.cell or str(base.get("cell", "1R"))
    g_min, g_max = _range(estimates, tables if kind == "lookup" else None)
    values: dict[str, Any] = {
        "schema": 1, "name": name, "cell": cell, "model": kind,
        "description": _description(chosen, source),
        "range": {"g_min": quantity(g_min, "S"), "g_max": quantity(g_max, "S")},
        **branches,
        "variation": _variation(kind, estimates, tables, said),
        "drive": drive_table(op),
    }  # fmt: skip
    values["pulse"] = pulse_table(estimates, op, base, result.pulse_law, source.measured, said)
    for table in _BASE_TABLES:
        if table in base and _belongs(table, cell):
            values[table] = base[table]
    values["current"], own_current = _current(result, estimates, base, op["read_v"])
    drift = estimates.get("drift.nu")
    if drift is not None and drift.identifiable and not (
        0.0 in drift and _may_be_zero(estimates.get("drift.nu_d2d"))
    ):  # fmt: skip
        values["drift"] = identified(estimates, "drift")
    taken = [*([] if own_current else ["current"]), *(t for t in _BASE_TABLES if t in values)]
    values["provenance"] = _provenance(source, [t for t in taken if t in base])
    values["fit"] = fit_table(result, chosen, source, estimates, said)
    try:
        device = validate(values, Device, path=None)
    except ConfigError as exc:
        raise FitError(f"what was found is no device: {exc}") from exc
    return FittedDevice(device, device_toml(device, notes=_notes(estimates)), said)


def _range(estimates: Mapping[str, Estimate], tables: Tables | None) -> tuple[float, float]:
    if tables is not None:
        return tables.range_siemens
    return estimates["range.g_min"].value, estimates["range.g_max"].value


def _branches(
    chosen: ModelFit, estimates: Mapping[str, Estimate], tables: Tables | None, said: list[str]
) -> tuple[str, dict[str, Any]]:
    """Return the model as the simulator knows it, and both branches."""
    kind = chosen.model
    shape = _SHAPES.get(kind, "")
    if kind != "lookup" and not _in_schema(kind, shape, estimates):
        said.append(
            f"the {kind} model of this fit has no form in a device file; its curve is written as "
            "a look-up table"
        )
        kind = "lookup"
        found: dict[str, Any] = {
            branch: _curve_table(table) for branch, table in chosen.curves.items()
        }
    elif kind == "lookup":
        measured = {} if tables is None else {POTENTIATION: tables.potentiation,
                                              DEPRESSION: tables.depression}  # fmt: skip
        found = {}
        for branch in BRANCHES:
            own = measured.get(branch)
            if own is not None:
                found[branch] = _measured_table(own)
            elif branch in chosen.curves:
                found[branch] = _curve_table(chosen.curves[branch])
    else:
        found = {}
        for branch in BRANCHES:
            fields = [f"{branch}.states", *([f"{branch}.{shape}"] if shape else [])]
            if all(name in estimates for name in fields):
                found[branch] = {
                    name.split(".")[1]: rounded(estimates[name].value) for name in fields
                }
                found[branch]["states"] = max(found[branch]["states"], 1.0)
    if not found:
        raise FitError(f"the {chosen.model} model was fitted to no branch")
    for branch, other in (BRANCHES, BRANCHES[::-1]):
        found.setdefault(branch, found.get(other))
    return kind, found


def _in_schema(kind: str, shape: str, estimates: Mapping[str, Estimate]) -> bool:
    """Return whether a device file can hold the model with its values."""
    if kind not in ("linear", *_SHAPES):
        return False
    values = [e.value for name, e in estimates.items() if shape and name.endswith(f".{shape}")]
    if kind == "querlioz":
        return all(value > 0.0 for value in values)
    if kind == "soft-bounds":
        return all(0.0 <= value <= 1.0 for value in values)
    return True


def _curve_table(curve: StepTable) -> dict[str, Any]:
    return {
        "g": quantities(curve.g_siemens), "delta_g": quantities(curve.delta_siemens),
        "spread": quantities(curve.spread_siemens),
    }  # fmt: skip


def _measured_table(table: MeasuredTable) -> dict[str, Any]:
    out: dict[str, Any] = {
        "g": quantities(table.g_siemens), "delta_g": quantities(table.delta_siemens),
        "spread": quantities(table.spread_siemens),
    }  # fmt: skip
    if table.quantiles_siemens is not None:
        out["levels"] = list(LEVELS)
        out["quantiles"] = [quantities(row) for row in table.quantiles_siemens]
    return out


def _variation(
    kind: str, estimates: Mapping[str, Estimate], tables: Tables | None, said: list[str]
) -> dict[str, Any]:
    """Return the table [variation]; what the data do not tell from zero is zero.

    How much of the spread between devices is one parameter's or another's is often not told: then
    that of the steps, straight from the data, stands for all of it.
    """
    out = identified(estimates, "variation")
    out = {name: value for name, value in out.items() if name in VariationTable.model_fields}
    if "stuck_value" not in out or not out.get("stuck_at_value"):
        out.pop("stuck_value", None)
        out.pop("stuck_at_value", None)
    small = {name for name in out if name.endswith(("_d2d", "_d2d_branch", "_c2c"))}
    small = {name for name in small if estimates[f"variation.{name}"].low <= 0.0 != out[name]}
    if {"step_c2c", "range_c2c"} <= small:  # one of them it must be
        small.discard(_larger(estimates))
    if small and kind != "lookup":
        said.append(
            f"not told from zero, so zero in the file: {', '.join(sorted(small))}; more devices "
            "and cycles of ltp-ltd would tell"
        )
    for name in small:
        out.pop(name)
    if tables is not None:
        for name, value in (("step_d2d", tables.step_d2d),
                            ("step_d2d_branch", tables.step_d2d_branch)):  # fmt: skip
            if kind == "lookup" or name in small:
                out[name] = rounded(value)
    if kind == "lookup":  # the spread from cycle to cycle is in the table itself
        for name in ("step_c2c", "range_c2c", "nu_d2d"):
            out.pop(name, None)
    return {name: value for name, value in out.items() if value != 0.0}


def _larger(estimates: Mapping[str, Estimate]) -> str:
    """Return which spread from cycle to cycle moves a typical pulse more."""
    states = [e.value for name, e in estimates.items() if name.endswith(".states")]
    step = 1.0 / max(float(np.mean(states)), 1.0) if states else 0.01
    multiplied = estimates["variation.step_c2c"].value * step
    return "step_c2c" if multiplied >= estimates["variation.range_c2c"].value else "range_c2c"


def _notes(estimates: Mapping[str, Estimate]) -> dict[str, str]:
    return {
        name: f"{as_text(name, e.low, 4)} … {as_text(name, e.high, 4)}"
        for name, e in estimates.items()
        if e.identifiable and math.isfinite(e.low) and math.isfinite(e.high)
    }


def _description(chosen: ModelFit, source: Source) -> str:
    n = source.measured.responses.n_devices
    return f"fitted: {chosen.model} model, {n} device{'s' * (n != 1)}, {source.cycles} cycles"


def _current(
    result: FitResult, estimates: Mapping[str, Estimate], base: Mapping[str, Any], read_v: float
) -> tuple[dict[str, Any], bool]:
    """Return the table [current], and whether it was measured.

    A law of the station's device that the sweeps neither show nor exclude is kept.
    """
    read = quantity(read_v, "V")
    given = base.get("current")
    if result.current_law not in ("", "ohmic"):
        return {"law": result.current_law, "read_voltage": read,
                **identified(estimates, "current")}, True  # fmt: skip
    if isinstance(given, dict) and (not result.current_law or agrees(given, estimates)):
        return given, False
    return {"law": "ohmic", "read_voltage": read}, bool(result.current_law)


def _may_be_zero(estimate: Estimate | None) -> bool:
    return estimate is None or estimate.low <= 0.0


def _provenance(source: Source, taken: Sequence[str]) -> str:
    runs = ", ".join(f"{run.name} {run.id}" for run in source.runs)
    text = f"fitted to {runs}"
    if any(run.simulated for run in source.runs):
        text += " (of simulated devices)"
    if taken:
        tables = ", ".join(f"[{t}]" for t in taken)
        text += f"; {tables} from the device file of the station, not fitted"
    return text


def _belongs(table: str, cell: str) -> bool:
    owner = {"transistor": "1T1R", "erase": "3T"}.get(table)
    return owner is None or owner == cell
