"""What the devices of an array have received: histograms of pulse counts and of stress."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hil.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ONE_COLUMN,
    ORANGE,
    PINK,
    SKY,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    exact_factor,
    log_scale,
    panels,
)
from hil.report.maps import Exposure
from hil.report.text import count

_COLOURS = {"selected, +": BLUE, "selected, −": ORANGE, "half-selected": GREEN, "read": GREY}
_BINS = 30
_LOGARITHMIC = 30.0  # the ratio of the ends of a scale that makes it logarithmic


def exposures(received: Exposure) -> Drawing:
    """Return the histograms of one array; devices that received nothing are counted in words."""
    n = next(iter(received.counts.values())).size
    idle = {name: int((np.asarray(v) == 0).sum()) for name, v in received.counts.items()}
    caption = f"{count(n)} devices. a: pulses per device by class. "
    stresses = [name for name, _ in received.stress]
    if stresses:
        letters = ", ".join(f"{x}: {name}" for x, name in zip("bcd", stresses, strict=False))
        caption += f"{letters} per device (half-selected pulses and energy are approximate). "
    none = ", ".join(f"{name} {count(k)}" for name, k in idle.items() if k)
    if none:
        caption += f"Not drawn, without any: {none}. "
    caption += (
        "From the ledger, which counts every pulse."
        if received.from_ledger
        else "From the rows recorded: the run ended without a ledger."
    )
    across = 1 + len(received.stress)
    size = (TWO_COLUMNS if across > 1 else ONE_COLUMN, 2.3)
    return Drawing(
        f"exposure-{received.array}".replace(" ", "-"), f"Pulses and stress, {received.array}",
        caption, size, lambda canvas: _draw(canvas, received, across),
    )  # fmt: skip


def _draw(canvas: Canvas, received: Exposure, across: int) -> None:
    axes = panels(canvas, across)
    filled = {name: v[v > 0] for name, v in received.counts.items() if (v > 0).any()}
    bins = (
        histogram_edges(np.concatenate(list(filled.values()))) if filled else np.array([0.5, 1.5])
    )
    for name, values in filled.items():
        axes[0].hist(values, bins=bins.tolist(), histtype="stepfilled", lw=0.8, label=name,
                     facecolor=_faint(_COLOURS.get(name, SKY)),
                     edgecolor=_COLOURS.get(name, SKY))  # fmt: skip
    histogram_axes(axes[0], bins, "pulses per device")
    if len(filled) > 1:
        axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), borderaxespad=0.0,
                       ncols=2 if across > 2 else len(filled), columnspacing=0.8,
                       handlelength=1.0)  # fmt: skip
    for ax, ((name, unit), values) in zip(axes[1:], received.stress.items(), strict=False):
        values = values[np.isfinite(values) & (values > 0)]
        factor, prefixed = exact_factor(values, unit)
        edges = histogram_edges(factor * values)
        ax.hist(factor * values, bins=edges.tolist(), histtype="stepfilled", lw=0.8,
                facecolor=_faint(PINK), edgecolor=PINK)  # fmt: skip
        histogram_axes(ax, edges, f"{name} ({prefixed})")


def histogram_edges(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return edges for positive values, logarithmic where they span decades."""
    known = np.asarray(values, dtype=np.float64)
    low, high = float(known.min()), float(known.max())
    if high > _LOGARITHMIC * low:
        return np.geomspace(low * 0.97, high * 1.03, _BINS + 1)
    room = 0.06 * (high - low) or 0.25 * high
    return np.linspace(low - room, high + room, _BINS + 1)


def histogram_axes(ax: Axes, bins: NDArray[np.float64], label: str) -> None:
    """Label and scale the axes of a histogram of devices."""
    if bins[0] > 0.0 and bins[-1] > _LOGARITHMIC * bins[0]:
        log_scale(ax.xaxis)
    ax.set(xlabel=label, ylabel="devices")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _faint(colour: str) -> tuple[str, float]:
    return colour, 0.25
