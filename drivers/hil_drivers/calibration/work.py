"""One calibration from the first prompt to the file: what to connect, measure, refuse, tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hil.errors import BackendError, ConfigError
from hil.operating import OperatingPoint
from hil.units import format_quantity
from hil_drivers.calibration import procedure
from hil_drivers.calibration.plan import Fixture, Plan, Wish
from hil_drivers.calibration.probe import routes
from hil_drivers.calibration.references import References, near
from hil_drivers.calibration.table import (
    Calibration,
    RangeCorrection,
    ReferenceReading,
    SourceCorrection,
    Step,
    stamp,
)

if TYPE_CHECKING:
    from hil_drivers.rig.backend import RigBackend


class Table(NamedTuple):
    """A table for people: head and rows of text."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Work:
    """The calibration of one open rig.

    Args:
        rig: open, without a calibration in force.
        op: the station's operating point, from which levels and ranges follow.
        wish: what was asked for.
        array: name of the array.
        wiring_sha256: of the station; stamped into the file.
        base: calibration from which everything is taken that is not measured now.

    Raises:
        LimitError: a level is beyond a limit.
        ConfigError: the wish does not fit the array, or the base another station.
        ReadbackError: the base is of other instruments.
    """

    def __init__(
        self, rig: RigBackend, op: OperatingPoint, wish: Wish, *, array: str, wiring_sha256: str,
        base: Calibration | None = None,
    ) -> None:  # fmt: skip
        if rig.calibration is not None:
            raise BackendError("a calibration is in force; open the rig without one")
        if base is not None:
            base.check_station(array, wiring_sha256)
            base.check(rig.rack.instruments)
        self.rig, self.plan, self.base = rig, Plan(rig, op, wish), base
        self._array, self._wiring_sha256 = array, wiring_sha256
        self._steps: dict[Step, datetime] = dict(base.steps) if base else {}
        self._levels: dict[Step, float] = dict(base.level_v) if base else {}
        self._offsets: dict[str, dict[float, float]] = {}
        self._leaks = dict(base.leaks_siemens) if base else {}
        self._paths = dict(base.paths_ohm) if base else {}
        self._low_paths: list[str] = []
        self._references: References | None = None
        self.calibration: Calibration | None = None  #: the result, when all is measured

    def fixtures(self) -> list[Fixture]:
        """Return what will have to be connected, in order."""
        return self.plan.fixtures()

    def lines(self) -> list[str]:
        """Return in words what will be applied."""
        return self.plan.lines()

    def run(self) -> Iterator[Fixture]:
        """Measure; yield what has to be connected before the next part, outputs off, relays open.

        When it has been exhausted, :attr:`calibration` holds the result.

        Raises:
            Implausible: a result that no working rig gives.
        """
        try:
            yield from self._measure()
        finally:  # also when a result is refused, or nobody wants the rest
            self.rig._safe_state()
        self.calibration = self._result()

    def _measure(self) -> Iterator[Fixture]:
        averages = self.plan.wish.averages
        fixtures = iter(self.fixtures())
        if "open" in self.plan.steps:
            yield self._ready(next(fixtures))
        self._offsets = procedure.zero(self.rig, self.plan.ranges_a, averages=averages)
        self._done("zero", 0.0)
        if "open" in self.plan.steps:
            self._leaks = procedure.leakage(self.rig, self.plan.level_v, averages=averages)
            self._done("open", self.plan.level_v)
        pairs: list[tuple[int, int, float]] = []
        for fixture in fixtures:
            yield self._ready(fixture)
            if fixture.step == "short":
                pairs += self._short(fixture)
                self._paths = procedure.solve_paths(self.rig, pairs)
                self._done("short", self.plan.short_v)
            else:
                self._reference(fixture)
                self._done("reference", self.plan.level_v)

    def _ready(self, fixture: Fixture) -> Fixture:
        self.rig._safe_state()
        return fixture

    def _done(self, step: Step, level_v: float) -> None:
        self._steps[step] = datetime.now().astimezone().replace(microsecond=0)
        self._levels[step] = level_v

    def _short(self, fixture: Fixture) -> list[tuple[int, int, float]]:
        lines = self.rig.geometry.read_lines
        pairs = procedure.joined_pairs(self.rig)
        if fixture.row >= 0:
            pairs = [(int(lines.plus[fixture.row]), int(lines.minus[fixture.col]))]
            if not any(r.line == pairs[0][0] for r in routes(self.rig)):
                pairs = [pairs[0][::-1]]
        out = []
        for line, other in pairs:
            ohm = procedure.path_pair(self.rig, line, other, self.plan.short_v,
                                      averages=self.plan.wish.averages)  # fmt: skip
            name = self.rig.geometry.line_name
            if ohm is None:
                self._low_paths.append(f"{name(line)} to {name(other)}")
            else:
                out.append((line, other, ohm))
        return out

    def _reference(self, fixture: Fixture) -> None:
        if self._references is None:
            self._references = References(
                self.rig, self.plan, self._offsets, self._leaks, self._paths
            )
        self._references.measure(fixture.row, fixture.col)

    # -- result ----------------------------------------------------------------------------

    def _result(self) -> Calibration:
        base, references = self.base, self._references
        sources: dict[str, SourceCorrection] = dict(base.sources) if base else {}
        readings: tuple[ReferenceReading, ...] = base.references if base else ()
        ohm = base.reference_ohm if base else None
        gains = {
            name: {c.range_a: c.gain for c in ranges if c.gain is not None}
            for name, ranges in (base.channels if base else {}).items()
        }
        if references is not None:
            sources, gains = references.sources(), dict(references.meters)
            readings, ohm = tuple(references.readings), self.plan.reference_ohm
        channels = {
            name: tuple(
                RangeCorrection(
                    range_a=r, offset_a=offset_a, gain=near(gains.get(name, {}), r) or None
                )
                for r, offset_a in by_range.items()
            )
            for name, by_range in self._offsets.items()
        }
        who = {name: stamp(i) for name, i in self.rig.rack.instruments.items()}
        return Calibration(
            schema=1, date=max(self._steps.values()), array=self._array,
            wiring_sha256=self._wiring_sha256,
            instruments={name: found for name, found in who.items() if found is not None},
            steps=self._steps, level_v=self._levels, reference_ohm=ohm, channels=channels,
            sources=sources, leaks_siemens=self._leaks, paths_ohm=self._paths,
            references=readings,
        )  # fmt: skip

    def _found(self) -> Calibration:
        if self.calibration is None:
            raise BackendError("the calibration is not finished")
        return self.calibration

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file. Raises ConfigError when it exists, StoreError when it cannot be."""
        self._found().save(path, overwrite=overwrite)

    def facts(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return self._found().model_dump(mode="json", by_alias=True)

    def tables(self) -> list[Table]:
        """Return the result for people."""
        found = self._found()
        meters = [
            (name, _unit(c.range_a, "A"), _unit(c.offset_a, "A"), _gain(c.gain))
            for name, ranges in found.channels.items()
            for c in ranges
        ]
        out = [Table(("meter", "range", "offset", "gain"), meters)]
        if found.sources:
            rows = [(n, _unit(s.offset_v, "V"), _gain(s.gain)) for n, s in found.sources.items()]
            out.append(Table(("source", "offset", "gain"), rows))
        if found.leaks_siemens:
            rows2 = [(route, _unit(leak, "S")) for route, leak in found.leaks_siemens.items()]
            out.append(Table(("route", "leakage"), rows2))
        if found.paths_ohm or self._low_paths:
            floor = self.plan.short_v / procedure.SHORT_A
            paths = [(line, _unit(ohm, "ohm")) for line, ohm in found.paths_ohm.items()]
            paths += [(pair, f"< {_unit(floor, 'ohm')}") for pair in self._low_paths]
            out.append(Table(("line", "path"), paths))
        if found.references:
            shown = [
                (f"{r.line} {r.channel}", _unit(found.reference_ohm or 0.0, "ohm"),
                 f"{r.deviation:+.3%}")
                for r in found.references
            ]  # fmt: skip
            out.append(Table(("route", "reference", "deviation"), shown))
        return out

    def notes(self) -> list[str]:
        """Return what was not measured and why it matters."""
        found = self._found()
        out = [f"{step} was not measured" for step in ("open", "short", "reference")
               if step not in found.steps]  # fmt: skip
        without = [
            f"{name} {_unit(c.range_a, 'A')}"
            for name, ranges in found.channels.items()
            for c in ranges
            if c.gain is None
        ]
        if without and "reference" in found.steps:
            ohm = _unit(found.reference_ohm or 0.0, "ohm")
            out.append(f"{ohm} suits no gain of: {', '.join(without)}; their gain is taken as 1")
        silent = sorted(self.rig.builder.limits.keys() - found.channels.keys())
        if silent:
            out.append(f"no meter, so not calibrated: {', '.join(silent)}")
        return out


def load_base(path: str | Path | None) -> Calibration | None:
    """Return the calibration that the rest is taken from. Raises ConfigError."""
    return None if path is None else Calibration.load(path)


def _unit(value: float, unit: str) -> str:
    return format_quantity(value, unit)


def _gain(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.5f}"


def parse_places(texts: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return (row, column) of texts such as ``"0,3"``.

    Raises:
        ConfigError: one is something else.
    """
    out = []
    for text in texts:
        parts = text.split(",")
        if len(parts) != 2 or not all(p.strip().isdecimal() for p in parts):
            raise ConfigError(f"{text!r} is no place; write row,column, e.g. 0,3",
                              field="--short-at")  # fmt: skip
        out.append((int(parts[0]), int(parts[1])))
    return tuple(out)
