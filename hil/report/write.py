"""Writes reports: a page, a PDF, single figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigError, StoreError
from hil.extras import needed_for
from hil.report.render import save, styled, svgs

if TYPE_CHECKING:
    from hil.report.facts import Table
    from hil.report.figures.style import Drawing


@dataclass(frozen=True)
class Written:
    """What a report became.

    Attributes:
        page: the HTML page.
        pdf: None where none was asked for.
        figures: names of the figures, in order.
        svgs: their files, where they were asked for.
        missing: what the run has no data for -> which runs have it.
    """

    page: Path
    pdf: Path | None
    figures: tuple[str, ...]
    svgs: tuple[Path, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    *,
    pdf: bool = False,
    svg_folder: str | Path | None = None,
) -> Written:
    """Write the report of the run folder ``run``.

    Args:
        run: the run folder; finished, stopped, crashed or still being written.
        out: the page, None = ``report.html`` in the run folder.
        pdf: also write a PDF beside the page.
        svg_folder: also write every figure as SVG into this folder.

    Raises:
        StoreError: no run folder, or a file cannot be written.
        BackendUnavailable: the extra ``report`` is not installed.
    """
    with needed_for("a report", "report"):
        from hil.report.figures.listing import drawings
        from hil.report.gather import gather
        from hil.report.page import run_page

        content = gather(run)
        drawn = drawings(content)
        images = svgs(drawn)
        page = _page_path(out, content.path / "report.html")
        save_text(page, run_page(content, drawn, images))
        notes = [text for text in (content.simulated, content.banner, *content.problems) if text]
        tables = [content.summary, *content.tables]
        made = _pdf(page, content.title, notes, tables, drawn) if pdf else None
    return Written(page, made, tuple(images), save_svgs(images, svg_folder), content.missing)


def write_comparison(
    first: str | Path,
    second: str | Path,
    out: str | Path | None = None,
    *,
    pdf: bool = False,
    svg_folder: str | Path | None = None,
) -> Written:
    """Write a page that compares two runs; arguments and errors as :func:`write_report`.

    ``out`` None: ``report-with-<id>.html`` in the first run's folder.
    """
    with needed_for("a report", "report"):
        from hil.report.compare import compare, comparison_page
        from hil.report.figures.overlays import overlays
        from hil.report.gather import gather

        one, other = gather(first), gather(second)
        compared = compare(one, other)
        drawn = overlays(one, other)
        images = svgs(drawn)
        page = _page_path(out, one.path / f"report-with-{other.path.name[-8:]}.html")
        save_text(page, comparison_page(compared, drawn, images))
        made = _pdf(page, compared.title, compared.notes, compared.tables, drawn) if pdf else None
    return Written(page, made, tuple(images), save_svgs(images, svg_folder))


def save_text(path: Path, text: str) -> None:
    """Write a text file in one move, with the same line ends on every system."""
    save(path, lambda beside: beside.write_bytes(text.encode()))


def save_svgs(images: Mapping[str, bytes], folder: str | Path | None) -> tuple[Path, ...]:
    """Write every image as ``<name>.svg`` into ``folder``; nothing for None."""
    if folder is None:
        return ()
    files = []
    for name, content in images.items():
        path = Path(folder) / f"{name}.svg"
        save(path, lambda beside, content=content: beside.write_bytes(content))  # type: ignore[misc]
        files.append(path)
    return tuple(files)


def _page_path(out: str | Path | None, default: Path) -> Path:
    path = default if out is None else Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path.name!r} does not end in .html; a PDF comes with --pdf",
                          field="--output")  # fmt: skip
    if path.is_dir():
        raise StoreError(f"cannot write {path}: it is a folder")
    return path


def _pdf(
    page: Path, title: str, notes: Sequence[str], tables: Sequence[Table],
    drawings: Sequence[Drawing],
) -> Path:  # fmt: skip
    from hil.report.pdf import write_pdf

    path = page.with_suffix(".pdf")
    with styled():
        save(path, lambda beside: write_pdf(beside, title, notes, tables, drawings))
    return path
