"""The time left is told by what was done now; what was done before took none of it."""

from __future__ import annotations

import io

import pytest

from hil.cli import progress as module


class Clock:
    """Seconds that the test lets pass."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_lines_tell_the_rate_of_this_call(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    with module.progress("study") as report:
        report(90, 100, "", 90)
        clock.now += 60
        report(92, 100, "two", 90)
    assert capsys.readouterr().err == "study: 92 of 100, 240 s left two\n"


def test_bar_tells_the_rate_of_this_call(monkeypatch):
    from rich import progress as rich

    bars = []

    class Watched(rich.Progress):
        def __init__(self, *columns, **options):
            options["auto_refresh"] = False
            super().__init__(*columns, get_time=clock, **options)
            bars.append(self)

    clock, screen = Clock(), io.StringIO()
    monkeypatch.setattr(rich, "Progress", Watched)
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(module.sys, "stderr", screen)
    with module.progress("study") as report:
        report(90, 100, "", 90)
        for done in (91, 92, 93):
            clock.now += 120
            report(done, 100, "a run", 90)
        (task,) = bars[0].tasks
        assert task.time_remaining == pytest.approx(7 * 120)
        assert task.percentage == pytest.approx(30)
        assert task.fields["note"] == "(after 90 done before) a run"
