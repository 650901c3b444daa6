"""Contact check: does every line reach the array, at a stated low voltage?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hil.errors import LimitError
from hil.measurement import Status
from hil.operating import OperatingPoint
from hil.program import PulseBlock
from hil.units import format_quantity
from hil_drivers.calibration.probe import (
    Route,
    compliance_for,
    measure,
    probe_block,
    range_for,
    routes,
    through,
)

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend

Verdict = Literal["ok", "open", "short", "no meter", "gate"]

DEFAULT_V = 0.05
_WIDTH_S = 5e-3
_FINEST = 1e-4  # of the range that a short needs; a line with less is open all the same
_MARGIN = 10.0  # of the devices' conductance window, before a line counts as open or short
_OPEN_SIEMENS, _SHORT_SIEMENS = 1e-9, 1e-2  # where no window is known


@dataclass(frozen=True, slots=True)
class LineContact:
    """What one line passes to all lines of the other side, grounded.

    ``verdict`` is ``ok``, ``open`` (no contact, or every device is off) or ``short``; ``no meter``
    or ``gate`` (insulated) where a line cannot be checked, current and conductance NaN.
    """

    line: str
    channel: str
    current_a: float
    conductance_siemens: float
    verdict: Verdict

    @property
    def bad(self) -> bool:
        """Whether the line has no contact, or too much."""
        return self.verdict in ("open", "short")

    def __str__(self) -> str:
        return (f"{self.line} through {self.channel}: {self.conductance_siemens:.3g} S, "
                f"{self.verdict}")  # fmt: skip


class ContactCheck:
    """The contact check of one open rig; nothing is driven before :meth:`run`.

    Each line of the read port is driven through its first channel that measures; the lines of the
    other side are grounded, its own side floats or is grounded where it cannot float.

    Args:
        rig: open backend.
        op: operating point: read voltage, conductance window, gate level.
        level_v: stated low voltage; None = 50 mV, or half the read voltage where that is lower.
        open_below_siemens, short_above_siemens: bounds of a good contact; None = a tenth of what
            the line's devices have at the low end of their window, ten times at the high end.

    Raises:
        LimitError: the voltage is 0, above the read voltage or beyond a limit, or the wiring or the
            channels cannot do it.
    """

    def __init__(
        self, rig: RigBackend, op: OperatingPoint, level_v: float | None = None,
        open_below_siemens: float | None = None, short_above_siemens: float | None = None,
    ) -> None:  # fmt: skip
        self.rig, self.gate_v = rig, op.gate_read_v
        read_v = abs(op.read_v)
        self.level_v = min(DEFAULT_V, read_v / 2) if level_v is None else level_v
        if not abs(self.level_v) > 0.0:
            raise LimitError("contact check voltage", self.level_v, 0.0, "V", note="is not 0 V")
        if abs(self.level_v) > read_v:
            raise LimitError("contact check voltage", self.level_v, read_v, "V",
                             note="the limit is the station's read voltage")  # fmt: skip
        geometry = rig.geometry
        n_devices = min(geometry.shape), max(geometry.shape)
        low, high = op.g_min_siemens, op.g_max_siemens
        if open_below_siemens is None:
            open_below_siemens = low * n_devices[0] / _MARGIN if low else _OPEN_SIEMENS
        if short_above_siemens is None:
            short_above_siemens = high * n_devices[1] * _MARGIN if high else _SHORT_SIEMENS
        if not open_below_siemens < short_above_siemens:
            raise LimitError("open below", open_below_siemens, short_above_siemens, "S",
                             note="the limit is the bound of a short")  # fmt: skip
        self.open_below_siemens = open_below_siemens
        self.short_above_siemens = short_above_siemens
        self._routes: dict[int, Route] = {}
        for route in routes(rig):
            self._routes.setdefault(route.line, route)
        for route in self._routes.values():  # all is refused before anything is driven
            with through(rig, {route.line: route.channel}):
                range_a = range_for(rig, route.channel_name, self._limit_a(route))
                rig.check([self._block(route, sign, range_a) for sign in (1.0, -1.0)])

    def lines(self) -> list[str]:
        """Return in words what will be applied."""
        n, volt = len(self._routes), format_quantity(abs(self.level_v), "V")
        most_a = max((self._limit_a(r) for r in self._routes.values()), default=0.0)
        return [
            f"contact check: +{volt} and -{volt} on one of {n} lines at a time, the other side at "
            f"0 V, current limited to at most {format_quantity(most_a, 'A')}",
            f"ok: {format_quantity(self.open_below_siemens, 'S')} … "
            f"{format_quantity(self.short_above_siemens, 'S')} per line",
        ]

    def run(self) -> list[LineContact]:
        """Drive the lines one after the other and return the contact of every line."""
        out = []
        gates = set(self.rig.geometry.gate_lines.tolist())
        for line in range(self.rig.geometry.n_lines):
            route = self._routes.get(line)
            if route is not None:
                out.append(self._contact(route))
                continue
            name = self.rig.geometry.line_name(line)
            why: Verdict = "gate" if line in gates else "no meter"
            out.append(LineContact(name, "", float("nan"), float("nan"), why))
        self.rig._safe_state()
        return out

    def _contact(self, route: Route) -> LineContact:
        """Measure at both polarities, so that offsets cancel: first for a short, then finely."""
        limit_a = self._limit_a(route)
        range_a = range_for(self.rig, route.channel_name, limit_a)
        current_a, stopped = self._current(route, range_a)
        g = current_a / self.level_v
        if stopped or not np.isfinite(g) or g > self.short_above_siemens:
            return LineContact(route.line_name, route.channel_name, current_a, g, "short")
        fine_a = range_for(
            self.rig, route.channel_name, max(2.0 * abs(current_a), _FINEST * range_a)
        )
        if fine_a < range_a:
            finer_a, over = self._current(route, fine_a)
            if not over:  # an offset of the wide range can hide more than the fine one holds
                current_a = finer_a
                g = current_a / self.level_v
        verdict: Verdict = "open" if g < self.open_below_siemens else "ok"
        return LineContact(route.line_name, route.channel_name, current_a, g, verdict)

    def _current(self, route: Route, range_a: float) -> tuple[float, bool]:
        """Return half the difference of the currents at ± level, and whether it was stopped."""
        currents = []
        stopped = False
        with through(self.rig, {route.line: route.channel}):
            for sign in (1.0, -1.0):
                current_a, _, status = measure(
                    self.rig, self._block(route, sign, range_a), route.channel_name
                )
                stopped |= bool(status & (Status.OVERFLOW | Status.I_COMPLIANCE))
                currents.append(current_a)
        return (currents[0] - currents[1]) / 2.0, stopped

    def _limit_a(self, route: Route) -> float:
        most = self.rig.limits.compliance_a
        short_a = abs(self.level_v) * self.short_above_siemens
        return compliance_for(self.rig, route.channel_name, min(short_a, most) / 2)

    def _block(self, route: Route, sign: float, range_a: float) -> PulseBlock:
        geometry = self.rig.geometry
        read = geometry.cell.read
        every = np.arange(geometry.n_lines)
        sides = [every[geometry.lines(t)].tolist() for t in (read.plus, read.minus)]
        own, other = sides if route.line in sides[0] else sides[::-1]
        rest = [] if self.rig.capabilities.can_float else [n for n in own if n != route.line]
        return probe_block(
            self.rig, route.line, sign * self.level_v, width_s=_WIDTH_S, range_a=range_a,
            grounded=[*other, *rest], compliance_a=self._limit_a(route), gate_v=self.gate_v,
        )  # fmt: skip
