"""From recorded responses to chains that can be fitted: what is left out, stuck devices, rails."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import FitError
from hil.fit.chains import Chains
from hil.fit.measured import COMPLIANCE, OVERFLOW, UNREAD, Responses
from hil.fit.result import GOOD, NO_DATA, STUCK_HIGH, STUCK_LOW, STUCK_VALUE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_FEWEST_ROWS: Final = 6  # of a device
_MAIN_SHARE: Final = 0.6  # of the pulses of a polarity that are alike
_STUCK_SHARE: Final = 0.1  # of the usual swing
_SAME: Final = 1e-3  # pulses that differ by less are alike
_TIE: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Rails:
    """Ends of each device's range in siemens.

    ``reached_low`` and ``reached_high`` say whether the readings pile up there in most devices; an
    end that was not reached is only thought, outside of what was seen.
    """

    low: Floats
    high: Floats
    reached_low: bool
    reached_high: bool


def usable(responses: Responses) -> tuple[Responses, dict[str, int], list[str]]:
    """Return the rows that can be fitted, the others counted by reason, and warnings.

    Raises:
        FitError: no row is left, columns do not fit together, or pulses of mixed amplitude.
    """
    _check_columns(responses)
    flag = responses.flag
    before, after = responses.before_siemens, responses.after_siemens
    read = np.isfinite(before) & np.isfinite(after)
    good = (flag == 0) & read & (responses.pulses >= 1)
    left_out = {
        "compliance met": int(((flag & COMPLIANCE) != 0).sum()),
        "not read": int((((flag & UNREAD) != 0) | ~read).sum()),
        "out of range": int(((flag & OVERFLOW) != 0).sum()),
        "no pulse": int((responses.pulses < 1).sum()),
    }
    if not good.any():
        why = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
        raise FitError(
            f"none of the {responses.n} pulses can be used ({why or 'there are none'}); measure "
            "responses with the protocol ltp-ltd"
        )
    alike, other = _alike(responses, good)
    left_out["another amplitude or width"] = other
    return responses.only(good & alike), {k: n for k, n in left_out.items() if n}, []


def _check_columns(r: Responses) -> None:
    n = r.device.size
    for name in ("cycle", "polarity", "pulses", "amplitude_v", "width_s", "before_siemens",
                 "after_siemens", "chain", "flag"):  # fmt: skip
        if getattr(r, name).shape != (n,):
            raise FitError(f"{name} has shape {getattr(r, name).shape}, device has ({n},)")
    if n and not (int(r.device.min()) >= 0 and int(r.device.max()) < r.n_devices):
        raise FitError(f"device numbers up to {int(r.device.max())}, limit {r.n_devices - 1}")


def _alike(r: Responses, good: Bools) -> tuple[Bools, int]:
    """Return the rows whose pulse is the commonest of their polarity, and how many are not."""
    alike = np.zeros(r.n, dtype=np.bool_)
    for sign, name in ((1, "potentiation"), (-1, "depression")):
        rows = np.flatnonzero(good & (r.polarity == sign))
        if not rows.size:
            continue
        pulse = np.stack([np.nan_to_num(r.amplitude_v[rows]), np.nan_to_num(r.width_s[rows])], 1)
        if np.allclose(pulse, pulse[0], rtol=_SAME, atol=0.0):
            alike[rows] = True
            continue
        digits = 3 - np.floor(np.log10(np.maximum(np.abs(pulse), 1e-30)))
        rounded = np.round(pulse * 10.0**digits).astype(np.int64)
        rounded = np.concatenate([rounded, digits.astype(np.int64)], axis=1)
        kinds, which, counts = np.unique(rounded, axis=0, return_inverse=True, return_counts=True)
        which = which.ravel()
        main = int(counts.argmax())
        if counts[main] < _MAIN_SHARE * rows.size:
            first = [int((which == k).argmax()) for k in range(min(len(kinds), 4))]
            seen = ", ".join(f"{pulse[k, 0]:.4g} V {pulse[k, 1]:.3g} s" for k in first)
            raise FitError(
                f"{name} pulses of {len(kinds)} kinds ({seen}{', …' if len(kinds) > 4 else ''}), "
                f"the commonest makes {counts[main] / rows.size:.0%} of them: fit runs of one "
                "amplitude and width, and give the others as a pulse-map"
            )
        alike[rows[which == main]] = True
    return alike, int((good & ~alike).sum())


def sort_out(r: Responses, sigma: Floats) -> NDArray[np.int8]:
    """Return the code of every device: good, stuck (and where), or without data.

    ``sigma`` is the read noise in siemens of each row. A stuck device moves by less than a tenth of
    what responding devices do.

    Raises:
        FitError: no device answers the pulses.
    """
    kinds = np.full(r.n_devices, NO_DATA, dtype=np.int8)
    counts = np.bincount(r.device, minlength=r.n_devices)
    have = counts >= _FEWEST_ROWS
    if not have.any():
        raise FitError(
            f"no device has {_FEWEST_ROWS} usable pulses (most: {int(counts.max(initial=0))})"
        )
    top = np.full(r.n_devices, -np.inf)
    bottom = np.full(r.n_devices, np.inf)
    total = np.zeros(r.n_devices)
    for column in (r.before_siemens, r.after_siemens):
        np.maximum.at(top, r.device, column)
        np.minimum.at(bottom, r.device, column)
        total += np.bincount(r.device, column, r.n_devices)
    mean = total / np.maximum(2 * counts, 1)
    noise = np.bincount(r.device, sigma, r.n_devices) / np.maximum(counts, 1)
    # Extremes of n readings of a device that stands still lie this far apart.
    still = 2.0 * noise * np.sqrt(2.0 * np.log(np.maximum(counts, 2)))
    with np.errstate(invalid="ignore"):
        swing = top - bottom
    usual = float(np.quantile(swing[have], 0.9))
    stuck = have & ((swing <= _STUCK_SHARE * usual + still) & (swing <= 0.3 * usual + still)
                    & (swing <= 1.5 * still + _STUCK_SHARE * usual))  # fmt: skip
    if not usual > 0.0 or (have & ~stuck).sum() == 0:
        raise FitError(
            f"none of the {int(have.sum())} devices answers the pulses: their conductance moves by "
            f"{usual:.3g} S at most, the read noise alone gives {float(still[have].max()):.3g} S; "
            "raise the amplitude (protocol pulse-map)"
        )
    kinds[have] = GOOD
    responding = have & ~stuck
    low, high = float(np.median(bottom[responding])), float(np.median(top[responding]))
    where = (mean - low) / (high - low)
    kinds[stuck] = STUCK_VALUE
    kinds[stuck & (where < 0.2)] = STUCK_LOW
    kinds[stuck & (where > 0.8)] = STUCK_HIGH
    return kinds


def find_rails(r: Responses, rel2: float, abs2: float) -> Rails:
    """Find where each device's readings pile up at both ends, by mean shift within the noise.

    With read noise, whether they do pile up is only a first guess. Rows must be sorted by device;
    devices without rows get NaN.
    """
    low, high = np.full(r.n_devices, np.nan), np.full(r.n_devices, np.nan)
    reached = np.zeros((2, r.n_devices), dtype=np.bool_)
    firsts = np.flatnonzero(np.r_[True, np.diff(r.device) != 0, True])
    for start, stop in pairwise(firsts.tolist()):
        before = r.before_siemens[start:stop]
        after = r.after_siemens[start:stop]
        new = np.r_[True, before[1:] != after[:-1]]
        readings = np.concatenate([before[new], after])
        own = r.device[start]
        high[own], reached[1, own] = _pile(readings, rel2, abs2)
        lowest, reached[0, own] = _pile(-readings, rel2, abs2)
        low[own] = -lowest
    seen = np.isfinite(high)
    share = reached[:, seen].mean(axis=1)
    # A device that did not get there is thought to end where the others do, if not beyond.
    for ends, at, sign in ((low, 0, -1.0), (high, 1, 1.0)):
        if 0.25 < share[at] < 1.0:
            usual = float(np.median(ends[seen & reached[at]]))
            missed = seen & ~reached[at]
            ends[missed] = sign * np.maximum(sign * ends[missed], sign * usual)
    return Rails(low, high, bool(share[0] > 0.5), bool(share[1] > 0.5))


def moved_out(rails: Rails, low: bool, high: bool, margins: tuple[float, float]) -> Rails:
    """Return rails of which the chosen ends lie so many ranges further out, where none acts."""
    span = rails.high - rails.low
    lower = rails.low - margins[0] * span
    if margins[0] < 1.0:  # a conductance stays above 0
        lower = np.maximum(lower, 0.3 * rails.low)
    return Rails(
        lower if low else rails.low, rails.high + margins[1] * span if high else rails.high,
        rails.reached_low and not low, rails.reached_high and not high,
    )  # fmt: skip


def _pile(y: Floats, rel2: float, abs2: float) -> tuple[float, bool]:
    """Return the upper end of ``y`` and whether readings may pile up there."""
    top, span = float(y.max()), float(y.max() - y.min())
    sigma = float(np.sqrt(rel2 * top * top + abs2))
    if sigma <= _TIE * span:
        return top, int((y >= top - _TIE * span).sum()) >= 2
    end = top - 2.0 * sigma
    for _ in range(12):
        inside = y[np.abs(y - end) < 2.5 * sigma]
        if not inside.size:
            break
        end = float(inside.mean())
    here = int((np.abs(y - end) < 2.5 * sigma).sum())
    below = int((np.abs(y - end + 5.0 * sigma) < 2.5 * sigma).sum())
    return end, here >= 3 and here > 1.2 * below


def chains_of(
    r: Responses, devices: NDArray[np.int64], scale: float, by_chain: bool
) -> Chains:  # fmt: skip
    """Return the transitions of ``devices`` (rows sorted by device), numbered anew from 0."""
    number = np.full(r.n_devices, -1, dtype=np.int64)
    number[devices] = np.arange(devices.size)
    rows = np.flatnonzero(number[r.device] >= 0)
    device = number[r.device[rows]]
    before, after = r.before_siemens[rows], r.after_siemens[rows]
    follows = np.zeros(rows.size, dtype=np.bool_)
    follows[1:] = (device[1:] == device[:-1]) & (before[1:] == after[:-1])
    first = np.searchsorted(device, np.arange(devices.size + 1))
    unit, device_of = device, np.arange(devices.size)
    if by_chain:
        cycle = r.cycle[rows]
        new = np.r_[True, (np.diff(device) != 0) | (np.diff(cycle) != 0)]
        unit = np.cumsum(new) - 1
        device_of = device[new]
    return Chains(
        device, unit, device_of, first, ~follows, r.polarity[rows] > 0, r.pulses[rows],
        before / scale, after / scale, scale,
    )  # fmt: skip
