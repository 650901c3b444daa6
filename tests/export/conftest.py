from __future__ import annotations

import shutil

import numpy as np
import pytest
from runs_to_export import record

from hil.record import open_run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Runs by how they ended; not to be written into."""
    runs = {}
    for status in ("done", "interrupted", "failed"):
        folder = record(tmp_path_factory.mktemp("recorded"), np.random.default_rng(7))
        folder.close(status, error="compliance on WL3" if status == "failed" else None)
        runs[status] = folder.path
    return runs


@pytest.fixture
def run(recorded, tmp_path):
    """A finished run of the test's own."""
    path = recorded["done"]
    return open_run(shutil.copytree(path, tmp_path / "runs" / path.name))
