"""Progress bars with the time left, on standard error; plain lines where that is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

_PLAIN_EVERY_S = 10.0
_RATE_S = 3600.0  # the rate is that of the last hour, since a run of a study may take minutes


class Report(Protocol):
    """Says how far the work is."""

    def __call__(
        self, done: float, total: float | None = None, note: str = "", skipped: float = 0.0
    ) -> None:
        """Show ``done`` of ``total`` (None: not known) with a short note.

        ``skipped`` of what is done took no time, since an earlier call did it.
        """


@contextmanager
def progress(what: str, check: Callable[[], None] | None = None) -> Iterator[Report]:
    """Show progress of ``what`` on standard error while the ``with`` block runs.

    Args:
        what: the label.
        check: called with every report; may raise to end the work.
    """
    with _bar(what) if sys.stderr.isatty() else _lines(what) as show:

        def report(
            done: float, total: float | None = None, note: str = "", skipped: float = 0.0
        ) -> None:
            if check is not None:
                check()
            show(done, total, note, skipped)

        yield report


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TextColumn("left"),
               TimeLeft(), TextColumn("{task.fields[note]}"))  # fmt: skip
    with Progress(
        *columns, console=Console(stderr=True), transient=True, speed_estimate_period=_RATE_S
    ) as bar:
        task = bar.add_task(what, total=None, note="")

        def show(
            done: float, total: float | None = None, note: str = "", skipped: float = 0.0
        ) -> None:
            if skipped:  # the bar is of what is done now: its rate gives the time left
                note = f"(after {skipped:g} done before) {note}".rstrip()
                done, total = done - skipped, None if total is None else total - skipped
            bar.update(task, completed=done, total=total, note=note)

        yield show


@contextmanager
def _lines(what: str) -> Iterator[Report]:
    """Print a line at most every ten seconds, so that a log file stays readable."""
    begun = last = time.monotonic()

    def show(done: float, total: float | None = None, note: str = "", skipped: float = 0.0) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PLAIN_EVERY_S:
            return
        last = now
        left = ""
        if total and done > skipped:
            left_s = (now - begun) * (total - done) / (done - skipped)
            left = f" of {total:g}, {left_s:.0f} s left"
        print(f"{what}: {done:g}{left} {note}".rstrip(), file=sys.stderr, flush=True)

    yield show
