"""The entry point ``sim`` of ``hil.backends``: simulated arrays from a station file or a preset."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.capabilities import Capabilities, Range
from hil.errors import ConfigError
from hil.geometry import CELL_KINDS, ArrayGeometry
from hil.operating import OperatingPoint
from hil.registry import backend_factory
from hil_sim.mimic import Mimic, Rehearsing
from hil_sim.models.device import Device, load_device, preset_names, preset_text

if TYPE_CHECKING:
    from hil.config.station import ArrayTable, Station, TwinTable
    from hil_sim.backend import SimBackend


def drive_of(device: Device) -> OperatingPoint:
    """Return the operating point of a device file; its window defaults to the device's range."""
    point = device.drive.operating_point()
    return replace(
        point,
        g_min_siemens=point.g_min_siemens or device.range.g_min,
        g_max_siemens=point.g_max_siemens or device.range.g_max,
    )


def _mimic_of(station: Station, array: ArrayTable) -> Capabilities | Mimic | None:
    """Return what a station's twin obeys, None when it asks for nothing.

    Raises:
        ConfigError: a rig is to be obeyed that cannot be rehearsed, or besides it grids.
        BackendUnavailable: the station's backend is not installed.
    """
    grids = _grids_of(station.twin)
    if not station.twin.as_rig:
        return grids
    if grids is not None:
        raise ConfigError("the rig has grids and features of its own; leave out the twin's",
                          path=station.path, field="twin.as_rig")  # fmt: skip
    factory = backend_factory(station.backend)
    if not isinstance(factory, Rehearsing):
        raise ConfigError(f"backend {station.backend!r} does not say what it would drive",
                          path=station.path, field="twin.as_rig")  # fmt: skip
    return factory.rehearse(station, array)


def _grids_of(twin: TwinTable) -> Capabilities | None:
    base = Capabilities()

    def grid(span: Range, resolution: float | None) -> Range:
        return Range(span.min, span.max, resolution or 0.0)

    caps = replace(
        base,
        level_v=grid(base.level_v, twin.level_resolution),
        width_s=grid(base.width_s, twin.width_resolution),
        sense_a=grid(base.sense_a, twin.current_resolution),
        parallel_sense=twin.parallel_sense, per_line_width=twin.per_line_width,
        limits_current=twin.limits_current,
    )  # fmt: skip
    return None if caps == base else caps


class SimFactory:
    """Makes simulated backends."""

    name = "sim"
    simulated = True

    def _device(self, station: Station, array: ArrayTable) -> Device:
        if array.device is None:
            raise ConfigError(
                f"array {array.name!r} names no device to simulate; presets: "
                + ", ".join(preset_names()),
                path=station.path, field="array.device",
            )  # fmt: skip
        return load_device(array.device, None if station.path is None else station.path.parent)

    def create(self, station: Station, array: ArrayTable, *, seed: int) -> SimBackend:
        """Return the backend of one array; arrays of a station differ in their random numbers.

        Raises:
            ConfigError: the array names no device, or one of another cell kind.
        """
        from hil_sim.backend import SimBackend

        own = (seed & 0xFFFFFFFF) | (zlib.crc32(array.name.encode()) << 32)
        return SimBackend(
            array.geometry(), self._device(station, array), seed=own,
            limits=station.limits.limits(), mimic=_mimic_of(station, array),
        )  # fmt: skip

    def open_device(
        self, device: str | Path, n_rows: int, n_cols: int, *, seed: int, **options: Any
    ) -> tuple[SimBackend, OperatingPoint]:
        """Return a closed backend of ``n_rows`` x ``n_cols`` devices and its operating point.

        Args:
            device: a preset's name or the path of a device file.
            n_rows, n_cols: size of the array.
            seed: of everything random.
            options: ``geometry`` instead of the size, and ``limits``, ``mimic``, ``readout``,
                ``g0`` of :class:`~hil_sim.backend.SimBackend`.

        Raises:
            ConfigError: no such device, wrong device file, unknown option.
        """
        from hil_sim.backend import SimBackend

        unknown = sorted(set(options) - {"geometry", "limits", "mimic", "readout", "g0"})
        if unknown:
            raise ConfigError("the simulator has no such option", field=unknown[0])
        model = load_device(device)
        geometry = options.pop("geometry", None)
        if geometry is None:
            geometry = ArrayGeometry(n_rows, n_cols, CELL_KINDS[model.cell])
        return SimBackend(geometry, model, seed=seed, **options), drive_of(model)

    def operating_point(self, station: Station, array: ArrayTable) -> OperatingPoint | None:
        """Return the operating point that the array's device file recommends."""
        return drive_of(self._device(station, array))

    def schemas(self) -> Mapping[str, dict[str, Any]]:
        """Return the JSON schema of a device file."""
        return {"device": Device.model_json_schema()}

    def device_text(self, name: str) -> str:
        """Return the file of a shipped preset, stored with a run; ConfigError for no preset."""
        return preset_text(name)

    def templates(self) -> Mapping[str, str]:
        """Return the commented starter device file."""
        return {"device.toml": preset_text("nonlinear")}

    def doctor(self) -> list[str]:
        """Return the presets found, each loaded and checked."""
        lines = []
        for name in preset_names():
            device = load_device(name)
            lines.append(
                f"device preset {name}: {device.cell}, {device.model}, {device.description}"
            )
        return lines
