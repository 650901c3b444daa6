"""``hil report``: what a run did as a page with figures, or two runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import AsJson
from hil.cli.output import Output


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[OTHER]", help="Another run, to compare with.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="Page to write [default: in RUN]."
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also write a PDF beside the page.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="DIR", help="Also save every figure as SVG.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a report of a run: one HTML page with figures.

    Also while the run is being written, or after a crash. The page asks nobody for anything.
    """
    from hil.report.write import write_comparison, write_report

    output = Output(as_json)
    if other is None:
        written = write_report(run, out, pdf=pdf, svg_folder=svg)
    else:
        written = write_comparison(run, other, out, pdf=pdf, svg_folder=svg)
    output.say(f"report: {written.page}")
    if written.pdf is not None:
        output.say(f"pdf: {written.pdf}")
    if written.svgs:
        output.say(f"{len(written.svgs)} figures: {svg}")
    else:
        output.say(f"figures: {', '.join(written.figures) or 'none'}")
    if written.missing:
        names = (text.partition(":")[0] for text in written.missing.values())
        output.say(f"not in this run: {', '.join(names)}")
    output.result(
        {
            "page": written.page, "pdf": written.pdf, "figures": list(written.figures),
            "svgs": list(written.svgs), "missing": dict(written.missing),
        }
    )  # fmt: skip
