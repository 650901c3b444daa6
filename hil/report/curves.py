"""Curves of characterisation runs as plain arrays, from the outcome of their protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.report.devices import Floats
from hil.report.outcome import Ints, Outcome, cells_of, has


@dataclass(frozen=True, eq=False)
class IvCurve:
    """Current (n_points, n_cells) over voltage (n_points,), in the order walked."""

    voltage_v: Floats
    current_a: Floats
    cells: Ints

    @property
    def switching(self) -> bool:
        """Whether both directions of a voltage differ, as in a loop of a switching device."""
        order = np.argsort(self.voltage_v, kind="stable")
        v, current = self.voltage_v[order], np.abs(self.current_a[order])
        same = np.isclose(v[1:], v[:-1], rtol=0, atol=1e-9) & (np.abs(v[1:]) > 0)
        if not same.any():
            return False
        pair = np.stack([current[1:][same], current[:-1][same]])
        return bool(np.nanmedian(pair.max(axis=0) / np.maximum(pair.min(axis=0), 1e-30)) > 1.3)


@dataclass(frozen=True, eq=False)
class Retention:
    """Conductance (n_times, n_cells) over the time waited (n_times,) in seconds."""

    wait_s: Floats
    g_siemens: Floats
    cells: Ints

    def change(self) -> float:
        """Return the median over cells of the last conductance relative to the first, minus 1."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.g_siemens[-1] / self.g_siemens[0] - 1.0
        return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else np.nan


@dataclass(frozen=True, eq=False)
class Endurance:
    """Both states over cycles; ``high``, ``low`` are (n_reads, n_cells) in siemens."""

    cycle: Ints
    high_siemens: Floats
    low_siemens: Floats
    cells: Ints

    def window(self) -> Floats:
        """Return (n_reads,) the median over cells of high / low."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.nanmedian(self.high_siemens / self.low_siemens, axis=1))


@dataclass(frozen=True, eq=False)
class Disturb:
    """Relative change (n_points, n_cells) of conductance over pulses that were not meant for it.

    ``group``: (n_cells,) 0 = shares no line with the aggressor, 1 = half-selected, 2 = aggressor;
    all 0 when reads disturb.
    """

    pulse: Ints
    change: Floats
    group: Ints
    by_reads: bool


@dataclass(frozen=True, eq=False)
class PulseMap:
    """Mean change of conductance in siemens (n_amplitudes, n_widths) by a train of pulses."""

    amplitude_v: Floats
    width_s: Floats
    change_siemens: Floats
    pulses: int


def iv_curve(outcome: Outcome) -> IvCurve | None:
    """Return the sweep of an ``iv-sweep`` run's outcome, None where it has none."""
    if not has(outcome, "voltage_v", "current_a", "row", "col"):
        return None
    return IvCurve(outcome["voltage_v"], outcome["current_a"], cells_of(outcome))


def retention(outcome: Outcome) -> Retention | None:
    """Return the curve of a ``retention`` run's outcome, None where it has none."""
    if not has(outcome, "wait_s", "g_siemens", "row", "col"):
        return None
    return Retention(outcome["wait_s"], outcome["g_siemens"], cells_of(outcome))


def endurance(outcome: Outcome) -> Endurance | None:
    """Return the curve of an ``endurance`` run's outcome, None where it has none."""
    if not has(outcome, "cycle", "state", "g_siemens", "row", "col"):
        return None
    cycle, state, g = outcome["cycle"].astype(np.int64), outcome["state"], outcome["g_siemens"]
    cycles = np.unique(cycle)
    high, low = (np.full((cycles.size, g.shape[1]), np.nan) for _ in range(2))
    at = np.searchsorted(cycles, cycle)
    high[at[state > 0]], low[at[state < 0]] = g[state > 0], g[state < 0]
    return Endurance(cycles, high, low, cells_of(outcome))


def disturb(
    outcome: Outcome, kind: str, aggressor: tuple[int, int] | None = None
) -> Disturb | None:
    """Return what ``half-select-disturb`` or ``read-disturb`` measured, None where it did not.

    ``aggressor``: its row and column; None = where the half-selected lines cross.
    """
    if kind not in ("half-select-disturb", "read-disturb"):
        return None
    if not has(outcome, "pulse", "g_siemens", "row", "col"):
        return None
    g = outcome["g_siemens"]
    with np.errstate(invalid="ignore", divide="ignore"):
        change = g / g[0] - 1.0
    group = np.zeros(g.shape[1], dtype=np.int64)
    if kind == "half-select-disturb" and has(outcome, "half_selected"):
        half = outcome["half_selected"].astype(np.bool_)
        group[half] = 1
        rows, cols = outcome["row"], outcome["col"]
        if half.any():  # the aggressor is where the half-selected row and column cross
            crossing = aggressor or (_most(rows[half]), _most(cols[half]))
            group[(rows == crossing[0]) & (cols == crossing[1])] = 2
    return Disturb(outcome["pulse"].astype(np.int64), change, group, kind == "read-disturb")


def pulse_map(outcome: Outcome) -> PulseMap | None:
    """Return what a ``pulse-map`` run measured, None where it has no such outcome."""
    if not has(outcome, "amplitude_v", "width_s", "pulse", "g_siemens"):
        return None
    amplitude, width = outcome["amplitude_v"], outcome["width_s"]
    pulse, g = outcome["pulse"], outcome["g_siemens"].mean(axis=1)
    volts, i = np.unique(amplitude, return_inverse=True)
    seconds, j = np.unique(width, return_inverse=True)
    first, last = (np.full((volts.size, seconds.size), np.nan) for _ in range(2))
    ends = pulse == pulse.max()
    first[i[pulse == 0], j[pulse == 0]] = g[pulse == 0]
    last[i[ends], j[ends]] = g[ends]
    return PulseMap(volts, seconds, last - first, int(pulse.max()))


def _most(values: NDArray[Any]) -> int:
    found, n = np.unique(values, return_counts=True)
    return int(found[n.argmax()])
