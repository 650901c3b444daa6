"""A killed recorder: every acknowledged row is still there, and nothing else is wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hil.record import open_run

#: Records operations and readings as fast as it can and tells, after each append, what is acked.
WRITER = """
import os, sys
import numpy as np
from recording import make, measured, read_block
from hil.program import Phase
from hil.record import CommitPolicy

n_rows, segment_bytes = int(sys.argv[2]), int(sys.argv[3])
run = make(sys.argv[1], policy=CommitPolicy(segment_bytes=segment_bytes, ballast_bytes=1 << 20))
os.write(1, f"{run.path}\\n".encode())
m = measured(np.random.default_rng(3), n_rows)
op = 0
while True:
    run.operation(op, Phase.READ, n_readings=n_rows, t_ns=op)
    run.readings(op, 0, read_block(), m)
    op += 1
    if op % 10 == 0:
        os.write(1, f"{run.acked}\\n".encode())
"""


def kill_a_writer(root: Path, rng: np.random.Generator) -> int:
    """Start a writer, kill it at a random moment, check what it left; return the rows acked."""
    n_rows = int(rng.choice([1, 15, 300]))
    command = [
        sys.executable,
        "-c",
        WRITER,
        str(root),
        str(n_rows),
        str(rng.choice([30_000, 1 << 26])),
    ]
    writer = subprocess.Popen(
        command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    path = writer.stdout.readline().decode().strip()
    time.sleep(rng.uniform(0.05, 0.6))
    writer.kill()
    told, errors = writer.communicate()
    assert errors == b""
    lines = told.splitlines(keepends=True)
    acked = max((int(line) for line in lines if line.endswith(b"\n")), default=0)

    run = open_run(path)
    assert run.status == "crashed or running"
    assert run.ops.num_rows + run.reads.num_rows >= acked
    np.testing.assert_array_equal(run.ops["op"].to_numpy(), np.arange(run.ops.num_rows))
    np.testing.assert_array_equal(run.ops["seq"].to_numpy(), np.arange(run.ops.num_rows))
    expected = np.arange(run.reads.num_rows) // n_rows
    np.testing.assert_array_equal(run.reads["op"].to_numpy(), expected)
    assert len(run.problems) <= 2  # an incomplete last batch in each of the two tables
    assert all("stops at byte" in line for line in run.problems)
    files = [p for p in Path(path).rglob("*") if p.is_file() and p.suffix not in (".tmp", ".lock")]
    assert all(p.stat().st_size for p in files)
    return acked


def test_no_acknowledged_row_is_lost_when_the_recorder_is_killed(tmp_path, rng):
    acked = [kill_a_writer(tmp_path, rng) for _ in range(8)]
    assert sum(a > 0 for a in acked) >= 6


@pytest.mark.slow
def test_no_acknowledged_row_is_lost_in_many_kills(tmp_path, rng):
    acked = [kill_a_writer(tmp_path, rng) for _ in range(100)]
    assert sum(a > 0 for a in acked) >= 80
