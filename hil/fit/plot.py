"""The picture of a fit: data, model median and spread, the step of a pulse, the models compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.errors import ConfigError, StoreError
from hil.extras import needed_for
from hil.fit.curves import CycleCurves
from hil.fit.lookup import MeasuredTable, Tables
from hil.fit.measured import BRANCHES
from hil.fit.result import FitResult, ModelFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAND = (0.05, 0.5, 0.95)


@dataclass(frozen=True, eq=False)
class Picture:
    """What is drawn.

    Attributes:
        measured, simulated: over the pulses of a cycle.
        tables: measured steps, None where there are too few.
        result, chosen: all models and the one of the device file.
        title: above it.
    """

    measured: CycleCurves
    simulated: CycleCurves
    tables: Tables | None
    result: FitResult
    chosen: ModelFit
    title: str


def plot_fit(picture: Picture, path: str | Path) -> None:
    """Write the picture; the suffix chooses the format.

    Raises:
        BackendUnavailable: matplotlib is not installed.
        ConfigError: no format of this name.
        StoreError: it cannot be written.
    """
    with needed_for("a plot", "plot"):
        from matplotlib.figure import Figure
    from hil.report.figures.style import TWO_COLUMNS, panels
    from hil.report.render import styled

    with styled():
        figure = Figure(figsize=(TWO_COLUMNS, 2.5), layout="constrained", facecolor="white")
        axes = panels(figure, 3, width_ratios=(1.35, 1.25, 0.9))
        _curves(axes[0], picture)
        _steps(axes[1], picture)
        _models(axes[2], picture.result.models, picture.chosen)
        figure.suptitle(picture.title, fontsize=8.0)
        try:
            figure.savefig(path)
        except ValueError as exc:
            raise ConfigError(f"{path}: {exc}", field="plot") from exc
        except OSError as exc:
            raise StoreError(f"cannot write {path}: {exc.strerror or exc}") from exc


def _curves(ax: Axes, picture: Picture) -> None:
    from hil.report.figures.style import BLUE, INK, ORANGE, exact_factor

    one, other = picture.measured, picture.simulated
    factor, unit = exact_factor(one.g_siemens[np.isfinite(one.g_siemens)], "S")
    low, median, high = factor * one.quantiles(*_BAND)
    up, down = one.pulse <= one.n_up, one.pulse >= one.n_up
    for part, colour in ((up, BLUE), (down, ORANGE)):
        if part.sum() > 1:
            ax.fill_between(one.pulse[part], low[part], high[part], color=colour, alpha=0.2, lw=0)
            every = max(1, int(part.sum()) // 24)
            ax.plot(one.pulse[part][::every], median[part][::every], ls="", marker="o", ms=2.6,
                    color=colour, mew=0)  # fmt: skip
    low, median, high = factor * other.quantiles(*_BAND)
    ax.plot(other.pulse, median, color=INK, lw=1.0)
    for edge in (low, high):
        ax.plot(other.pulse, edge, color=INK, lw=0.7, ls=(0, (3, 2)))
    ax.plot([], [], ls="", marker="o", ms=2.6, color=BLUE, label="data: median, 5 … 95 %")
    ax.plot([], [], color=INK, lw=1.0, label="model: median, 5 … 95 %")
    ax.set(xlabel="pulse number", ylabel=f"conductance ({unit})", ylim=(0.0, None))
    ax.set_xlim(one.pulse[0], one.pulse[-1])
    ax.set_ylim(top=1.28 * ax.get_ylim()[1])
    ax.legend(loc="upper center", ncols=1)


def _steps(ax: Axes, picture: Picture) -> None:
    from hil.report.figures.style import BLUE, INK, ORANGE, exact_factor

    tables = [] if picture.tables is None else [picture.tables.potentiation,
                                                picture.tables.depression]  # fmt: skip
    known: list[tuple[int, MeasuredTable]] = [(k, t) for k, t in enumerate(tables) if t is not None]
    curves = picture.chosen.curves
    every: list[Any] = [t.g_siemens for _, t in known] or [c.g_siemens for c in curves.values()]
    steps = [t.delta_siemens for _, t in known] or [c.delta_siemens for c in curves.values()]
    across, unit_x = exact_factor(np.concatenate(every), "S")
    along, unit_y = exact_factor(np.concatenate(steps), "S")
    for k, table in known:
        ax.errorbar(
            across * table.g_siemens, (1 - 2 * k) * along * table.delta_siemens,
            yerr=along * table.spread_siemens, ls="", marker="o", ms=2.4, mew=0, elinewidth=0.7,
            color=(BLUE, ORANGE)[k],
        )  # fmt: skip
    low, high = (min(map(np.min, every)), max(map(np.max, every)))
    for k, branch in enumerate(BRANCHES):
        if branch not in curves:
            continue
        curve = curves[branch]
        near = (curve.g_siemens >= low) & (curve.g_siemens <= high)
        g, delta = across * curve.g_siemens[near], (1 - 2 * k) * along * curve.delta_siemens[near]
        spread = along * curve.spread_siemens[near]
        ax.plot(g, delta, color=INK, lw=1.0)
        ax.fill_between(g, delta - spread, delta + spread, color=INK, alpha=0.12, lw=0)
    ax.axhline(0.0, color=INK, lw=0.4)
    ax.set(xlabel=f"conductance ({unit_x})", ylabel=f"step of a pulse ({unit_y})")


def _models(ax: Axes, models: Sequence[ModelFit], chosen: ModelFit) -> None:
    from hil.report.figures.style import BLUE, GREY, log_scale

    best = min(model.aic for model in models)
    worse = [max(model.aic - best, 0.0) for model in models]
    right = max([10.0, *worse])
    at = np.arange(len(models))[::-1]
    shown = [max(value, 1.0) for value in worse]  # less than 1 says nothing
    colours = [BLUE if m is chosen else GREY for m in models]
    ax.barh(at, [value - 1.0 for value in shown], left=1.0, height=0.55, color=colours)
    ax.set_yticks(at, [model.model for model in models])
    for y, value, end in zip(at, worse, shown, strict=True):
        text = "best" if value < 0.005 else f"{value:.0f}" if value >= 10 else f"{value:.2g}"
        ax.text(end, y, f" {text}", va="center", fontsize=6.5)
    ax.set_xlim(1.0, right**1.3)
    log_scale(ax.xaxis)
    ax.set(xlabel="ΔAIC")
