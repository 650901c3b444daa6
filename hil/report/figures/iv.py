"""Current over voltage of single devices."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hil.report.curves import IvCurve
from hil.report.figures.style import (
    COLOURS,
    GREY,
    INK,
    ONE_COLUMN,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    exact_factor,
    log_scale,
    panels,
)


def iv(curve: IvCurve) -> Drawing:
    """Return the figure of a sweep; a switching loop is shown on a logarithmic scale, too."""
    n = curve.current_a.shape[1]
    caption = f"Current through {n} device{'s' * (n != 1)} over voltage."
    if curve.switching:
        caption += " b: its magnitude; arrows show the order of the sweep."
    size = (TWO_COLUMNS if curve.switching else ONE_COLUMN, 2.45)
    return Drawing("iv", "Current and voltage", caption, size, lambda canvas: _draw(canvas, curve))


def _draw(canvas: Canvas, curve: IvCurve) -> None:
    axes = panels(canvas, 2 if curve.switching else 1)
    factor, unit = exact_factor(curve.current_a, "A")
    _lines(axes[0], curve, factor * curve.current_a)
    _legend(axes[0], curve)
    axes[0].axhline(0.0, color=GREY, lw=0.4, zorder=0)
    axes[0].axvline(0.0, color=GREY, lw=0.4, zorder=0)
    axes[0].set(xlabel="voltage (V)", ylabel=f"current ({unit})")
    if not curve.switching:
        return
    magnitude = factor * np.abs(curve.current_a)
    magnitude[magnitude <= 0.0] = np.nan
    # 0 V has no place on a logarithmic scale, and the noise next to it stretches it.
    magnitude[np.abs(curve.voltage_v) < 1e-6 * np.abs(curve.voltage_v).max()] = np.nan
    _lines(axes[1], curve, magnitude)
    _arrows(axes[1], curve, magnitude)
    axes[1].set(xlabel="voltage (V)", ylabel=f"|current| ({unit})")
    log_scale(axes[1].yaxis)


def _lines(ax: Axes, curve: IvCurve, values: np.ndarray) -> None:
    few = values.shape[1] <= len(COLOURS)
    for k, (row, col) in enumerate(curve.cells):
        ax.plot(
            curve.voltage_v, values[:, k], color=COLOURS[k] if few else GREY, marker=".", ms=2.5,
            mew=0, lw=0.8 if few else 0.3, alpha=1.0 if few else 0.4,
            label=f"({row}, {col})" if few else None,
        )  # fmt: skip
    if not few:
        ax.plot(curve.voltage_v, np.nanmedian(values, axis=1), color=INK, lw=1.3, label="median")
    ax.xaxis.set_major_locator(MaxNLocator(6))


def _legend(ax: Axes, curve: IvCurve) -> None:
    few = len(curve.cells) <= len(COLOURS)
    ax.legend(title="device" if few else None, title_fontsize=7.0, loc="upper left")


def _arrows(ax: Axes, curve: IvCurve, values: np.ndarray) -> None:
    """Show the direction of the sweep at four places of the first device."""
    v, y = curve.voltage_v, values[:, 0]
    good = np.flatnonzero(np.isfinite(y[:-1]) & np.isfinite(y[1:]))
    for share in (0.12, 0.38, 0.62, 0.88):
        if good.size:
            k = good[int(share * (good.size - 1))]
            ax.annotate(
                "", (v[k + 1], y[k + 1]), (v[k], y[k]),
                arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 0.6, "mutation_scale": 8},
            )  # fmt: skip
