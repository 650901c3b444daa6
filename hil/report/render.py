"""From drawings to pictures: SVG with real text, one after the other, without a display."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hil.record import durable

if TYPE_CHECKING:
    from hil.report.figures.style import Drawing

T = TypeVar("T")


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the report's style inside the ``with`` block."""
    import matplotlib as mpl

    from hil.report.figures.style import STYLE

    with mpl.rc_context(rc=STYLE):
        yield


def svg(drawing: Drawing) -> bytes:
    """Return a drawing as SVG whose text is text; the same data gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=drawing.size_in, layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    drawing.draw(figure)
    sink = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": drawing.name}):
        figure.savefig(sink, format="svg", metadata={"Date": None, "Title": drawing.title})
    return sink.getvalue()


def svgs(drawings: Sequence[Drawing]) -> dict[str, bytes]:
    """Return all drawings as SVG, by name."""
    with styled():
        return {drawing.name: svg(drawing) for drawing in drawings}


def save(path: Path, write: Callable[[Path], T]) -> T:
    """Write a file beside and move it into place, so that no half of it is ever there.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise durable.store_error("write", path, exc) from exc
    with durable.replacing(path) as beside:
        return write(beside)
