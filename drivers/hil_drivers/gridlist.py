"""Pulse trains as a list of levels on one time grid, for instruments without a pulse shape.

Every point of the list lasts the same *unit*: the largest time that divides all widths and gaps. A
pulse is ``width / unit`` points of its level and then points of 0 V.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hil.errors import LimitError
from hil_drivers.lowering import PulseTable
from hil_drivers.steps import Delivered, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class GridList:
    """One channel's list.

    Attributes:
        unit_s: time of one point.
        levels_v: levels of one cycle.
        cycles: how often the list is run.
        pulse_point: (n_pulses,) the last point of each pulse, counted over all cycles.
    """

    unit_s: float
    levels_v: FloatArray
    cycles: int
    pulse_point: IntArray

    @property
    def n_points(self) -> int:
        """Points of all cycles."""
        return len(self.levels_v) * self.cycles


def common_unit_s(channels: Mapping[str, Delivered], grid_s: float) -> float:
    """Return the largest unit in seconds that divides every width, gap and period.

    The width of a pulse of 0 V does not count unless it is measured: its reading has to be taken
    before other channels end their pulses.
    """
    found = 0
    for d in channels.values():
        pulsed = (d.level_v != 0.0) | d.measure
        period = np.round(d.period_s / grid_s).astype(np.int64)
        width = np.round(d.width_s[pulsed] / grid_s).astype(np.int64)
        found = int(np.gcd.reduce(np.concatenate([[found], period, width])))
    return found * grid_s


def grid_lists(
    channels: Mapping[str, Delivered],
    *,
    grid_s: float,
    shortest_unit_s: float,
    longest_list: int,
    most_points: int,
    name: str,
) -> dict[str, GridList]:
    """Return the list of every channel, all on the same unit.

    Raises:
        LimitError: the unit is shorter than a point can be, or the list is too long.
    """
    unit = common_unit_s(channels, grid_s)
    if unit < shortest_unit_s * (1 - 1e-9):
        raise LimitError("time grid of the pulses", unit, shortest_unit_s, "s", where=name,
                         note="widths and gaps must be multiples of a longer time")  # fmt: skip
    first = next(iter(channels.values()))
    same = all(
        np.all(column == column[0])
        for d in channels.values() for column in (d.level_v, d.width_s, d.period_s)
    )  # fmt: skip
    cycles = int(first.repeat.sum()) if same else 1
    out = {}
    note = f"on a grid of {unit:g} s"
    for channel, d in channels.items():
        where = f"{name}.{channel}"
        out[channel] = _one(d, unit, cycles)
        points = len(out[channel].levels_v)
        if points > longest_list:
            raise LimitError("points of a list", points, longest_list, "", where=where, note=note)
        if out[channel].n_points > most_points:
            raise LimitError("points of one run", out[channel].n_points, most_points, "",
                             where=where, note=note)  # fmt: skip
    return out


def _one(d: Delivered, unit_s: float, cycles: int) -> GridList:
    table = PulseTable.of(d)
    per_period = np.round(d.period_s / unit_s).astype(np.int64)[table.step]
    per_width = np.round(d.width_s / unit_s).astype(np.int64)[table.step]
    start = np.concatenate([[0], np.cumsum(per_period)])
    in_list = len(table) if cycles == 1 else 1
    levels = np.zeros(int(start[in_list]))
    for k in range(in_list):
        levels[start[k] : start[k] + per_width[k]] = d.level_v[table.step[k]]
    last = start[:-1] + np.clip(per_width, 1, per_period) - 1
    return GridList(unit_s, levels, cycles, last.astype(np.int64))
