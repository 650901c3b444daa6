"""Measure what a calibration file holds: zero, leakage, path resistance, gain per route.

The fixtures are the experimenter's: nothing in the array (open), a short, or a reference resistor
between one row and one column at a time. In place of a separate fixture, any cell whose conductance
is known to be constant will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from hil.errors import ReadbackError
from hil.measurement import Status
from hil_drivers.calibration.probe import measure, probe_block, through
from hil_drivers.calibration.table import Calibration, RangeCorrection, SourceCorrection, stamp

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend

_GAIN_LIMITS = 0.8, 1.25  # beyond it is a wrong resistor or a broken path, not a gain error


@dataclass(frozen=True, slots=True)
class Reference:
    """A resistor of known value between a row's and a column's line, everything else open."""

    row: int
    col: int
    ohm: float


def zero(
    rig: RigBackend, ranges_a: Iterable[float], *, width_s: float = 20e-3, averages: int = 8
) -> dict[str, dict[float, float]]:
    """Return the offset in amperes of every channel that measures, by range: 0 V, lines open."""
    out: dict[str, dict[float, float]] = {}
    for line, channel, name in _routes(rig):
        if name in out:
            continue
        out[name] = {}
        for asked_a in ranges_a:
            block = probe_block(rig, line, 0.0, width_s=width_s, grounded=[], range_a=asked_a,
                                averages=averages)  # fmt: skip
            with through(rig, {line: channel}):
                current_a, range_a, _ = measure(rig, block)
            out[name][range_a] = current_a
    return out


def leakage(
    rig: RigBackend, level_v: float, range_a: float, offsets: Mapping[str, Mapping[float, float]],
    *, width_s: float = 20e-3, averages: int = 8,
) -> dict[str, float]:  # fmt: skip
    """Return each route's leakage to 0 V in siemens, all other lines open."""
    out: dict[str, float] = {}
    for line, channel, name in _routes(rig):
        block = probe_block(rig, line, level_v, width_s=width_s, grounded=[], range_a=range_a,
                            averages=averages)  # fmt: skip
        with through(rig, {line: channel}):
            current_a, found_a, _ = measure(rig, block)
        leak = (current_a - _near(offsets.get(name, {}), found_a)) / level_v
        out[f"{rig.geometry.line_name(line)} {name}"] = leak
    return out


@dataclass(frozen=True, slots=True)
class Gains:
    """Sources by channel, and meters by channel and range."""

    sources: dict[str, SourceCorrection]
    meters: dict[str, dict[float, float]]


def gains(
    rig: RigBackend, reference: Reference, level_v: float, ranges_a: Iterable[float],
    offsets: Mapping[str, Mapping[float, float]], leaks: Mapping[str, float] | None = None, *,
    width_s: float = 20e-3, averages: int = 8,
) -> Gains:  # fmt: skip
    """Return the gains of all channels that reach a reference, and the offsets of their sources.

    Each channel is read while it drives the reference itself and while the first channel drives it
    from the other end, at both polarities: the slope is a product of gains, the rest the source's
    offset. Ranges of which the reference's current is less than 1 % or more than all are left out.

    Raises:
        ReadbackError: a gain is beyond any instrument's error: wrong resistor or broken path.
    """
    lines = rig.geometry.read_lines
    row, col = int(lines.plus[reference.row]), int(lines.minus[reference.col])
    usable = [r for r in sorted(ranges_a) if 0.01 * r <= abs(level_v) / reference.ohm <= r]
    probe = _ReferenceProbe(rig, reference, level_v, offsets, leaks or {}, width_s, averages)
    meters: dict[str, dict[float, float]] = {}
    sources: dict[str, SourceCorrection] = {}
    first: tuple[int, str] | None = None
    for line, channel, name in _routes(rig):
        if line not in (row, col) or name in meters:
            continue
        other = col if line == row else row
        meters[name] = {}
        own_gain = 1.0
        for asked_a in usable:
            own, offset_v, range_a = probe.slope(line, other, {line: channel}, line, asked_a)
            if first is None or first[0] == channel:
                meters[name][range_a] = own
            else:
                way = {line: channel, other: first[0]}
                cross, _, range_a = probe.slope(other, line, way, line, asked_a)
                meters[name][range_a] = cross
                own_gain = own / cross
            if name not in sources:  # the lowest range resolves best
                sources[name] = SourceCorrection(gain=own_gain, offset_v=offset_v)
        if first is None and usable:
            first = channel, name
    return Gains(sources, meters)


@dataclass(frozen=True, slots=True)
class _ReferenceProbe:
    rig: RigBackend
    reference: Reference
    level_v: float
    offsets: Mapping[str, Mapping[float, float]]
    leaks: Mapping[str, float]
    width_s: float
    averages: int

    def slope(
        self, drive: int, ground: int, ways: Mapping[int, int], sensed: int, range_a: float
    ) -> tuple[float, float, float]:
        """Return product of gains, source offset in volts and range from both polarities."""
        rig, ohm = self.rig, self.reference.ohm
        name = rig.wiring.channels[ways[sensed]].name
        currents = []
        found_a = range_a
        for level_v in (self.level_v, -self.level_v):
            block = probe_block(rig, drive, level_v, width_s=self.width_s, grounded=[ground],
                                range_a=range_a, averages=self.averages, sensed=sensed)  # fmt: skip
            with through(rig, ways):
                current_a, found_a, status = measure(rig, block)
            if sensed != drive:
                current_a = -current_a
                offset_a = -_near(self.offsets.get(name, {}), found_a)
            else:
                leak = self.leaks.get(f"{rig.geometry.line_name(sensed)} {name}", 0.0)
                offset_a = _near(self.offsets.get(name, {}), found_a) + leak * level_v
            currents.append(current_a - offset_a)
            gain = (current_a - offset_a) * ohm / level_v
            if status & Status.OVERFLOW or not _GAIN_LIMITS[0] < gain < _GAIN_LIMITS[1]:
                raise ReadbackError(
                    f"{name} reads {current_a:.4g} A through {rig.geometry.line_name(sensed)} "
                    f"where {level_v / ohm:.4g} A were expected from {ohm:g} ohm: wrong resistor "
                    "or broken path"
                )
        gain = (currents[0] - currents[1]) * ohm / (2 * self.level_v)
        offset_v = (currents[0] + currents[1]) * ohm / 2 / gain
        return gain, offset_v, found_a


def path_ohm(
    rig: RigBackend, row: int, col: int, level_v: float, range_a: float, *, width_s: float = 5e-3
) -> float:
    """Return the resistance in ohms of the paths of a shorted row and column together.

    Raises:
        ReadbackError: no current flows; there is no short.
    """
    lines = rig.geometry.read_lines
    line, other = int(lines.plus[row]), int(lines.minus[col])
    channel = next(c for c in rig.wiring.ways_of(line) if rig.wiring.channels[c].can_measure)
    block = probe_block(rig, line, level_v, width_s=width_s, grounded=[other], range_a=range_a)
    with through(rig, {line: channel}):
        current_a, _, _ = measure(rig, block)
    if not abs(current_a) > 0.0:
        raise ReadbackError(f"no current through {rig.geometry.line_name(line)} and "
                            f"{rig.geometry.line_name(other)}: there is no short")  # fmt: skip
    return level_v / current_a


def calibrate(
    rig: RigBackend, reference: Reference, *, level_v: float, ranges_a: Iterable[float],
    leak_range_a: float | None = None, paths_ohm: Mapping[str, float] | None = None,
    averages: int = 8,
) -> Calibration:  # fmt: skip
    """Return the calibration of an open rig: zero, leakage where asked, gain per channel and range.

    Args:
        rig: open backend; an old calibration of it is not applied meanwhile.
        reference: resistor of known value; its lines should reach every channel.
        level_v: voltage across the reference.
        ranges_a: measuring ranges to calibrate.
        leak_range_a: range of the leakage measurement, None = not measured (devices are in place).
        paths_ohm: by line, half of what :func:`path_ohm` gave for its pair.
        averages: readings averaged for each value.
    """
    ranges_a = sorted(ranges_a)
    offsets = zero(rig, ranges_a, averages=averages)
    leaks: dict[str, float] = {}
    if leak_range_a is not None:
        leaks = leakage(rig, level_v, leak_range_a, offsets, averages=averages)
    found = gains(rig, reference, level_v, ranges_a, offsets, leaks, averages=averages)
    channels = {
        name: tuple(
            RangeCorrection(
                range_a=r, offset_a=offset_a, gain=_near(found.meters.get(name, {}), r, 1.0)
            )
            for r, offset_a in by_range.items()
        )
        for name, by_range in offsets.items()
    }
    return Calibration(
        date=datetime.now(UTC),
        instruments={name: stamp(i) for name, i in rig.rack.instruments.items()},
        channels=channels, sources=found.sources, leaks_siemens=leaks,
        paths_ohm=dict(paths_ohm or {}),
    )  # fmt: skip


def _routes(rig: RigBackend) -> list[tuple[int, int, str]]:
    """Return (line, channel, channel name) of every way to a meter."""
    return [
        (line, channel, rig.wiring.channels[channel].name)
        for line in range(rig.geometry.n_lines)
        for channel in rig.wiring.ways_of(line)
        if rig.wiring.channels[channel].can_measure
    ]


def _near(values: Mapping[float, float], range_a: float, default: float = 0.0) -> float:
    return next((v for r, v in values.items() if np.isclose(r, range_a, rtol=0.01)), default)
