"""Conductance of single devices over their pulses: what a run without an outcome has to show."""

from __future__ import annotations

import numpy as np

from hil.report.figures.style import COLOURS, ONE_COLUMN, Canvas, Drawing, exact_factor, panels
from hil.report.pulse_curves import History


def history(found: History) -> Drawing:
    """Return the figure of the devices that were read most often."""

    def draw(canvas: Canvas) -> None:
        (ax,) = panels(canvas, 1)
        factor, unit = exact_factor(np.concatenate(found.g_siemens), "S")
        for k, (pulse, g) in enumerate(zip(found.pulse, found.g_siemens, strict=True)):
            _, row, col = found.device[k]
            ax.plot(pulse, factor * g, color=COLOURS[k % len(COLOURS)], lw=0.8, marker=".", ms=2.5,
                    mew=0, label=f"({row}, {col})")  # fmt: skip
        ax.set(xlabel="pulses on the device", ylabel=f"conductance ({unit})", ylim=(0, None))
        ax.legend(title="device", title_fontsize=7.0)

    caption = (
        "Conductance of the devices that were read most often, over the pulses they had received. "
        "The run ended without an outcome; this is taken from its rows."
    )
    return Drawing("history", "Devices over their pulses", caption, (ONE_COLUMN, 2.45), draw)
