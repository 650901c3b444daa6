"""From instruments and wiring to what the router needs and to what the whole rig can do."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hil.capabilities import Capabilities, Range
from hil.errors import ConfigError
from hil.program import LineState, Phase, PulseBlock, line_levels
from hil_drivers.instrument import ChannelCapabilities, Instrument, SourceInstrument, SwitchMatrix
from hil_drivers.router.errors import RouteRefused
from hil_drivers.router.plan import Router
from hil_drivers.router.wiring import ChannelSpec, Wiring


def sources(instruments: Mapping[str, Instrument]) -> dict[str, SourceInstrument]:
    """Return the instruments that source, by name."""
    return {n: i for n, i in instruments.items() if isinstance(i, SourceInstrument)}


def matrices(instruments: Mapping[str, Instrument]) -> dict[str, SwitchMatrix]:
    """Return the switch matrices, by name."""
    return {n: i for n, i in instruments.items() if isinstance(i, SwitchMatrix)}


def channel_limits(instruments: Mapping[str, Instrument]) -> dict[str, ChannelCapabilities]:
    """Return the limits of every channel as ``instrument.channel``."""
    return {
        f"{name}.{channel}": source.channel_capabilities(channel)
        for name, source in sources(instruments).items()
        for channel in source.channels
    }


def specs_of(limits: Mapping[str, ChannelCapabilities]) -> dict[str, ChannelSpec]:
    """Return what the router has to know of every channel."""
    return {
        name: ChannelSpec(
            name, can.level_v, can.width_s, max(can.min_measured_s, can.width_s.min),
            can.can_measure, can.can_limit_current, can.compliance_a, can.can_float,
        )
        for name, can in limits.items()
    }  # fmt: skip


def check_wiring(wiring: Wiring, instruments: Mapping[str, Instrument]) -> None:
    """Raise ConfigError when a crosspoint is on no matrix or not in its grammar."""
    known = matrices(instruments)
    by_matrix: dict[str, set[str]] = {}
    for (line, _), (matrix, crosspoint) in wiring.crosspoints.items():
        if matrix not in known:
            raise ConfigError(
                f"{matrix!r}, on the way of line {wiring.geometry.line_name(line)}, is no switch "
                "matrix", field="wiring.crosspoint",
            )  # fmt: skip
        by_matrix.setdefault(matrix, set()).add(crosspoint)
    for matrix, crosspoints in by_matrix.items():
        known[matrix].check_crosspoints(crosspoints)


def rig_capabilities(
    router: Router, limits: Mapping[str, ChannelCapabilities], *, max_block_s: float = 2.0
) -> Capabilities:
    """Return what the whole rig can do.

    Levels, widths and limits are those that every line that can be driven at all has on one of its
    channels; what a particular line lacks is refused by the router, by name. Resolutions are the
    coarsest. Widths per line are always sliced: a meter averages within a pulse, it does not
    integrate over a level that changes.
    """
    wiring = router.wiring
    specs = wiring.channels
    drivable = []
    for line in range(wiring.n_lines):
        ways = [specs[c].name for c in wiring.ways_of(line) if specs[c].name in limits]
        if ways:
            drivable.append([limits[w] for w in ways])
    if not drivable:
        raise ConfigError("no line is wired to a source", field="wiring")
    level = Range(
        max(min(c.level_v.min for c in ways) for ways in drivable),
        min(max(c.level_v.max for c in ways) for ways in drivable),
        max(c.level_v.resolution for ways in drivable for c in ways),
    )
    width = Range(
        max(min(c.width_s.min for c in ways) for ways in drivable),
        min(max(c.width_s.max for c in ways) for ways in drivable),
        max(c.width_s.resolution for ways in drivable for c in ways),
    )
    meters = [c for ways in drivable for c in ways if c.can_measure]
    limiting = [c for ways in drivable for c in ways if c.can_limit_current]
    sense = Range(
        min((c.sense_a.min for c in meters), default=-math.inf),
        max((c.sense_a.max for c in meters), default=math.inf),
        max((c.sense_a.resolution for c in meters), default=0.0),
    )
    compliance = Range(
        min((c.compliance_a.min for c in limiting), default=0.0),
        max((c.compliance_a.max for c in limiting), default=math.inf),
    )
    rails = [wiring.direct[n] for n in range(wiring.n_lines) if wiring.direct[n] >= 0]
    used = {limits[specs[c].name].overhead_s for c in range(len(specs)) if specs[c].name in limits}
    return Capabilities(
        level_v=level, width_s=width, rise_s=Range(0.0, 0.0), compliance_a=compliance,
        sense_a=sense, max_block_s=max_block_s, parallel_drive=True,
        parallel_sense=senses_in_parallel(router), per_line_width=False,
        can_float=all(specs[c].can_float for c in rails), limits_current=bool(limiting),
        block_overhead_s=max(used, default=0.0),
    )  # fmt: skip


def senses_in_parallel(router: Router) -> bool:
    """Return whether one driven line of either side and all lines of the other can be sensed."""
    wiring = router.wiring
    geometry = wiring.geometry
    meters = [c for c in wiring.channels if c.can_measure]
    if len(meters) < max(geometry.shape):
        return False
    width_s = max(c.min_measured_s for c in meters)
    level_v = min(min(c.level_v.max, 0.1) for c in meters)
    lines = geometry.read_lines
    for drive, sense in ((lines.plus, lines.minus), (lines.minus, lines.plus)):
        state, level = line_levels(geometry, drive.size)
        sensed = np.zeros(state.shape, dtype=np.bool_)
        sensed[:, sense] = True
        state[np.arange(drive.size), drive] = LineState.DRIVE
        level[np.arange(drive.size), drive] = level_v
        try:
            router.plan(PulseBlock.build(Phase.READ, state, level, width_s, sense=sensed))
        except RouteRefused:
            return False
    return True
