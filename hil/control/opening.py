"""Open arrays for a notebook or the command line: by preset, by device file or by station."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hil.backend import Backend
from hil.config.station import ArrayTable, Station, load_station
from hil.control.array import SynapseArray
from hil.control.recorder import Recorder
from hil.errors import ConfigError
from hil.operating import OperatingPoint
from hil.pairs import PairKind, PairMap, alive_lines
from hil.registry import backend_factory


def make_backend(
    station: Station, array: ArrayTable, *, sim: bool, seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Backend, OperatingPoint]:  # fmt: skip
    """Return the (closed) backend of one array of a station, and its operating point.

    ``sim`` picks the simulator; without it the station's own backend is used and never replaced.
    ``options`` go to its factory besides.

    Raises:
        BackendUnavailable: the backend is not installed.
        ConfigError: neither the station nor the device file has an operating point.
    """
    factory = backend_factory("sim" if sim else station.backend)
    op = station.drive.operating_point() if station.drive else None
    if op is None:
        op = factory.operating_point(station, array)
    if op is None:
        raise ConfigError(
            "neither the station nor the device says how the array is driven",
            path=station.path, field="drive",
        )  # fmt: skip
    backend = factory.create(
        station, array, seed=station.twin.seed if seed is None else seed, **(options or {})
    )
    return backend, op


def default_pairs(backend: Backend, kind: PairKind = "adjacent") -> PairMap | None:
    """Return the largest pair map of ``kind`` on the array, None when no pair fits."""
    rows, cols = alive_lines(backend.geometry)
    n_outputs = {"reference": cols.size - 1, "two-arrays": cols.size}.get(kind, cols.size // 2)
    if rows.size == 0 or n_outputs < 1:
        return None
    return PairMap.build(kind, backend.geometry, rows.size, n_outputs)


@contextmanager
def open_array(
    device: str | Path | None = None,
    rows: int | None = None,
    cols: int | None = None,
    *,
    station: str | Path | Station | None = None,
    sim: bool = False,
    array: str | None = None,
    seed: int | None = None,
    weight_scale: float = 1.0,
    recorder: Recorder | None = None,
    **options: Any,
) -> Iterator[SynapseArray]:
    """Open an array and yield it; the safe state is enforced on every way out.

    Either ``device`` (a preset or a device file) with ``rows`` and ``cols`` for a simulated array,
    or ``station`` (a station file) with ``sim=True`` for its twin, without for its rig.

    Raises:
        ConfigError: neither or both were given, or a file is wrong.
        BackendUnavailable: the backend is not installed.
    """
    if (device is None) == (station is None):
        raise ConfigError("give either a device with rows and cols, or a station")
    with ExitStack() as stack:
        minus = None
        if device is not None:
            if rows is None or cols is None:
                raise ConfigError("a device needs rows and cols", field="rows")
            backend, op = backend_factory("sim").open_device(
                device, rows, cols, seed=seed or 0, **options
            )
            pairs = default_pairs(backend)
        else:
            loaded = station if isinstance(station, Station) else load_station(str(station))
            table = loaded.array_called(array)
            backend, op = make_backend(loaded, table, sim=sim, seed=seed)
            pairs = default_pairs(backend, table.pairs)
            if table.pairs == "two-arrays":
                partner = loaded.partner_of(table)
                minus, _ = make_backend(loaded, partner, sim=sim, seed=seed)
                stack.enter_context(minus)
        stack.enter_context(backend)
        yield SynapseArray(
            backend, op, pairs, weight_scale=weight_scale, recorder=recorder, minus_backend=minus
        )
