"""The figures that a paper on a synaptic device shows: curves, variation, learning, pulses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hil.predict.results import Method, course_of
from hil.predict.variation import Variation, variation_of
from hil.report.figures.exposures import histogram_axes, histogram_edges
from hil.report.figures.ltp_ltd import ltp_ltd as curves_figure
from hil.report.figures.style import (
    BLUE,
    GREY,
    ONE_COLUMN,
    ORANGE,
    TWO_COLUMNS,
    Canvas,
    Drawing,
    log_scale,
    panels,
)
from hil.report.figures.training import confusion as confusion_figure
from hil.report.pulse_curves import LtpLtd

#: Colour of every method; floating point is grey.
_COLOURS = {"M1": ORANGE, "M3": BLUE}


def drawings(methods: Sequence[Method], curves: LtpLtd | None) -> list[Drawing]:
    """Return the figures of a prediction; what there are no runs of is left out."""
    made: list[Drawing] = []
    if curves is not None:
        made.append(curves_figure(curves))
        found = variation_of(curves)
        if found is not None:
            made.append(variation(found))
    done = [method for method in methods if method.trained]
    if done:
        made += [accuracy(done), pulses(done)]
        best = max(done, key=lambda m: m.means()["test_accuracy"].mean)
        if best.trained[0].confusion is not None:
            drawn = confusion_figure(best.trained[0].confusion)
            caption = f"{best.name}, seed {best.trained[0].seed}. {drawn.caption}"
            made.append(Drawing(drawn.name, drawn.title, caption, drawn.size_in, drawn.draw))
    return made


def variation(found: Variation) -> Drawing:
    """Return the distributions between devices and between cycles."""
    caption = (
        f"{found.n_devices} devices. a: conductance at both ends of the curves, mean over cycles, "
        "as deviation from the mean device (device to device). b: standard deviation from cycle "
        "to cycle of a device, root mean square over the curve, as a share of the mean window. "
        "c: nonlinearity label of both branches of every device (0 = linear; largest distance of "
        "the normalised curve from the diagonal, over 0.07)."
    )
    return Drawing("variation", "Variation", caption, (TWO_COLUMNS, 2.3),
                   lambda canvas: _variation(canvas, found))  # fmt: skip


def accuracy(methods: Sequence[Method]) -> Drawing:
    """Return test accuracy over epochs, M1 and M3 beside floating point."""
    seeds = max(len(m.trained) for m in methods)
    caption = f"Test accuracy after each epoch, mean of {seeds} seed{'s' * (seeds != 1)}"
    if seeds > 1:
        caption += "; bands: lowest to highest"
    caption += ". Dashed: the same network with the same samples in floating point."
    return Drawing("accuracy", "Learning", caption, (ONE_COLUMN, 2.6),
                   lambda canvas: _accuracy(canvas, methods))  # fmt: skip


def pulses(methods: Sequence[Method]) -> Drawing:
    """Return histograms of the pulses that devices received in a training."""
    caption = (
        "Pulses on each device by the end of a training, all seeds together: characterisation, "
        "initial weights, updates and refresh. The endurance that the training needs is their "
        "right end."
    )
    return Drawing("pulses", "Pulses per device", caption, (ONE_COLUMN, 2.4),
                   lambda canvas: _pulses(canvas, methods))  # fmt: skip


def _variation(canvas: Canvas, found: Variation) -> None:
    ends, cycles, labels = panels(canvas, 3)
    _histograms(
        ends, [(100 * found.low_share, ORANGE, "low end"), (100 * found.high_share, BLUE,
                                                            "high end")],
        "deviation (% of window)",
    )  # fmt: skip
    if np.isfinite(found.c2c_share).any():
        _histograms(cycles, [(100 * found.c2c_share, GREY, "")], "cycle to cycle (% of window)")
    else:
        cycles.text(0.5, 0.5, "one cycle", ha="center", transform=cycles.transAxes)
    _histograms(
        labels,
        [(found.label_up, BLUE, "potentiation"), (found.label_down, ORANGE, "depression")],
        "nonlinearity label",
    )


def _histograms(ax: Axes, columns: Sequence[tuple[np.ndarray, str, str]], label: str) -> None:
    known = [(values[np.isfinite(values)], colour, name) for values, colour, name in columns]
    all_values = np.concatenate([values for values, _, _ in known])
    if not all_values.size:
        return
    low, high = float(all_values.min()), float(all_values.max())
    room = 0.04 * (high - low) or max(0.1 * abs(high), 1e-3)
    edges = np.linspace(low - room, high + room, 31)
    for values, colour, name in known:
        if values.size:
            ax.hist(values, bins=edges.tolist(), histtype="stepfilled", facecolor=(colour, 0.25),
                    edgecolor=colour, lw=0.8, label=name)  # fmt: skip
    ax.set(xlabel=label, ylabel="devices")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if any(name for _, _, name in known):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.17), ncols=2, columnspacing=0.8)


def _accuracy(canvas: Canvas, methods: Sequence[Method]) -> None:
    (ax,) = panels(canvas, 1)
    for method in methods:
        epoch, mean, low, high = course_of([t.curve for t in method.trained])
        done = np.isfinite(mean)
        colour = _COLOURS[method.name]
        ax.plot(epoch[done], 100 * mean[done], color=colour, marker="o", label=method.name)
        if len(method.trained) > 1:
            ax.fill_between(epoch[done], 100 * low[done], 100 * high[done], color=colour, alpha=0.2,
                            lw=0)  # fmt: skip
    floats = np.array([t.curve.float_accuracy for m in methods for t in m.trained
                       if t.curve.float_accuracy.size])  # fmt: skip
    if floats.size:
        ax.plot(np.arange(floats.shape[1]) + 1, 100 * floats.mean(axis=0), color=GREY,
                ls=(0, (4, 2)), marker="o", ms=2.0, label="floating point")  # fmt: skip
    ax.set(xlabel="epoch", ylabel="test accuracy (%)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)
    ax.legend(loc="lower right")


def _pulses(canvas: Canvas, methods: Sequence[Method]) -> None:
    (ax,) = panels(canvas, 1)
    given = {m.name: np.concatenate([t.pulses for t in m.trained]) for m in methods}
    given = {name: values[values > 0] for name, values in given.items() if (values > 0).any()}
    if not given:
        return
    edges = histogram_edges(np.concatenate(list(given.values())))
    for name, values in given.items():
        ax.hist(values, bins=edges.tolist(), histtype="stepfilled", lw=0.8,
                facecolor=(_COLOURS[name], 0.25), edgecolor=_COLOURS[name], label=name)  # fmt: skip
    histogram_axes(ax, edges, "pulses per device")
    log_scale(ax.yaxis)  # the few devices at the right end are what counts
    ax.legend()
