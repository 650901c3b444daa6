"""Two runs beside each other: figures of merit, what differs in their records and files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from hil.report.facts import Table
from hil.report.gather import Content

if TYPE_CHECKING:
    from hil.report.figures.style import Drawing

_MOST_DIFF_LINES: Final = 400
#: Lines of the record that are another for every run.
_ALWAYS_ANOTHER: Final = frozenset(("started", "ended", "run id", "folder"))


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two runs shows.

    Attributes:
        title: of the page.
        names: of the two runs: their folders.
        notes: what to say above it: runs that are not done, that are simulated.
        tables: figures of merit, then the record; rows that differ are marked.
        diffs: texts of files that differ, by name.
    """

    title: str
    names: tuple[str, str]
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    diffs: Mapping[str, str]


def compare(one: Content, other: Content) -> Comparison:
    """Compare what was gathered of two runs."""
    names = (one.path.name, other.path.name)
    said: dict[str, list[str]] = {}
    for name, content in (("A", one), ("B", other)):
        for text in (content.simulated, content.banner, *content.problems):
            if text:
                said.setdefault(text, []).append(name)
    notes = [f"{' and '.join(of)}: {text}" for text, of in said.items()]
    if bool(one.simulated) != bool(other.simulated):
        notes.insert(0, "One run is simulated, the other is not.")
    tables = [figures_of_merit(one, other), *records(one, other)]
    return Comparison(
        f"{one.title} and {other.title}", names, tuple(notes),
        tuple(table for table in tables if table.rows), differing_files(one, other),
    )  # fmt: skip


def comparison_page(
    compared: Comparison, drawings: Sequence[Drawing], images: Mapping[str, bytes]
) -> str:
    """Return the page of a comparison; ``images`` are the drawings as SVG, by name."""
    from hil.report.page import pictures, render

    return render("compare.html", content=compared, pictures=pictures(drawings, images))


def figures_of_merit(one: Content, other: Content) -> Table:
    """Return the key figures of both runs and the change from the first to the second."""
    rows = []
    for name in dict.fromkeys((*one.numbers, *other.numbers)):
        a, b = one.numbers.get(name), other.numbers.get(name)
        change = "–"
        if a is not None and b is not None:
            change = _change(a[1], b[1], a[0].endswith("%"))
        rows.append((name, "–" if a is None else a[0], "–" if b is None else b[0], change))
    return Table("Figures of merit", ("", "A", "B", "from A to B"), tuple(rows))


def records(one: Content, other: Content) -> list[Table]:
    """Return the tables of both runs that say something by name and value, side by side."""
    ours, theirs = (
        {t.title: t for t in (c.summary, *c.tables) if not t.head} for c in (one, other)
    )
    tables = []
    for title in dict.fromkeys((*ours, *theirs)):
        a, b = (dict(_pairs(tables_.get(title))) for tables_ in (ours, theirs))
        rows = [(name, a.get(name, "–"), b.get(name, "–")) for name in dict.fromkeys((*a, *b))]
        marked = frozenset(
            k for k, (name, x, y) in enumerate(rows) if x != y and name not in _ALWAYS_ANOTHER
        )
        tables.append(Table(title, ("", "A", "B"), tuple(rows), marked=marked))
    return tables


def differing_files(one: Content, other: Content) -> dict[str, str]:
    """Return a unified difference of every file that both runs used, or one of them."""
    diffs = {}
    for name in dict.fromkeys((*one.files, *other.files)):
        a, b = one.files.get(name), other.files.get(name)
        if a == b:
            continue
        if a is None or b is None:
            diffs[name] = f"only run {'B' if a is None else 'A'} used it"
            continue
        lines = difflib.unified_diff(
            a.splitlines(), b.splitlines(), f"A/{name}", f"B/{name}", lineterm=""
        )
        shown = list(islice(lines, _MOST_DIFF_LINES + 1))
        more = ["…"] if len(shown) > _MOST_DIFF_LINES else []
        diffs[name] = "\n".join(shown[:_MOST_DIFF_LINES] + more) or "only line ends differ"
    return diffs


def _change(a: float, b: float, share: bool) -> str:
    """Return the change in words: of a share in percentage points, of others in percent."""
    if share:
        text = f"{100 * (b - a):+.2f} points"
    elif a != 0:
        text = f"{100 * (b / a - 1.0):+.1f} %"
    else:
        return "–"
    return text.replace("-", "−")


def _pairs(table: Table | None) -> list[tuple[str, str]]:
    return [] if table is None else [(row[0], row[1]) for row in table.rows if len(row) > 1]
