"""What a board can do and which of its lines are whose, in the terms of the array."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Capabilities, Range
from hil.config.station import Wire
from hil.errors import ConfigError
from hil.geometry import ArrayGeometry
from hil_drivers.serial_board.messages import Can, Hello


def assumed(geometry: ArrayGeometry) -> Hello:
    """Return what a board is taken for that was not asked yet: one that can do everything."""
    can = int(Can.FLOAT | Can.LINE_WIDTH | Can.PARALLEL_SENSE | Can.COMPLIANCE)
    return Hello(
        0, 0, 1024, geometry.n_rows, geometry.n_cols, geometry.n_lines, can, -200.0, 200.0, 0.0,
        1, 2_000_000_000, 1, 1_000_000_000, 0.0, math.inf, math.inf, 0.0, 1 << 16, 4096, 1 << 16,
        2_000_000_000, 1000, "a board that was not asked",
    )  # fmt: skip


def capabilities_of(hello: Hello, simulated: bool) -> Capabilities:
    """Return what a board can do, in SI units."""
    can = hello.can
    least = max(hello.width_min, hello.time_step)
    limits_current = bool(can & Can.COMPLIANCE)
    most_a = hello.compliance_max_a
    return Capabilities(
        level_v=Range(hello.level_min_v, hello.level_max_v, hello.level_step_v),
        width_s=Range(least / 1e9, hello.width_max / 1e9, hello.time_step / 1e9),
        rise_s=Range(0.0, hello.edge_max / 1e9),
        compliance_a=Range(min(hello.compliance_min_a, most_a), most_a),
        sense_a=Range(-hello.current_max_a, hello.current_max_a, hello.current_step_a),
        max_block_s=min(2.0, hello.max_run / 1e9),
        parallel_sense=bool(can & Can.PARALLEL_SENSE), can_float=bool(can & Can.FLOAT),
        per_line_width=bool(can & Can.LINE_WIDTH), limits_current=limits_current,
        simulated=simulated or bool(can & Can.SIMULATED),
    )  # fmt: skip


def board_lines(name: str, geometry: ArrayGeometry, ways: Iterable[Wire]) -> NDArray[np.int64]:
    """Return (n_lines,) the board's line of every line of the array.

    Raises:
        ConfigError: a line is not wired to one line of the board of its own.
    """
    ways = list(ways)
    lines = np.arange(geometry.n_lines)
    if not ways:
        return lines
    rows, cols = geometry.n_rows, geometry.n_cols
    channels = [f"{name}.w{k}" for k in range(rows)] + [f"{name}.b{k}" for k in range(cols)]
    channels += [f"{name}.x{k}" for k in range(geometry.n_lines - rows - cols)]
    number = {channel: k for k, channel in enumerate(channels)}
    lines[:] = -1
    for way in ways:
        if way.channel not in number or way.crosspoint is not None:
            raise ConfigError(
                f"{way.line} is wired to {way.channel!r}: a board has {channels[0]} … "
                f"{channels[rows - 1]}, {channels[rows]} … {channels[rows + cols - 1]} (and "
                f"{name}.x0 … for further lines), and no crosspoints", field="wiring",
            )  # fmt: skip
        lines[geometry.line_index(way.line)] = number[way.channel]
    if not np.array_equal(np.sort(lines), np.arange(geometry.n_lines)):
        raise ConfigError("every line needs a line of the board of its own", field="wiring")
    return lines
