"""Lines without a matrix: their one channel has to do what is asked of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState, PulseBlock
from hil_drivers.router.demand import Demands, able, refuse
from hil_drivers.router.errors import RouteRefused
from hil_drivers.router.wiring import Wiring


def check_direct(
    block: PulseBlock, demands: Demands, floating: NDArray[np.bool_], wiring: Wiring
) -> None:
    """Check the lines without a matrix: their one channel has to do it.

    Raises:
        RouteRefused: level, width, limit, measuring or floating is beyond the channel, or tied
            lines are asked to differ.
    """
    direct = np.flatnonzero(wiring.direct >= 0)
    if not direct.size:
        return
    channel = wiring.direct[demands.line]
    wrong = np.zeros(len(demands), dtype=np.bool_)
    for spec in set(wiring.direct[direct].tolist()):
        mine = channel == spec
        if mine.any():
            wrong |= mine & ~able(demands, wiring.channels[spec])
    if wrong.any():
        raise refuse(demands, int(wrong.argmax()), wiring)
    rail = np.array([not wiring.channels[c].can_float for c in wiring.direct[direct]])
    held = floating[:, direct[rail]]
    if held.any():
        step, k = (int(x[0]) for x in np.nonzero(held))
        line = int(direct[rail][k])
        raise RouteRefused(
            "floating lines", 1, 0, "", step=step, where=wiring.geometry.line_name(line),
            note=f"{wiring.channels[wiring.direct[line]].name} is wired to it and cannot float",
        )  # fmt: skip
    _check_tied(block, floating, wiring)


def _check_tied(block: PulseBlock, floating: NDArray[np.bool_], wiring: Wiring) -> None:
    for channel, lines in wiring.tied.items():
        level = np.where(block.state[:, lines] == LineState.DRIVE, block.level_v[:, lines], 0.0)
        differ = np.not_equal(level, level[:, :1])
        differ |= floating[:, lines] != floating[:, lines[:1]]
        if block.width_s.ndim == 2:
            width = np.where(level != 0.0, block.width_s[:, lines], 0.0)
            differ |= width != width[:, :1]
        sensed = np.asarray(block.sense[:, lines].any(axis=1))
        differ |= sensed[:, None] & (np.arange(lines.size) > 0)
        found = np.argwhere(differ & (block.repeat > 0)[:, None]).tolist()
        if found:
            step, k = found[0]
            names = [wiring.geometry.line_name(int(lines[n])) for n in (0, k)]
            raise RouteRefused(
                "separate potentials at once", 2, 1, "channels", step=step, where=names[1],
                note=f"{names[0]} and {names[1]} are both wired to "
                f"{wiring.channels[channel].name}: they cannot differ or be sensed apart",
            )  # fmt: skip
