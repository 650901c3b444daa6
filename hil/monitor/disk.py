"""Room on the disk of a run, and how fast the run fills it."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Final

_EVERY_S: Final = 2.0
#: The growth is that over about this long.
_OVER_S: Final = 60.0


class DiskWatch:
    """Size of one run folder and free space beside it, looked at every few seconds.

    Attributes:
        free_bytes, total_bytes: of the file system; None before the first look.
        run_bytes: of the run folder.
        written_at: when a file of the run was last written, on the clock of ``time.time``.
    """

    def __init__(self, folder: Path) -> None:
        self.free_bytes: int | None = None
        self.total_bytes: int | None = None
        self.run_bytes = 0
        self.written_at = 0.0
        self._folder = folder
        self._sizes: deque[tuple[float, int]] = deque()

    @property
    def bytes_per_s(self) -> float:
        """Growth of the run folder over the last minute; at least 0, as sealing makes it shrink."""
        if len(self._sizes) < 2:
            return 0.0
        (begin_s, begin), (end_s, end) = self._sizes[0], self._sizes[-1]
        return max(end - begin, 0) / (end_s - begin_s)

    def look(self) -> bool:
        """Look when it is time to; return whether it was."""
        now_s = time.monotonic()
        if self._sizes and now_s - self._sizes[-1][0] < _EVERY_S:
            return False
        try:
            usage = shutil.disk_usage(self._folder)
            self.free_bytes, self.total_bytes = usage.free, usage.total
        except OSError:
            self.free_bytes = self.total_bytes = None
        self.run_bytes, self.written_at = _sizes_of(self._folder)
        self._sizes.append((now_s, self.run_bytes))
        while now_s - self._sizes[0][0] > _OVER_S:
            self._sizes.popleft()
        return True


def _sizes_of(folder: Path) -> tuple[int, float]:
    """Return the bytes of all files below ``folder`` and the time of the newest one.

    A file that goes meanwhile counts nothing.
    """
    total, newest = 0, 0.0
    for here, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.stat(os.path.join(here, name))
            except OSError:
                continue
            total += found.st_size
            newest = max(newest, found.st_mtime)
    return total, newest
