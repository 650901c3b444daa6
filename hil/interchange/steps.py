"""What one nominal pulse does to a device, and the device model that does a given step.

A step is a share of the conductance range, seen along its branch: ``D(u)`` with u = 0 where the
branch starts and 1 where it ends, so that potentiation and depression look alike. Steps are not cut
at the end of the range. The equations are those of :mod:`hil_sim.models.response`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hil_sim.models.device import Device
from hil_sim.models.response import BranchTable, Model, affine_rate, querlioz_rate
from numpy.typing import NDArray

from hil.errors import ConfigError

FloatArray = NDArray[np.float64]
#: D(u) of a branch.
StepOf = Callable[[FloatArray], FloatArray]

#: A step counts as straight, flat or vanishing within this share of the largest one.
EXACT = 1e-7
#: Nodes of a look-up table that stands for a curve.
NODES = 129


def branch_of(device: Device, up: bool) -> BranchTable:
    """Return the table of one direction."""
    return device.potentiation if up else device.depression


def step(device: Device, up: bool, u: FloatArray) -> FloatArray:
    """Return D(u) by one nominal pulse of a median device, a share of the range."""
    branch = branch_of(device, up)
    if device.model == "querlioz":
        alpha, beta = querlioz_rate(branch)
        grown: FloatArray = np.log1p(alpha * beta * np.exp(-beta * u)) / beta
        return grown
    if device.model == "lookup":
        nodes, delta = lookup_columns(device, up, np.asarray(branch.delta_g))
        found: FloatArray = np.interp(u, nodes, delta)
        return found
    a, b = (float(x) for x in affine_rate(device.model, branch, branch.nu or 0.0))
    if b == 0.0:
        return np.full_like(u, a)
    moved: FloatArray = (a / b - u) * -math.expm1(-b)
    return moved


def spread(device: Device, up: bool, u: FloatArray) -> FloatArray:
    """Return the cycle-to-cycle standard deviation of D(u) by one nominal pulse."""
    v, branch = device.variation, branch_of(device, up)
    own = np.zeros_like(u)
    if device.model == "lookup" and branch.spread is not None:
        own = np.interp(u, *lookup_columns(device, up, np.asarray(branch.spread)))
    out: FloatArray = np.sqrt((v.step_c2c * step(device, up, u)) ** 2 + v.range_c2c**2 + own**2)
    return out


def lookup_columns(device: Device, up: bool, column: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (u, column as a share of the range) of a table along its branch."""
    g = np.asarray(branch_of(device, up).g, dtype=np.float64)
    low, high = device.range.g_min, device.range.g_max
    u = (g - low) / (high - low) if up else (high - g) / (high - low)
    order = np.argsort(u)
    return u[order], column[order] / (high - low)


def straight(device: Device, up: bool) -> tuple[float, float] | None:
    """Return (D(0), D(1)) of a branch whose step is a straight line over u, None of another."""
    u = np.linspace(0.0, 1.0, NODES)
    d = step(device, up, u)
    line = d[0] + (d[-1] - d[0]) * u
    if np.abs(d - line).max() > EXACT * np.abs(d).max():
        return None
    return float(d[0]), float(d[-1])


@dataclass(frozen=True, slots=True)
class Response:
    """A model and its two branches."""

    model: Model
    potentiation: BranchTable
    depression: BranchTable


def response_of(
    up: StepOf, down: StepOf, g_min: float, g_max: float, nodes: int = NODES
) -> Response:
    """Return the device model that does the steps ``up`` and ``down``.

    Straight steps give ``linear``, ``exponential`` or ``soft-bounds`` (the first whose numbers of
    pulses are whole, otherwise the first); everything else a look-up table with ``nodes`` nodes.

    Raises:
        ConfigError: a step is not a number, or is nowhere above 0.
    """
    u = np.linspace(0.0, 1.0, nodes)
    steps = [up(u), down(u)]
    for name, d in zip(("potentiation", "depression"), steps, strict=True):
        if not (np.isfinite(d).all() and d.max() > 0.0):
            raise ConfigError("no pulse moves the conductance", field=name)
    ends = [(float(d[0]), float(d[-1])) for d in steps]
    lines = [d0 + (d1 - d0) * u for d0, d1 in ends]
    if all(np.abs(d - line).max() <= EXACT * d.max() for d, line in zip(steps, lines, strict=True)):
        named = _named(ends)
        if named is not None:
            return named
        u = np.array([0.0, 1.0])
        steps = [np.array(end) for end in ends]
    g_up = g_min + (g_max - g_min) * u
    return Response("lookup", _table(g_up, steps[0], g_min, g_max),
                    _table(g_up, steps[1][::-1], g_min, g_max))  # fmt: skip


def _table(g: FloatArray, share: FloatArray, g_min: float, g_max: float) -> BranchTable:
    return lookup_branch(g, share * (g_max - g_min))


def lookup_branch(
    g: FloatArray,
    delta: FloatArray,
    spread_siemens: FloatArray | None = None,
    levels: FloatArray | None = None,
    quantiles: FloatArray | None = None,
) -> BranchTable:
    """Return a look-up table of conductances and steps in siemens.

    Args:
        g: rising conductances.
        delta: mean step, positive towards the end of the branch.
        spread_siemens: standard deviation of the step.
        levels: rising probabilities between 0 and 1.
        quantiles: (levels, conductances) of the step, along the branch.
    """
    # A file holds twelve digits of a quantity.
    values: dict[str, object] = {"g": _texts(g), "delta_g": _texts(delta)}
    if spread_siemens is not None:
        values["spread"] = _texts(spread_siemens)
    if levels is not None and quantiles is not None:
        values["levels"] = [float(p) for p in levels]
        values["quantiles"] = [_texts(row) for row in quantiles]
    return BranchTable.model_validate(values)


def _texts(values: FloatArray) -> list[str]:
    return [f"{value:.12g} S" for value in values]


def _named(ends: list[tuple[float, float]]) -> Response | None:
    """Return a model for straight steps (D(0), D(1)), or None."""
    flat = [abs(d0 - d1) <= EXACT * d0 for d0, d1 in ends]
    vanishing = [abs(d1) <= EXACT * d0 for d0, d1 in ends]
    falling = all(d0 > 0 and -EXACT * d0 <= d1 <= d0 * (1 + EXACT) for d0, d1 in ends)
    choices: list[tuple[Model, list[dict[str, float]]]] = []
    if all(flat):
        choices.append(("linear", [{"states": 1.0 / d0} for d0, _ in ends]))
    if not any(vanishing) and all(d0 > 0 and d1 > 0 and d0 - d1 < 1.0 for d0, d1 in ends):
        branches = []
        for (d0, d1), level in zip(ends, flat, strict=True):
            nu = 0.0 if level else math.log(d0 / d1)
            branches.append({"states": 1.0 / d0 if level else nu / -math.log1p(d1 - d0), "nu": nu})
        choices.append(("exponential", branches))
    if falling:
        slopes = [
            1.0 if gone else min(max(1.0 - d1 / d0, 0.0), 1.0)
            for (d0, d1), gone in zip(ends, vanishing, strict=True)
        ]
        choices.append((
            "soft-bounds",
            [{"states": 1.0 / d0, "slope": s} for (d0, _), s in zip(ends, slopes, strict=True)],
        ))  # fmt: skip
    choices = [c for c in choices if min(branch["states"] for branch in c[1]) >= 1.0]
    if not choices:
        return None
    whole = [c for c in choices if all(_whole(branch["states"]) for branch in c[1])]
    model, found = (whole or choices)[0]
    tables = [
        BranchTable.model_validate({key: _rounded(value) for key, value in branch.items()})
        for branch in found
    ]
    return Response(model, tables[0], tables[1])


def _whole(n: float) -> bool:
    return abs(n - round(n)) <= 1e-6 * n


def _rounded(value: float) -> float:
    """Return a number to ten digits: what is beyond is the arithmetic's own error."""
    return float(round(value)) if _whole(value) and value else float(f"{value:.10g}")
