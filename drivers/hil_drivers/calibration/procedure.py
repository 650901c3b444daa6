"""Zero, leakage and path resistance of a rig."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hil.measurement import Status
from hil_drivers.calibration.probe import (
    Implausible,
    compliance_for,
    measure,
    probe_block,
    range_for,
    routes,
    through,
)

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend

WIDTH_S = 20e-3  # one period of 50 Hz

_OFFSET_OF_RANGE = 0.05  # a meter that is this far off is broken, or something is connected
_LEAK_SIEMENS = 1e-6  # a cable or relay that leaks more is broken, or the line is connected
_LEAK_RANGE_A = 1e-6
_PATH_OHM = 1e3  # more is no short
#: Limit of the current through a short; a path that takes more has no resistance to speak of.
SHORT_A = 1e-2


def zero(
    rig: RigBackend, ranges_a: Mapping[str, Iterable[float]], *, averages: int = 8
) -> dict[str, dict[float, float]]:
    """Return the offset in amperes of every channel that measures, by range: 0 V, lines floating.

    Raises:
        Implausible: an offset is beyond any meter's.
    """
    out: dict[str, dict[float, float]] = {}
    for route in routes(rig):
        name = route.channel_name
        if name in out:
            continue
        out[name] = {}
        for asked_a in ranges_a[name]:
            block = probe_block(rig, route.line, 0.0, width_s=WIDTH_S, grounded=[],
                                range_a=asked_a, averages=averages)  # fmt: skip
            with through(rig, {route.line: route.channel}):
                current_a, range_a, status = measure(rig, block, route.channel_name)
            limit_a = _OFFSET_OF_RANGE * range_a
            if status & Status.OVERFLOW or not abs(current_a) <= limit_a:
                raise Implausible(
                    f"offset on the {range_a:g} A range", current_a, limit_a, "A", str(route),
                    "something is connected that drives, or the meter is broken",
                )  # fmt: skip
            out[name][range_a] = current_a
    return out


def leakage(rig: RigBackend, level_v: float, *, averages: int = 8) -> dict[str, float]:
    """Return each route's leakage to 0 V in siemens, from ± ``level_v`` with other lines floating.

    Raises:
        Implausible: it is so large that something must be connected.
    """
    out: dict[str, float] = {}
    for route in routes(rig):
        name = route.channel_name
        range_a = range_for(rig, name, _LEAK_RANGE_A)
        limit_a = compliance_for(rig, name, range_a)
        currents = []
        for sign in (1.0, -1.0):
            block = probe_block(
                rig, route.line, sign * level_v, width_s=WIDTH_S, grounded=[], range_a=range_a,
                averages=averages, compliance_a=limit_a,
            )  # fmt: skip
            with through(rig, {route.line: route.channel}):
                current_a, _, status = measure(rig, block, route.channel_name)
            if status & (Status.OVERFLOW | Status.I_COMPLIANCE):
                current_a = sign * range_a
            currents.append(current_a)
        leak = (currents[0] - currents[1]) / (2.0 * level_v)
        if not abs(leak) <= _LEAK_SIEMENS:
            raise Implausible("leakage", leak, _LEAK_SIEMENS, "S", str(route),
                              "something is still connected to the line")  # fmt: skip
        out[str(route)] = leak
    return out


def path_pair(
    rig: RigBackend, line: int, other: int, level_v: float, *, averages: int = 8
) -> float | None:
    """Return the resistance in ohms of the paths of two shorted lines together, from ± levels.

    None: it is so low that the current reached its limit.

    Raises:
        Implausible: it is so high that there is no short.
    """
    route = next(r for r in routes(rig) if r.line == line)
    where = f"{route} to {rig.geometry.line_name(other)}"
    range_a = range_for(rig, route.channel_name, SHORT_A)
    limit_a = min(range_a, rig.limits.compliance_a)
    currents = []
    for sign in (1.0, -1.0):
        block = probe_block(
            rig, line, sign * level_v, width_s=WIDTH_S, grounded=[other], range_a=range_a,
            averages=averages, compliance_a=limit_a,
        )  # fmt: skip
        with through(rig, {line: route.channel}):
            current_a, _, status = measure(rig, block, route.channel_name)
        if status & (Status.OVERFLOW | Status.I_COMPLIANCE):
            return None
        currents.append(current_a)
    siemens = (currents[0] - currents[1]) / (2.0 * level_v)
    if not siemens > 1.0 / _PATH_OHM:
        raise Implausible(
            "path resistance", 1.0 / siemens if siemens > 0.0 else np.inf, _PATH_OHM, "ohm", where,
            "there is no short, or a contact is bad",
        )  # fmt: skip
    return 1.0 / siemens


def joined_pairs(rig: RigBackend) -> list[tuple[int, int]]:
    """Return pairs of lines whose resistances, with all lines joined, give that of every line."""
    geometry = rig.geometry
    lines = geometry.read_lines
    can = {r.line for r in routes(rig)}
    rows, cols = lines.plus.tolist(), lines.minus.tolist()
    pairs = [(r, cols[0]) for r in rows] + [(rows[0], c) for c in cols[1:]]
    # Sums of a row's and a column's say nothing of their difference; one pair on a side does.
    for side in (rows, cols):
        if len(side) > 1:
            pairs.append((side[0], side[1]))
            break
    turned = [(a, b) if a in can else (b, a) for a, b in pairs]
    return [(a, b) for a, b in turned if a in can]


def solve_paths(rig: RigBackend, measured: Sequence[tuple[int, int, float]]) -> dict[str, float]:
    """Return the path resistance in ohms of every line in ``measured`` (line, line, ohm together).

    Where the sums leave it open how a pair shares its resistance, both have half.
    """
    lines = sorted({n for a, b, _ in measured for n in (a, b)})
    matrix = np.zeros((len(measured), len(lines)))
    for k, (a, b, _) in enumerate(measured):
        matrix[k, lines.index(a)] = matrix[k, lines.index(b)] = 1.0
    if not lines:
        return {}
    ohm = np.linalg.lstsq(matrix, np.array([ohm for _, _, ohm in measured]), rcond=None)[0]
    return {rig.geometry.line_name(n): float(r) for n, r in zip(lines, ohm, strict=True)}
