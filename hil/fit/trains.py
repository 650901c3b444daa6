"""From pulse rows to responses: pulses between two reads, the cycle and chain they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.fit.columns import Rows
from hil.fit.measured import UNREAD, Ints, Responses


def responses_of(rows: Rows, every: Ints, op: dict[str, Any]) -> Responses:
    """Return the responses of one run.

    Rows of one device and polarity without a read between them are one response to all their
    pulses. A cycle begins with potentiation after depression; where there is one polarity only,
    with a read that follows no pulse.

    Args:
        rows: sorted by device.
        every: cells of all devices, rising; a device's number is its place there.
        op: the operating point; the sign of ``potentiate_v`` is that of potentiation.
    """
    sign = 1.0 if float(op["potentiate_v"]) >= 0.0 else -1.0
    polarity = np.where(rows.v * sign > 0.0, 1, -1)
    n = rows.cell.size
    new = _changes(rows.cell) | _changes(polarity)
    if n:
        new[1:] |= np.isfinite(rows.g1[:-1])  # a read ends the response before it
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], n) - 1
    pulses = np.add.reduceat(rows.count, starts) if n else np.empty(0, np.int64)
    cell, up = rows.cell[starts], polarity[starts]
    before, after = rows.g0[starts], rows.g1[ends]
    flag = np.bitwise_or.reduceat(rows.flag, starts) if n else np.empty(0, np.uint8)
    unread = ~(np.isfinite(before) & np.isfinite(after))
    flag = (flag | np.where(unread, UNREAD, 0)).astype(np.uint8)
    linked = np.zeros(starts.size, dtype=np.bool_)  # to the row before
    linked[1:] = (cell[1:] == cell[:-1]) & (before[1:] == after[:-1])
    own = np.zeros(starts.size, dtype=np.bool_)
    own[1:] = (cell[1:] == cell[:-1]) & (up[1:] == up[:-1])
    chain = np.cumsum(~(linked & own)) - 1
    cells = np.stack([every >> 16, every & 0xFFFF], axis=1)
    return Responses(
        cells, np.searchsorted(every, cell), _cycle(cell, up, linked), up.astype(np.int64), pulses,
        rows.v[starts], rows.width_s[starts], before, after, chain, flag,
    )  # fmt: skip


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    out = np.ones(values.size, dtype=np.bool_)
    out[1:] = values[1:] != values[:-1]
    return out


def _cycle(cell: Ints, up: Ints, linked: NDArray[np.bool_]) -> Ints:
    """Return the cycle of every response, from 0 for each device."""
    first = _changes(cell)
    begins = first.copy()
    if (up < 0).any() and (up > 0).any():
        begins[1:] |= (up[1:] > 0) & (up[:-1] < 0)
    else:
        begins[1:] |= ~linked[1:]
    running = np.cumsum(begins)
    of_device = np.cumsum(first) - 1
    cycle: Ints = running - running[np.flatnonzero(first)][of_device]
    return cycle
