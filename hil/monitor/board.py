"""The views of a run as texts, made in a thread of its own whenever something is new."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.errors import HilError
from hil.monitor.feed import Feed
from hil.monitor.views import Section, cell_view, cells_view, map_view, sections

#: Seconds between two looks at a run that goes on, and at one that has ended.
POLL_S: Final = 0.06
_POLL_ENDED_S: Final = 1.0
#: A map is sent at most so often, and rarer where it is large: about this many bytes a second.
_MAP_EVERY_S: Final = 0.05
_MAP_BYTES_PER_S: Final = 1_500_000
_CELLS_EVERY_S: Final = 1.0
#: Seconds between two looks for a newer run.
_NEWEST_EVERY_S: Final = 2.0


@dataclass(slots=True)
class _Made:
    """A section's text, what it was made from, and when."""

    text: str
    version: int
    revision: int
    made_s: float


class Board:
    """Follows a run and keeps the text of every section with a version.

    Args:
        folder: the run folder.
        newest: returns the newest run folder; the board changes over to it when the run at hand is
            over. None: stay with ``folder``.
        changed: called, from the board's thread, when a section is new.

    Raises:
        StoreError: no run folder, or one of a newer version.
    """

    def __init__(
        self,
        folder: Path,
        newest: Callable[[], Path | None] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.changed = changed
        self._newest = newest
        self._lock = threading.Lock()
        self._feed = Feed(folder)
        self._made: dict[str, _Made] = {}
        self._version = 0
        self._stop = threading.Event()
        self._looked_s = time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="hil-monitor", daemon=True)

    def start(self) -> None:
        """Begin to follow the run."""
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()

    def texts(self, seen: dict[str, int]) -> list[tuple[str, str]]:
        """Return (section, text) of what is newer than ``seen``, which is brought up to date.

        The run comes first, then the maps, so that they are drawn before the rest is looked at.
        """
        new = []
        for name, made in sorted(self._made.items(), key=lambda item: _place(item[0])):
            if seen.get(name) != made.version:
                seen[name] = made.version
                new.append((name, made.text))
        return new

    def cell(self, array: str, row: int, col: int) -> str:
        """Return one device's history as text.

        Raises:
            ConfigError: there is no such device.
            KeyError: there is no such array.
        """
        with self._lock:
            return _text(cell_view(self._feed.arrays[array], row, col))

    # -- the thread -------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.is_set():
            begin_s = time.monotonic()
            with self._lock:
                self._change_over(begin_s)
                self._feed.poll()
                if self._feed.is_outdated and self._follow_anew(self._feed.path):
                    self._feed.poll()
                is_new = self._make()
            if is_new:
                self.changed()
            if self._feed.behind:
                continue
            pause_s = POLL_S if self._feed.stop is None else _POLL_ENDED_S
            self._stop.wait(max(pause_s - (time.monotonic() - begin_s), 0.005))

    def _change_over(self, now_s: float) -> None:
        """Follow a newer run once the one at hand is over."""
        if self._newest is None or now_s - self._looked_s < _NEWEST_EVERY_S:
            return
        self._looked_s = now_s
        if self._feed.stop is None:
            return
        newest = self._newest()
        if newest is None or newest == self._feed.path:
            return
        self._follow_anew(newest)

    def _follow_anew(self, folder: Path) -> bool:
        """Follow a run from its beginning; return whether it can be opened."""
        try:
            self._feed = Feed(folder)
        except HilError:  # its manifest is being written; there is a next time
            return False
        self._made = {}
        return True

    def _make(self) -> bool:
        """Make the sections that are due anew; return whether there was one."""
        feed, now_s = self._feed, time.monotonic()
        before = self._version
        for section in _SECTIONS:
            revision = sum(feed.revision[topic] for topic in section.topics)
            self._update(section.name, revision, section.every_s, now_s, section)
        for name, devices in list(feed.arrays.items()):
            revision = feed.revision["rows"]
            every_s = max(_MAP_EVERY_S, devices.g_siemens.size * 5.4 / _MAP_BYTES_PER_S)
            for kind, build, pause_s in (
                ("map", map_view, every_s),
                ("cells", cells_view, max(_CELLS_EVERY_S, 4 * every_s)),
            ):
                due = self._due(f"{kind}:{name}", revision, pause_s, now_s)
                if due:
                    self._put(f"{kind}:{name}", _text(build(devices, feed)), revision, now_s)
        return self._version != before

    def _update(
        self, name: str, revision: int, every_s: float, now_s: float, section: Section
    ) -> None:
        if self._due(name, revision, every_s, now_s):
            self._put(name, _text(section.build(self._feed)), revision, now_s)

    def _due(self, name: str, revision: int, every_s: float, now_s: float) -> bool:
        made = self._made.get(name)
        return made is None or (made.revision != revision and now_s - made.made_s >= every_s)

    def _put(self, name: str, text: str, revision: int, now_s: float) -> None:
        self._version += 1
        self._made[name] = _Made(text, self._version, revision, now_s)


_SECTIONS: Final = sections()
_FIRST: Final = ("run", "map", "cells")


def _place(name: str) -> int:
    kind = name.partition(":")[0]
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
