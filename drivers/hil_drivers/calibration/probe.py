"""Measure one line through one chosen channel, with all other lines in stated states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from hil.errors import ConfigError
from hil.program import LineState, Phase, PulseBlock, SensePlan
from hil_drivers.rig.programs import RunBuilder
from hil_drivers.router.plan import Router
from hil_drivers.router.wiring import Wiring

if TYPE_CHECKING:
    from hil.measurement import MeasurementBlock
    from hil_drivers.rig.backend import RigBackend


@contextmanager
def through(rig: RigBackend, ways: Mapping[int, int]) -> Iterator[None]:
    """Let each line of ``ways`` reach nothing but its channel meanwhile; nothing is corrected.

    Raises:
        ConfigError: no wire leads from a channel to its line.
    """
    wiring = rig.wiring
    reach = wiring.reach.copy()
    for line, channel in ways.items():
        if channel not in wiring.ways_of(line):
            raise ConfigError(f"{wiring.geometry.line_name(line)} does not reach "
                              f"{wiring.channels[channel].name}", field="wiring")  # fmt: skip
        if wiring.direct[line] < 0:
            reach[line] = False
            reach[line, channel] = True
    narrowed = Wiring(wiring.geometry, wiring.channels, wiring.direct, reach, wiring.crosspoints)
    kept = rig.wiring, rig.router, rig.builder, rig.calibration
    rig.wiring, rig.router = narrowed, Router(narrowed, rig.rack.triggers)
    rig.builder = RunBuilder(narrowed, rig.builder.limits, rig.builder.g_max_siemens)
    rig.calibration = None
    try:
        yield
    finally:
        rig.wiring, rig.router, rig.builder, rig.calibration = kept


def probe_block(
    rig: RigBackend, line: int, level_v: float, *, width_s: float, grounded: list[int],
    range_a: float | None = None, compliance_a: float = np.inf, averages: int = 1,
    sensed: int | None = None,
) -> PulseBlock:  # fmt: skip
    """Return the block that drives ``line`` to ``level_v`` while others are grounded or float.

    The line itself is sensed, or one of the grounded lines.
    """
    n = rig.geometry.n_lines
    state = np.full((1, n), LineState.FLOAT, dtype=np.uint8)
    state[0, grounded] = LineState.GROUND
    state[0, line] = LineState.DRIVE if level_v else LineState.GROUND
    level = np.zeros((1, n))
    level[0, line] = level_v
    sense = np.zeros((1, n), dtype=np.bool_)
    sense[0, line if sensed is None else sensed] = True
    limit = np.full(n, np.inf)
    limit[line] = compliance_a
    selected = np.zeros((1, n), dtype=np.bool_)
    return PulseBlock.build(
        Phase.CALIBRATE, state, level, width_s, gap_s=width_s / 10, sense=sense, selected=selected,
        compliance_a=limit, sensing=SensePlan(range_a=range_a, averages=averages),
    )  # fmt: skip


def measure(rig: RigBackend, block: PulseBlock) -> tuple[float, float, int]:
    """Drive a probe block; return mean current in amperes, range in amperes and status bits."""
    rows: MeasurementBlock = rig.run_block(block)
    return float(rows.current_a.mean()), float(rows.range_a[0]), int(rows.status[0])
