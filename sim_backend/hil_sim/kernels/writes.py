"""Which devices a step pulses: pulses per pair of line groups, and lists of the devices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hil_sim.kernels.groups import intervals
from hil_sim.kernels.law import P_H_DOWN, P_H_UP, pulses_of, tau_of
from hil_sim.kernels.pulse import pulse_devices

_LIST = 1024  # devices listed before they are pulsed
# Passes over a step's devices, as bits of a pair's mask. A device with pulses of both directions in
# one step gets them in the order of their intervals; who has one direction only is in a first pass.
UP_FIRST, DOWN_FIRST, UP_SECOND, DOWN_SECOND = 1, 2, 4, 8
SECOND = UP_SECOND | DOWN_SECOND


@njit(cache=True)
def may_write(high: float, low: float, tau: float, law: Any) -> bool:
    """Return True when a device could be moved by a voltage between ``low`` and ``high``."""
    for v in (high * law.polarity, low * law.polarity):
        if pulses_of(v, tau, law.h_min_p, True, law) > 0.0:
            return True
        if pulses_of(v, tau, law.h_min_d, False, law) > 0.0:
            return True
    return False


@njit(cache=True)
def pulse_tables(
    n_rg: int, row_v: Any, row_s: Any, row_on: Any, n_cg: int, col_v: Any, col_s: Any, law: Any,
    table: Any, mask: Any,
) -> int:  # fmt: skip
    """Fill (v1, tau1, v2, tau2, n_up, n_down) and passes of group pairs; return all passes.

    Pulses are upper bounds (lowest threshold of the array) when devices differ in theirs.
    """
    passes = 0
    for a in range(n_rg):
        for b in range(n_cg):
            v1, t1, v2, t2 = intervals(row_v[a], row_s[a], col_v[b], col_s[b], row_on[a])
            v1, v2 = v1 * law.polarity, v2 * law.polarity
            tau1, tau2 = tau_of(0.0, t1, law), tau_of(t1, t2, law)
            entry = table[a, b]
            entry[0], entry[1], entry[2], entry[3] = v1, tau1, v2, tau2
            entry[4] = pulses_of(v1, tau1, law.h_min_p, True, law) + pulses_of(
                v2, tau2, law.h_min_p, True, law
            )
            entry[5] = pulses_of(v1, tau1, law.h_min_d, False, law) + pulses_of(
                v2, tau2, law.h_min_d, False, law
            )
            up, down = entry[4] > 0.0, entry[5] > 0.0
            bits = 0
            if up and down:  # then v1 acts one way and v2 the other
                bits = UP_FIRST | DOWN_SECOND if v1 > 0.0 else DOWN_FIRST | UP_SECOND
            elif up:
                bits = UP_FIRST
            elif down:
                bits = DOWN_FIRST
            mask[a, b] = bits
            passes |= bits
    return passes


@njit(cache=True)
def crossing_alone(
    rows: Any, acting: Any, n_acting: int, cols: Any, order: Any, n_order: int, line_v: Any,
    line_s: Any, law: Any, gid: Any, starts: Any, table: Any, mask: Any, pair: Any,
) -> int:  # fmt: skip
    """Return the passes of a step in which no device acts with one driven line only, else −1.

    All driven rows do the same, and all driven columns; ``acting`` and ``order`` list them.
    ``gid``, ``starts``, ``table`` and ``mask`` become those of one group of either. It spares
    grouping all lines of a step that drives few. ``pair`` is kept from step to step: drives whose
    tables are made are not looked at again.
    """
    row_v = row_s = col_v = col_s = 0.0
    if n_acting:
        row_v, row_s = line_v[rows[acting[0]]], line_s[rows[acting[0]]]
    if n_order:
        col_v, col_s = line_v[cols[order[0]]], line_s[cols[order[0]]]
    same = row_v == pair[0, 0] and row_s == pair[1, 0] and col_v == pair[2, 0]
    if not (same and col_s == pair[3, 0] and pair[5, 0] == 1.0):
        pair[:4] = 0.0
        pair[0, 0], pair[1, 0], pair[2, 0], pair[3, 0] = row_v, row_s, col_v, col_s
        pair[4], pair[5, 0] = np.inf, 1.0
        pulse_tables(2, pair[0], pair[1], pair[4], 2, pair[2], pair[3], law, table, mask)
    if mask[0, 1] or mask[1, 0]:
        return -1
    for k in range(n_acting):
        gid[acting[k]] = 0
    starts[0], starts[1] = 0, n_order
    return int(mask[0, 0])


@njit(cache=True)
def acting_rows(write_gid: Any, n_cg: int, mask: Any, acting: Any) -> int:
    """List the rows in which some device gets pulses in this step; return how many they are."""
    count = 0
    for i in range(write_gid.size):
        bits = 0
        for b in range(n_cg):
            bits |= mask[write_gid[i], b]
        acting[count] = i
        count += bits != 0
    return count


@njit(cache=True)
def write_devices(
    times: int, passes: int, acting: Any, n_acting: int, write_gid: Any, n_cg: int, order: Any,
    starts: Any, table: Any, mask: Any, law: Any, nodes_up: Any, nodes_down: Any, params: Any,
    g: Any, ordinal: Any, key: Any, listed: Any, noise: Any,
) -> None:  # fmt: skip
    """Give every device its nominal pulses, ``times`` times; once where there is a second pass.

    ``listed`` is scratch: rows, columns and pulses of ``_LIST`` devices.
    """
    rows, cols, n_eff = listed
    for bit in (UP_FIRST, DOWN_FIRST, UP_SECOND, DOWN_SECOND):
        if not passes & bit:
            continue
        up = (bit & (UP_FIRST | UP_SECOND)) != 0
        nodes = nodes_up if up else nodes_down
        count = 0
        for k_row in range(n_acting):
            i = acting[k_row]
            a = write_gid[i]
            for b in range(n_cg):
                if not mask[a, b] & bit:
                    continue
                entry = table[a, b]
                n = entry[4] if up else entry[5]
                for k in range(starts[b], starts[b + 1]):
                    if law.per_device_law:
                        h = params[i, order[k], P_H_UP if up else P_H_DOWN]
                        n = pulses_of(entry[0], entry[1], h, up, law) + pulses_of(
                            entry[2], entry[3], h, up, law
                        )
                        if n <= 0.0:
                            continue
                    rows[count], cols[count], n_eff[count] = i, order[k], n
                    count += 1
                    if count == _LIST:
                        pulse_devices(rows, cols, n_eff, count, times, up, law, nodes, params, g,
                                      ordinal, key, noise)  # fmt: skip
                        count = 0
        if count:
            pulse_devices(rows, cols, n_eff, count, times, up, law, nodes, params, g, ordinal,
                          key, noise)  # fmt: skip


@njit(cache=True)
def new_list() -> tuple[Any, Any, Any]:
    """Return room for a list of devices: rows, columns, nominal pulses."""
    return np.empty(_LIST, np.int64), np.empty(_LIST, np.int64), np.empty(_LIST)
