"""Which calibration a station names, and whether it is still the same station."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from hil.config.station import wires
from hil_drivers.calibration.table import Calibration

if TYPE_CHECKING:
    from pathlib import Path

    from hil.config.station import ArrayTable, Station


def calibration_path(station: Station, array: ArrayTable, name: str) -> Path:
    """Return the path of a calibration file, ``{array}`` replaced by the array's name."""
    return station.beside(name.replace("{array}", array.name))


def load_for(station: Station, array: ArrayTable) -> Calibration | None:
    """Return the calibration that the station names, None when it names none.

    Raises:
        ConfigError: it cannot be read, or belongs to another array or wiring.
    """
    if station.calibration is None:
        return None
    found = Calibration.load(calibration_path(station, array, station.calibration))
    found.check_station(array.name, wiring_digest(station, array))
    return found


def wiring_digest(station: Station, array: ArrayTable) -> str:
    """Return the SHA-256 of what a calibration depends on: geometry, wiring, drivers, settings.

    Addresses are no part of it: instruments are known by their serial numbers.
    """
    ways = [[w.line, w.channel, w.matrix, w.crosspoint] for w in wires(station, array.name)]
    parts = [
        [array.rows, array.cols, array.cell, array.block_rows],
        sorted(ways, key=str),
        sorted([i.name, i.driver, i.trigger, i.settings] for i in station.instrument),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
