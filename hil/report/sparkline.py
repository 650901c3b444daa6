"""What a run did over its course in one line of text each, for terminals; needs no extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.record import Run
from hil.record.labelled import numpy_of
from hil.report import curves, pulse_curves
from hil.report.learning import learning_curves
from hil.report.recorded import Recorded
from hil.report.text import count, percent, quantity

_BARS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 40


class Trend(NamedTuple):
    """A quantity over a run: what it is, its course as bars, its first and last value in words."""

    name: str
    line: str
    text: str


def sparkline(values: ArrayLike, width: int = WIDTH, *, low: float | None = None) -> str:
    """Return ``values`` as at most ``width`` bars, from ``low`` (None = the least); NaN = a gap."""
    y = _mean_of_pieces(np.asarray(values, dtype=np.float64).ravel(), width)
    known = np.isfinite(y)
    if not known.any():
        return ""
    high = float(y[known].max())
    low = float(y[known].min()) if low is None else low
    share = np.where(known, y - low, 0.0) / ((high - low) or 1.0)
    level = np.clip((share * len(_BARS)).astype(int), 0, len(_BARS) - 1)
    return "".join(_BARS[k] if ok else " " for k, ok in zip(level, known, strict=True))


def trends(run: Run, width: int = WIDTH) -> list[Trend]:
    """Return what a run has to show over its course: learning, curves, pulses over time.

    Lines are at most ``width`` bars long.
    """
    recorded = Recorded(run)
    found: list[Trend] = []

    def put(name: str, values: NDArray[np.float64], told: Callable[[float], str]) -> None:
        known = values[np.isfinite(values)]
        if known.size > 1:
            text = f"{told(float(known[0]))} → {told(float(known[-1]))}"
            found.append(Trend(name, sparkline(values, width), text))

    for curve in learning_curves(recorded):
        of = f"{curve.method} " if curve.method else ""
        put(f"{of}test accuracy", curve.test_accuracy, percent)
        put(f"{of}loss", curve.train_loss, lambda v: f"{v:.3g}")
        put(f"{of}write pulses", curve.write_pulses, count)
    outcome = recorded.checkpoint("outcome")
    trains = pulse_curves.ltp_ltd(outcome)
    if trains is not None:
        put("LTP and LTD, mean", trains.mean_siemens, _siemens)
    sweep = curves.iv_curve(outcome)
    if sweep is not None:
        put("current, median", np.median(sweep.current_a, axis=1), lambda v: quantity(v, "A"))
    lasting = curves.retention(outcome)
    if lasting is not None:
        put("retention, median", np.median(lasting.g_siemens, axis=1), _siemens)
    ends = curves.endurance(outcome)
    if ends is not None:
        put("high state, median", np.nanmedian(ends.high_siemens, axis=1), _siemens)
        put("low state, median", np.nanmedian(ends.low_siemens, axis=1), _siemens)
    found += _pulses_over_time(run, width)
    return found


def _pulses_over_time(run: Run, width: int) -> list[Trend]:
    t_ns, pulses = numpy_of(run.ops["t_ns"]), numpy_of(run.ops["n_pulses"])
    if t_ns.size < 2 or t_ns[-1] <= t_ns[0] or not pulses.any():
        return []
    per_bin, _ = np.histogram(t_ns, bins=width, weights=pulses)
    seconds = float(t_ns[-1] - t_ns[0]) * 1e-9
    text = f"{count(float(pulses.sum()))} in {quantity(seconds, 's', 3)}"
    return [Trend("pulses over time", sparkline(per_bin, width, low=0.0), text)]


def _mean_of_pieces(y: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the means of ``n`` pieces of about equal length; all values where they are fewer."""
    if y.size <= n:
        return y
    known = np.isfinite(y)
    starts = np.arange(n) * y.size // n
    total = np.add.reduceat(np.where(known, y, 0.0), starts)
    amount = np.add.reduceat(known.astype(np.float64), starts)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / amount)


def _siemens(value: float) -> str:
    return quantity(value, "S")
