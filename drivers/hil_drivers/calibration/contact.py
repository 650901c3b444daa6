"""Contact check: does every line reach the array, at a stated low voltage?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hil.errors import LimitError
from hil.measurement import Status
from hil_drivers.calibration.probe import measure, probe_block, through

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend


@dataclass(frozen=True, slots=True)
class LineContact:
    """What one line passes to all lines of the other side, grounded.

    ``verdict`` is ``ok``, ``open`` (no contact, or every device is off) or ``short``.
    """

    line: str
    channel: str
    current_a: float
    conductance_siemens: float
    verdict: str

    def __str__(self) -> str:
        return (f"{self.line} through {self.channel}: {self.conductance_siemens:.3g} S, "
                f"{self.verdict}")  # fmt: skip


def check_contacts(
    rig: RigBackend, *, level_v: float, open_below_siemens: float, short_above_siemens: float,
    width_s: float = 5e-3, compliance_a: float = np.inf,
) -> list[LineContact]:  # fmt: skip
    """Return the contact of every line of the read port that reaches a meter.

    The line is driven to ``level_v`` for ``width_s`` through its first channel that measures; the
    lines of the other side are grounded, its own side floats or is grounded where it cannot float.

    Args:
        rig: open backend.
        level_v: stated low voltage, within the limits of the station.
        open_below_siemens, short_above_siemens: bounds of a good contact.
        width_s: time at the level.
        compliance_a: current limit asked of the channel.

    Raises:
        LimitError: the voltage is beyond a limit, or the wiring cannot do it.
    """
    if not abs(level_v) > 0.0:
        raise LimitError("contact check voltage", level_v, 0.0, "V", note="must not be 0 V")
    wiring, geometry = rig.wiring, rig.geometry
    sides = geometry.lines(geometry.cell.read.plus), geometry.lines(geometry.cell.read.minus)
    every = np.arange(geometry.n_lines)
    out = []
    for own, other in (sides, sides[::-1]):
        for line in every[own].tolist():
            meters = [c for c in wiring.ways_of(line) if wiring.channels[c].can_measure]
            if not meters:
                continue
            rest = [] if rig.capabilities.can_float else [n for n in every[own] if n != line]
            block = probe_block(
                rig, line, level_v, width_s=width_s, grounded=[*every[other].tolist(), *rest],
                compliance_a=compliance_a,
            )  # fmt: skip
            with through(rig, {line: meters[0]}):
                current_a, _, status = measure(rig, block)
            g = current_a / level_v
            verdict = "ok"
            if status & Status.OVERFLOW or not np.isfinite(g) or g > short_above_siemens:
                verdict = "short"
            elif g < open_below_siemens:
                verdict = "open"
            out.append(LineContact(geometry.line_name(line), wiring.channels[meters[0]].name,
                                   current_a, g, verdict))  # fmt: skip
    return out
