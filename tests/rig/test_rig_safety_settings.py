"""What a rig does before it drives: keeps others away, and always gives a finite current limit."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from benches import on_bench, station_a, station_b, station_of
from hil_drivers.factory import RigFactory
from hil_drivers.transport import exclusive

from hil.errors import LimitError, LockedError
from hil.phases.writing import program_counts

pytest.importorskip("lupa")

HOLDER = """
import sys, time
from pathlib import Path
from hil_drivers.transport import exclusive
exclusive.lock_folder = lambda: Path(sys.argv[1])
exclusive.InstrumentLocks({"mux": sys.argv[2]}).take("mux")
print("held", flush=True)
time.sleep(60)
"""


def test_a_rig_whose_matrix_another_process_uses_sends_nothing_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(exclusive, "lock_folder", lambda: tmp_path)
    station = station_of(station_a(device="ideal"))
    with on_bench(station) as (_, bench):
        moved = station.at(bench.resources)
        rig = RigFactory().create(moved, moved.array[0], seed=0)  # not as a virtual one
        command = [sys.executable, "-c", HOLDER, str(tmp_path), bench.resources["mux"]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(LockedError, match=f"'mux'.* in use by process {holder.pid}"):
                rig.open()
            assert "mux" not in bench.message_counts
            assert bench.safe
            holder.kill()
        with rig:  # the lock of the dead does not block
            assert bench.message_counts["mux"]
        assert bench.safe


def test_a_write_without_a_compliance_still_gets_a_finite_limit():
    station = station_of(station_a(device="ideal"))
    op = station.drive.operating_point()
    assert op.compliance_a == math.inf
    with on_bench(station) as (rig, bench), rig:
        counts = np.zeros((4, 4), dtype=np.int64)
        counts[1, 2] = 3
        sent = []
        bench.faults["smu"].before = sent.append
        list(rig.run([program_counts(rig.geometry, op, counts)]))
        limits = re.findall(rb'hil_setup\("[ab]",([^,]+),', b"\n".join(sent))
        assert len(limits) == 2
        assert all(0.0 < float(limit) <= 1.5 for limit in limits)


def test_a_compliance_that_nothing_on_the_lines_can_keep_is_refused():
    """A pulse generator writes, and the other end of the devices is on its other channel only."""
    limit = 'coding = "amplitude"\ncompliance = "10 uA"'
    text = station_b(device="ideal").replace('coding = "amplitude"', limit)
    kept = [table for table in text.split("[[wiring]]") if "smu." not in table]
    station = station_of("[[wiring]]".join(kept))
    op = station.drive.operating_point()
    with on_bench(station) as (rig, bench), rig:
        counts = np.zeros((4, 4), dtype=np.int64)
        counts[0, 0] = 1
        with pytest.raises(LimitError, match="compliance"):
            list(rig.run([program_counts(rig.geometry, op, counts)]))
        assert bench.array.ordinal.sum() == 0
