"""What runs beside ``ltp-ltd`` add: reads at rest, retention, pulse maps, sweeps, disturb.

``every`` are the cells of all devices (row · 2¹⁶ + column), rising; a device's number is its place
there, whatever run it is read from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from hil.fit.columns import cell_keys
from hil.fit.measured import Disturbs, Ints, PulseMaps, Rests, Retentions, Sweeps


def together(parts: Sequence[Any]) -> Any:
    """Return columns of several runs one after the other, groups counted on; None of nothing."""
    parts = [part for part in parts if part.device.size]
    if not parts:
        return None
    groups = 0
    columns: dict[str, list[Any]] = {}
    for part in parts:
        for item in fields(part):
            value = getattr(part, item.name)
            columns.setdefault(item.name, []).append(value + groups * (item.name == "group"))
        groups += int(part.group.max()) + 1
    return type(parts[0])(**{name: np.concatenate(column) for name, column in columns.items()})


def _long(outcome: dict[str, Any], every: Ints) -> tuple[Ints, Any]:
    """Return device numbers and conductances of an outcome, point after point; both flat."""
    device = np.searchsorted(every, cell_keys(outcome))
    g = np.asarray(outcome["g_siemens"], dtype=np.float64)
    return np.tile(device, len(g)), g.ravel()


def _points(outcome: dict[str, Any], axis: str) -> Any:
    return np.repeat(np.asarray(outcome[axis], dtype=np.float64), outcome["g_siemens"].shape[1])


def rests_of(outcome: dict[str, Any], every: Ints) -> Rests:
    """Return the reads of a ``read-map`` run: of each device one group."""
    device, g = _long(outcome, every)
    known = np.isfinite(g)
    return Rests(device[known], g[known], device[known])


def rests_between_cycles(outcome: dict[str, Any], every: Ints) -> Rests:
    """Return pairs of reads without a pulse between: the last of a cycle, the first of the next."""
    begins = np.flatnonzero(np.asarray(outcome.get("polarity", ())) == 0)
    begins = begins[begins > 0]
    if not begins.size:
        nothing = np.empty(0, dtype=np.int64)
        return Rests(nothing, np.empty(0), nothing)
    g = np.asarray(outcome["g_siemens"], dtype=np.float64)
    pairs = np.stack([g[begins - 1], g[begins]], axis=-1).reshape(-1, 2)  # cycle by cycle
    device = np.tile(np.searchsorted(every, cell_keys(outcome)), begins.size)
    known = np.isfinite(pairs).all(axis=1)
    group = np.repeat(np.arange(int(known.sum())), 2)
    return Rests(np.repeat(device[known], 2), pairs[known].ravel(), group)


def retention_of(outcome: dict[str, Any], every: Ints) -> Retentions:
    """Return the reads of a ``retention`` run over the time waited."""
    device, g = _long(outcome, every)
    wait, known = _points(outcome, "wait_s"), np.isfinite(g)
    return Retentions(device[known], wait[known], g[known], device[known])


def pulse_map_of(outcome: dict[str, Any], every: Ints) -> PulseMaps:
    """Return the responses of a ``pulse-map`` run to its grid."""
    device, g = _long(outcome, every)
    v, width, pulse = (_points(outcome, name) for name in ("amplitude_v", "width_s", "pulse"))
    _, point = np.unique(np.stack([v, width], axis=1), axis=0, return_inverse=True)
    group, known = point.ravel() * every.size + device, np.isfinite(g)
    polarity = np.where(v > 0, 1, -1)
    columns = (device, polarity, v, width, pulse.astype(np.int64), g, group)
    return PulseMaps(*(column[known] for column in columns))


def sweep_of(outcome: dict[str, Any], every: Ints) -> Sweeps:
    """Return the currents of an ``iv-sweep`` run over the voltages."""
    device = np.searchsorted(every, cell_keys(outcome))
    current = np.asarray(outcome["current_a"], dtype=np.float64)
    volts = np.repeat(np.asarray(outcome["voltage_v"], dtype=np.float64), device.size)
    known = np.isfinite(current.ravel())
    long = np.tile(device, len(current))
    return Sweeps(long[known], volts[known], current.ravel()[known], long[known])


def disturb_of(kind: str, outcome: dict[str, Any], every: Ints) -> Disturbs:
    """Return the reads of a run of ``half-select-disturb`` or ``read-disturb``."""
    device, g = _long(outcome, every)
    pulses, known = _points(outcome, "pulse").astype(np.int64), np.isfinite(g)
    selected = np.asarray(outcome.get("half_selected", np.zeros(len(outcome["row"]))), dtype=bool)
    half = np.tile(selected, outcome["g_siemens"].shape[0])
    what: Any = "half-select" if kind == "half-select-disturb" else "read"
    return Disturbs(what, device[known], pulses[known], g[known], half[known])
