from __future__ import annotations

import base64
import hashlib
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from made_runs import HOSTILE, empty_run
from reading import Page, svg_texts

from hil.record import open_run
from hil.report.gather import gather
from hil.report.text import count
from hil.report.write import write_report

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pages(library, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages")
    return {
        name: Page(write_report(library[name], out / f"{name}.html").page)
        for name in ("ltp", "train", "verify")
    }


def test_the_page_says_what_ran_on_what_with_the_runs_own_numbers(library, pages):
    run, page = open_run(library["ltp"]), pages["ltp"]
    stop = run.stop["rows"]
    assert page.value("status") == "done"
    assert page.value("chip") == "W12-D34"
    assert page.value("protocol") == "ltp, ltp-ltd"
    assert page.value("run id") == run.manifest["id"]
    result = next(e for e in run.events if e["kind"] == "result")
    assert page.value("device pulses") == count(result["device_pulses"])
    assert page.value("rows recorded") == ", ".join(f"{k} {count(n)}" for k, n in stop.items())
    assert page.value("half select voltage") == "1.2 V"
    assert page.value("level voltage") == "−2.5 V … 2.5 V"
    assert page.value("slew rate") == "not limited"
    assert page.value("potentiate voltage") == "2 V"
    assert page.value("numpy") == run.manifest["software"]["numpy"]
    sha256 = run.manifest["config"]["protocol.toml"]["sha256"]
    assert any(row[0] == "protocol.toml" and row[2] == sha256 for row in page.rows)


def test_instruments_and_wiring_are_listed(pages):
    rows = pages["ltp"].rows
    assert ["smu", "–", "keithley-2600b", "TCPIP0::192.168.0.5::5025::SOCKET"] in rows
    assert ["main", "WL0:6", "mux/1A01", "smu.a"] in rows
    assert ["main", "BL0:4", "mux/1B07", "smu.b"] in rows


def test_key_figures_are_those_of_the_curves(library, pages):
    curve = gather(library["ltp"]).ltp_ltd[""]
    mean = np.nanmean(curve.g_siemens[1:], axis=(0, 2))
    assert f"highest mean conductance {mean.max() * 1e6:.4g} µS" in pages["ltp"].text


def test_a_simulated_run_is_marked_as_such(pages, tmp_path):
    assert "simulated: no device was driven" in pages["ltp"].text
    with empty_run(tmp_path) as folder:
        pass
    assert "simulated" not in Page(write_report(folder.path).page).text


def test_the_page_holds_every_figure_as_a_picture_with_text(pages):
    images = pages["train"].images
    titles = [alt.split(".")[0] for alt in images]
    assert titles == [
        "Learning curve", "Confusion matrix", "Potentiation and depression",
        "Conductance maps, main", "Pulses and stress, main",
    ]  # fmt: skip
    learning = svg_texts(next(iter(images.values())))
    assert {"epoch", "test accuracy (%)", "array", "floating point"} <= set(learning)
    maps = svg_texts(next(svg for alt, svg in pages["verify"].images.items() if "maps" in alt))
    assert {"before", "after", "target", "error", "conductance (µS)"} <= set(maps)


def test_the_confusion_matrix_shows_the_counts(library, pages):
    counts = gather(library["train"]).confusion.counts
    alt, svg = next((a, s) for a, s in pages["train"].images.items() if "Confusion" in a)
    shown = [text for text in svg_texts(svg) if re.fullmatch(r"\d+", text)]
    ticks = [str(k) for k in range(10)] * 2
    bar = [str(k) for k in range(0, 101, 20)]
    assert sorted(shown) == sorted([str(n) for n in counts.ravel() if n] + ticks + bar)
    assert f"{counts.sum()} test samples" in alt


def test_nothing_on_the_page_is_loaded_from_elsewhere(pages):
    for page in pages.values():
        assert page.policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        style = re.search(r"<style>(.*?)</style>", page.source, re.DOTALL).group(1)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.policy
        assert "url(" not in style
        assert "@import" not in style
        assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form"}
        for tag, attributes in page.tags:
            assert not {a for a in attributes if a.startswith("on") or a == "style"}
            for name in ("src", "href", "srcset", "action", "background"):
                if name in attributes:
                    assert (tag, name) == ("img", "src")
        for svg in page.images.values():
            assert not list(svg.iter(f"{SVG}script"))
            for element in svg.iter():
                for name, value in element.attrib.items():
                    if name.endswith(("href", "src")):
                        assert value.startswith(("#", "data:image/png;base64,"))


def test_markup_in_names_files_and_errors_is_shown_as_text(library, pages, tmp_path):
    assert pages["ltp"].value("station") == HOSTILE
    folder = empty_run(tmp_path, name=f"run {HOSTILE}", config={"station.toml": HOSTILE.encode()},
                       meta={"sample": HOSTILE, "operator": HOSTILE, "protocol": HOSTILE,
                             "instruments": [{"name": HOSTILE, "resource": HOSTILE}]},
                       limits={HOSTILE: {HOSTILE: HOSTILE}})  # fmt: skip
    folder.event("fault", error=HOSTILE)
    folder.event("epoch", epoch=0, test_accuracy=0.5, method=HOSTILE)
    folder.checkpoint(
        f"ledger-{'x'}", selected_plus=np.ones((2, 2)), selected_minus=np.ones((2, 2))
    )
    folder.close("failed", error=HOSTILE)
    written = write_report(folder.path, pdf=True)
    page = Page(written.page)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.value("sample") == page.value("operator") == HOSTILE
    assert f"failed: {HOSTILE}" in page.text
    shown = [text for svg in page.images.values() for text in svg_texts(svg)]
    assert f"{HOSTILE}, array" in shown  # the method, in the legend of the learning curve
    assert written.pdf.read_bytes().startswith(b"%PDF")


def test_the_same_run_gives_the_same_pictures(library, tmp_path):
    first = write_report(library["ltp"], tmp_path / "a.html", svg_folder=tmp_path / "a")
    again = write_report(library["ltp"], tmp_path / "b.html", svg_folder=tmp_path / "b")
    assert [p.name for p in first.svgs] == [f"{name}.svg" for name in first.figures]
    for one, other in zip(first.svgs, again.svgs, strict=True):
        assert one.read_bytes() == other.read_bytes()
        root = ElementTree.fromstring(one.read_bytes())
        assert root.tag == f"{SVG}svg"
        assert svg_texts(root)
        sizes = [float(n) for n in re.findall(r"font-size: ([\d.]+)px", one.read_text())]
        assert sizes
        assert min(sizes) >= 6.5  # points: an SVG of matplotlib has one unit per point
        assert max(sizes) <= 9.0
