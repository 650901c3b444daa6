from __future__ import annotations

import threading

import pytest
from browser import chromium
from live import Pulses, start


@pytest.fixture(scope="session")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a run that is over."""
    with start(tmp_path_factory.mktemp("runs"), n=16) as folder:
        Pulses(folder, 16).append(256 * 200)
        folder.event("alarm", what="<i>low</i> disk space", free_bytes=12)
    return folder.path


@pytest.fixture(scope="session")
def serving(finished):
    """A monitor of the finished run, in a thread."""
    from hil.monitor.server import Monitor

    served = Monitor(finished)
    thread = threading.Thread(target=served.run)
    thread.start()
    yield served
    served.stop()
    thread.join(20)
    assert not thread.is_alive()
