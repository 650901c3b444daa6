"""What a training did: accuracy over epochs beside floating point, pulses; confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hil.report.figures.style import (
    COLOURS,
    GREY,
    INK,
    NOT_KNOWN,
    ONE_COLUMN,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    bar,
    framed,
    panels,
    powered,
)
from hil.report.learning import Confusion, LearningCurve

_MOST_CLASSES_WRITTEN = 12


def learning_curve(curves: Sequence[LearningCurve]) -> Drawing:
    """Return the figure of accuracy and pulses over epochs."""
    caption = "a: share of test samples classified right after each epoch on the array"
    if any(c.float_accuracy.size for c in curves):
        caption += ", and by the same network in floating point with the same samples (dashed)"
    caption += ". b: pulses on selected devices per epoch."
    return Drawing(
        "learning", "Learning curve", caption, (TWO_COLUMNS, 2.4),
        lambda canvas: _learning(canvas, curves),
    )  # fmt: skip


def confusion(matrix: Confusion) -> Drawing:
    """Return the figure of the confusion matrix."""
    total = int(matrix.counts.sum())
    caption = (
        f"{total} test samples after the last epoch: colour, share of the samples of a class; "
        f"numbers, samples. {100 * matrix.accuracy:.2f} % are right."
    )
    return Drawing(
        "confusion", "Confusion matrix", caption, (ONE_COLUMN, 2.9),
        lambda canvas: _confusion(canvas, matrix),
    )  # fmt: skip


def _learning(canvas: Canvas, curves: Sequence[LearningCurve]) -> None:
    accuracy, pulses = panels(canvas, 2)
    for curve, colour in zip(curves, COLOURS, strict=False):
        of = f"{curve.method}, " if curve.method else ""
        done = np.isfinite(curve.test_accuracy)
        accuracy.plot(curve.epoch[done], 100 * curve.test_accuracy[done], color=colour, marker="o",
                      label=f"{of}array")  # fmt: skip
        if curve.float_accuracy.size:
            accuracy.plot(np.arange(curve.float_accuracy.size) + 1, 100 * curve.float_accuracy,
                          color=GREY, ls=(0, (4, 2)), marker="o", ms=2.0,
                          label="floating point")  # fmt: skip
    accuracy.set(xlabel="epoch", ylabel="test accuracy (%)")
    every = [v for c in curves for v in (c.write_pulses, c.refresh_pulses)]
    factor, power = powered(np.concatenate(every))
    for curve, colour in zip(curves, COLOURS, strict=False):
        of = f"{curve.method}, " if curve.method else ""
        for values, style, what in ((curve.write_pulses, "-", "update"),
                                    (curve.refresh_pulses, ":", "refresh")):  # fmt: skip
            if np.nan_to_num(values).any():
                pulses.plot(curve.epoch, factor * values, color=colour, ls=style, marker="o",
                            label=f"{of}{what}")  # fmt: skip
    power = power and f" ({power})"
    pulses.set(xlabel="epoch", ylabel=f"pulses per epoch{power}", ylim=(0, None))
    last = max(int(c.epoch[-1]) for c in curves)
    for ax in (accuracy, pulses):
        _epochs(ax, last)
        if ax.get_lines():
            ax.legend()


def _epochs(ax: Axes, last: int) -> None:
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)
    ax.set_xlim(0.5, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _confusion(canvas: Canvas, matrix: Confusion) -> None:
    (ax,) = panels(canvas, 1)
    n = len(matrix.counts)
    image = ax.imshow(100 * matrix.shares, cmap="Blues", vmin=0, vmax=100, aspect="equal")
    ax.set_facecolor(NOT_KNOWN)  # shows through where a class has no samples
    if n <= _MOST_CLASSES_WRITTEN:
        for (i, j), number in np.ndenumerate(matrix.counts):
            if number:
                dark = np.nan_to_num(matrix.shares[i, j]) > 0.5
                ax.text(j, i, str(number), ha="center", va="center", fontsize=6.5,
                        color="white" if dark else INK)  # fmt: skip
        ax.set_xticks(range(n))
        ax.set_yticks(range(n))
    ax.set(xlabel="taken for", ylabel="class")
    ax.tick_params(length=0)
    framed(ax)
    bar(canvas, image, ax, "share of the class (%)")
