"""The page in a real browser."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import Page, live_run, monitor_process
from live import Pulses, start

from hil.record import open_run

DARK, PHONE = {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}

LEARNT = "document.getElementById('learning-note').textContent"
#: Rows that the map shows.
SEQ = "Number(document.getElementById('map').dataset.seq)"
#: The map as a picture, to see that it changes.
PICTURE = "document.getElementById('map').toDataURL()"
#: Relative luminance contrast of an element's text against what lies behind it.
CONTRAST = """(selector) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255)
    + 0.0722 * linear(b / 255);
  const found = [];
  for (const element of document.querySelectorAll(selector)) {
    if (!element.innerText?.trim() || !element.offsetParent) continue;
    let behind = element, back;
    do {
      back = parse(getComputedStyle(behind).backgroundColor);
      behind = behind.parentElement;
    } while (behind && back.length > 3 && back[3] === 0);
    const ink = parse(getComputedStyle(element).color);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.innerText.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
}"""
TEXTS = "h1, h2, h3, p, dt, dd, td, th, li span, label, button, footer"
SMALLEST = """(selector) => Math.min(...Array.from(document.querySelectorAll(selector),
  (element) => parseFloat(getComputedStyle(element).fontSize)))"""


@pytest.fixture
def opened(browser, serving):
    """Open the finished run's page; what it complains of fails the test."""
    pages = []

    def open_page(**context):
        page = Page(browser, serving.url, **context)
        pages.append(page)
        page.wait_for_map()
        return page

    yield open_page
    for page in pages:
        page.close()
        assert page.complaints == []
        assert {urlsplit(url).netloc for url in page.requests} == {urlsplit(serving.url).netloc}


def test_the_map_changes_while_a_run_goes_on(browser, tmp_path):
    with live_run(tmp_path, 16, 5000, 60) as (_, run), monitor_process(str(run)) as (_, told):
        page = Page(browser, told["url"])
        page.wait_for_map()
        page.page.wait_for_selector("#status[data-state=running]")
        before, first = page.page.evaluate(PICTURE), page.page.get_attribute("#map", "data-seq")
        page.until(f"{SEQ} > {int(first) + 10_000}")
        assert page.page.evaluate(PICTURE) != before
        left = page.page.inner_text("#left")
        assert left.endswith(("s", "min"))
        assert page.page.inner_text("#elapsed") != "–"
        page.page.click("#pause")
        held = page.page.get_attribute("#map", "data-seq")
        page.page.wait_for_timeout(600)
        assert page.page.get_attribute("#map", "data-seq") == held
        page.page.click("#pause")
        page.until(f"{SEQ} > {held}")
        assert page.complaints == []
        page.close()


def test_hover_shows_cell_value_and_unit(opened, finished):
    page = opened()
    page.page.hover("#map", position=page.cell_at(3, 7, 16))
    told = page.page.inner_text("#readout")
    pulses = open_run(finished).pulses.to_pandas()
    g = pulses[(pulses.row == 3) & (pulses.col == 7)].g1.iloc[-1]
    shown = float(told.removeprefix("row 3, col 7: ").partition(" µS")[0])
    assert shown == pytest.approx(g * 1e6, rel=1e-3)
    assert "100 pulses up, 100 down" in told
    page.page.hover("#map", position=page.cell_at(1, 2, 16))
    assert "marked as dead" in page.page.inner_text("#readout")
    page.page.hover("#map", position=page.cell_at(0, 5, 16))
    assert "i compliance" in page.page.inner_text("#readout")


def test_the_keyboard_reaches_every_device_and_every_control(opened):
    opened_page = opened()
    page = opened_page.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "map"
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert page.inner_text("#readout").startswith("row 2, col 1: ")
    page.keyboard.press("End")
    assert page.inner_text("#readout").startswith("row 2, col 15: ")
    page.keyboard.press("Enter")
    opened_page.until(
        "document.getElementById('device-title').textContent.includes('row 2, col 15')"
    )
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"device-chart", "curve-chart", "counts-chart", "loud", "events", "pause"} <= reached
    assert {"log", "fit", "mode"} <= reached
    page.focus("#device-chart")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "µS" in page.inner_text("#device-chart .u-legend")
    page.focus("input[value=value]")
    page.keyboard.press("ArrowRight")  # targets are not known: it goes on to the pulses
    assert page.is_checked("input[value=pulses]")


def test_names_with_html_in_them_are_shown_as_text(opened):
    page = opened().page
    assert "bench <b>7</b> & <script>window.hacked = 1</script>" in page.inner_text("#where")
    assert "<i>low</i> disk space" in page.inner_text("#alert")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#where b, #alert i, #events i").count() == 0


def test_the_token_leaves_the_address(opened):
    page = opened().page
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    assert "token" not in page.evaluate("JSON.stringify(performance.getEntries())")


def test_scripts_of_others_do_not_run(opened):
    page = opened()
    page.page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "window.hacked = 2";
      document.body.append(script);
    }""")
    assert page.page.evaluate("window.hacked") is None
    assert all("Content Security Policy" in text for text in page.complaints)
    page.complaints.clear()


@pytest.mark.parametrize(
    "context", [{}, DARK, PHONE, PHONE | DARK], ids=["light", "dark", "phone", "phone-dark"]
)
def test_it_is_legible(opened, context):
    page = opened(**context).page
    page.wait_for_selector("#counts-chart .u-legend")
    ratio, text = page.evaluate(CONTRAST, TEXTS)
    assert ratio >= 4.5, text
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("#map", "#device-chart canvas", "#counts-chart canvas"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["width"] >= 300
    assert page.evaluate(SMALLEST, TEXTS) >= 12


def test_dark_and_light_differ(opened):
    back = "getComputedStyle(document.body).backgroundColor"
    assert opened().page.evaluate(back) != opened(**DARK).page.evaluate(back)


def test_target_and_error_are_shown_where_they_are_known(browser, tmp_path):
    target = np.linspace(10e-6, 90e-6, 64).reshape(8, 8)
    with start(tmp_path, n=8) as folder:
        source = Pulses(folder, 8)
        source.append(64 * 20)
        outcome = np.full((8, 8), "ok", dtype="U10")
        outcome[4, 4] = "stuck"
        folder.checkpoint(
            "outcome", g_last_siemens=source.g.reshape(8, 8), target_siemens=target, outcome=outcome
        )
        with monitor_process(str(folder.path)) as (_, told):
            page = Page(browser, told["url"])
            page.wait_for_map()
            page.page.check("input[value=error]")
            page.page.hover("#map", position=page.cell_at(4, 4, 8))
            readout = page.page.inner_text("#readout")
            told_numbers = re.search(
                r"row 4, col 4: ([\d.]+) µS · target ([\d.]+) µS · error ([-+\d.]+) µS", readout
            )
            g, aim = source.g.reshape(8, 8)[4, 4] * 1e6, target[4, 4] * 1e6
            found = [float(text) for text in told_numbers.groups()]
            assert found == pytest.approx([g, aim, g - aim], rel=5e-3)
            assert "stuck" in readout
            assert page.complaints == []
            page.close()


def test_a_training_is_shown_beside_the_floating_point_reference(browser, tmp_path):
    with start(tmp_path, n=8) as folder:
        for epoch in range(4):
            folder.event("epoch", epoch=epoch, test_accuracy=0.5 + 0.1 * epoch,
                         train_accuracy=0.4 + 0.1 * epoch, train_loss=0.3)  # fmt: skip
        with monitor_process(str(folder.path)) as (_, told):
            page = Page(browser, told["url"])
            page.page.wait_for_selector("#learning-chart canvas")
            assert "test 80.0 %" in page.page.inner_text("#learning-note")
            folder.event("float", test_accuracy=[0.7, 0.8, 0.85, 0.9])
            page.until(f"{LEARNT}.includes('floating point 90.0 %')")
            assert "floating point" in page.page.inner_text("#learning-chart .u-legend")
            folder.event("fault", error="the probe has left")
            page.page.wait_for_selector("#alert:not([hidden])")
            assert page.page.inner_text("#alert") == "fault: error the probe has left"
            assert page.complaints == []
            page.close()


def test_a_sweep_is_shown_branch_by_branch(browser, tmp_path):
    v = np.concatenate([np.linspace(0, 1, 20), np.linspace(1, -1, 40), np.linspace(-1, 0, 20)])
    i = np.stack([1e-6 * v, 2e-6 * v], axis=1)
    with start(tmp_path, n=8) as folder:
        cells = {"row": np.array([1, 2]), "col": np.array([3, 4])}
        folder.checkpoint("outcome", voltage_v=v, current_a=i, **cells)
    with monitor_process(str(folder.path)) as (_, told):
        page = Page(browser, told["url"])
        page.page.wait_for_selector("#iv-chart canvas")
        legend = page.page.inner_text("#iv-chart .u-legend")
        assert legend.count("(1, 3) up") == 2  # to + 1 V, and back from - 1 V
        assert legend.count("(2, 4) down") == 1
        page.page.check("#iv-log")
        page.page.wait_for_selector("#iv-chart canvas")
        assert page.complaints == []
        page.close()


def test_a_monitor_that_ended_is_said(browser, finished):
    with monitor_process(str(finished)) as (process, told):
        page = Page(browser, told["url"])
        page.wait_for_map()
        process.terminate()
        process.wait(20)
        page.page.wait_for_selector("#status[data-state=lost]", timeout=15_000)
        page.close()
