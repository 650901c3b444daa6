"""Maps of arrays: conductance before, after, target, error; where a limit was met."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hil.report.curves import PulseMap
from hil.report.devices import DeviceMaps, Floats
from hil.report.figures.style import (
    INK,
    NOT_KNOWN,
    ONE_COLUMN,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    bar,
    exact_factor,
    framed,
    panels,
)
from hil.report.maps import ArrayMaps

_MAP = "viridis"


def conductance_maps(maps: ArrayMaps) -> Drawing:
    """Return the figure of one array's conductances."""
    shown = _shown(maps)
    width = TWO_COLUMNS if len(shown) > 1 else ONE_COLUMN
    bars = 1.35 if maps.error is not None else 0.75
    _, values = shown[0]
    wide = (width - 0.45 - bars) / len(shown) - 0.12
    height = float(np.clip(wide * values.shape[0] / values.shape[1], 0.8, 2.3)) + 0.6
    caption = "Conductance " + ", ".join(name for name, _ in shown) + "."
    if any(np.isnan(v).any() for _, v in shown):
        caption += " Grey: not read."
    if maps.error is not None:
        known = maps.error[np.isfinite(maps.error)]
        factor, unit = exact_factor(known, "S")
        caption += f" Error: after minus target, {factor * known.mean():+.2g} ± "
        caption += f"{factor * known.std():.2g} {unit} (mean ± standard deviation)."
    return Drawing(
        f"maps-{maps.array}".replace(" ", "-"), f"Conductance maps, {maps.array}", caption,
        (width, height), lambda canvas: _maps(canvas, maps),
    )  # fmt: skip


def compliance_map(array: str, rows: DeviceMaps) -> Drawing:
    """Return the map of how often devices met a current or voltage limit."""
    hit = rows.compliance
    caption = (
        f"Recorded pulses in which a current or voltage limit was met: {int(hit.sum())} on "
        f"{int((hit > 0).sum())} devices."
    )
    height = float(np.clip((ONE_COLUMN - 0.9) * hit.shape[0] / hit.shape[1], 0.9, 2.8)) + 0.55

    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        image = array_image(ax, hit, cmap="magma_r", vmin=0)
        bar(canvas, image, ax, "pulses at the limit", ticks=MaxNLocator(5, integer=True))

    return Drawing(f"compliance-{array}".replace(" ", "-"), f"Limits met, {array}", caption,
                   (ONE_COLUMN, height), draw)  # fmt: skip


def pulse_map(measured: PulseMap) -> Drawing:
    """Return the map of the change of conductance over amplitude and width."""

    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        factor, unit = exact_factor(measured.change_siemens, "S")
        width_factor, width_unit = exact_factor(measured.width_s, "s")
        values = factor * measured.change_siemens
        largest = float(np.nanmax(np.abs(values))) or 1.0
        both = np.nanmin(values) < -0.05 * largest and np.nanmax(values) > 0.05 * largest
        sign = np.sign(np.nansum(values)) or 1.0
        # In one direction only, no half of the colour bar goes to waste.
        low, high = (-largest, largest) if both else sorted((0.0, sign * largest))
        colours = "PuOr_r" if both else "Blues" if sign > 0 else "Blues_r"
        image = ax.imshow(values, aspect="auto", origin="lower", cmap=colours, vmin=low, vmax=high)
        ax.set_xticks(range(measured.width_s.size),
                      [f"{width_factor * w:.3g}" for w in measured.width_s])  # fmt: skip
        ax.set_yticks(range(measured.amplitude_v.size),
                      [f"{v:.3g}" for v in measured.amplitude_v])  # fmt: skip
        if values.size <= 64:
            for (i, j), value in np.ndenumerate(values):
                dark = abs(value) > 0.6 * largest
                ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=6.5,
                        color="white" if dark else INK)  # fmt: skip
        ax.set(xlabel=f"pulse width ({width_unit})", ylabel="amplitude (V)")
        framed(ax)
        bar(canvas, image, ax, f"change of conductance ({unit})")

    caption = f"Mean change of conductance by {measured.pulses} pulses from the reset state."
    return Drawing("pulse-map", "Response to amplitude and width", caption, (ONE_COLUMN, 2.3), draw)


def _shown(maps: ArrayMaps) -> list[tuple[str, Floats]]:
    named = (("before", maps.before), ("after", maps.after), ("target", maps.target),
             ("error", maps.error))  # fmt: skip
    return [(name, values) for name, values in named if values is not None]


def _maps(canvas: Canvas, maps: ArrayMaps) -> None:
    shown = _shown(maps)
    axes = panels(canvas, len(shown), sharey=True)
    known = np.concatenate([v.ravel() for name, v in shown if name != "error"])
    factor, unit = exact_factor(known, "S")
    low, high = np.nanmin(known) * factor, np.nanmax(known) * factor
    for ax, (name, values) in zip(axes, shown, strict=False):
        if name == "error":
            own, own_unit = exact_factor(values, "S")
            largest = float(np.nanmax(np.abs(values))) * own or 1.0
            image = array_image(ax, own * values, cmap="PuOr_r", vmin=-largest, vmax=largest)
            bar(canvas, image, ax, f"error ({own_unit})")
        else:
            image = array_image(ax, factor * values, cmap=_MAP, vmin=min(low, 0.0), vmax=high)
        if len(shown) > 1:
            ax.set_title(name)
        if ax is not axes[0]:
            ax.set_ylabel("")
    same = [ax for ax, (name, _) in zip(axes, shown, strict=False) if name != "error"]
    # One bar for all maps of the same scale.
    bar(canvas, same[-1].images[0], same, f"conductance ({unit})")


def array_image(ax: Axes, values: Floats, **options: Any) -> Any:
    """Draw a map of an array into its axes and return the image; NaN is grey."""
    image = ax.imshow(values, interpolation="nearest", aspect="auto", **options)
    ax.set_facecolor(NOT_KNOWN)  # shows through where a value is NaN
    ax.set(xlabel="column", ylabel="row")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    framed(ax)
    return image
