"""The same measurement of two runs in one picture: A in blue, B in orange."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hil.report.devices import Floats
from hil.report.figures.arrays import array_image
from hil.report.figures.exposures import histogram_axes, histogram_edges
from hil.report.figures.style import (
    BLUE,
    ONE_COLUMN,
    ORANGE,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    bar,
    exact_factor,
    log_scale,
    panels,
)
from hil.report.gather import Content
from hil.report.learning import LearningCurve
from hil.report.maps import ArrayMaps, Exposure
from hil.report.pulse_curves import LtpLtd

T = TypeVar("T")

_SIZE = (ONE_COLUMN, 2.45)
_COLOURS = {"A": BLUE, "B": ORANGE}


def overlays(one: Content, other: Content) -> list[Drawing]:
    """Return figures of everything that both runs have."""
    made: list[Drawing] = []
    made += [
        _learning(name, a, b)
        for name, a, b in _both({c.method: c for c in one.learning},
                                {c.method: c for c in other.learning})
    ]  # fmt: skip
    made += [_ltp_ltd(where, a, b) for where, a, b in _both(one.ltp_ltd, other.ltp_ltd)]
    if one.iv is not None and other.iv is not None:
        made.append(_medians(
            "iv", "Current and voltage", "Median over the devices.", "voltage (V)", "current", "A",
            {"A": (one.iv.voltage_v, one.iv.current_a), "B": (other.iv.voltage_v,
                                                             other.iv.current_a)},
        ))  # fmt: skip
    if one.retention is not None and other.retention is not None:
        curves = {"A": one.retention, "B": other.retention}
        made.append(_medians(
            "retention", "Retention", "Median over the devices and the range of the middle 90 %.",
            "time (s)", "conductance", "S",
            {k: (c.wait_s[c.wait_s > 0], c.g_siemens[c.wait_s > 0]) for k, c in curves.items()},
            log=True,
        ))  # fmt: skip
    if one.endurance is not None and other.endurance is not None:
        ends = {"A": one.endurance, "B": other.endurance}
        made.append(_medians(
            "endurance", "Endurance",
            "Median over the devices after potentiation and after depression.", "cycle",
            "conductance", "S",
            {k: (np.concatenate([c.cycle, [0], c.cycle]).astype(float),
                 np.concatenate([c.high_siemens, np.full((1, c.high_siemens.shape[1]), np.nan),
                                 c.low_siemens])) for k, c in ends.items()},
            log=True,
        ))  # fmt: skip
    maps = [{m.array: m for m in c.maps if m.after is not None} for c in (one, other)]
    made += [_maps(name, a, b) for name, a, b in _both(*maps) if _alike(a, b)]
    received = [{e.array: e for e in c.exposure} for c in (one, other)]
    made += [_exposures(name, a, b) for name, a, b in _both(*received)]
    return made


def _both(a: dict[str, T], b: dict[str, T]) -> Iterable[tuple[str, T, T]]:
    return [(name, a[name], b[name]) for name in a if name in b]


def _alike(a: ArrayMaps, b: ArrayMaps) -> bool:
    return a.after is not None and b.after is not None and a.after.shape == b.after.shape


def _named(stem: str, of: str) -> str:
    return f"{stem}-{of}".strip("-").replace(" ", "-")


def _ltp_ltd(where: str, a: LtpLtd, b: LtpLtd) -> Drawing:
    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        factor, unit = exact_factor([np.nanmax(c.g_siemens) for c in (a, b)], "S")
        for name, curve in (("A", a), ("B", b)):
            mean, c2c = factor * curve.mean_siemens, factor * curve.c2c_siemens
            if np.isfinite(c2c).any():
                ax.fill_between(curve.pulse, mean - c2c, mean + c2c, color=_COLOURS[name],
                                alpha=0.25, lw=0)  # fmt: skip
            ax.plot(curve.pulse, mean, color=_COLOURS[name], label=name)
        ax.set(xlabel="pulse number", ylabel=f"conductance ({unit})", ylim=(0, None))
        ax.legend()

    caption = "Mean over devices and cycles; band: ± one standard deviation from cycle to cycle."
    title = "Potentiation and depression" + (f", {where}" if where else "")
    return Drawing(_named("ltp-ltd", where), title, caption, _SIZE, draw)


def _learning(method: str, a: LearningCurve, b: LearningCurve) -> Drawing:
    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        for name, curve in (("A", a), ("B", b)):
            done = np.isfinite(curve.test_accuracy)
            ax.plot(curve.epoch[done], 100 * curve.test_accuracy[done], marker="o", label=name,
                    color=_COLOURS[name])  # fmt: skip
            if curve.float_accuracy.size:
                ax.plot(np.arange(curve.float_accuracy.size) + 1, 100 * curve.float_accuracy,
                        color=_COLOURS[name], ls=(0, (4, 2)), lw=0.8)  # fmt: skip
        ax.set(xlabel="epoch", ylabel="test accuracy (%)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(axis="y", lw=0.4, color="#DDDDDD")
        ax.legend()

    caption = "Share of test samples classified right; dashed: the same network in floating point."
    title = "Learning curve" + (f", {method}" if method else "")
    return Drawing(_named("learning", method), title, caption, _SIZE, draw)


def _medians(
    name: str, title: str, caption: str, xlabel: str, quantity: str, unit: str,
    curves: dict[str, tuple[Floats, Floats]], *, log: bool = False,
) -> Drawing:  # fmt: skip
    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        factor, prefixed = exact_factor(np.concatenate([y.ravel() for _, y in curves.values()]),
                                        unit)  # fmt: skip
        for run, (x, y) in curves.items():
            _median(ax, x, factor * y, run, band=name == "retention")
        ax.set(xlabel=xlabel, ylabel=f"{quantity} ({prefixed})")
        if log:
            ax.set_ylim(0, None)
            log_scale(ax.xaxis)
        ax.legend()

    return Drawing(name, title, caption, _SIZE, draw)


def _median(ax: Axes, x: NDArray[np.float64], y: Floats, run: str, *, band: bool) -> None:
    known = np.isfinite(y).any(axis=1)
    middle = np.full(len(y), np.nan)
    middle[known] = np.nanmedian(y[known], axis=1)
    if band and y.shape[1] > 4:
        low, high = np.nanpercentile(y, (5.0, 95.0), axis=1)
        ax.fill_between(x, low, high, color=_COLOURS[run], alpha=0.18, lw=0)
    ax.plot(x, middle, color=_COLOURS[run], marker="o", ms=2.4, mew=0, label=run)


def _maps(array: str, a: ArrayMaps, b: ArrayMaps) -> Drawing:
    first, second = (np.asarray(m.after, dtype=np.float64) for m in (a, b))
    change = second - first
    factor, unit = exact_factor(np.concatenate([first.ravel(), second.ravel()]), "S")
    known = change[np.isfinite(change)] * factor
    caption = "Conductance after the run, and B − A"
    caption += (f" ({known.mean():+.3g} ± {known.std():.3g} {unit}, mean ± standard deviation)."
                if known.size else ".")  # fmt: skip

    def draw(canvas: Canvas) -> None:
        axes = panels(canvas, 3, sharey=True)
        high = factor * float(np.nanmax([np.nanmax(first), np.nanmax(second)]))
        for ax, name, values in zip(axes, "AB", (first, second), strict=False):
            image = array_image(ax, factor * values, cmap="viridis", vmin=0.0, vmax=high)
            ax.set_title(name)
        bar(canvas, image, axes[:2], f"conductance ({unit})")
        largest = float(np.abs(known).max(initial=0.0)) or 1.0
        shown = array_image(axes[2], factor * change, cmap="PuOr_r", vmin=-largest, vmax=largest)
        axes[2].set_title("B − A")
        bar(canvas, shown, axes[2], f"difference ({unit})")
        for ax in axes[1:]:
            ax.set_ylabel("")

    wide = (TWO_COLUMNS - 1.9) / 3
    height = float(np.clip(wide * first.shape[0] / first.shape[1], 0.8, 2.3)) + 0.6
    return Drawing(_named("maps", array), f"Conductance maps, {array}", caption,
                   (TWO_COLUMNS, height), draw)  # fmt: skip


def _exposures(array: str, a: Exposure, b: Exposure) -> Drawing:
    def total(received: Exposure) -> NDArray[np.float64]:
        own = [np.asarray(v) for name, v in received.counts.items() if name.startswith("selected")]
        values = np.asarray(sum(own), dtype=np.float64)
        return values[values > 0]

    counts = {"A": total(a), "B": total(b)}

    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        every = np.concatenate(list(counts.values()))
        edges = histogram_edges(every) if every.size else np.array([0.5, 1.5])
        for run, values in counts.items():
            ax.hist(values, bins=edges.tolist(), histtype="stepfilled", lw=0.8, label=run,
                    facecolor=(_COLOURS[run], 0.25), edgecolor=_COLOURS[run])  # fmt: skip
        histogram_axes(ax, edges, "write pulses per device")
        ax.legend()

    caption = "Pulses that each device received while selected; devices without any are left out."
    return Drawing(_named("exposure", array), f"Pulses, {array}", caption, _SIZE, draw)
