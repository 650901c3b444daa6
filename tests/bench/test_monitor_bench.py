"""The live monitor: first frame, delay from the disk to the screen, and what the server costs."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "monitor"))

from browser import Page, chromium, live_run, monitor_process

ROWS_PER_S, SIDE, SECONDS = 50_000, 64, 20.0

#: Notes when the map shows how many rows of the run.
WATCH = """
const shown = window.shown = [];
const map = document.getElementById("map");
new MutationObserver(() => shown.push([Date.now() / 1000, Number(map.dataset.seq)]))
  .observe(map, {attributes: true, attributeFilter: ["data-seq"]});
"""


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_map_follows_a_fast_run(tmp_path, capsys):
    on_disk: list[tuple[int, float]] = []

    def listen(writer) -> None:
        for line in writer.stdout:
            told = json.loads(line)
            on_disk.append((told["rows"], told["t"]))

    with chromium() as browser, live_run(tmp_path, SIDE, ROWS_PER_S, SECONDS) as (writer, run):
        reader = threading.Thread(target=listen, args=(writer,), daemon=True)
        reader.start()
        time.sleep(1.0)
        begin = time.monotonic()
        with monitor_process(str(run)) as (server, told):
            listening_s = time.monotonic() - begin
            page = Page(browser, told["url"])
            frame_s = page.wait_for_map()
            page.page.evaluate(WATCH)
            cpu_s, begin = _cpu_s(server.pid), time.monotonic()
            time.sleep(10.0)
            share = (_cpu_s(server.pid) - cpu_s) / (time.monotonic() - begin)
            shown = page.page.evaluate("window.shown")
            second_s = Page(browser, told["url"]).wait_for_map()
            assert page.complaints == []
    shown_at = np.array(shown)
    rows, disk_s = np.array(on_disk).T
    # Of what lay on the disk: when did the first map with at least that many rows come?
    at = np.searchsorted(shown_at[:, 1], rows)
    seen = (at < len(shown_at)) & (disk_s > shown_at[0, 0])
    lag_ms = 1e3 * (shown_at[at[seen], 0] - disk_s[seen])
    rate = (rows[seen][-1] - rows[seen][0]) / (disk_s[seen][-1] - disk_s[seen][0])
    with capsys.disabled():
        print(
            f"\nmonitor, {SIDE} x {SIDE} at {rate:,.0f} rows/s: first frame {frame_s:.2f} s, of a "
            f"further page {second_s:.2f} s (server up after {listening_s:.2f} s); from disk to "
            f"screen p50 {np.percentile(lag_ms, 50):.0f}, p99 {np.percentile(lag_ms, 99):.0f}, "
            f"max {lag_ms.max():.0f} ms; {len(shown_at) / 10:.0f} maps/s; "
            f"server {100 * share:.1f} % of a core"
        )
    assert len(lag_ms) > 100
    assert shown_at[-1, 1] > shown_at[0, 1]
