"""How long states last: retention over time, endurance over cycles, disturb over pulses."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from hil.report.curves import Disturb, Endurance, Retention
from hil.report.devices import Floats
from hil.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ONE_COLUMN,
    ORANGE,
    Canvas,
    Drawing,
    exact_factor,
    log_scale,
    panels,
)

_SIZE = (ONE_COLUMN, 2.45)
_MOST_LINES = 40


def retention(curve: Retention) -> Drawing:
    """Return the figure of conductance over waiting time."""
    n = curve.g_siemens.shape[1]
    caption = f"Conductance at rest of {n} device{'s' * (n != 1)} (thin), their median (bold)"
    caption += " and the range of the middle 90 %." if n > 4 else "."
    if curve.wait_s[0] <= 0.0:
        caption += " Dotted: median before the first wait."
    return Drawing(
        "retention", "Retention", caption, _SIZE, lambda canvas: _retention(canvas, curve)
    )


def endurance(curve: Endurance) -> Drawing:
    """Return the figure of both states over cycles."""
    n = curve.high_siemens.shape[1]
    caption = (
        f"Conductance of {n} device{'s' * (n != 1)} after potentiation and after depression, over "
        "the cycles done: single devices (thin), median (bold)"
    )
    caption += " and the range of the middle 90 %." if n > 4 else "."
    return Drawing(
        "endurance", "Endurance", caption, _SIZE, lambda canvas: _endurance(canvas, curve)
    )


def disturb(curve: Disturb) -> Drawing:
    """Return the figure of what reads, or pulses on a neighbour, do."""
    what = "reads" if curve.by_reads else "write pulses on one device"
    caption = f"Change of conductance under {what}: median and the range of the middle 90 %."
    if not curve.by_reads:
        caption += " The device that is written is left out."
    return Drawing("disturb", "Disturb", caption, _SIZE, lambda canvas: _disturb(canvas, curve))


def _retention(canvas: Canvas, curve: Retention) -> None:
    (ax,) = panels(canvas, 1)
    factor, unit = exact_factor(curve.g_siemens, "S")
    later = curve.wait_s > 0.0
    _band(ax, curve.wait_s[later], factor * curve.g_siemens[later], BLUE, "")
    if not later.all():
        start = float(np.nanmedian(factor * curve.g_siemens[~later]))
        ax.axhline(start, color=GREY, lw=0.8, ls=":", zorder=0)
    ax.set(xlabel="time (s)", ylabel=f"conductance ({unit})", ylim=(0, None))
    log_scale(ax.xaxis)


def _endurance(canvas: Canvas, curve: Endurance) -> None:
    (ax,) = panels(canvas, 1)
    factor, unit = exact_factor(curve.high_siemens, "S")
    _band(ax, curve.cycle, factor * curve.high_siemens, BLUE, "after potentiation")
    _band(ax, curve.cycle, factor * curve.low_siemens, ORANGE, "after depression")
    ax.set(xlabel="cycle", ylabel=f"conductance ({unit})", ylim=(0, None))
    log_scale(ax.xaxis)
    ax.legend(loc="lower left", ncols=2)
    ax.set_ylim(0, 1.05 * factor * float(np.nanmax(curve.high_siemens)))


def _disturb(canvas: Canvas, curve: Disturb) -> None:
    (ax,) = panels(canvas, 1)
    groups = (
        ((0, BLUE, ""),) if curve.by_reads
        else ((0, GREY, "no line shared"), (1, ORANGE, "half-selected"))
    )  # fmt: skip
    for group, colour, label in groups:
        own = curve.group == group
        if own.any():
            _band(ax, curve.pulse, 100.0 * curve.change[:, own], colour, label, thin=False)
    ax.axhline(0.0, color=GREEN if curve.by_reads else GREY, lw=0.4, zorder=0)
    ax.set(xlabel="read pulses" if curve.by_reads else "write pulses",
           ylabel="change of conductance (%)")  # fmt: skip
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    if not curve.by_reads:
        ax.legend()


def _band(
    ax: Axes, x: np.ndarray, y: Floats, colour: str, label: str, *, thin: bool = True
) -> None:
    """Draw single devices, their median and the range of the middle 90 %."""
    if thin:
        n = min(y.shape[1], _MOST_LINES)
        ax.plot(x, y[:, :n], color=colour, lw=0.4, alpha=float(np.clip(4.0 / n, 0.12, 0.5)))
    if y.shape[1] > 4:
        low, high = np.nanpercentile(y, (5.0, 95.0), axis=1)
        ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(x, np.nanmedian(y, axis=1), color=colour, marker="o", ms=2.6, mew=0, label=label)
