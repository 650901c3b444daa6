"""How all figures look: column widths of a journal, 8 pt text, colours that stay apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from hil.units import format_quantity

_SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Canvas: TypeAlias = Figure | SubFigure

ONE_COLUMN: Final = 3.46  #: inches, 88 mm
TWO_COLUMNS: Final = 7.09  #: inches, 180 mm

# Colours that stay apart for colour-blind readers and in grey (Okabe and Ito).
BLUE, ORANGE, GREEN, PINK, SKY, GREY, INK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#7F7F7F", "#222222"
)  # fmt: skip
COLOURS: Final = (BLUE, ORANGE, GREEN, PINK, SKY, "#E69F00", INK)

NOT_KNOWN: Final = "#E6E6E6"  #: where a map has no value

#: Settings of matplotlib while figures are made and saved.
STYLE: Final[Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 8.0, "axes.titlesize": 8.0, "axes.labelsize": 8.0, "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0, "legend.fontsize": 7.0, "legend.frameon": False,
    "legend.handlelength": 1.5, "legend.borderaxespad": 0.3, "legend.labelspacing": 0.3,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "axes.labelpad": 2.5, "axes.titlepad": 4.0, "axes.unicode_minus": True,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4, "xtick.major.size": 3.0, "ytick.major.size": 3.0,
    "xtick.minor.size": 1.6, "ytick.minor.size": 1.6,
    "lines.linewidth": 1.2, "lines.markersize": 3.0,
    "figure.constrained_layout.h_pad": 0.03, "figure.constrained_layout.w_pad": 0.03,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none", "pdf.fonttype": 42, "savefig.dpi": 300, "figure.dpi": 100,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure to be made: what it is called, what it shows, its size and who draws it.

    Attributes:
        name: of its file, without the ending.
        title, caption: for the page.
        size_in: width and height in inches.
        draw: draws into a figure, or a part of one, of about that size.
    """

    name: str
    title: str
    caption: str
    size_in: tuple[float, float]
    draw: Callable[[Canvas], None]


def prefixed(values: ArrayLike, unit: str) -> tuple[float, str]:
    """Return (factor, unit with prefix) that brings the largest of ``values`` to 1 … 1000."""
    known = np.abs(np.asarray(values, dtype=np.float64))
    known = known[np.isfinite(known)]
    largest = float(known.max()) if known.size else 0.0
    if largest == 0.0:
        return 1.0, unit
    shown = format_quantity(largest, unit)
    amount, name = shown.split(" ", 1)
    return float(amount) / largest, name.replace("u", "µ", 1) if name != unit else unit


def exact_factor(values: ArrayLike, unit: str) -> tuple[float, str]:
    """As :func:`prefixed`, but an exact power of ten."""
    factor, name = prefixed(values, unit)
    return float(10.0 ** round(np.log10(factor))), name


def powered(values: ArrayLike) -> tuple[float, str]:
    """Return (factor, power of ten) for what has no unit to bear a prefix; "" for 1."""
    factor, name = exact_factor(values, "·")
    if name == "·":
        return 1.0, ""
    return factor, power_of_ten(1.0 / factor)


def log_scale(axis: Axis) -> None:
    """Make an axis logarithmic, with plain labels at 1, 2 and 5 where it spans little."""
    (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    narrow = high < 100.0 * low
    if narrow:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    # Not matplotlib's own formatter, which sets labels as formulas: slow, and no plain text.
    shown = _thousands if narrow else power_of_ten
    axis.set_major_formatter(FuncFormatter(lambda x, _: shown(x)))
    axis.set_minor_formatter(NullFormatter())


def _thousands(value: float) -> str:
    """Return a number for a tick between others, 20 000 as ``20k``."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def power_of_ten(value: float) -> str:
    """Return ``10⁻³`` for a power of ten, a plain number for others and for 1 to 100."""
    exponent = round(np.log10(value)) if value > 0 else 0
    if value <= 0 or not np.isclose(value, 10.0**exponent) or 0 <= exponent <= 2:
        return f"{value:g}"
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def letter(axes: Axes, text: str) -> None:
    """Mark a panel with its letter."""
    axes.set_title(text, loc="left", fontweight="bold", fontsize=9.0)


def panels(canvas: Canvas, n_cols: int, n_rows: int = 1, **options: Any) -> list[Axes]:
    """Return ``n_rows`` × ``n_cols`` axes in reading order, lettered where they are several."""
    made = canvas.subplots(n_rows, n_cols, squeeze=False, **options)
    axes = [ax for row in made for ax in row]
    if len(axes) > 1:
        for ax, text in zip(axes, "abcdefghijkl", strict=False):
            letter(ax, text)
    return axes


def bar(canvas: Canvas, image: Any, axes: Axes | list[Axes], label: str, **options: Any) -> None:
    """Add a colour bar with its quantity and unit; one bar may serve several maps."""
    share = 0.06 / (len(axes) if isinstance(axes, list) else 1)
    made = canvas.colorbar(image, ax=axes, pad=0.02, fraction=share, aspect=20, **options)
    made.set_label(label)
    made.outline.set_linewidth(0.4)
    made.ax.tick_params(width=0.4, length=2.0)


def framed(axes: Axes) -> None:
    """Draw all four sides of a map."""
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.4)
