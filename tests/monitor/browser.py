"""A headless Chromium for the tests, and the monitor in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: Set to "required" a browser that is missing is a failure.
REQUIRED = os.environ.get("HIL_BROWSER") == "required"
HERE = Path(__file__).parent


def chromium_path() -> str | None:
    """Return where the system's Chromium is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a Playwright browser; the test skips where there is none."""
    path = chromium_path()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if path is None or sync_playwright is None:
        text = "needs Chromium (apt-get install chromium) and pip install 'synapse-hil[browser]'"
        if REQUIRED:
            pytest.fail(text)
        pytest.skip(text)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A page on the monitor, with everything that it said and asked for.

    Attributes:
        page: Playwright's.
        complaints: console errors and uncaught exceptions.
        requests: addresses that were asked for.
    """

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **context}
        )
        self.page = self._context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.begun_s = time.monotonic()
        self.page.goto(url)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def wait_for_map(self) -> float:
        """Return when a map has been drawn, with the seconds since the address was opened."""
        self.page.wait_for_selector("#map[data-seq]", timeout=20_000)
        return time.monotonic() - self.begun_s

    def until(self, condition: str, seconds: float = 20.0) -> None:
        """Return when a JavaScript expression is true. (Playwright's own way needs ``eval``.)"""
        end_s = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < end_s, f"never came true: {condition}"
            self.page.wait_for_timeout(30)

    def cell_at(self, row: int, col: int, n: int) -> dict[str, float]:
        """Return the point of a device of an n x n array on the map's canvas."""
        box = self.page.locator("#map").bounding_box()
        left, top, bottom = 38, 22, 6  # the margins that map.js keeps
        h = (box["height"] - top - bottom) / n
        bar = 92 if box["width"] >= 480 else 74
        w = min((box["width"] - left - bar) / n, h * 1.6)
        return {"x": left + (col + 0.5) * w, "y": top + (row + 0.5) * h}

    def close(self) -> None:
        """Close the page."""
        self._context.close()


@contextmanager
def monitor_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run ``hil monitor … --json``; yield the process and the line that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hil.cli.main", "monitor", *arguments, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.stderr.read())
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
        process.stdout.close()
        process.stderr.close()


@contextmanager
def live_run(
    root: Path, n: int, rows_per_s: float, seconds: float
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Record a run in another process; yield it and the run folder."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "live.py"), str(root), str(n), str(rows_per_s), str(seconds)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process, Path(json.loads(process.stdout.readline())["run"])
    finally:
        process.kill()
        process.communicate(timeout=20)
