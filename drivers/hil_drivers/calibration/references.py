"""Gains of sources and meters, from a reference resistor between a row and a column.

A channel that drives a resistor of known R and reads itself shows ``S · M · V / R``: the product of
its source's and its meter's gain. Driven from the other end by a channel whose S is known, it shows
its own M. The first channel's S is 1 by definition: of an array only products can be seen. The part
that does not change sign with the voltage is the difference of the two sources' offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hil.config.station import COMMON
from hil.measurement import Status
from hil_drivers.calibration.plan import Plan
from hil_drivers.calibration.probe import (
    Implausible,
    Route,
    compliance_for,
    measure,
    probe_block,
    routes,
    through,
)
from hil_drivers.calibration.procedure import WIDTH_S
from hil_drivers.calibration.table import ReferenceReading, SourceCorrection

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend

_GAIN = 0.8, 1.25  # beyond it is a wrong resistor or a broken path, not a gain error
_DEVIATION = 0.02  # of a route whose channel is known already
_SOURCE_OFFSET_V = 0.02
_SAME_RANGE = 0.01


@dataclass
class References:
    """Gathers what the reference shows, place after place.

    Attributes:
        offsets_a: by channel and range, from the zero step.
        leaks_siemens, paths_ohm: by route and by line, where measured.
        meters: gain by channel and range.
        readings: the reference through every route that was measured.
    """

    rig: RigBackend
    plan: Plan
    offsets_a: Mapping[str, Mapping[float, float]]
    leaks_siemens: Mapping[str, float]
    paths_ohm: Mapping[str, float]
    meters: dict[str, dict[float, float]] = field(default_factory=dict)
    readings: list[ReferenceReading] = field(default_factory=list)
    _source_gain: dict[int, float] = field(default_factory=dict)
    _offset_v: list[tuple[str, str, float]] = field(default_factory=list)

    def measure(self, row: int, col: int) -> None:
        """Measure all routes of a row and a column with the reference between them.

        Raises:
            Implausible: a gain is beyond any instrument's error.
        """
        lines = self.rig.geometry.read_lines
        ends = int(lines.plus[row]), int(lines.minus[col])
        waiting = [r for r in routes(self.rig) if r.line in ends]
        while waiting:
            later = [r for r in waiting if not self._route(r, ends, row, col)]
            if len(later) == len(waiting):
                break  # their other end reaches no channel that is known
            waiting = later

    def _route(self, route: Route, ends: tuple[int, int], row: int, col: int) -> bool:
        """Measure one route; return False when no known channel reaches its other end yet."""
        other = ends[1] if route.line == ends[0] else ends[0]
        channels = self.rig.wiring.channels
        ways = [c for c in self.rig.wiring.ways_of(other) if c != route.channel]
        helpers = [c for c in ways if c in self._source_gain]
        rail = [c for c in ways if channels[c].name == COMMON]
        known = route.channel in self._source_gain
        if not (known or helpers or not self._source_gain) or not ways:
            return False
        ground = next(iter([*rail, *helpers, *ways]))
        levels = self.plan.levels(route.channel_name)
        own: dict[float, float] = {}
        best: tuple[float, float, float] | None = None  # level, range, even part
        for asked_a, level_v in levels:
            product, offset_v, range_a = self._slope(
                route, route.line, other, {route.line: route.channel, other: ground}, asked_a,
                level_v,
            )  # fmt: skip
            own[range_a] = product
            if best is None or level_v > best[0] * 1.001:
                best = level_v, range_a, offset_v
        if best is None:
            return True  # no range suits this resistor
        if not known:
            self._learn(route, other, helpers, levels, own, best[1])
            # Pulled to the other end's offset; the rail has none.
            self._offset_v.append((route.channel_name, channels[ground].name, best[2]))
        gain = self._source_gain[route.channel] * self.meters[route.channel_name][best[1]]
        deviation = own[best[1]] / gain - 1.0
        if abs(deviation) > _DEVIATION:
            raise Implausible(
                "deviation of the reference", deviation, _DEVIATION, "", str(route),
                "wrong resistor or broken path",
            )  # fmt: skip
        reading = ReferenceReading(
            line=route.line_name, channel=route.channel_name, row=row, col=col, deviation=deviation
        )
        self.readings.append(reading)
        return True

    def _learn(
        self, route: Route, other: int, helpers: list[int], levels: list[tuple[float, float]],
        own: dict[float, float], best_a: float,
    ) -> None:  # fmt: skip
        """Split the products of a channel that was not known into its source's and meter's gain."""
        if not self._source_gain:
            self._source_gain[route.channel] = 1.0
            self.meters[route.channel_name] = own
            return
        helper = helpers[0]
        meters: dict[float, float] = {}
        for asked_a, level_v in levels:
            product, _, range_a = self._slope(
                route, other, route.line, {route.line: route.channel, other: helper}, asked_a,
                level_v,
            )  # fmt: skip
            meters[range_a] = product / self._source_gain[helper]
        self.meters[route.channel_name] = meters
        self._source_gain[route.channel] = own[best_a] / meters[best_a]

    def _slope(
        self, route: Route, drive: int, ground: int, ways: Mapping[int, int], range_a: float,
        level_v: float,
    ) -> tuple[float, float, float]:  # fmt: skip
        """Return product of gains, difference of source offsets in volts, and range in amperes."""
        rig = self.rig
        name = route.channel_name
        ohm = self.plan.reference_ohm + sum(
            self.paths_ohm.get(rig.geometry.line_name(n), 0.0) for n in (drive, ground)
        )
        driver = rig.wiring.channels[ways[drive]].name
        limit_a = compliance_for(rig, driver, max(level_v / ohm, range_a))
        currents = []
        found_a = range_a
        for signed_v in (level_v, -level_v):
            block = probe_block(
                rig, drive, signed_v, width_s=WIDTH_S, grounded=[ground], range_a=range_a,
                averages=self.plan.wish.averages, sensed=route.line, compliance_a=limit_a,
            )  # fmt: skip
            with through(rig, ways):
                current_a, found_a, status = measure(rig, block, name)
            current_a -= near(self.offsets_a.get(name, {}), found_a)
            if route.line == drive:
                current_a -= self.leaks_siemens.get(str(route), 0.0) * signed_v
            else:
                current_a = -current_a
            gain = current_a * ohm / signed_v
            bad = status & (Status.OVERFLOW | Status.I_COMPLIANCE)
            if bad or not _GAIN[0] < gain < _GAIN[1]:
                raise Implausible(
                    "current through the reference", current_a, signed_v / ohm, "A", str(route),
                    f"the limit is what {self.plan.reference_ohm:g} ohm take: wrong resistor or "
                    "broken path",
                )  # fmt: skip
            currents.append(current_a)
        gain = (currents[0] - currents[1]) * ohm / (2.0 * level_v)
        return gain, (currents[0] + currents[1]) * ohm / (2.0 * gain), found_a

    def sources(self) -> dict[str, SourceCorrection]:
        """Return the corrections of all sources; offsets where they are alike are shared evenly.

        Raises:
            Implausible: an offset is beyond any source's.
        """
        channels = self.rig.wiring.channels
        names = sorted({n for a, b, _ in self._offset_v for n in (a, b)} - {COMMON})
        matrix = np.zeros((len(self._offset_v), len(names)))
        for k, (own, ground, _) in enumerate(self._offset_v):
            matrix[k, names.index(own)] = 1.0
            if ground != COMMON:
                matrix[k, names.index(ground)] -= 1.0
        known = np.array([value for _, _, value in self._offset_v])
        # Without a 0 V rail only differences are known: the smallest offsets that give them.
        offset = np.linalg.lstsq(matrix, known, rcond=None)[0] if names else known
        by_name = dict(zip(names, offset.tolist(), strict=True))
        out = {}
        for channel, gain in self._source_gain.items():
            name = channels[channel].name
            offset_v = by_name.get(name, 0.0)
            if not abs(offset_v) <= _SOURCE_OFFSET_V:
                raise Implausible("offset of the source", offset_v, _SOURCE_OFFSET_V, "V", name,
                                  "something drives the line")  # fmt: skip
            out[name] = SourceCorrection(gain=gain, offset_v=offset_v)
        return out


def near(values: Mapping[float, float], range_a: float) -> float:
    """Return the offset of the range that is ``range_a`` but for rounding, 0 without one."""
    return next((v for r, v in values.items() if np.isclose(r, range_a, rtol=_SAME_RANGE)), 0.0)
