"""Reads a report's page as a browser would, as far as the tests need it."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        tags: (name, attributes) in order.
        texts: pieces of text in order.
        rows: texts of the cells of every table row.
        images: alternative text -> SVG.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = self._in_style = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if not self._in_style:
            self.texts.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def images(self) -> dict[str, ElementTree.Element]:
        found = {}
        for tag, attributes in self.tags:
            if tag == "img":
                kind, _, content = attributes["src"].partition(",")
                assert kind == "data:image/svg+xml;base64"
                found[attributes["alt"]] = ElementTree.fromstring(base64.b64decode(content))
        return found

    @property
    def policy(self) -> str:
        return next(
            a["content"] for _, a in self.tags
            if a.get("http-equiv") == "Content-Security-Policy"
        )  # fmt: skip

    def value(self, name: str) -> str:
        """Return the second cell of the row whose first is ``name``."""
        return next(row[1] for row in self.rows if row and row[0] == name)


def svg_texts(svg: ElementTree.Element) -> list[str]:
    """Return all texts of a picture."""
    return ["".join(e.itertext()) for e in svg.iter("{http://www.w3.org/2000/svg}text")]
