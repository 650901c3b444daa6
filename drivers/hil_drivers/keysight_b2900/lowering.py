"""Lowering to list sweeps of the B2900A: pulse shape where a run is uniform, else a level grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hil.capabilities import Range
from hil.errors import LimitError
from hil_drivers.gridlist import GridList, grid_lists
from hil_drivers.lowering import PulseTable, check_shared, quantise
from hil_drivers.steps import (
    RELATIVE,
    ChannelCapabilities,
    ChannelSteps,
    Delivered,
)

#: A measurement ends this long before its pulse or list point does.
MARGIN_S = 20e-6
#: Lists and buffers of the first firmware (2 500; later 100 000: SCPI reference ed. 2, p. 4-105).
MAX_POINTS = 2500
RANGES_V = (0.2, 2.0, 20.0, 200.0)
_LOW_A = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5, 3.0)
RANGES_A = {"1": _LOW_A, "2": (1e-8, *_LOW_A)}
#: Shortest trigger interval: 20 us (B2901A/02A), 10 us (B2911A/12A).
INTERVAL_S = {"0": 20e-6, "1": 10e-6}


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """One channel's list: ``width_s`` None = DC levels, else the width of its pulse shape."""

    delivered: Delivered
    grid: GridList
    width_s: float | None
    acquire_delay_s: float


def channels(model: str) -> tuple[str, ...]:
    """Return the channels: models that end in 1 have one."""
    return ("1",) if model[4] == "1" else ("1", "2")


def capabilities(model: str) -> ChannelCapabilities:
    """Return the limits of a channel (B2900A SCPI reference, tables 2-4, 2-5).

    The clock has 50 ppm (data sheet, timer and triggering).
    """
    ranges_a = RANGES_A["1" if model[3] == "0" else "2"]
    return ChannelCapabilities(
        level_v=Range(-200.0, 200.0, 1e-6 if model[3] == "0" else 1e-7),
        width_s=Range(50e-6, 1e4, 1e-6),
        compliance_a=Range(0.1 * ranges_a[0], 3.0),
        sense_a=Range(-3.0, 3.0, 1e-6 * ranges_a[0]),
        ranges_v=RANGES_V,
        ranges_a=ranges_a,
        max_list_steps=MAX_POINTS,
        max_readings=MAX_POINTS,
        min_period_s=60e-6,
        min_measured_s=8e-6 + MARGIN_S,
        overhead_s=15e-3,
        counts_a=1e6,
        overrange_a=1.05,
        clock_error=50e-6,
    )


def lower(programs: Mapping[str, ChannelSteps], model: str, name: str) -> dict[str, ChannelPlan]:
    """Return the list of each channel.

    Raises:
        LimitError: outside the limits, or a grid finer than the shortest trigger interval.
    """
    check_shared(programs, name)
    delivered = {}
    for channel, steps in programs.items():
        where = f"{name}.{channel}"
        if channel not in channels(model):
            raise LimitError("channels", 2, 1, "", where=where, note=f"a {model} has one")
        can = capabilities(model)
        range_v = can.range_for_v(float(np.abs(steps.level_v).max()))
        # 3 A to 6 V, 1.5 A to 20 V, 100 mA above (table 2-4).
        highest = 3.0 if range_v <= 2 else 1.5 if range_v <= 20 else 0.1
        can = replace(can, compliance_a=replace(can.compliance_a, max=highest))
        resolution = can.level_v.resolution * range_v / RANGES_V[0]
        delivered[channel] = quantise(steps, can, where, level_resolution_v=resolution)
    if all(_uniform_width(d) is not None for d in delivered.values()):
        return _pulsed(delivered, programs, name)
    grids = grid_lists(delivered, grid_s=1e-6, shortest_unit_s=INTERVAL_S[model[3]],
                       longest_list=MAX_POINTS, most_points=MAX_POINTS, name=name)  # fmt: skip
    out = {}
    for channel, d in delivered.items():
        unit = grids[channel].unit_s
        aperture = _aperture_s(programs[channel], unit, f"{name}.{channel}")
        out[channel] = ChannelPlan(replace(d, aperture_s=aperture), grids[channel], None,
                                   unit - aperture - MARGIN_S)  # fmt: skip
    return out


def _uniform_width(d: Delivered) -> float | None:
    """The one width of all pulses of a uniform train (its period = held), None when it is not."""
    widths = d.width_s[(d.level_v != 0.0) | d.measure]
    if not np.allclose(d.period_s, d.period_s[0], rtol=RELATIVE, atol=0):
        return None
    if not widths.size:
        return float(d.period_s[0])
    return float(widths[0]) if np.allclose(widths, widths[0], rtol=RELATIVE, atol=0) else None


def _pulsed(
    delivered: Mapping[str, Delivered], programs: Mapping[str, ChannelSteps], name: str
) -> dict[str, ChannelPlan]:
    out = {}
    for channel, d in delivered.items():
        table = PulseTable.of(d)
        period = float(d.period_s[0])
        width = _uniform_width(d)
        held = width is None or width >= period * (1 - RELATIVE)
        length = period if held or width is None else width
        aperture = _aperture_s(programs[channel], length, f"{name}.{channel}")
        grid = GridList(period, d.level_v[table.step], 1, np.arange(len(table), dtype=np.int64))
        out[channel] = ChannelPlan(replace(d, aperture_s=aperture), grid, None if held else width,
                                   length - aperture - MARGIN_S)  # fmt: skip
    return out


def _aperture_s(steps: ChannelSteps, length_s: float, where: str) -> float:
    lowest, highest = 8e-6, min(2.0, length_s - MARGIN_S)
    asked = steps.aperture_s
    if asked is None:
        return float(np.clip(length_s / 2, lowest, highest))
    if not lowest * (1 - RELATIVE) <= asked <= highest * (1 + RELATIVE):
        raise LimitError("aperture_s", asked, lowest if asked < lowest else highest, "s",
                         where=where, note=f"a point lasts {length_s:g} s")  # fmt: skip
    return asked
