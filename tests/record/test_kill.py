"""A killed recorder: every acknowledged row is still there, and nothing else is wrong."""

from __future__ import annotations

import pytest
from crashing import FORKS, kill_many


def test_no_acknowledged_row_is_lost_when_the_recorder_is_killed(tmp_path, rng):
    n = 100 if FORKS else 8
    acked = kill_many(tmp_path, rng, n, at_once=6)
    assert len(acked) == n
    assert sum(a > 0 for a in acked) >= n // 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_acknowledged_row_is_lost_in_many_kills(tmp_path, rng):
    n = 3000 if FORKS else 100
    acked = kill_many(tmp_path, rng, n, at_once=6)
    assert sum(a > 0 for a in acked) >= n // 3
