"""Rigs of all four kinds on instruments in memory."""

from __future__ import annotations

import numpy as np
from fakes import PULSER, SMU, FakeMatrix, FakeSource, World
from hil_drivers.rig.backend import RigBackend

from hil.config.station import COMMON, Wire
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.program import SensePlan

OP = OperatingPoint(
    g_min_siemens=1e-6, g_max_siemens=1e-4, read_v=0.2, read_s=1e-3, potentiate_v=1.2,
    depress_v=-1.2, write_s=5e-4, gap_s=1e-4, coding="amplitude", inhibit="v/2",
    sensing=SensePlan(),
)  # fmt: skip


def through(line, index, channels):
    """Return the ways of a line through the matrix ``mux`` to ``channels``, row by row."""
    return [
        Wire(line, channel, "mux", f"{index // 99 + 1}{'ABCDEFGH'[row]}{index % 99 + 1:02d}")
        for row, channel in enumerate(channels)
        if channel
    ]


def lines(geometry):
    return [geometry.line_name(k) for k in range(geometry.n_lines)]


def conductances(geometry, seed=3):
    return np.random.default_rng(seed).uniform(5e-6, 5e-5, geometry.shape)


def rig_a(rows=4, cols=4, limits=None):
    """Dual SMU and matrix; every line reaches both channels and the 0 V rail."""
    geometry = ArrayGeometry(rows, cols)
    ways = [w for k, name in enumerate(lines(geometry))
            for w in through(name, k, ("smu.a", "smu.b", COMMON))]  # fmt: skip
    world = World(geometry, ways, conductances(geometry))
    instruments = {"smu": FakeSource("smu", world, "ab"), "mux": FakeMatrix("mux", world)}
    return RigBackend(geometry, ways, instruments, world.connect, limits=limits), world


def rig_b(rows=4, cols=4, limits=None):
    """Pulse generator writes (two channels), dual SMU reads, through a matrix."""
    geometry = ArrayGeometry(rows, cols)
    ways = [w for k, name in enumerate(lines(geometry))
            for w in through(name, k, ("gen.1", "gen.2", "smu.a", "smu.b", COMMON))]  # fmt: skip
    world = World(geometry, ways, conductances(geometry))
    instruments = {
        "gen": FakeSource("gen", world, "12", PULSER), "smu": FakeSource("smu", world, "ab"),
        "mux": FakeMatrix("mux", world),
    }  # fmt: skip
    return RigBackend(geometry, ways, instruments, world.connect, limits=limits), world


def rig_c(rows=4, cols=4, limits=None, triggers=True):
    """One SMU channel per line: dual-channel nodes with a common trigger."""
    geometry = ArrayGeometry(rows, cols)
    ways = [Wire(name, f"node{k // 2}.{'ab'[k % 2]}", None, None)
            for k, name in enumerate(lines(geometry))]  # fmt: skip
    world = World(geometry, ways, conductances(geometry))
    nodes = [f"node{k}" for k in range(-(-geometry.n_lines // 2))]
    instruments = {n: FakeSource(n, world, "ab") for n in nodes}
    trigger = dict.fromkeys(nodes, "3") if triggers else {}
    return (
        RigBackend(geometry, ways, instruments, world.connect, limits=limits, triggers=trigger),
        world,
    )


def rig_d(rows=4, cols=4, limits=None):
    """Dual SMU and a dual bias supply for inhibited lines, through a matrix."""
    geometry = ArrayGeometry(rows, cols)
    ways = [w for k, name in enumerate(lines(geometry))
            for w in through(name, k, ("smu.a", "smu.b", "bias.1", "bias.2", COMMON))]  # fmt: skip
    world = World(geometry, ways, conductances(geometry))
    instruments = {
        "smu": FakeSource("smu", world, "ab"), "bias": FakeSource("bias", world, "12"),
        "mux": FakeMatrix("mux", world),
    }  # fmt: skip
    trigger = {"smu": "3", "bias": "3"}
    return (
        RigBackend(geometry, ways, instruments, world.connect, limits=limits, triggers=trigger),
        world,
    )


RIGS = {"a": rig_a, "b": rig_b, "c": rig_c, "d": rig_d}
__all__ = ["OP", "PULSER", "RIGS", "SMU", "rig_a", "rig_b", "rig_c", "rig_d"]
