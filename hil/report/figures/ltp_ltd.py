"""Potentiation and depression over the pulse number, with the spread between cycles and devices."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from hil.report.figures.style import (
    BLUE,
    GREY,
    ONE_COLUMN,
    ORANGE,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    exact_factor,
    panels,
)
from hil.report.pulse_curves import LtpLtd

#: Thin lines that are drawn, and cycles drawn one after the other.
_MOST_LINES, _MOST_CYCLES = 60, 6


def ltp_ltd(curve: LtpLtd, where: str = "") -> Drawing:
    """Return the figure of one set of curves; ``where`` names the layer, "" = the only one."""
    n_cycles, _, n_cells = curve.g_siemens.shape
    caption = f"Conductance after each pulse. Thin lines: {_amount(n_cells, 'device')} over "
    caption += f"{_amount(n_cycles, 'cycle')}; bold lines: mean."
    if curve.settled.shape[0] > 1:
        caption += " Dark band: ± one standard deviation from cycle to cycle (root mean square "
        caption += "over the devices)"
        caption += "; light band: between the devices." if n_cells > 1 else "."
    elif n_cells > 1:
        caption += " Band: ± one standard deviation between the devices."
    if n_cycles > 2:
        caption += " Mean and bands leave out the first cycle (dashed: its mean)."
    if n_cycles > 1:
        shown = min(n_cycles, _MOST_CYCLES)
        caption += f" b: {'the first ' * (shown < n_cycles)}{shown} cycles of one device."
    if curve.erased:
        caption += " A block erase takes the place of the depression pulses."
    size = (TWO_COLUMNS if n_cycles > 1 else ONE_COLUMN, 2.45)
    title = "Potentiation and depression" + (f", {where}" if where else "")
    name = f"ltp-ltd-{where}".strip("-").replace(" ", "-")
    return Drawing(name, title, caption, size, lambda canvas: _draw(canvas, curve))


def _draw(canvas: Canvas, curve: LtpLtd) -> None:
    several = curve.g_siemens.shape[0] > 1
    axes = panels(canvas, 2 if several else 1)
    factor, unit = exact_factor(curve.g_siemens, "S")
    _overlay(axes[0], curve, factor)
    axes[0].set(xlabel="pulse number", ylabel=f"conductance ({unit})")
    if several:
        _one_after_the_other(axes[1], curve, factor)
        axes[1].set(xlabel="pulse number in all", ylabel=f"conductance ({unit})")
        axes[1].set_ylim(axes[0].get_ylim())


def _overlay(ax: Axes, curve: LtpLtd, factor: float) -> None:
    x, g = curve.pulse, factor * curve.g_siemens
    n_cycles, n_points, n_cells = g.shape
    lines = g.transpose(1, 0, 2).reshape(n_points, n_cycles * n_cells)
    chosen = np.unique(np.linspace(0, lines.shape[1] - 1, _MOST_LINES).astype(int))
    alpha = float(np.clip(3.0 / len(chosen), 0.06, 0.4))
    mean, c2c, d2d = (factor * s for s in (curve.mean_siemens, curve.c2c_siemens,
                                           curve.d2d_siemens))  # fmt: skip
    up, down = x <= curve.n_up, x >= curve.n_up
    for part, colour, label in ((up, BLUE, "potentiation"), (down, ORANGE, "depression")):
        if part.sum() < 2:
            continue
        ax.plot(x[part], lines[part][:, chosen], color=colour, lw=0.4, alpha=alpha)
        for spread, strength in ((d2d, 0.18), (c2c, 0.32)):
            if np.isfinite(spread[part]).any():
                ax.fill_between(x[part], (mean - spread)[part], (mean + spread)[part],
                                color=colour, alpha=strength, lw=0)  # fmt: skip
        ax.plot(x[part], mean[part], color=colour, lw=1.4, label=label)
    if n_cycles > 2:
        first = np.nanmean(np.where(np.isfinite(g[0]), g[0], np.nan), axis=1)
        ax.plot(x, first, color=GREY, lw=0.9, ls=(0, (3, 2)), label="first cycle")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(bottom=0.0)
    ax.legend(loc="lower center")


def _one_after_the_other(ax: Axes, curve: LtpLtd, factor: float) -> None:
    """Draw the first cycles of one device as they followed one another."""
    g = factor * curve.g_siemens[:_MOST_CYCLES, :, 0]
    length = int(curve.pulse[-1])
    for cycle, values in enumerate(g):
        x = cycle * length + curve.pulse
        for part, colour in (
            (curve.pulse <= curve.n_up, BLUE),
            (curve.pulse >= curve.n_up, ORANGE),
        ):
            ax.plot(x[part], values[part], color=colour, lw=0.5, marker=".", ms=1.6, mew=0)
    ax.set_xlim(0, len(g) * length)
    row, col = curve.cells[0]
    ax.set_title(f"device ({row}, {col})", loc="right", fontsize=7.0)


def _amount(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
