"""A number against a swept field, with the 95 % interval of the mean over the seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hil.errors import ConfigError, StoreError
from hil.extras import needed_for
from hil.study.points import short
from hil.study.table import Mean, Row

_COLOURS: Final = ("#2f7dd1", "#d9622b", "#3a9d5d", "#8e44ad", "#b8860b", "#c0392b", "#16a2b8",
                   "#6b7280")  # fmt: skip
_MARKS: Final = "osD^vPX*"


def plot_study(
    table: Sequence[Row], x: str, path: str | Path, y: str = "test_accuracy", title: str = ""
) -> None:
    """Draw ``y`` against the swept field ``x``, one curve per combination of the other fields.

    Args:
        table: of :func:`hil.study.table.rows`.
        x: a swept field, with or without the name of its file; or ``case``.
        path: picture to write; its suffix chooses the format.
        y: a number that the runs gave.
        title: above the picture.

    Raises:
        ConfigError: no such field or number, or no format of that name.
        BackendUnavailable: matplotlib is not installed.
        StoreError: the picture cannot be written.
    """
    with needed_for("a plot", "plot"):
        from matplotlib.figure import Figure
    field = swept_field(table, x)
    curves = _curves(table, field, y)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    xs = list(dict.fromkeys(point[0] for curve in curves.values() for point in curve))
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in xs)
    if numeric:
        xs.sort()
    percent = 100.0 if y.endswith("accuracy") else 1.0
    for k, (name, points) in enumerate(curves.items()):
        if numeric:
            points.sort(key=lambda p: p[0])
        at = [p[0] if numeric else xs.index(p[0]) for p in points]
        half = [0.0 if math.isnan(p[1].half) else percent * p[1].half for p in points]
        axes.errorbar(
            at, [percent * p[1].mean for p in points], yerr=half, label=name, capsize=3, lw=1.6,
            marker=_MARKS[k % len(_MARKS)], ms=5, color=_COLOURS[k % len(_COLOURS)],
            ls="-" if k < len(_COLOURS) else "--",
        )  # fmt: skip
    if numeric and len(xs) > 2 and xs[0] > 0 and xs[-1] / xs[0] >= 16:
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [f"{v:g}" for v in xs])
        axes.minorticks_off()
    elif not numeric:
        axes.set_xticks(range(len(xs)), [str(v) for v in xs])
    axes.set_xlabel(short(field).replace("_", " "))
    unit = " (%)" if percent > 1 else ""
    axes.set_ylabel(y.replace("_", " ") + unit)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1 or next(iter(curves)):
        axes.legend(frameon=False, fontsize=8, ncols=1 + (len(curves) > 8))
    runs = sorted({p[1].n for points in curves.values() for p in points})
    n = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    axes.set_title(f"{title}   mean of {n} runs, bars: 95 % interval of the mean", fontsize=9)
    try:
        figure.savefig(path, dpi=160)
    except ValueError as exc:
        raise ConfigError(str(exc), path=path) from exc
    except OSError as exc:
        raise StoreError(f"cannot write {path}: {exc.strerror or exc}") from exc


def swept_field(table: Sequence[Row], x: str) -> str:
    """Return the swept field called ``x``, with or without the name of its file.

    Raises:
        ConfigError: none is called so.
    """
    known = list(dict.fromkeys(name for row in table for name in row.settings))
    found = [name for name in known if x in (name, short(name))]
    if len(found) != 1:
        raise ConfigError(
            f"not one of the swept fields: {', '.join(known) or 'there are none'}", field=x
        )
    return found[0]


def _curves(table: Sequence[Row], field: str, y: str) -> dict[str, list[tuple[Any, Mean]]]:
    curves: dict[str, list[tuple[Any, Mean]]] = {}
    for row in table:
        if y in row.numbers and field in row.settings:
            others = {k: v for k, v in row.settings.items() if k != field}
            name = ", ".join(
                str(v)
                if k == "case"
                else f"{short(k)} {v if isinstance(v, str) else json.dumps(v)}"
                for k, v in others.items()
            )
            curves.setdefault(name, []).append((row.settings[field], row.numbers[y]))
    if not curves:
        raise ConfigError("no run that is done gave it", field=y)
    return curves
