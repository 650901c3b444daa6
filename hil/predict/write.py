"""Writes a prediction: figures, numbers as JSON and CSV, one page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.extras import needed_for
from hil.predict.inputs import RATE
from hil.predict.results import NUMBERS, Method, as_dict
from hil.record.jsonable import to_json
from hil.report.facts import Table
from hil.report.page import pictures, render
from hil.report.render import save, styled, svgs
from hil.report.write import save_svgs, save_text
from hil.study.table import Mean
from hil.units import format_duration, format_quantity

if TYPE_CHECKING:
    from hil.report.figures.style import Drawing
    from hil.report.pulse_curves import LtpLtd

_PNG_DPI = 200
_LARGE = 1e5  # from here on a number is shown by its first digits


def write_prediction(
    folder: Path, title: str, about: dict[str, Any], methods: Sequence[Method],
    curves: LtpLtd | None,
) -> list[Path]:  # fmt: skip
    """Write all files of a prediction into ``folder`` and return them.

    Args:
        folder: exists.
        title: name of the device.
        about: what was predicted, for the JSON file and the page.
        methods: what their trainings gave.
        curves: of the device, None where they failed.

    Raises:
        BackendUnavailable: the extra ``report`` is not installed.
        StoreError: a file cannot be written.
    """
    numbers = folder / "prediction.json"
    content = {**about, "device": title, "methods": [as_dict(m) for m in methods]}
    save(numbers, lambda beside: beside.write_bytes(to_json(content, indent=1)))
    rows = folder / "prediction.csv"
    save_text(rows, _csv(methods))
    files = [numbers, rows]
    with needed_for("a report", "report"):
        from hil.predict.figures import drawings

        drawn = drawings(methods, curves)
        images = svgs(drawn)
        files += save_svgs(images, folder / "figures")
        files += _pngs(drawn, folder / "figures")
        page = folder / "prediction.html"
        notes = [
            f"{m.name}: {len(m.failed)} trainings failed: {m.failed[0]}"
            for m in methods
            if m.failed
        ]
        notes += [f"{m.name}: time on the rig is not known: {m.rig_note}"
                  for m in methods if m.rig_note]  # fmt: skip
        text = render(
            "prediction.html", title=title, notes=notes, tables=[table(methods)],
            subtitle="; ".join(f"{k} {v}" for k, v in about.items() if isinstance(v, str | int)),
            pictures=pictures(drawn, images),
        )  # fmt: skip
        save_text(page, text)
        files.append(page)
    return files


def table(methods: Sequence[Method]) -> Table:
    """Return the numbers of the methods as a table of text: mean ± standard deviation."""
    means = {m.name: m.means() for m in methods}
    rows = [
        (label, *(shown(name, means[m.name].get(name)) for m in methods))
        for name, label in NUMBERS.items()
        if any(name in found for found in means.values())
    ]
    if any(RATE in m.tuned for m in methods):
        rows.append(("learning rate chosen", *(f"{m.tuned.get(RATE, '–')}" for m in methods)))
    seeds = max((len(m.trained) for m in methods), default=0)
    note = (
        f"Mean ± standard deviation of {seeds} seeds. Energy: voltage squared and time of every "
        "block on every device, times its conductance; estimated, not measured."
    )
    return Table("Prediction", ("", *(m.name for m in methods)), tuple(rows), note)


def shown(name: str, mean: Mean | None) -> str:
    """Return a number with its unit; times and energies by their mean alone."""
    if mean is None:
        return "–"
    if name.endswith("accuracy"):
        return f"{Mean(mean.n, 100 * mean.mean, 100 * mean.std, 100 * mean.half)} %"
    if name.endswith("seconds"):
        return format_duration(mean.mean)
    if name.endswith("joule"):
        return format_quantity(mean.mean, "J", 3)
    if abs(mean.mean) >= _LARGE:
        return format_quantity(mean.mean, "", 3).strip()
    return str(mean)


def _csv(methods: Sequence[Method]) -> str:
    """Return one row per training."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["method", "seed", *NUMBERS, "run"])
    for method in methods:
        for one in method.trained:
            values = [one.numbers.get(name, "") for name in NUMBERS]
            rows.writerow([method.name, one.seed, *values, one.run])
    return text.getvalue()


def _pngs(drawn: Sequence[Drawing], folder: Path) -> list[Path]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = []
    with styled():
        for drawing in drawn:
            figure = Figure(figsize=drawing.size_in, layout="constrained", facecolor="white")
            FigureCanvasAgg(figure)
            drawing.draw(figure)
            path = folder / f"{drawing.name}.png"

            def write(beside: Path, figure: Figure = figure) -> None:
                figure.savefig(beside, format="png", dpi=_PNG_DPI)

            save(path, write)
            files.append(path)
    return files
