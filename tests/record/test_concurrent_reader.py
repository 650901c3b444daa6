"""Reading a run while another process writes, rotates and seals it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from crashing import check, jobs, nest

from hil.record import open_run


@pytest.mark.parametrize("segment_bytes", [4_000, 100_000, 1 << 26])
def test_a_reader_sees_every_acknowledged_row_and_never_a_wrong_one(tmp_path, rng, segment_bytes):
    (drawn,) = jobs(tmp_path, rng, 1, 1.0)
    job = replace(
        drawn, n_rows=15, segment_bytes=segment_bytes, rig=False, pause_s=0.0002, newborn=False,
        life_s=1.5,
    )  # fmt: skip
    sizes = []
    with nest(tmp_path) as home:
        home.hatch(job)
        home.bury()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            told = _told(job)
            if told:
                acked = max(map(int, told[1:]), default=0)
                sizes.append(_look(Path(told[0]), job.n_rows, acked))
        home.buried()
    assert check(job) > 0
    assert len(sizes) > 5
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def _told(job) -> list[str]:
    notes = Path(job.notes)
    content = notes.read_bytes() if notes.exists() else b""
    return [line.decode() for line in content.split(b"\n")[:-1]]


def _look(path: Path, n_rows: int, acked: int) -> int:
    """Check what can be read now and return the number of rows."""
    run = open_run(path)
    reads, ops = run.reads, run.ops
    assert reads.num_rows + ops.num_rows >= acked
    np.testing.assert_array_equal(reads["op"].to_numpy(), np.arange(reads.num_rows) // n_rows)
    np.testing.assert_array_equal(ops["seq"].to_numpy(), np.arange(ops.num_rows))
    # The batch that is being written ends too early; nothing else is amiss.
    assert len(run.problems_so_far) <= 2
    assert all("stops at byte" in problem for problem in run.problems_so_far)
    return int(reads.num_rows)
