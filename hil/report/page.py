"""The report of one run as one HTML page that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from hil import __version__
from hil.report.gather import Content

if TYPE_CHECKING:
    from hil.report.figures.style import Drawing

_WIDE_IN = 5.0  # a figure wider than this takes the whole width of the page


@dataclass(frozen=True)
class Picture:
    """A drawn figure, as the page holds it."""

    name: str
    title: str
    caption: str
    base64: str
    wide: bool


def run_page(content: Content, drawings: Sequence[Drawing], images: Mapping[str, bytes]) -> str:
    """Return the page of one run; ``images`` are the drawings as SVG, by name."""
    return render("run.html", content=content, pictures=pictures(drawings, images))


def pictures(drawings: Sequence[Drawing], images: Mapping[str, bytes]) -> list[Picture]:
    """Return drawings with their images, for a template."""
    return [
        Picture(d.name, d.title, d.caption, base64.b64encode(images[d.name]).decode(),
                d.size_in[0] > _WIDE_IN)
        for d in drawings
    ]  # fmt: skip


def render(template: str, **values: Any) -> str:
    """Return a template filled in; whatever is not markup of the template becomes text.

    The policy forbids everything but images within the page and this very style sheet.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    folder = resources.files("hil.report") / "templates"
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in (template, "parts.html")}
    css = (folder / "page.css").read_text(encoding="utf-8").replace("\r\n", "\n")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    environment = Environment(
        loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(
        csp=policy, css=Markup(css), version=__version__, **values
    )
