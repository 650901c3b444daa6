"""Runs that reports are made of: real ones on simulated arrays, made once."""

from __future__ import annotations

import pytest
from made_runs import Library


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Runs by name, each made when it is first asked for."""
    return Library(tmp_path_factory.mktemp("reported"))
