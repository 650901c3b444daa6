"""Rigs on emulated instruments that have errors, and how they are calibrated."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from benches import on_bench, station_a, station_b, station_c, station_of
from hil_drivers.calibration.plan import Wish
from hil_drivers.calibration.station import wiring_digest
from hil_drivers.calibration.work import Work

from hil.phases.reading import read_map

IMPERFECT = "\n[twin]\nimperfect = true\nseed = 5\n"
STATIONS = {
    "a": station_a(2, 3, device="ideal"), "b": station_b(2, 3, device="ideal"),
    "c": station_c(device="ideal"),
}  # fmt: skip
WISH = Wish(reference_ohm=1e5, averages=2)


def read(rig, op, sign=1.0):
    """Return the conductances in siemens of all devices at the read voltage or its negative."""
    n_cols = rig.geometry.n_cols
    programme = read_map(rig.geometry, replace(op, read_v=sign * op.read_v), rig.capabilities)
    line = np.concatenate([block_lines(b) for b in programme])
    current = np.concatenate([m.current_a for m in rig.run(list(programme))])
    g = np.zeros(rig.geometry.shape)
    for cell, value in enumerate(current):
        g[cell // n_cols, line[cell] - rig.geometry.n_rows] = -value / (sign * op.read_v)
    return g


def block_lines(block):
    return np.nonzero(block.sense)[1]


@contextmanager
def opened(text, **options):
    station = station_of(text)
    with on_bench(station, **options) as (rig, bench), rig:
        yield Setting(rig, bench, station)


class Setting:
    """An open rig on its bench, with the station that it is of."""

    def __init__(self, rig, bench, station):
        self.rig, self.bench, self.station = rig, bench, station
        self.op = station.drive.operating_point()

    def work(self, wish=WISH, **kwargs):
        digest = wiring_digest(self.station, self.station.array[0])
        return Work(self.rig, self.op, wish, array="main", wiring_sha256=digest, **kwargs)

    def calibrate(self, wish=WISH, **kwargs):
        work = self.work(wish, **kwargs)
        for fixture in work.run():
            assert self.bench.safe  # nobody connects anything while an output is on
            self.bench.insert("main", fixture.g_siemens)
        assert self.bench.safe
        self.bench.insert("main", None)
        return work.calibration
