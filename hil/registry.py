"""Backends, instruments and protocol libraries, found by entry point.

A package adds a backend by an entry point of the group ``hil.backends`` that names a class with the
members of :class:`BackendFactory`; ``hil doctor`` lists what is found and what failed to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from hil.errors import BackendUnavailable
from hil.operating import OperatingPoint

if TYPE_CHECKING:
    from hil.backend import Backend
    from hil.config.station import ArrayTable, Station

BACKENDS, INSTRUMENTS, PROTOCOLS = "hil.backends", "hil.instruments", "hil.protocols"
BENCHES = "hil.benches"


@runtime_checkable
class BackendFactory(Protocol):
    """Makes backends of one kind from a station file."""

    name: str
    simulated: bool

    def create(self, station: Station, array: ArrayTable, *, seed: int) -> Backend:
        """Return the (closed) backend of one array of a station.

        Raises:
            ConfigError: the station does not say what this backend needs.
            BackendUnavailable: something that has to be installed is missing.
        """

    def open_device(
        self, device: str | Path, n_rows: int, n_cols: int, *, seed: int, **options: Any
    ) -> tuple[Backend, OperatingPoint]:
        """Return a (closed) backend without a station file and the operating point for it.

        Raises:
            BackendUnavailable: this kind of backend needs a station file.
        """

    def operating_point(self, station: Station, array: ArrayTable) -> OperatingPoint | None:
        """Return the operating point that the device's own file recommends, None without one."""

    def schemas(self) -> Mapping[str, dict[str, Any]]:
        """Return JSON schemas of the files that only this backend reads, by name (``device``)."""

    def templates(self) -> Mapping[str, str]:
        """Return commented starter files for ``hil init``: file name -> text."""

    def doctor(self) -> list[str]:
        """Return lines that say what is there, for ``hil doctor``."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry point that was found: its name, distribution, and the error if it does not load."""

    name: str
    distribution: str
    error: str | None


def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=group), key=lambda e: e.name)}


def load(group: str, name: str) -> Any:
    """Return the object that entry point ``name`` of ``group`` names.

    Raises:
        BackendUnavailable: no such entry point, or it does not load.
    """
    entries = _entries(group)
    if name not in entries:
        known = ", ".join(entries) or "none"
        raise BackendUnavailable(f"no {group} called {name!r} is installed (found: {known})")
    try:
        return entries[name].load()
    except ImportError as exc:
        raise BackendUnavailable(f"{group} {name!r} cannot be loaded: {exc}") from exc


def backend_factory(name: str) -> BackendFactory:
    """Return the factory of the backend called ``name``, e.g. ``sim``.

    Raises:
        BackendUnavailable: it is not installed, does not load, or is no backend factory.
    """
    factory = load(BACKENDS, name)()
    if not isinstance(factory, BackendFactory):
        raise BackendUnavailable(
            f"{BACKENDS} {name!r} ({factory!r}) lacks members of BackendFactory"
        )
    return factory


def found(group: str) -> list[Found]:
    """Return every entry point of ``group`` with its distribution and loading error, if any."""
    out = []
    for name, entry in _entries(group).items():
        error = None
        try:
            load(group, name)
        except BackendUnavailable as exc:
            error = str(exc)
        out.append(Found(name, entry.dist.name if entry.dist else "?", error))
    return out
