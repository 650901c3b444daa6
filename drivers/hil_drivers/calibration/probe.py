"""Measure one line through one chosen channel, with all other lines in stated states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hil.errors import ConfigError, LimitError, ReadbackError
from hil.program import LineState, Phase, PulseBlock, SensePlan
from hil_drivers.rig.programs import RunBuilder
from hil_drivers.rig.shapes import Jobs, Shapes
from hil_drivers.router.plan import Router
from hil_drivers.router.wiring import Wiring

if TYPE_CHECKING:
    from hil.measurement import MeasurementBlock
    from hil_drivers.rig.backend import RigBackend


class Implausible(ReadbackError):
    """A result that no working instrument gives; says field, value, limit, unit and what to do."""

    def __init__(
        self, quantity: str, value: float, limit: float, unit: str, where: str, note: str
    ) -> None:
        self.quantity, self.value, self.limit, self.unit = quantity, value, limit, unit
        self.where = where
        super().__init__(
            f"{where}: {quantity} {value:.4g} {unit}".rstrip()
            + f" against limit {limit:.4g} {unit}".rstrip()
            + f" ({note}); nothing was written"
        )


class Route(NamedTuple):
    """A line's way to a channel that measures."""

    line: int
    channel: int  #: index in the wiring
    line_name: str
    channel_name: str

    def __str__(self) -> str:
        return f"{self.line_name} {self.channel_name}"


def routes(rig: RigBackend) -> list[Route]:
    """Return every way of a line of the read port to a meter, line by line."""
    wiring, geometry = rig.wiring, rig.geometry
    lines = geometry.read_lines
    return [
        Route(line, channel, geometry.line_name(line), wiring.channels[channel].name)
        for line in sorted({*lines.plus.tolist(), *lines.minus.tolist()})
        for channel in wiring.ways_of(line)
        if wiring.channels[channel].can_measure
    ]


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
            known = range(len(wiring.channels))
            name = wiring.channels[channel].name if channel in known else f"channel {channel}"
            raise ConfigError(f"{wiring.geometry.line_name(line)} does not reach {name}",
                              field="wiring")  # fmt: skip
        if wiring.direct[line] < 0:
            reach[line] = False
            reach[line, channel] = True
    narrowed = Wiring(wiring.geometry, wiring.channels, wiring.direct, reach, wiring.crosspoints)
    kept = rig.wiring, rig.router, rig.builder, rig.calibration, rig.shapes, rig._jobs
    rig.wiring, rig.router = narrowed, Router(narrowed, rig.rack.triggers)
    rig.builder = RunBuilder(narrowed, rig.builder.limits, rig.rack.check_start,
                             rig.builder.g_max_siemens)  # fmt: skip
    rig.calibration = None
    # What was planned with all ways open is no plan for these, nor the other way round.
    rig.shapes = Shapes(narrowed)
    rig._jobs = Jobs(rig.shapes)
    try:
        yield
    finally:
        rig.wiring, rig.router, rig.builder, rig.calibration, rig.shapes, rig._jobs = kept


def probe_block(
    rig: RigBackend, line: int, level_v: float, *, width_s: float, grounded: list[int],
    range_a: float | None = None, compliance_a: float = np.inf, averages: int = 1,
    sensed: int | None = None, gate_v: float = 0.0,
) -> PulseBlock:  # fmt: skip
    """Return the block that drives ``line`` to ``level_v`` while others are grounded or float.

    The line itself is sensed, or one of the grounded lines. Gates are at ``gate_v``.
    """
    n = rig.geometry.n_lines
    state = np.full((1, n), LineState.FLOAT, dtype=np.uint8)
    state[0, grounded] = LineState.GROUND
    state[0, line] = LineState.DRIVE if level_v else LineState.GROUND
    level = np.zeros((1, n))
    level[0, line] = level_v
    if gate_v:
        gates = rig.geometry.gate_lines
        state[0, gates], level[0, gates] = LineState.DRIVE, gate_v
    sense = np.zeros((1, n), dtype=np.bool_)
    sense[0, line if sensed is None else sensed] = True
    limit = np.full(n, np.inf)
    limit[line] = compliance_a
    selected = np.zeros((1, n), dtype=np.bool_)
    return PulseBlock.build(
        Phase.CALIBRATE, state, level, width_s, gap_s=width_s, sense=sense, selected=selected,
        compliance_a=limit, sensing=SensePlan(range_a=range_a, averages=averages),
    )  # fmt: skip


def measure(rig: RigBackend, block: PulseBlock, channel: str) -> tuple[float, float, int]:
    """Drive a probe block; return mean current in amperes, range in amperes and status bits.

    The range is that of the channel's list; readings carry it as float32.
    """
    rows: MeasurementBlock = rig.run_block(block)
    shown_a = float(rows.range_a[0])
    range_a = min(rig.builder.limits[channel].ranges_a, key=lambda r: abs(r - shown_a))
    return float(rows.current_a.mean()), range_a, int(rows.status[0])


def compliance_for(rig: RigBackend, channel: str, expected_a: float) -> float:
    """Return the current limit in amperes for a measurement: twice what is expected.

    More where the channel cannot limit so low, less where the station allows less.

    Raises:
        LimitError: the station or the channel does not allow what is expected.
    """
    can = rig.builder.limits[channel]
    if not can.can_limit_current:
        return math.inf
    most = min(can.compliance_a.max, rig.limits.compliance_a)
    if expected_a > most or can.compliance_a.min > most:
        raise LimitError(
            "current", max(expected_a, can.compliance_a.min), most, "A", where=channel,
            note="choose a lower voltage or a larger resistor",
        )  # fmt: skip
    return min(max(2.0 * expected_a, can.compliance_a.min), most)


def range_for(rig: RigBackend, channel: str, current_a: float) -> float:
    """Return the channel's lowest measuring range in amperes that holds ``current_a``.

    Raises:
        LimitError: none does.
    """
    ranges = rig.builder.limits[channel].ranges_a
    for full in ranges:
        if current_a <= full * (1 + 1e-9):
            return full
    raise LimitError("current", current_a, ranges[-1], "A", where=channel)
