"""Device-level rows of a run, summed up per device: pulses, stress, first and last conductance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.report.recorded import Recorded

Floats = NDArray[np.float64]

_COLUMNS: Final = ("phase", "layer", "row", "col", "v", "width", "count", "g0", "g1", "status")
#: Rows of pulse trains that are kept; a run whose curves need more than that has an outcome.
MAX_TRAIN_ROWS: Final = 2_000_000
#: Phases in which devices are characterised, one read after each pulse.
_TRAIN_PHASES: Final = ("PROGRAM", "CALIBRATE")
_COMPLIANCE: Final = ("I_COMPLIANCE", "V_COMPLIANCE")
_SIMULATED: Final = "SIMULATED"  # the bit that says nothing went wrong


@dataclass(frozen=True, eq=False)
class DeviceMaps:
    """What the pulse rows say of one layer's devices, each (n_rows, n_cols).

    Attributes:
        plus, minus: pulses with positive and negative device voltage.
        stress_s: time under write voltage, in seconds.
        first_siemens, last_siemens: conductance first and last read, NaN = never.
        compliance: rows in which a current or voltage limit was met.
    """

    plus: Floats
    minus: Floats
    stress_s: Floats
    first_siemens: Floats
    last_siemens: Floats
    compliance: Floats


@dataclass(frozen=True, eq=False)
class Trains:
    """Pulse rows in the order driven, columns of equal length; g is NaN where it was not read."""

    device: NDArray[np.int64]
    v: NDArray[np.float32]
    count: NDArray[np.uint32]
    g0: NDArray[np.float32]
    g1: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """All that is taken from the ``pulses`` table.

    Attributes:
        rows, pulses: how many rows, and pulses on selected devices in them.
        maps: by layer.
        trains: rows of characterisation, None when they were not asked for or are too many.
        status: rows per status bit that tells of something.
    """

    rows: int
    pulses: int
    maps: dict[int, DeviceMaps]
    trains: Trains | None
    status: dict[str, int]


def device_rows(recorded: Recorded, *, trains: bool = False) -> DeviceRows:
    """Sum up the ``pulses`` table; with ``trains`` keep the rows of characterisation, too."""
    rows = pulses = 0
    layers: dict[int, _Sums] = {}
    kept: list[tuple[NDArray[Any], ...]] = []
    n_kept = 0
    status: dict[str, int] = {}
    bits_of, phases = recorded.codes("status_bits"), recorded.codes("phases")
    limited = sum(bits_of.get(name, 0) for name in _COMPLIANCE)
    wanted = [phases[name] for name in _TRAIN_PHASES if name in phases]
    for piece in recorded.pieces("pulses", _COLUMNS):
        phase, layer, row, col, v, width, count, g0, g1, bits = piece
        rows += len(row)
        pulses += int(count.sum(dtype=np.int64))
        add_status(status, bits, bits_of)
        for number in np.unique(layer).tolist():
            own = slice(None) if layer[0] == number and (layer == number).all() else layer == number
            sums = layers.setdefault(number, _Sums())
            sums.add(row[own], col[own], v[own], width[own], count[own], g0[own], g1[own],
                     bits[own] & limited != 0)  # fmt: skip
        if trains and n_kept <= MAX_TRAIN_ROWS:
            chosen = np.isin(phase, wanted)
            device = layer.astype(np.int64) << 32 | row.astype(np.int64) << 16 | col
            kept.append(tuple(c[chosen] for c in (device, v, count, g0, g1)))
            n_kept += int(chosen.sum())
    found = None
    if kept and n_kept <= MAX_TRAIN_ROWS:
        found = Trains(*(np.concatenate(columns) for columns in zip(*kept, strict=True)))
    maps = {number: sums.maps() for number, sums in sorted(layers.items())}
    return DeviceRows(rows, pulses, maps, found, status)


def reading_status(recorded: Recorded) -> tuple[int, dict[str, int]]:
    """Return the number of raw readings, and readings per status bit that tells of something."""
    rows, status = 0, dict[str, int]()
    bits_of = recorded.codes("status_bits")
    for (bits,) in recorded.pieces("reads", ("status",)):
        rows += len(bits)
        add_status(status, bits, bits_of)
    return rows, status


def add_status(totals: dict[str, int], bits: NDArray[Any], bits_of: dict[str, int]) -> None:
    """Add the rows per status bit to ``totals``; ``bits_of`` are the bits by name."""
    values, counts = np.unique(bits, return_counts=True)
    for value, n in zip(values.tolist(), counts.tolist(), strict=True):
        for name, bit in bits_of.items():
            if value & bit and name != _SIMULATED:
                totals[name] = totals.get(name, 0) + n


@dataclass
class _Sums:
    """Growing maps of one layer."""

    shape: tuple[int, int] = (0, 0)
    tables: list[Floats] = field(default_factory=list)

    def add(
        self, row: NDArray[Any], col: NDArray[Any], v: NDArray[Any], width: NDArray[Any],
        count: NDArray[Any], g0: NDArray[Any], g1: NDArray[Any], met: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """Add rows in the order driven."""
        self._grow(int(row.max()) + 1, int(col.max()) + 1)
        n_rows, n_cols = self.shape
        cell = row.astype(np.int64) * n_cols + col
        n = count.astype(np.float64)

        def summed(values: NDArray[Any]) -> Floats:
            total = np.bincount(cell, weights=values, minlength=n_rows * n_cols)
            return total.reshape(self.shape).astype(np.float64, copy=False)

        plus, minus, stress, first, last, compliance = self.tables
        plus += summed(np.where(v > 0, n, 0.0))
        minus += summed(np.where(v < 0, n, 0.0))
        stress += summed(n * width)
        if met.any():
            compliance += summed(met)
        before = np.where(np.isnan(g0), g1, g0)
        known = ~np.isnan(before) & np.isnan(first.ravel()[cell])
        # Where an index comes more than once the last value stays: backwards, that is the first.
        first.reshape(-1)[cell[known][::-1]] = before[known][::-1]
        read = ~np.isnan(g1)
        last.reshape(-1)[cell[read]] = g1[read]

    def _grow(self, n_rows: int, n_cols: int) -> None:
        shape = max(self.shape[0], n_rows), max(self.shape[1], n_cols)
        if shape == self.shape and self.tables:
            return
        old, self.shape = self.tables, shape
        self.tables = [np.full(shape, f) for f in (0.0, 0.0, 0.0, np.nan, np.nan, 0.0)]
        for table, before in zip(self.tables, old, strict=False):
            table[: before.shape[0], : before.shape[1]] = before

    def maps(self) -> DeviceMaps:
        """Return the maps."""
        return DeviceMaps(*self.tables)
