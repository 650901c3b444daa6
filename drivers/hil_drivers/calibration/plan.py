"""What a calibration will do, before it does it: steps, levels, ranges, what to connect."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigError, LimitError
from hil.operating import OperatingPoint
from hil.units import format_quantity
from hil_drivers.calibration.probe import routes
from hil_drivers.calibration.table import Step

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend

STEPS: tuple[Step, ...] = get_args(Step)

_SHORT_V = 0.01
_SHORT_SIEMENS = 10.0  # what a short is to an emulated array
_OF_RANGE = 0.01, 0.8  # part of a range that a reference's current should be
_LOWEST_V = 5e-3  # below it offsets and noise are as large as the level
_DEFAULT_RANGES_A = 1e-7, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Fixture:
    """What has to be connected in place of the array for the measurements that follow.

    Attributes:
        step: the step that needs it.
        text: what a person has to do.
        g_siemens: (n_rows, n_cols) conductances between rows and columns; for a virtual bench.
        row, col: the one device in whose place something is, −1 = everywhere.
    """

    step: Step
    text: str
    g_siemens: NDArray[np.float64]
    row: int = -1
    col: int = -1


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller asked for; None = chosen from the station.

    Attributes:
        steps: what to measure; zero is always part of it.
        reference_ohm: value of the reference resistor.
        level_v: across the reference and at open lines.
        short_v: across a short.
        ranges_a: measuring ranges.
        shorts: (row, col) that are shorted one after the other; none = all lines joined at once.
        every_line: measure the reference through every line, not only through every channel.
        averages: readings averaged for each value.
    """

    steps: frozenset[Step] = frozenset(STEPS)
    reference_ohm: float = math.nan
    level_v: float | None = None
    short_v: float | None = None
    ranges_a: tuple[float, ...] = ()
    shorts: tuple[tuple[int, int], ...] = ()
    every_line: bool = False
    averages: int = 8


class Plan:
    """The levels, ranges and fixtures of one calibration.

    Attributes:
        steps: what is measured, in order.
        level_v, short_v: voltages.
        reference_ohm: value of the reference.
        ranges_a: by channel, rising.
        positions: (row, col) of the reference, one after the other.

    Raises:
        LimitError: a level is beyond the station's limits, or a channel has none of the ranges.
        ConfigError: a place that is not on the array, no meter, or no value of the reference.
    """

    def __init__(self, rig: RigBackend, op: OperatingPoint, wish: Wish) -> None:
        self.rig, self.wish = rig, wish
        self.steps = tuple(s for s in STEPS if s == "zero" or s in wish.steps)
        self.level_v = abs(op.read_v) if wish.level_v is None else abs(wish.level_v)
        self.short_v = min(_SHORT_V, abs(op.read_v)) if wish.short_v is None else abs(wish.short_v)
        self.reference_ohm = wish.reference_ohm
        if not routes(rig):
            raise ConfigError("no line leads to a channel that measures", field="wiring")
        if "reference" in self.steps and not 0.0 < self.reference_ohm < math.inf:
            raise ConfigError("give the reference resistor's value", field="--reference")
        for what, level in (("voltage", self.level_v), ("short voltage", self.short_v)):
            if not level > 0.0:
                raise LimitError(f"calibration {what}", level, 0.0, "V", note="must not be 0 V")
        self.ranges_a = {
            name: _ranges(rig, name, op, wish.ranges_a)
            for name in dict.fromkeys(r.channel_name for r in routes(rig))
        }
        self.positions = _positions(rig, wish.every_line) if "reference" in self.steps else []
        for row, col in wish.shorts:
            _check_place(rig, row, col)
        if "reference" in self.steps:
            for name, ranges in self.ranges_a.items():
                if not self.levels(name):
                    raise LimitError(
                        "current through the reference", self.level_v / self.reference_ohm,
                        ranges[-1], "A", where=name,
                        note="no range suits it; give another --reference, --volts or --range",
                    )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rig.geometry.shape

    def fixtures(self) -> list[Fixture]:
        """Return what has to be connected, in order."""
        out = []
        if "open" in self.steps:
            text = "connect nothing: lift the probes or take the device out, leave the cables"
            out.append(Fixture("open", text, np.zeros(self.shape)))
        if "short" in self.steps:
            out += [self._at("short", r, c, _SHORT_SIEMENS) for r, c in self.wish.shorts]
            if not self.wish.shorts:
                text = "join all rows and columns by a short: probes on metal, or a shorting plug"
                out.append(Fixture("short", text, np.full(self.shape, _SHORT_SIEMENS)))
        siemens = 1.0 / self.reference_ohm
        return out + [self._at("reference", r, c, siemens) for r, c in self.positions]

    def _at(self, step: Step, row: int, col: int, siemens: float) -> Fixture:
        geometry = self.rig.geometry
        lines = geometry.read_lines
        one = geometry.line_name(int(lines.plus[row]))
        other = geometry.line_name(int(lines.minus[col]))
        what = "a short" if step == "short" else _ohm(self.reference_ohm)
        g = np.zeros(self.shape)
        g[row, col] = siemens
        text = f"connect {what} between {one} and {other}, nothing to the other lines"
        return Fixture(step, text, g, row, col)

    def levels(self, channel: str) -> list[tuple[float, float]]:
        """Return (range in amperes, level in volts) at which a channel's gain is measured."""
        low, high = _OF_RANGE
        out = []
        for full in self.ranges_a[channel]:
            level = min(self.level_v, high * full * self.reference_ohm)
            if level >= min(_LOWEST_V, self.level_v) and level >= low * full * self.reference_ohm:
                out.append((full, level))
        return out

    def lines(self) -> list[str]:
        """Return in words what will be applied, for before anything is."""
        meters, n = len(self.ranges_a), self.wish.averages
        spans = {f"{_amp(r[0])} … {_amp(r[-1])}" for r in self.ranges_a.values()}
        about = {
            "zero": f"0 V on one line at a time, all others floating; offset of {meters} channels "
            f"on {'; '.join(sorted(spans))}",
            "open": f"+{_volt(self.level_v)} and -{_volt(self.level_v)} on one line at a time, all "
            f"others floating, nothing connected; leakage of {len(routes(self.rig))} routes",
            "short": f"+{_volt(self.short_v)} and -{_volt(self.short_v)} across shorts; path "
            "resistance of the lines",
            "reference": f"up to +{_volt(self.level_v)} and -{_volt(self.level_v)} across "
            f"{_ohm(self.reference_ohm)} at {len(self.positions)} "
            f"place{'s' * (len(self.positions) > 1)}; gains",
        }
        return [f"{step}: {about[step]}" for step in self.steps] + [
            f"every value is the mean of {n} readings; current limits are set throughout"
        ]


def _ranges(
    rig: RigBackend, channel: str, op: OperatingPoint, asked: Sequence[float]
) -> tuple[float, ...]:
    """Return the ranges of a channel that the array's currents need, or those asked for."""
    have = rig.builder.limits[channel].ranges_a
    if asked:
        found = {next((h for h in have if a <= h * 1.001), math.nan) for a in asked}
        if any(math.isnan(f) for f in found):
            raise LimitError("measuring range", max(asked), have[-1], "A", where=channel)
        return tuple(sorted(found))
    low, high = _DEFAULT_RANGES_A
    if op.g_max_siemens > 0.0:
        low = op.g_min_siemens * abs(op.read_v) / 10
        high = op.g_max_siemens * abs(op.read_v) * max(rig.geometry.shape)
    top = next((h for h in have if h >= high), have[-1])
    return tuple(h for h in have if low <= h <= top) or (top,)


def _positions(rig: RigBackend, every_line: bool) -> list[tuple[int, int]]:
    """Return places of the reference that compare every channel with the first.

    At each place after the first, one end is on a channel that is known by then. With
    ``every_line`` every row and column has a place.
    """
    lines = rig.geometry.read_lines
    by_line: dict[int, set[int]] = {}
    for route in routes(rig):
        by_line.setdefault(route.line, set()).add(route.channel)
    rows = [by_line.get(line, set()) for line in lines.plus.tolist()]
    cols = [by_line.get(line, set()) for line in lines.minus.tolist()]
    every = set().union(*by_line.values())
    out: list[tuple[int, int]] = []
    known: set[int] = set()
    for place in _order(len(rows), len(cols)):
        here = rows[place[0]] | cols[place[1]]
        if every <= known:
            break
        reached = not known or bool(known & rows[place[0]]) or bool(known & cols[place[1]])
        if here - known and reached:
            out.append(place)
            known |= here
    if every_line:
        left_rows = [r for r in range(len(rows)) if rows[r] and all(p[0] != r for p in out)]
        left_cols = [c for c in range(len(cols)) if cols[c] and all(p[1] != c for p in out)]
        n = max(len(left_rows), len(left_cols))
        out += zip(
            left_rows + [0] * (n - len(left_rows)), left_cols + [0] * (n - len(left_cols)),
            strict=True,
        )  # fmt: skip
    return out


def _order(n_rows: int, n_cols: int) -> Iterable[tuple[int, int]]:
    """Yield the first row and column, then the rest: they share a line with the first place."""
    yield 0, 0
    yield from ((0, c) for c in range(1, n_cols))
    yield from ((r, c) for r in range(1, n_rows) for c in range(n_cols))


def _check_place(rig: RigBackend, row: int, col: int) -> None:
    n_rows, n_cols = rig.geometry.shape
    if not (0 <= row < n_rows and 0 <= col < n_cols):
        raise ConfigError(f"({row}, {col}) is not on the {n_rows} x {n_cols} array",
                          field="--short-at")  # fmt: skip


def check_steps(names: Collection[str]) -> frozenset[Step]:
    """Return the steps called ``names``, all for none.

    Raises:
        ConfigError: there is no such step.
    """
    for name in names:
        if name not in STEPS:
            raise ConfigError(f"no step {name!r}; there are {', '.join(STEPS)}", field="--step")
    return frozenset(s for s in STEPS if s in names) or frozenset(STEPS)


def _volt(value: float) -> str:
    return format_quantity(value, "V")


def _amp(value: float) -> str:
    return format_quantity(value, "A")


def _ohm(value: float) -> str:
    return format_quantity(value, "ohm")
