"""Conductance over pulses, within bounded memory: per device, and over all devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.monitor.grouping import Groups

#: Points that all devices of an array keep together, and the bounds for one device.
_ALL_POINTS: Final = 1 << 21
_MOST_POINTS: Final = 1024
_FEWEST_POINTS: Final = 8
#: Bins of the curve over all devices; the points a trace may have.
CURVE_BINS: Final = 2000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trace:
    """One device's points: pulses in all, pulses in the cycle, cycle, conductance in siemens.

    ``stride``: every so many-th reading was kept.
    """

    pulses: NDArray[np.int64]
    in_cycle: NDArray[np.int64]
    cycle: NDArray[np.int64]
    g_siemens: NDArray[np.float32]
    stride: int


class History:
    """The readings of every device, thinned evenly: when a device's room is full, every second
    point goes and from then on half as many are kept.

    Attributes:
        pulses: pulses of each device so far.
        capacity: points that a device keeps at most.
    """

    def __init__(self, n_devices: int) -> None:
        self.pulses = np.zeros(n_devices, dtype=np.int64)
        room = min(max(_ALL_POINTS // max(n_devices, 1), _FEWEST_POINTS), _MOST_POINTS)
        self.capacity = 1 << (room.bit_length() - 1)
        # Pulses, pulses in the cycle, cycle and the bits of g side by side: a point is one piece
        # of memory, not four far apart.
        self._points = np.zeros((n_devices, self.capacity, 4), dtype=np.uint32)
        self._n = np.zeros(n_devices, dtype=np.int64)  # readings seen
        self._stride = np.ones(n_devices, dtype=np.int64)

    def add(
        self,
        device: NDArray[np.int64],
        pulses: NDArray[np.int64],
        in_cycle: NDArray[np.int64],
        cycle: NDArray[np.int64],
        g_siemens: FloatArray,
    ) -> None:
        """Add readings that are sorted by device, each device's in order."""
        groups = Groups.of(device)
        number = self._n[device] + groups.rank()
        at = device[groups.last]
        newest = number[groups.last]
        while (full := newest // self._stride[at] >= self.capacity).any():
            self._thin(at[full])
        self._n[at] = newest + 1
        stride = self._stride[device]
        keep = number % stride == 0
        g_bits = g_siemens[keep].astype(np.float32).view(np.uint32)
        columns = (pulses[keep], in_cycle[keep], cycle[keep], g_bits)
        points = np.stack([column.astype(np.uint32) for column in columns], axis=1)
        self._points[device[keep], number[keep] // stride[keep]] = points

    def _thin(self, devices: NDArray[np.int64]) -> None:
        half = (self.capacity + 1) // 2
        self._points[devices, :half] = self._points[devices, ::2]
        self._stride[devices] *= 2

    def moved(self, to: NDArray[np.int64], n_devices: int) -> History:
        """Return a history of ``n_devices`` devices, with what is known of each here at ``to``."""
        larger = History(n_devices)
        while self.capacity > larger.capacity:
            used = np.flatnonzero(-(-self._n // self._stride) > self.capacity // 2)
            self._thin(used)
            self.capacity //= 2
        n = self.capacity
        larger._points[to, :n] = self._points[:, :n]
        for name in ("pulses", "_n", "_stride"):
            getattr(larger, name)[to] = getattr(self, name)
        return larger

    def trace(self, device: int) -> Trace:
        """Return what is kept of one device, oldest first."""
        stride = int(self._stride[device])
        n = min(-(-int(self._n[device]) // stride), self.capacity)
        pulses, in_cycle, cycle, g_bits = self._points[device, :n].T
        return Trace(
            pulses.astype(np.int64), in_cycle.astype(np.int64), cycle.astype(np.int64),
            np.ascontiguousarray(g_bits).view(np.float32), stride,
        )  # fmt: skip


class PulseCurve:
    """Mean and spread of the conductance over the pulses of a cycle, over all devices and cycles.

    Bins are one pulse wide until a cycle is longer than :data:`CURVE_BINS`, then 2, 4, …

    Attributes:
        width: pulses per bin.
    """

    def __init__(self) -> None:
        self.width = 1
        self._sums = np.zeros((3, CURVE_BINS))  # readings, sum, sum of squares

    def add(self, in_cycle: NDArray[np.int64], g_siemens: FloatArray) -> None:
        """Add readings taken after ``in_cycle`` pulses of a cycle, from 1."""
        if not in_cycle.size:
            return
        while (int(in_cycle.max()) - 1) // self.width >= CURVE_BINS:
            pairs = self._sums.reshape(3, CURVE_BINS // 2, 2).sum(axis=2)
            self._sums = np.concatenate([pairs, np.zeros_like(pairs)], axis=1)
            self.width *= 2
        bins = np.maximum(in_cycle - 1, 0) // self.width
        for sums, weight in zip(self._sums, (None, g_siemens, g_siemens * g_siemens), strict=True):
            sums += np.bincount(bins, weight, CURVE_BINS)

    def points(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (pulses, mean, standard deviation in siemens) of the bins that have readings."""
        n, total, squares = self._sums
        has = n > 0
        mean = total[has] / n[has]
        spread = np.sqrt(np.maximum(squares[has] / n[has] - mean**2, 0.0))
        pulses = (np.flatnonzero(has) + 0.5) * self.width + 0.5
        return np.asarray(pulses, np.float64), np.asarray(mean, np.float64), np.asarray(spread)
