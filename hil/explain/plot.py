"""The line waveforms of compiled blocks as a picture: one strip per line, one for a chosen cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.errors import ConfigError, StoreError
from hil.explain.device import check_cell, seen
from hil.explain.events import lines_of_cell
from hil.explain.waveforms import Waveforms, chosen_lines, waveforms
from hil.extras import needed_for
from hil.geometry import ArrayGeometry
from hil.program import LineState, Phase, PulseBlock
from hil.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LINES = 24
_INK, _FAINT, _GRID = "#1f2933", "#9aa5b1", "#e4e7eb"
_READ, _WRITE, _ERASE, _WAIT = "#2f7dd1", "#d9622b", "#8e44ad", "#b0b7bf"
_PHASE_COLOUR = {
    Phase.READ: _READ, Phase.VERIFY: _READ, Phase.FORWARD: _READ, Phase.BACKWARD: _READ,
    Phase.CALIBRATE: _READ, Phase.UPDATE: _WRITE, Phase.PROGRAM: _WRITE, Phase.REFRESH: _WRITE,
    Phase.FORM: "#b8322a", Phase.ERASE: _ERASE, Phase.IDLE: _WAIT,
}  # fmt: skip
_SEEN_COLOUR = {
    "selected": (_WRITE, 0.75), "half-selected": (_WRITE, 0.28), "read": (_READ, 0.45),
    "unselected": (_FAINT, 0.35), "floating": (_FAINT, 0.35), "gate closed": (_FAINT, 0.25),
}  # fmt: skip


def plot_lines(
    blocks: Iterable[PulseBlock],
    geometry: ArrayGeometry,
    path: str | Path,
    cell: tuple[int, int] | None = None,
    lines: Sequence[str | int] | None = None,
    max_pulses: int = 48,
    title: str = "",
) -> None:
    """Draw the first ``max_pulses`` pulses of a programme to a picture file.

    Args:
        blocks: compiled blocks.
        geometry: the array.
        path: file to write; its suffix chooses the format (png, svg, pdf).
        cell: device whose voltage is drawn below the lines, (row, col).
        lines: names or indices of the lines to draw; None = those that do something, at most
            24, the chosen cell's first.
        max_pulses: pulses (steps times repeats) that are drawn.
        title: name of the programme.

    Raises:
        BackendUnavailable: matplotlib is not installed.
        GeometryError: no such cell or line.
        ConfigError: the programme is empty, or the format is not known.
        StoreError: the file cannot be written.
    """
    with needed_for("a picture", "plot"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch
    if cell is not None:
        check_cell(geometry, cell)
    found = waveforms(blocks, max_pulses)
    if not found.pulses:
        raise ConfigError("the programme has no steps to draw")
    own = lines_of_cell(geometry, cell) if cell is not None else []
    drawn, left_out = chosen_lines(found, geometry, lines, own, MAX_LINES)
    if not drawn:
        drawn = [0]

    n_device = 0 if cell is None else 1
    ratios = [0.42, *([1.0] * len(drawn)), *([1.9] * n_device)]
    height = 1.1 + 0.42 * sum(ratios)
    figure = Figure(figsize=(11.0, height), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(ratios), 1, height_ratios=ratios, hspace=0.0, left=0.085, right=0.985,
        top=1 - 0.42 / height, bottom=0.62 / height,
    )  # fmt: skip
    axes = [figure.add_subplot(grid[0])]
    axes += [figure.add_subplot(grid[k], sharex=axes[0]) for k in range(1, len(ratios))]
    _phases(axes[0], found)
    ranges = _ranges(found, geometry)
    for ax, line in zip(axes[1:], drawn, strict=False):
        group = geometry.line_name(line).rstrip("0123456789")
        _line(ax, found, geometry, line, ranges[group])
    if cell is not None:
        _device(axes[-1], found, geometry, cell)
    _finish(axes, found)
    notes = []
    if found.left_out:
        notes.append(f"first {len(found.pulses)} pulses")
    if left_out:
        notes.append(f"{left_out} further lines not shown")
    title = f"{title}   " if title else ""
    title += f"{geometry.n_rows} × {geometry.n_cols} {geometry.cell.name} array"
    figure.text(
        0.085, 1 - 0.12 / height, title + (f"   ({', '.join(notes)})" if notes else ""),
        fontsize=10, color=_INK, va="top",
    )  # fmt: skip
    phases = dict.fromkeys(Phase(pulse.block.phase) for pulse in found.pulses)
    figure.legend(
        handles=[
            *(Patch(color=_PHASE_COLOUR[p], lw=0, label=p.name.lower()) for p in phases),
            Patch(color=_READ, alpha=0.16, lw=0, label="current measured"),
            Line2D([], [], color=_INK, lw=1.2, ls=(0, (1, 2)), label="floating"),
        ],
        loc="upper right", bbox_to_anchor=(0.99, 1 - 0.03 / height),
        ncols=2 + len(phases), fontsize=7.5,        frameon=False, handlelength=1.6,
    )  # fmt: skip
    try:
        figure.savefig(path, dpi=130)
    except OSError as exc:
        raise StoreError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise ConfigError(f"cannot draw to this file: {exc}", path=path) from exc


def _ranges(found: Waveforms, geometry: ArrayGeometry) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest level of every line group in volts, 0 V included."""
    out = {}
    for group, span in geometry.groups.items():
        low = high = 0.0
        for pulse in found.pulses:
            on = pulse.block.state[pulse.step, span] == LineState.DRIVE
            levels = pulse.block.level_v[pulse.step, span][on]
            low = min(low, float(levels.min(initial=0.0)))
            high = max(high, float(levels.max(initial=0.0)))
        out[group] = low, high
    return out


def _room(low: float, high: float) -> tuple[float, float]:
    """Return axis limits with room for labels above and below what is drawn."""
    size = (high - low) or 1.0
    return low - (0.75 if low < 0 else 0.3) * size, high + (0.75 if high > 0 else 0.3) * size


class _Labels:
    """Writes each level once, at its first place that is free of other labels."""

    def __init__(self, ax: Axes, found: Waveforms, size: float) -> None:
        self._ax, self._size = ax, size
        self._apart = 0.05 * (found.pulses[-1].end_x - found.pulses[0].x)
        self._done: set[Any] = set()
        self._places: dict[bool, list[float]] = {True: [], False: []}

    def put(self, key: Any, x: float, v: float) -> None:
        above = v > 0
        if v == 0.0 or key in self._done:
            return
        if any(abs(x - other) < self._apart for other in self._places[above]):
            return
        self._done.add(key)
        self._places[above].append(x)
        self._ax.annotate(
            format_quantity(v, "V"), (x, v), xytext=(1, 1.5 if above else -1.5),
            textcoords="offset points", fontsize=self._size, color=_INK, annotation_clip=False,
            va="bottom" if above else "top", ha="left", zorder=5,
            bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.7},
        )  # fmt: skip


def _phases(ax: Axes, found: Waveforms) -> None:
    start = found.pulses[0].x
    total = found.pulses[-1].end_x - start
    for k, pulse in enumerate(found.pulses):
        after = found.pulses[k + 1] if k + 1 < len(found.pulses) else None
        if after is not None and after.block.phase is pulse.block.phase:
            continue
        phase = Phase(pulse.block.phase)
        ax.axvspan(start, pulse.end_x, color=_PHASE_COLOUR[phase], lw=0)
        text = phase.name.lower()
        if phase is Phase.IDLE:
            text = f"wait {format_quantity(pulse.duration_s, 's')}"
        if (pulse.end_x - start) / total > 0.009 * len(text):
            ax.text(
                (start + pulse.end_x) / 2, 0.5, text, ha="center", va="center", fontsize=7.5,
                color="white",
            )  # fmt: skip
        start = pulse.end_x
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _line(
    ax: Axes, found: Waveforms, geometry: ArrayGeometry, line: int, span_v: tuple[float, float]
) -> None:
    x: list[float] = []
    y: list[float] = []
    labels = _Labels(ax, found, 6.4)
    for pulse in found.pulses:
        block, s = pulse.block, pulse.step
        if block.sense[s, line]:
            ax.axvspan(*pulse.on_x(), color=_READ, alpha=0.16, lw=0)
        if block.state[s, line] == LineState.FLOAT:
            x += [pulse.x, pulse.end_x]
            y += [np.nan, np.nan]
            ax.plot([pulse.x, pulse.end_x], [0, 0], color=_INK, lw=1.2, ls=(0, (1, 2)))
            continue
        px, py = pulse.shape(line)
        x += px
        y += py
        if len(px) > 2:
            level = float(block.level_v[s, line])
            labels.put(level, pulse.on_x(line)[0], level)
    ax.plot(x, y, color=_INK, lw=1.1, solid_joinstyle="miter")
    ax.set_ylim(*_room(*span_v))
    ax.set_ylabel(
        geometry.line_name(line), rotation=0, ha="right", va="center", fontsize=8.5, color=_INK
    )
    _strip(ax)


def _device(ax: Axes, found: Waveforms, geometry: ArrayGeometry, cell: tuple[int, int]) -> None:
    low = high = 0.0
    used: dict[str, Any] = {}
    labels = _Labels(ax, found, 6.8)
    for pulse in found.pulses:
        what = seen(geometry, pulse.block, pulse.step, cell)
        colour, alpha = _SEEN_COLOUR[what.selection]
        if what.selection == "floating":
            used[what.selection] = ax.axvspan(pulse.x, pulse.end_x, color=colour, alpha=alpha, lw=0)
            continue
        begin, _ = pulse.on_x()
        last = begin
        for end_s, v in what.spans:
            end = begin + end_s * pulse.scale
            used[what.selection] = ax.fill_between(
                [last, end], [0, 0], [v, v], color=colour, alpha=alpha, lw=0
            )
            ax.plot([last, last, end, end], [0, v, v, 0], color=_INK, lw=0.8)
            labels.put((what.selection, v), last, v)
            low, high = min(low, v), max(high, v)
            last = end
    ax.axhline(0.0, color=_INK, lw=0.8)
    bottom, top = _room(low, high)
    ax.set_ylim(bottom, top + 0.35 * (top - bottom))
    ax.set_ylabel(
        f"cell\n({cell[0]}, {cell[1]})", rotation=0, ha="right", va="center", fontsize=8.5,
        color=_INK,
    )  # fmt: skip
    if used:
        ax.legend(
            used.values(), used.keys(), loc="upper right", ncols=len(used), fontsize=7,
            frameon=True, framealpha=0.9, edgecolor="none", borderpad=0.2, handlelength=1.2,
            borderaxespad=0.2,
        )  # fmt: skip
    _strip(ax)
    ax.patch.set_visible(True)
    ax.set_facecolor("#f5f7f9")


def _strip(ax: Axes) -> None:
    ax.patch.set_visible(False)  # labels may reach into the strip below
    ax.set_yticks([0.0])
    ax.set_yticklabels([])
    ax.tick_params(axis="y", length=0)
    ax.yaxis.grid(True, color=_GRID, lw=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(_GRID)


def _finish(axes: Sequence[Axes], found: Waveforms) -> None:
    first, last = found.pulses[0], found.pulses[-1]
    margin = 0.004 * (last.end_x - first.x)
    bottom = axes[-1]
    bottom.set_xlim(first.x - margin, last.end_x + margin)
    for ax in axes[:-1]:
        ax.tick_params(axis="x", length=0, labelbottom=False)
    bottom.spines["bottom"].set_color(_FAINT)
    bottom.tick_params(axis="x", labelsize=8, colors=_INK)
    if found.linear:
        from matplotlib.ticker import EngFormatter

        bottom.xaxis.set_major_formatter(EngFormatter(unit="s", sep=" "))
        bottom.set_xlabel("time", fontsize=9, color=_INK)
        return
    span = last.end_x - first.x
    places: list[tuple[float, str]] = []
    for pulse in found.pulses:
        text = "0" if pulse.t_s == 0 else format_quantity(pulse.t_s, "s", digits=4)
        far = not places or pulse.x - places[-1][0] > 0.085 * span
        if far and (not places or text != places[-1][1]):
            places.append((pulse.x, text))
    bottom.set_xticks([x for x, _ in places], [text for _, text in places])
    bottom.set_xlabel("time (start of the step; not to scale)", fontsize=9, color=_INK)
