"""Potentiation and depression: from a run's outcome, or from its pulse rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil.report.devices import Floats, Trains
from hil.report.outcome import Ints, Outcome, cells_of, has


@dataclass(frozen=True, eq=False)
class LtpLtd:
    """Potentiation, then depression, over cycles.

    Means and spreads leave out the first of three or more cycles: it starts from whatever state the
    cells were in, the others from the end of a depression.

    Attributes:
        pulse: (n_points,) pulses since the start of the cycle; depression follows potentiation.
        n_up: pulses of potentiation; points up to it belong to potentiation.
        g_siemens: (n_cycles, n_points, n_cells), NaN = not read.
        cells: (n_cells, 2) row and column.
        erased: the depression is one block erase.
    """

    pulse: Ints
    n_up: int
    g_siemens: Floats
    cells: Ints
    erased: bool = False

    @property
    def settled(self) -> Floats:
        """The cycles that means and spreads are taken of."""
        return self.g_siemens[1:] if self.g_siemens.shape[0] > 2 else self.g_siemens

    @property
    def mean_siemens(self) -> Floats:
        """(n_points,) mean over cycles and cells."""
        return _mean(self.settled, (0, 2))

    @property
    def cell_siemens(self) -> Floats:
        """(n_points, n_cells) mean over cycles."""
        return _mean(self.settled, 0)

    @property
    def c2c_siemens(self) -> Floats:
        """(n_points,) standard deviation from cycle to cycle, root mean square over cells."""
        if self.settled.shape[0] < 2:
            return np.full(self.pulse.size, np.nan)
        spread = _std(self.settled, 0)
        return np.sqrt(_mean(spread**2, 1))

    @property
    def d2d_siemens(self) -> Floats:
        """(n_points,) standard deviation between cells of their means over cycles."""
        if self.g_siemens.shape[2] < 2:
            return np.full(self.pulse.size, np.nan)
        return _std(self.cell_siemens, 1)

    def numbers(self) -> dict[str, float]:
        """Return the ends of the mean curve in siemens, their ratio, and spreads as its shares."""
        mean = self.mean_siemens
        if not np.isfinite(mean).any():
            return {}
        low, high = float(np.nanmin(mean)), float(np.nanmax(mean))
        window = high - low
        share = {
            name: float(np.sqrt(np.nanmean(spread**2))) / window
            for name, spread in (("c2c", self.c2c_siemens), ("d2d", self.d2d_siemens))
            if window > 0 and np.isfinite(spread).any()
        }
        return {"low_siemens": low, "high_siemens": high, "ratio": high / low if low else np.nan,
                **share}  # fmt: skip


@dataclass(frozen=True, eq=False)
class History:
    """Conductance of single devices over their pulses so far, of a run without an outcome."""

    device: Ints  #: (n_devices, 3) layer, row, column
    pulse: list[Ints]
    g_siemens: list[Floats]


def ltp_ltd(outcome: Outcome) -> LtpLtd | None:
    """Return the curves of an ``ltp-ltd`` run's outcome, None where it has none."""
    if not has(outcome, "cycle", "pulse", "polarity", "g_siemens", "row", "col"):
        return None
    cycle, pulse, polarity = (outcome[n].astype(np.int64) for n in ("cycle", "pulse", "polarity"))
    g = outcome["g_siemens"]
    if g.ndim != 2 or not len(g) == len(cycle) == len(pulse) == len(polarity):
        return None
    n_up = int(pulse[polarity >= 0].max(initial=0))
    down = pulse[polarity < 0]
    x = np.where(polarity < 0, n_up + pulse, pulse)
    grid, at = np.unique(x, return_inverse=True)
    cycles, which = np.unique(cycle, return_inverse=True)
    table = np.full((cycles.size, grid.size, g.shape[1]), np.nan)
    table[which, at] = g
    erased = down.size > 0 and int(down.max()) == 1 and n_up > 1
    return LtpLtd(grid, n_up, table, cells_of(outcome), erased)


class _Segments(NamedTuple):
    """Rows of one device with pulses of one sign, one after the other: a segment each.

    ``of_row`` and ``within`` are per row: its segment, and the segment's pulses up to it; the rest
    is per segment: device, sign, pulses, readings, whether it is the device's last.
    """

    of_row: Ints
    within: Ints
    device: Ints
    up: NDArray[np.bool_]
    pulses: Ints
    readings: Ints
    last: NDArray[np.bool_]


def ltp_ltd_from_trains(trains: Trains, layer: int) -> LtpLtd | None:
    """Return the curves that the pulse rows of one layer hold; None where there are no cycles.

    Rows of a device with pulses of one sign are a train; a cycle is a potentiation train and the
    depression train after it. A cycle that is not complete keeps what was read of it. Trains whose
    potentiation is of another length than most are no cycles of the same measurement.
    """
    own = np.flatnonzero(trains.device >> 32 == layer)
    order = own[np.argsort(trains.device[own], kind="stable")]
    up, g0, g1 = trains.v[order] > 0, trains.g0[order], trains.g1[order]
    segments = _segments(trains.device[order], up, trains.count[order].astype(np.int64), g1)
    n_up, cycle = _cycles(segments)
    if n_up == 0:
        return None
    good = cycle >= 0
    cells, cell = np.unique(segments.device[good], return_inverse=True)
    cell_of = np.zeros(good.size, dtype=np.int64)
    cell_of[good] = cell
    read = good[segments.of_row] & ~np.isnan(g1)
    x = np.where(up, segments.within, n_up + segments.within)
    first = np.ones(up.size, dtype=np.bool_)
    first[1:] = segments.of_row[1:] != segments.of_row[:-1]
    begins = first & up & good[segments.of_row] & ~np.isnan(g0)
    grid, at = np.unique(
        np.concatenate([x[read], np.zeros(begins.sum(), dtype=np.int64)]), return_inverse=True
    )
    table = np.full((int(cycle.max()) + 1, grid.size, cells.size), np.nan)
    rows = np.concatenate([segments.of_row[read], segments.of_row[begins]])
    table[cycle[rows], at, cell_of[rows]] = np.concatenate([g1[read], g0[begins]])
    where = np.stack([cells >> 16 & 0xFFFF, cells & 0xFFFF], axis=1)
    return LtpLtd(grid, n_up, table, where)


def _segments(
    device: Ints, up: NDArray[np.bool_], count: Ints, g1: NDArray[np.float32]
) -> _Segments:
    """Divide rows, sorted by device, where the device or the sign of the pulses changes."""
    new = np.ones(device.size, dtype=np.bool_)
    new[1:] = (device[1:] != device[:-1]) | (up[1:] != up[:-1])
    of_row, starts = np.cumsum(new) - 1, np.flatnonzero(new)
    done = np.cumsum(count)
    within = done - (done[starts] - count[starts])[of_row]
    last = np.ones(starts.size, dtype=np.bool_)
    last[:-1] = device[starts][1:] != device[starts][:-1]
    pulses, readings = (
        np.bincount(of_row, weights=weights, minlength=starts.size).astype(np.int64)
        for weights in (count, ~np.isnan(g1))
    )
    return _Segments(of_row, within, device[starts], up[starts], pulses, readings, last)


def _cycles(found: _Segments) -> tuple[int, Ints]:
    """Return the pulses of a potentiation train, and the cycle of every segment, -1 = of none.

    No cycles at all are 0 pulses.
    """
    trained = found.up & (found.readings >= 2)
    # The last train of a device may be cut short: it says how long trains are only where it is the
    # only one.
    counted = found.pulses[trained & ~found.last]
    counted = counted if counted.size else found.pulses[trained]
    if not counted.size:
        return 0, np.full(found.up.size, -1)
    lengths, n_of = np.unique(counted, return_counts=True)
    n_up = int(lengths[n_of == n_of.max()].max())
    good_up = trained & ((found.pulses == n_up) | found.last & (found.pulses < n_up))
    good = good_up.copy()
    same = found.device[1:] == found.device[:-1]
    good[1:] |= ~found.up[1:] & same & good_up[:-1] & (found.pulses[:-1] == n_up)
    running = np.cumsum(good_up)
    first_of = np.searchsorted(found.device, found.device, side="left")
    cycle = running - (running - good_up)[first_of] - 1
    return n_up, np.where(good, cycle, -1)


def history(trains: Trains, most: int = 6) -> History | None:
    """Return the conductances of the devices read most often over their pulses."""
    read = ~np.isnan(trains.g1)
    devices, n_of = np.unique(trains.device[read], return_counts=True)
    if not devices.size or n_of.max() < 2:
        return None
    chosen = np.sort(devices[np.argsort(-n_of, kind="stable")[:most]])
    pulses, values = [], []
    for device in chosen:
        own = trains.device == device
        done, seen = np.cumsum(trains.count[own], dtype=np.int64), read[own]
        pulses.append(done[seen])
        values.append(trains.g1[own][seen].astype(np.float64))
    where = np.stack([chosen >> 32, chosen >> 16 & 0xFFFF, chosen & 0xFFFF], axis=1)
    return History(where, pulses, values)


def _mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Return the mean of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        total = np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)
    return np.asarray(total)


def _std(values: Floats, axis: int) -> Floats:
    """Return the standard deviation (n − 1) of what is known, NaN of fewer than two values."""
    known = np.isfinite(values)
    n = known.sum(axis=axis)
    mean = np.expand_dims(_mean(values, axis), axis)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=axis)
    return np.sqrt(np.where(n > 1, squares / np.maximum(n - 1, 1), np.nan))
