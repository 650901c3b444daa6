"""Wirings and a brute-force reference for router tests."""

from __future__ import annotations

import itertools

import numpy as np
from hil_drivers.router.wiring import ChannelSpec, Wiring

from hil.capabilities import Range
from hil.config.station import COMMON, Wire
from hil.geometry import ArrayGeometry
from hil.program import LineState, Phase, PulseBlock

SMU = {
    "level_v": Range(-20.0, 20.0),
    "width_s": Range(1e-4, 10.0),
    "can_measure": True,
    "can_limit": True,
    "can_float": True,
}
PULSER = {"level_v": Range(-5.0, 5.0), "width_s": Range(1e-8, 10.0), "can_float": True}


def matrix_wiring(geometry, ways, specs):
    """Return the wiring in which line n reaches the channels ``ways[n]`` through one matrix."""
    names = sorted({c for w in ways for c in w if c != COMMON})
    rows = {name: k for k, name in enumerate([*names, COMMON])}
    wires = [
        Wire(
            geometry.line_name(line),
            channel,
            "mux",
            f"{line // 99 + 1}{'ABCDEFGH'[rows[channel]]}{line % 99 + 1:02d}",
        )
        for line, reached in enumerate(ways)
        for channel in reached
    ]
    return Wiring.build(geometry, wires, specs)


def dual_smu(n_rows, n_cols, *, common=True):
    """Return rig (a): every line reaches smu.a, smu.b and the 0 V rail."""
    geometry = ArrayGeometry(n_rows, n_cols)
    specs = {n: ChannelSpec(n, **SMU) for n in ("smu.a", "smu.b")}
    ways = [(*specs, COMMON) if common else tuple(specs)] * geometry.n_lines
    return matrix_wiring(geometry, ways, specs)


def serial_read_map(n_rows, n_cols, repeat=1):
    """Return the block that reads one device per step, row by row."""
    n = n_rows * n_cols
    state = np.full((n, n_rows + n_cols), LineState.GROUND, dtype=np.uint8)
    level = np.zeros(state.shape)
    sense = np.zeros(state.shape, dtype=bool)
    row, col = np.divmod(np.arange(n), n_cols)
    state[np.arange(n), row] = LineState.DRIVE
    level[np.arange(n), row] = 0.1
    sense[np.arange(n), n_rows + col] = True
    return PulseBlock.build(Phase.READ, state, level, 1e-3, sense=sense, repeat=repeat)


def valid_maps(block, step, wiring):
    """Return every map line -> channel that may serve one step, by trying all of them."""
    demands = []
    for line in range(wiring.n_lines):
        sensed = bool(block.sense[step, line])
        if block.state[step, line] == LineState.FLOAT and not sensed:
            demands.append(None)
            continue
        driven = block.state[step, line] == LineState.DRIVE
        demands.append((float(block.level_v[step, line]) if driven else 0.0, sensed))
    width = float(block.width_s[step])
    options = []
    for line, demand in enumerate(demands):
        if demand is None:
            options.append([-1])
            continue
        level, sensed = demand
        fits = []
        for channel in wiring.ways_of(line):
            spec = wiring.channels[channel]
            if level not in spec.level_v or (sensed and not spec.can_measure):
                continue
            if level != 0.0 and width not in spec.width_s:
                continue
            fits.append(channel)
        options.append(fits)
    out = []
    for chosen in itertools.product(*options):
        users: dict[int, list[int]] = {}
        for line, channel in enumerate(chosen):
            if channel >= 0:
                users.setdefault(channel, []).append(line)
        if all(
            len({demands[n][0] for n in lines}) == 1
            and (len(lines) == 1 or not any(demands[n][1] for n in lines))
            for lines in users.values()
        ):
            out.append(np.array(chosen))
    return out


def fewest_moves(block, wiring):
    """Return the smallest number of relay moves of a block, from all open; None = impossible."""
    cost, maps = np.zeros(1, dtype=int), np.full((1, wiring.n_lines), -1)
    for step in range(block.n_steps):
        here = valid_maps(block, step, wiring)
        if not here:
            return None
        new = np.array(here)
        differ = maps[:, None] != new
        moves = (differ & (maps[:, None] >= 0)).sum(axis=2) + (differ & (new >= 0)).sum(axis=2)
        cost, maps = (cost[:, None] + moves).min(axis=0), new
    return int(cost.min())
