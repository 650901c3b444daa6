"""The table [fit] of a device file, and values as they stand in such a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from hil_sim.models.device import Device

from hil.fit.reading import Source
from hil.fit.result import Estimate, FitResult, ModelFit
from hil.units import format_quantity

_DIGITS: Final = 6
_UNITS: Final = {
    "g_min": "S", "g_max": "S", "read_noise_siemens": "S", "stuck_value": "S",
    "potentiate_threshold": "V", "depress_threshold": "V", "potentiate_scale": "V",
    "depress_scale": "V", "scale": "V", "t0": "s",
}  # fmt: skip


def rounded(value: float) -> float:
    """Return a value with the digits of a file."""
    return float(f"{value:.{_DIGITS}g}")


def quantity(value: float, unit: str, digits: int = _DIGITS) -> str:
    """Return a value with its unit as text."""
    return format_quantity(float(value), unit, digits)


def quantities(values: Any) -> list[str]:
    """Return conductances as text."""
    return [quantity(value, "S") for value in values]


def as_text(name: str, value: float, digits: int = _DIGITS) -> Any:
    """Return a value as it stands in a file: text where it has a unit."""
    unit = _UNITS.get(name.rsplit(".", 1)[-1])
    return float(f"{value:.{digits}g}") if unit is None else quantity(value, unit, digits)


def identified(estimates: Mapping[str, Estimate], table: str) -> dict[str, Any]:
    """Return the identifiable values of one table of the file."""
    out: dict[str, Any] = {}
    for name, estimate in estimates.items():
        if name.startswith(f"{table}.") and estimate.identifiable and math.isfinite(estimate.value):
            out[name.split(".", 1)[1]] = as_text(name, estimate.value)
    return out


def fit_table(
    result: FitResult, chosen: ModelFit, source: Source, estimates: Mapping[str, Estimate],
    said: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Return the table [fit]: runs, models, intervals, and what the data do not tell."""
    from hil import __version__

    intervals, derived = {}, {}
    for name, e in estimates.items():
        if "[" in name or not all(map(math.isfinite, (e.value, e.low, e.high))):
            continue  # nodes of a table are in the table
        if name.startswith("derived.") or not e.identifiable or not _is_field(name):
            derived[name.removeprefix("derived.")] = [
                as_text(name, value) for value in (e.value, e.low, e.high)
            ]
        else:
            intervals[name] = [as_text(name, e.low), as_text(name, e.high)]
    correlations = {
        f"{a} ~ {b}": float(min(max(round(value, 4), -1.0), 1.0))
        for (a, b), value in (chosen.correlations or result.correlations).items()
        if math.isfinite(value)
    }
    good = int((result.stuck == 0).sum())
    return {
        "software": f"synapse-hil {__version__}", "devices": max(good, 1),
        "cycles": max(source.cycles, 1), "criterion": "AIC",
        "run": [
            {"id": r.id, "name": r.name, "kind": r.kind, "digest": r.digest,
             "simulated": r.simulated}
            for r in source.runs
        ],
        "model": [
            {"model": m.model, "parameters": m.n_parameters,
             "log_likelihood": round(m.log_likelihood, 2), "criterion": round(m.aic, 2)}
            for m in result.models
        ],
        "interval": intervals, "derived": derived, "correlation": correlations,
        "warnings": list(dict.fromkeys((*source.warnings, *result.warnings, *chosen.warnings,
                                        *said))),
    }  # fmt: skip


def _is_field(name: str) -> bool:
    """Return whether a dotted name is a field of a device file."""
    table, _, inner = name.partition(".")
    info = Device.model_fields.get(table)
    if info is None or not inner:
        return False
    kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
    return any(inner in getattr(kind, "model_fields", ()) for kind in kinds)
