from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The command tables of the drivers' tests are used here, too.
sys.path.append(str(Path(__file__).parents[1] / "drivers"))


@pytest.fixture
def spoilt():
    """An open rig of 2 x 3 devices whose instruments have errors, on its bench."""
    from imperfect_rigs import IMPERFECT, STATIONS, opened

    with opened(STATIONS["a"] + IMPERFECT) as setting:
        yield setting
