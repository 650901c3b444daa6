"""Conductance over the pulse number of a cycle, of measured and of simulated devices alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.fit.measured import Floats, Ints, Responses


@dataclass(frozen=True, eq=False)
class CycleCurves:
    """Conductances over the pulses of a cycle, depression after potentiation.

    Attributes:
        pulse: (n_points,) pulses since the start of the cycle.
        n_up: pulses of potentiation.
        g_siemens: (n_cycles, n_points, n_devices), NaN = not read.
    """

    pulse: Ints
    n_up: int
    g_siemens: Floats

    @property
    def settled(self) -> Floats:
        """All cycles but the first, which starts from another state; the first if it is alone."""
        return self.g_siemens[1:] if len(self.g_siemens) > 1 else self.g_siemens

    def quantiles(self, *levels: float) -> Floats:
        """Return (n_levels, n_points) over devices and settled cycles."""
        lines = self.settled.transpose(1, 0, 2).reshape(self.pulse.size, -1)
        known = np.isfinite(lines).any(axis=1)
        out = np.full((len(levels), self.pulse.size), np.nan)
        out[:, known] = np.nanquantile(lines[known], levels, axis=1)
        return out


@dataclass(frozen=True)
class Agreement:
    """How simulated devices compare with measured ones, as shares of the measured window.

    Attributes:
        median: root mean square of the medians' difference.
        largest: its largest.
        spread: mean ratio of the standard deviations over devices and cycles, simulated/measured.
    """

    median: float
    largest: float
    spread: float


def cycle_curves(responses: Responses, keep: Ints | None = None) -> CycleCurves:
    """Return the curves of good rows; ``keep`` are the numbers of the devices wanted."""
    r = responses
    device = np.unique(r.device) if keep is None else np.asarray(keep)
    number = np.full(r.n_devices, -1)
    number[device] = np.arange(device.size)
    own = np.flatnonzero(number[r.device] >= 0)
    order = own[np.lexsort((own, r.cycle[own], r.device[own]))]
    up, pulses = r.polarity[order] > 0, r.pulses[order]
    cycle = r.cycle[order]
    train = np.stack([r.device[order], cycle, up])
    first = np.ones(order.size, dtype=np.bool_)
    first[1:] = (train[:, 1:] != train[:, :-1]).any(axis=0)
    done = np.cumsum(pulses)
    starts = np.flatnonzero(first)
    within = done - (done[starts] - pulses[starts])[np.cumsum(first) - 1]
    n_up = int(within[up].max(initial=0))
    x = np.where(up, within, n_up + within)
    begins = first & (up | (n_up == 0))
    grid = np.unique(np.append(x, 0))
    table = np.full((int(cycle.max(initial=0)) + 1, grid.size, device.size), np.nan)
    flag = r.flag[order] == 0
    who = number[r.device[order]]
    table[cycle[begins], 0, who[begins]] = r.before_siemens[order][begins]
    table[cycle[flag], np.searchsorted(grid, x[flag]), who[flag]] = r.after_siemens[order][flag]
    return CycleCurves(grid, n_up, table)


def agreement(measured: CycleCurves, simulated: CycleCurves) -> Agreement | None:
    """Compare at the pulse numbers that both have; None where they share fewer than two."""
    common, a, b = np.intersect1d(measured.pulse, simulated.pulse, return_indices=True)
    one, other = measured.quantiles(0.5)[0][a], simulated.quantiles(0.5)[0][b]
    known = np.isfinite(one) & np.isfinite(other)
    window = float(np.ptp(one[known])) if known.any() else 0.0
    if common.size < 2 or window <= 0.0:
        return None
    apart = (other - one)[known] / window
    spreads = [
        float(np.sqrt(np.nanmean(np.nanvar(curve.settled[:, at], axis=(0, 2)))))
        for curve, at in ((measured, a[known]), (simulated, b[known]))
    ]
    ratio = spreads[1] / spreads[0] if spreads[0] > 0 else float("nan")
    return Agreement(float(np.sqrt(np.mean(apart**2))), float(np.abs(apart).max()), ratio)
