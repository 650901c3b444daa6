"""The demo's picture: what the devices do, where they ended, and what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.extras import needed_for

if TYPE_CHECKING:
    from hil.demo.result import DemoResult

# Colours that stay apart for colour-blind readers and in grey (Okabe and Ito).
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 8.5, "axes.titlesize": 9.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.labelsize": 8.5,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.frameon": False,
    "lines.linewidth": 1.6, "figure.dpi": 100, "savefig.dpi": 200,
}  # fmt: skip
_MICRO = 1e6


def draw(result: DemoResult, path: Path) -> None:
    """Write the picture of a demo as a PNG file of 1800 x 1360 pixels.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    with needed_for("the picture", "plot"):
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    with mpl.rc_context(rc=_STYLE):
        figure = Figure(figsize=(9.0, 6.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2)
        _response(axes[0, 0], result)
        _map(figure, axes[0, 1], result)
        _learning(axes[1, 0], result)
        _pulses(axes[1, 1], result)
        figure.savefig(path)


def _response(ax: Any, result: DemoResult) -> None:
    low, high = (g * _MICRO for g in result.window_siemens)
    curve = result.curve
    n = curve.up.size - 1
    up, down = np.arange(n + 1), n + np.arange(n + 1)
    for cycle_up, cycle_down in zip(curve.up_raw, curve.down_raw, strict=True):
        for a, b in zip(cycle_up, cycle_down, strict=True):
            ax.plot(up, low + a * (high - low), color=_BLUE, lw=0.6, alpha=0.35)
            ax.plot(down, low + b * (high - low), color=_ORANGE, lw=0.6, alpha=0.35)
    ax.plot(up, low + curve.up * (high - low), color=_BLUE, label="potentiation (LTP)")
    ax.plot(down, low + curve.down * (high - low), color=_ORANGE, label="depression (LTD)")
    ax.set(
        title=f"a  Pulse response of {curve.up_raw.shape[1]} devices", xlabel="pulse number",
        ylabel="conductance (µS)", xlim=(0, 2 * n), ylim=(0, None),
    )  # fmt: skip
    ax.legend(loc="lower center")


def _map(figure: Any, ax: Any, result: DemoResult) -> None:
    low, high = (g * _MICRO for g in result.window_siemens)
    image = ax.imshow(
        result.g_siemens * _MICRO, cmap="viridis", vmin=low, vmax=high, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    for spine in ax.spines.values():
        spine.set_visible(True)
    ax.set(
        title="b  Conductances of layer 1 after training (M3)",
        xlabel="bit line (pairs of G⁺, G⁻)", ylabel="word line",
    )  # fmt: skip
    bar = figure.colorbar(image, ax=ax, pad=0.02)
    bar.set_label("conductance (µS)")
    bar.outline.set_linewidth(0.6)


def _learning(ax: Any, result: DemoResult) -> None:
    for label, values, color, style in (
        ("floating point", result.m3.float_accuracy, _GREY, "--"),
        ("M3, unidirectional", _accuracies(result.m3), _BLUE, "-"),
        ("M1, bidirectional", _accuracies(result.m1), _ORANGE, "-"),
    ):
        epochs = np.arange(1, len(values) + 1)
        ax.plot(
            epochs, 100 * np.asarray(values), style, color=color, marker="o", ms=3,
            label=f"{label}: {100 * values[-1]:.1f} %",
        )  # fmt: skip
    ax.set(title="c  Learning through pulses", xlabel="epoch", ylabel="test accuracy (%)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.legend(loc="lower right")


def _accuracies(training: Any) -> list[float]:
    return [epoch.test_accuracy for epoch in training.history.epochs]


def _pulses(ax: Any, result: DemoResult) -> None:
    m3, m1 = result.m3.history.epochs, result.m1.history.epochs
    x = np.arange(1, len(m3) + 1)
    for label, values, color, style in (
        ("M3 refresh", [e.refresh_pulses for e in m3], _BLUE, "--"),
        ("M3 update", [e.write_pulses for e in m3], _BLUE, "-"),
        ("M1 update", [e.write_pulses for e in m1], _ORANGE, "-"),
    ):
        ax.plot(x, np.asarray(values) / 1e3, style, color=color, marker="o", ms=3, label=label)
    ax.set(
        title="d  What the devices pay", xlabel="epoch", ylabel="device pulses per epoch (10³)",
        yscale="log",
    )  # fmt: skip
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.legend(loc="upper right")
