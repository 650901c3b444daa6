"""What a command needs of a rig to calibrate it and to check its contacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hil.backend import Backend
from hil.config.station import ArrayTable, Station
from hil.control.bench import bench_up
from hil.control.opening import make_backend
from hil.errors import ConfigError
from hil.operating import OperatingPoint
from hil.registry import backend_factory

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Fixture(Protocol):
    """What has to be connected in place of the array before the next measurements."""

    @property
    def step(self) -> str:
        """The step that needs it: open, short, reference."""

    @property
    def text(self) -> str:
        """What a person has to do."""

    @property
    def g_siemens(self) -> NDArray[Any]:
        """(n_rows, n_cols) conductances between rows and columns, for a virtual bench."""


class Shown(Protocol):
    """A table for people."""

    @property
    def head(self) -> Sequence[str]:
        """Names of the columns."""

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """The rows."""


class Work(Protocol):
    """One calibration of an open rig."""

    def lines(self) -> list[str]:
        """Return in words what will be applied."""

    def fixtures(self) -> Sequence[Fixture]:
        """Return what will have to be connected, in order."""

    def run(self) -> Iterator[Fixture]:
        """Measure; yield what has to be connected before the next part."""

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file. Raises ConfigError when it exists, StoreError when it cannot be."""

    def facts(self) -> dict[str, Any]:
        """Return the result as plain values."""

    def tables(self) -> Sequence[Shown]:
        """Return the result for people."""

    def notes(self) -> list[str]:
        """Return what was not measured and why it matters."""


class Contact(Protocol):
    """One line's contact."""

    @property
    def line(self) -> str:
        """Name of the line."""

    @property
    def channel(self) -> str:
        """Channel that drove and measured it."""

    @property
    def current_a(self) -> float:
        """Current in amperes."""

    @property
    def conductance_siemens(self) -> float:
        """Current over voltage."""

    @property
    def verdict(self) -> str:
        """``ok``, ``open``, ``short``, or why it could not be checked."""

    @property
    def bad(self) -> bool:
        """Whether the line has no contact, or too much."""


class Contacts(Protocol):
    """A contact check of an open rig."""

    level_v: float

    def lines(self) -> list[str]:
        """Return in words what will be applied."""

    def run(self) -> Sequence[Contact]:
        """Drive the lines one after the other and return the contact of every line."""


@runtime_checkable
class Calibrating(Protocol):
    """A backend factory whose arrays can be calibrated; an optional extension of the contract."""

    def calibration_path(self, station: Station, array: ArrayTable) -> Path:
        """Return the calibration file that the station names, or the usual one beside it."""

    def calibration(
        self, backend: Backend, station: Station, array: ArrayTable, op: OperatingPoint, /,
        **wish: Any,
    ) -> Work:  # fmt: skip
        """Return the calibration of an open backend; nothing is driven yet."""

    def contacts(self, backend: Backend, op: OperatingPoint, /, **wish: Any) -> Contacts:
        """Return the contact check of an open backend; nothing is driven yet."""


@runtime_checkable
class Calibrated(Protocol):
    """A backend that knows whether its readings are corrected."""

    def calibration_facts(self) -> Mapping[str, Any]:
        """Return the calibration in force (``used``, file, sha256, date …), or ``used`` False."""


@runtime_checkable
class Bench(Protocol):
    """A virtual bench on which things can be connected in place of an array."""

    def insert(self, array: str, g_siemens: NDArray[Any] | None) -> None:
        """Connect resistors in place of an array; None = the array again."""


@dataclass(frozen=True)
class OpenRig:
    """One array's rig, open.

    Attributes:
        factory: of its backend.
        backend, op: the rig and its operating point.
        station, array: its station file; on a virtual bench with the emulators' resources.
        bench: the virtual bench, None on real instruments.
    """

    factory: Calibrating
    backend: Backend
    op: OperatingPoint
    station: Station
    array: ArrayTable
    bench: Bench | None


@contextmanager
def open_rig(
    station: Station, array: str | None, *, virtual: bool, calibrated: bool
) -> Iterator[OpenRig]:
    """Open one array's rig and yield it; the safe state follows on every way out.

    Args:
        station: the station file.
        array: name of the array, None = the first.
        virtual: on a virtual bench.
        calibrated: with the calibration that the station names.

    Raises:
        ConfigError: this kind of backend has no instruments.
        BackendUnavailable: the backend or the bench is not installed, or an instrument not there.
    """
    factory = backend_factory(station.backend)
    if not isinstance(factory, Calibrating):
        raise ConfigError(
            f"backend {factory.name!r} has no instruments to calibrate or to probe with",
            path=station.path, field="backend",
        )  # fmt: skip
    if not calibrated:
        station = station.model_copy(update={"calibration": None})
    if not virtual:
        backend, op = make_backend(station, station.array_called(array), sim=False)
        with backend:
            yield OpenRig(factory, backend, op, station, station.array_called(array), None)
        return
    with bench_up(station, seed=station.twin.seed) as bench:
        moved = station.at(bench.resources)
        table = moved.array_called(array)
        backend, op = make_backend(
            moved, table, sim=False, options={"virtual": True, "wait": bench.dwell}
        )
        with backend:
            inserted = bench if isinstance(bench, Bench) else None
            yield OpenRig(factory, backend, op, moved, table, inserted)


def facts_of(backends: Mapping[str, Backend]) -> dict[str, Mapping[str, Any]]:
    """Return what a run notes of the calibration of every array that hangs on instruments."""
    return {
        name: backend.calibration_facts()
        for name, backend in backends.items()
        if isinstance(backend, Calibrated)
    }


def calibration_files(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes | Path]:
    """Return the calibration files in force, by their names in a run folder."""
    used = {name: Path(f["file"]) for name, f in facts.items() if f["used"] and f["file"]}
    return {
        "calibration.json" if len(used) == 1 else f"calibration-{name}.json": path
        for name, path in used.items()
    }


def warnings_of(station: Station, backends: Mapping[str, Backend]) -> list[str]:
    """Return what a user should know of the calibrations in force: their age, changed firmware."""
    out = []
    for facts in facts_of(backends).values():
        if not facts["used"]:
            continue
        out += facts["notes"]
        most_s = station.calibration_max_age
        if most_s is not None and facts["age_s"] > most_s:
            out.append(
                f"the calibration {facts['file']} is {facts['age_s'] / 86400:.1f} days old; the "
                f"station's calibration_max_age is {most_s / 86400:g} days"
            )
    return list(dict.fromkeys(out))
