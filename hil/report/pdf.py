"""The report as a PDF: tables as text, then the figures in their own sizes on A4 pages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.report.facts import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hil.report.figures.style import Drawing

_PAGE_IN: Final = (8.27, 11.69)
_MARGIN_IN, _GAP_IN = 0.59, 0.12
_TEXT_IN: Final = _PAGE_IN[0] - 2 * _MARGIN_IN
_LINE_IN: Final = 0.155
_CHARS: Final = 104  # of 8 pt text on a line
_LARGEST_CELL: Final = 60  # characters of a column of a table with several


@dataclass(frozen=True)
class _Line:
    """One line of text: (indent in inches, text) of every column, and its style."""

    cells: tuple[tuple[float, str], ...]
    style: dict[str, Any]
    height_in: float = _LINE_IN


def write_pdf(
    path: Path, title: str, notes: Sequence[str], tables: Sequence[Table],
    drawings: Sequence[Drawing],
) -> int:  # fmt: skip
    """Write title, notes, figures and tables to ``path`` and return the number of pages.

    To be called within :func:`hil.report.render.styled`.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    with PdfPages(path, metadata={"Title": title, "Creator": "synapse-hil"}) as pages:
        for page in (*_text_pages(title, notes, tables), *_figure_pages(drawings)):
            pages.savefig(page)
        return int(pages.get_pagecount())


def _text_pages(title: str, notes: Sequence[str], tables: Sequence[Table]) -> Iterator[Figure]:
    page, y = _new_page(), _PAGE_IN[1] - _MARGIN_IN
    for line in _lines(title, notes, tables):
        if y - line.height_in < _MARGIN_IN:
            yield page
            page, y = _new_page(), _PAGE_IN[1] - _MARGIN_IN
        y -= line.height_in
        for indent, text in line.cells:
            page.text((_MARGIN_IN + indent) / _PAGE_IN[0], y / _PAGE_IN[1], text, va="bottom",
                      **line.style)  # fmt: skip
    yield page


def _lines(title: str, notes: Sequence[str], tables: Sequence[Table]) -> Iterator[_Line]:
    for text in textwrap.wrap(title, 60):
        yield _Line(((0.0, text),), {"fontsize": 15, "fontweight": "bold"}, 0.3)
    for note in notes:
        for text in textwrap.wrap(note, 92):
            yield _Line(((0.0, text),), {"fontsize": 9, "color": "#A34700"}, 0.18)
    for table in tables:
        yield _Line((), {}, 0.1)
        yield _Line(((0.0, table.title),), {"fontsize": 9.5, "fontweight": "bold"}, 0.24)
        yield from _rows(table)
        for text in textwrap.wrap(table.note, _CHARS):
            yield _Line(((0.0, text),), {"fontsize": 7, "color": "#5B6670"})


def _rows(table: Table) -> Iterator[_Line]:
    rows = [*((table.head,) if table.head else ()), *table.rows]
    n = max(len(row) for row in rows)
    longest = [max((len(r[k]) for r in rows if k < len(r)), default=1) for k in range(n)]
    chars = [min(length, _LARGEST_CELL) + 2 for length in longest]
    chars[-1] = max(chars[-1], _CHARS - sum(chars[:-1]))
    scale = min(1.0, _CHARS / sum(chars))
    widths = [max(int(scale * c), 6) for c in chars]
    starts = [sum(widths[:k]) * _TEXT_IN / _CHARS for k in range(n)]
    for number, row in enumerate(rows):
        style: dict[str, Any] = {"fontsize": 8}
        if table.head and number == 0:
            style |= {"color": "#5B6670"}
        columns = [textwrap.wrap(text, max(w - 2, 4)) or [""]
                   for text, w in zip(row, widths, strict=False)]  # fmt: skip
        for k in range(max(len(column) for column in columns)):
            yield _Line(tuple((start, column[k]) for start, column in zip(starts, columns,
                              strict=False) if k < len(column)), style)  # fmt: skip


def _figure_pages(drawings: Sequence[Drawing]) -> Iterator[Figure]:
    for rows in _paged(_paired(drawings)):
        yield _figure_page(rows)


def _paired(drawings: Sequence[Drawing]) -> Iterator[list[Drawing]]:
    """Yield rows of figures: two narrow ones that follow one another share a row."""
    held: list[Drawing] = []
    for drawing in drawings:
        wide = drawing.size_in[0] > _TEXT_IN / 2
        if held and (wide or len(held) == 2):
            yield held
            held = []
        held.append(drawing)
        if wide:
            yield held
            held = []
    if held:
        yield held


def _paged(rows: Iterator[list[Drawing]]) -> Iterator[list[list[Drawing]]]:
    page: list[list[Drawing]] = []
    left = _PAGE_IN[1] - 2 * _MARGIN_IN
    for row in rows:
        height = _figure_in(row) + _caption_in(row)
        if page and height > left:
            yield page
            page, left = [], _PAGE_IN[1] - 2 * _MARGIN_IN
        page.append(row)
        left -= height
    if page:
        yield page


def _figure_page(rows: Sequence[Sequence[Drawing]]) -> Figure:
    from matplotlib.gridspec import GridSpec

    page = _new_page(layout="constrained")
    heights = [_MARGIN_IN]
    for row in rows:
        heights += [_figure_in(row), _caption_in(row)]
    heights.append(max(_PAGE_IN[1] - sum(heights), 0.01))
    half = (_TEXT_IN - _GAP_IN) / 2
    widths = [_MARGIN_IN, half, _GAP_IN, half, _MARGIN_IN]
    # Subfigures lie on the bare ratios of a grid: rows for figures, captions and margins.
    grid = GridSpec(len(heights), len(widths), page, height_ratios=heights, width_ratios=widths)
    y = _PAGE_IN[1] - _MARGIN_IN
    for k, row in enumerate(rows):
        y -= _figure_in(row)
        for j, drawing in enumerate(row):
            alone = drawing.size_in[0] > half
            cells = grid[1 + 2 * k, 1:4] if alone else grid[1 + 2 * k, 1 + 2 * j]
            drawing.draw(page.add_subfigure(cells))
            x = _MARGIN_IN + j * (half + _GAP_IN)
            page.text(x / _PAGE_IN[0], (y - 0.04) / _PAGE_IN[1], "\n".join(_caption(drawing)),
                      va="top", fontsize=7, linespacing=1.35, color="#444444")  # fmt: skip
        y -= _caption_in(row)
    return page


def _figure_in(row: Sequence[Drawing]) -> float:
    return max(drawing.size_in[1] for drawing in row)


def _caption_in(row: Sequence[Drawing]) -> float:
    return 0.135 * max(len(_caption(drawing)) for drawing in row) + 0.3


def _caption(drawing: Drawing) -> list[str]:
    chars = 130 if drawing.size_in[0] > _TEXT_IN / 2 else 61
    return textwrap.wrap(f"{drawing.title}. {drawing.caption}", chars)


def _new_page(**options: Any) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=_PAGE_IN, facecolor="white", **options)
