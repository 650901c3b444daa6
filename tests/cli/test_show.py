"""``hil show`` on terminals of 80 columns, with and without UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess

import numpy as np
import pytest
from command import HIL, SHORT_TRAINING, STATION, hil, hil_json, write

from hil.cli import terminal
from hil.record import open_run
from hil.report.spread import conductance_spreads
from hil.report.text import quantity

LTP = "schema = 1\nname = 'ltp'\nkind = 'ltp-ltd'\nsample = 5\npulses = 40\n"
BARS = set("▁▂▃▄▅▆▇█ ")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    write(folder, "station.toml", STATION.replace("= 8", "= 70"))
    write(folder, "ltp.toml", LTP)
    write(folder, "train.toml", SHORT_TRAINING.replace("epochs = 1", "epochs = 3"))
    station = ("--station", "station.toml", "--sim")
    return {
        "ltp": folder / hil_json("run", "ltp.toml", *station, cwd=folder)["run"],
        "train": folder / hil_json("train", "train.toml", *station, cwd=folder)["run"],
    }


def bars_of(text: str, name: str) -> str:
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line[len(name) :].strip().split("  ")[0].strip()


@pytest.mark.parametrize(
    ("run", "names"),
    [
        ("ltp", ["conductance", "LTP and LTD, mean", "pulses over time"]),
        ("train", ["conductance", "test accuracy", "write pulses", "pulses over time"]),
    ],
    ids=["ltp", "train"],
)
def test_the_course_of_a_run_is_shown_in_80_columns(runs, run, names):
    lines = hil("show", runs[run]).stdout.splitlines()
    for name in names:
        line = next(line for line in lines if line.startswith(name))
        assert len(line) <= 80, line
        assert set(bars_of(line, name)) <= BARS
    begins = {line.index(bars_of(line, n)) for n in names for line in lines if line.startswith(n)}
    assert len(begins) == 1  # one below the other


def test_conductances_are_counted_from_the_least_to_the_largest(runs):
    run = open_run(runs["ltp"])
    (spread,) = conductance_spreads(run, 8)
    with np.load(runs["ltp"] / "checkpoints" / "ledger.npz") as ledger:
        g = ledger["g_last_siemens"]
    g = g[np.isfinite(g)]
    counts, _ = np.histogram(g, bins=8)
    heights = ["▁▂▃▄▅▆▇█".index(bar) for bar in spread.line]
    assert heights == np.minimum(counts * 8 // counts.max(), 7).tolist()
    assert spread.text == f"{quantity(g.min(), 'S', 3)} … {quantity(g.max(), 'S', 3)}"


def test_of_a_run_without_a_ledger_the_rows_say_the_conductances(runs, tmp_path):
    crashed = shutil.copytree(runs["ltp"], tmp_path / "crashed")
    (crashed / "stop.json").unlink()
    shutil.rmtree(crashed / "checkpoints")
    (spread,) = conductance_spreads(open_run(crashed), 8)
    pulses = open_run(runs["ltp"]).to_pandas("pulses").dropna(subset="g1")
    last = pulses.groupby(["row", "col"]).g1.last()
    assert spread.text == f"{quantity(last.min(), 'S', 3)} … {quantity(last.max(), 'S', 3)}"
    assert "crashed or running" in hil("show", crashed).stdout


@pytest.mark.skipif(os.name == "nt", reason="a console of Windows shows Unicode in every locale")
def test_a_terminal_without_utf_8_gets_ascii(runs):
    names = ("LC_ALL", "PYTHONIOENCODING", "PYTHONUTF8")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [*HIL, "show", runs["ltp"]], env={**environment, "LC_ALL": "C"}, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("ascii")
    assert set("_.:-=+*#") >= set(bars_of(text, "LTP and LTD, mean"))
    assert "S -> " in text
    assert " uS" in text
    assert "run: ltp (run), done" in text


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX's")
def test_long_lines_are_broken_for_a_terminal_and_for_nothing_else(runs):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen([*HIL, "show", runs["train"]], env=environment, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so that the other end was closed
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    lines = shown.decode("utf-8").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(len(line) > 80 for line in hil("show", runs["train"]).stdout.splitlines())


@pytest.mark.parametrize(
    ("setting", "locale", "shown"),
    [("", "UTF-8", True), ("", "ANSI_X3.4-1968", False), ("latin-1", "UTF-8", False),
     ("utf8:strict", "ascii", True), ("no-such", "UTF-8", False)],
)  # fmt: skip
def test_the_locale_says_what_a_terminal_shows(monkeypatch, setting, locale, shown):
    monkeypatch.setenv("PYTHONIOENCODING", setting)
    monkeypatch.setattr(terminal.os, "name", "posix")
    monkeypatch.setattr(terminal.locale, "getencoding", lambda: locale)
    assert terminal.shows_unicode() is shown
    assert (terminal.legible("▁█ 1 µS → 2 Ω · é") == "_# 1 uS -> 2 ohm * \\xe9") is not shown
