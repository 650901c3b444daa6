"""A run that is recorded at a steady rate, for the monitor to watch: potentiation and depression
of all devices of an array, in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from hil.measurement import Status
from hil.program import Phase
from hil.record import CommitPolicy, RunFolder

STATION = """\
schema = 1
name = "bench <b>7</b> & <script>window.hacked = 1</script>"

[[array]]
name = "main"
rows = {n}
cols = {n}
dead = [[1, 2], [3, 3]]
"""


def start(root: Path, n: int = 16, policy: CommitPolicy | None = None, **meta: object) -> RunFolder:
    """Begin a run on an array of n x n devices."""
    point = {"g_min_siemens": 1e-6, "g_max_siemens": 100e-6}
    return RunFolder.create(
        root, "live", kind="run", backend="sim", simulated=True,
        config={"station.toml": STATION.format(n=n).encode()},
        policy=policy,
        meta={"array": "main", "kind": "ltp-ltd", "operating_points": {"main": point}, **meta},
    )  # fmt: skip


class Pulses:
    """Rows of one potentiation or depression pulse on the devices of an array in turn."""

    def __init__(self, folder: RunFolder, n: int, pulses_per_branch: int = 50) -> None:
        self.folder, self.n, self.branch = folder, n, pulses_per_branch
        self.g = np.full(n * n, 2e-6)
        self.rng = np.random.default_rng(7)
        self.step = 1.6e-6 * self.rng.normal(1.0, 0.1, n * n)
        self.rows = 0

    def append(self, n_rows: int) -> int:
        """Append the next rows and return the ticket."""
        at = (self.rows + np.arange(n_rows)) % (self.n * self.n)
        pulse = (self.rows + np.arange(n_rows)) // (self.n * self.n)
        up = pulse % (2 * self.branch) < self.branch
        before = self.g[at]
        change = self.step[at] * self.rng.normal(1.0, 0.2, n_rows)
        room = np.where(up, (100e-6 - before) / 99e-6, (before - 1e-6) / 99e-6)
        after = before + np.where(up, 1, -1) * change * room * 2
        self.g[at] = after
        status = np.full(n_rows, int(Status.SIMULATED), dtype=np.uint32)
        status[at == 5] |= int(Status.I_COMPLIANCE)
        ticket = self.folder.pulses(
            {
                "op": pulse, "phase": Phase.PROGRAM, "row": at // self.n, "col": at % self.n,
                "v": np.where(up, 2.0, -2.0), "width": 1e-6, "count": 1, "executed": 1,
                "i_read": 0.2 * after, "g0": before, "g1": after, "status": status,
            }
        )  # fmt: skip
        self.rows += n_rows
        return ticket


def main(root: str, n: int, rows_per_s: float, seconds: float) -> None:
    """Record at a rate and print (rows, time) for each group of rows that is on the disk."""
    with start(Path(root), n) as folder:
        print(json.dumps({"run": str(folder.path)}), flush=True)
        source = Pulses(folder, n)
        folder.event("plan", seconds=seconds)
        begin = time.monotonic()
        waiting: list[tuple[int, int]] = []
        while (now := time.monotonic() - begin) < seconds:
            due = int(now * rows_per_s) - source.rows
            if due > 0:
                waiting.append((source.append(due), source.rows))
                folder.operation(source.rows, Phase.PROGRAM, n_steps=1, n_pulses=due,
                                 n_readings=due, duration_s=due / rows_per_s)  # fmt: skip
            while waiting and waiting[0][0] <= folder.acked:
                print(json.dumps({"rows": waiting.pop(0)[1], "t": time.time()}), flush=True)
            time.sleep(0.005)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
