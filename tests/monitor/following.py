"""A run as the monitor has read it, and waits for what a board shows."""

from __future__ import annotations

import base64
import time

import numpy as np
import pytest

from hil.monitor.feed import Feed


def followed(path):
    feed = Feed(path)
    while feed.poll(0.01) and feed.behind:
        pass
    return feed


def unpacked(text, dtype, shape):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def wait_for(board, reached):
    seen, shown, until_s = {}, {}, time.monotonic() + 20
    while time.monotonic() < until_s:
        shown.update(board.texts(seen))
        if "run" in shown and reached(shown):
            return
        time.sleep(0.02)
    pytest.fail(f"never came: {list(shown)}")
