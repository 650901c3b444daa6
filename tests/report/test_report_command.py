from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from made_runs import empty_run
from reading import Page

from hil.errors import BackendUnavailable, ConfigError, StoreError
from hil.report.gather import gather
from hil.report.sparkline import sparkline, trends
from hil.report.write import write_comparison, write_report


def hil(*arguments, blocked=""):
    """Run ``hil`` in a process of its own; ``blocked`` packages are as if not installed."""
    code = (
        "import sys\n"
        f"for name in {blocked.split()!r}: sys.modules[name] = None\n"
        "from hil.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True,
        encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip


def test_the_command_writes_page_pdf_and_figures_and_says_so(library, tmp_path):
    page = tmp_path / "out" / "page.html"
    done = hil("report", library["ltp"], "-o", page, "--pdf", "--svg", tmp_path / "svg", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["page"] == str(page)
    assert said["figures"] == ["ltp-ltd", "maps-main", "exposure-main"]
    assert sorted(p.name for p in (tmp_path / "svg").iterdir()) == sorted(
        f"{name}.svg" for name in said["figures"]
    )
    pdf = page.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 2
    assert not list(page.parent.glob(".*"))  # nothing is left beside


def test_the_page_goes_into_the_run_folder_by_default(library, tmp_path):
    run = library.copy("iv", tmp_path)
    done = hil("report", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"report: {run / 'report.html'}\nfigures: iv, ")
    assert "not in this run: potentiation and depression curves, " in done.stdout
    before = (run / "report.html").read_bytes()
    assert hil("report", run).returncode == 0  # it is made anew
    assert len((run / "report.html").read_bytes()) == len(before)


def test_a_run_with_its_report_still_verifies(library, tmp_path):
    run = library.copy("iv", tmp_path)
    write_report(run, pdf=True)
    assert gather(run).problems == ()
    assert hil("show", run, "--verify").returncode == 0


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_the_command_names_it(library, package):
    done = hil("report", library["iv"], blocked=package)
    assert done.returncode == 5
    assert 'pip install "synapse-hil[report]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_module_of_ours_is_not_blamed_on_the_extra(monkeypatch, library):
    from hil.extras import needed_for

    with pytest.raises(ModuleNotFoundError, match="gone"), needed_for("a report", "report"):
        raise ModuleNotFoundError("gone", name="hil.report.gone")
    with pytest.raises(BackendUnavailable, match=r"\[report\]"), needed_for("a report", "report"):
        raise ModuleNotFoundError("no", name="matplotlib.figure")


def test_help_and_show_load_nothing_to_draw_with(library):
    for arguments in (["--help"], ["show", str(library["iv"])]):
        done = hil(*arguments, blocked="matplotlib jinja2")
        assert done.returncode == 0, done.stderr


def test_a_page_that_is_no_page_or_cannot_be_written_is_an_error(library, tmp_path):
    with pytest.raises(ConfigError, match=r"--output: 'x\.pdf' does not end in \.html"):
        write_report(library["iv"], tmp_path / "x.pdf")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StoreError, match="it is a folder"):
        write_report(library["iv"], tmp_path / "folder.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        write_report(library["iv"], tmp_path / "file" / "page.html")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_that_is_read_only_is_an_error(library, tmp_path):
    run = library.copy("iv", tmp_path)
    run.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        write_report(run)


def test_two_runs_are_compared(library, tmp_path):
    written = write_comparison(library["ltp"], library["ltp"], tmp_path / "same.html")
    same = Page(written.page)
    assert not [a for tag, a in same.tags if tag == "tr" and a.get("class") == "differs"]
    assert "Files that differ" not in same.text
    assert written.figures == ("ltp-ltd", "maps-main", "exposure-main")
    assert "+0.0 %" in same.text


def test_a_comparison_shows_what_differs(library, tmp_path):
    written = write_comparison(library["ltp"], library["verify"], tmp_path / "c.html", pdf=True)
    page = Page(written.page)
    marked = [row for row in page.rows if row and row[0] == "protocol"]
    assert marked == [["protocol", "ltp, ltp-ltd", "verify, write-verify"]]
    assert [a for tag, a in page.tags if tag == "tr" and a.get("class") == "differs"]
    assert '-kind = "ltp-ltd"' in page.source.replace("&#34;", '"')
    assert "A and B: simulated" in page.text
    assert "maps-main" in written.figures
    assert written.pdf.read_bytes().startswith(b"%PDF")


def test_figures_of_merit_stand_beside_each_other(library, tmp_path):
    one, other = gather(library["train"]), gather(library["train"])
    other.numbers["test accuracy"] = ("50.00 %", one.numbers["test accuracy"][1] - 0.125)
    from hil.report.compare import figures_of_merit

    row = next(r for r in figures_of_merit(one, other).rows if r[0] == "test accuracy")
    assert row[1:] == (one.numbers["test accuracy"][0], "50.00 %", "−12.50 points")


def test_a_simulated_run_beside_a_real_one_is_pointed_out(library, tmp_path):
    with empty_run(tmp_path) as folder:
        pass
    page = Page(write_comparison(library["iv"], folder.path, tmp_path / "c.html").page)
    assert "One run is simulated, the other is not." in page.text


def test_bars_rise_with_the_values_and_leave_gaps():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, np.nan, 5.0]) == "▁ ▁"
    assert sparkline([]) == sparkline([np.nan]) == ""
    assert sparkline([9, 10], low=0.0) == "██"
    assert sparkline(np.arange(1000), width=8) == "▁▂▃▄▅▆▇█"


def test_show_prints_the_course_of_a_run(library):
    done = hil("show", library["train"])
    assert done.returncode == 0, done.stderr
    curve = gather(library["train"]).learning[0]
    first, last = (f"{100 * v:.1f} %" for v in curve.test_accuracy[[0, -1]])
    line = next(x for x in done.stdout.splitlines() if x.startswith("test accuracy"))
    assert line.endswith(f"{first} → {last}")
    assert set(line) & set("▁█")


def test_trends_cover_the_curves_of_protocols(library):
    from hil.record import open_run

    names = {run: [t.name for t in trends(open_run(library[run]))]
             for run in ("ltp", "iv", "retention", "endurance")}  # fmt: skip
    assert names["ltp"][0] == "LTP and LTD, mean"
    assert names["iv"] == ["current, median"]  # no pulse was driven
    assert "retention, median" in names["retention"]
    assert names["endurance"][:2] == ["high state, median", "low state, median"]
