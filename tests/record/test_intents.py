"""Write-ahead intents: what may have been written when a run ended is known afterwards."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from recording import make, measured, read_block

from hil.errors import StoreError
from hil.record import RunFolder, durable, open_run
from hil.record.intents import IDLE_NS, LEASE_NS

SHAPE = (6, 5)


def cells(*places):
    mask = np.zeros(SHAPE, np.bool_)
    for place in places:
        mask[place] = True
    return mask


def rig(tmp_path, **changes) -> RunFolder:
    return make(tmp_path, backend="rig", simulated=False, **changes)


def unknown(path) -> dict[str, list[list[int]]]:
    return {name: found.tolist() for name, found in open_run(path).unknown_devices().items()}


def wait_until(done, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


def test_a_plain_simulator_keeps_no_intents(tmp_path):
    with make(tmp_path) as run:
        assert run.intents is None
    with make(tmp_path, meta={"clock": "monotonic"}) as bench:  # a rig on the virtual bench
        assert bench.intents is not None
    assert not list(tmp_path.rglob("intents*"))


def test_the_devices_of_a_block_are_on_the_disk_before_it_may_be_driven(tmp_path, monkeypatch):
    synced = []
    real_sync = durable.sync
    with rig(tmp_path) as run:
        monkeypatch.setattr(durable, "sync", lambda fd: (synced.append(fd), real_sync(fd))[1])
        run.intents.cover("main", cells((2, 3), (4, 1)), 7)
        assert synced
        assert unknown(run.path) == {"main": [[2, 3], [4, 1]]}
        lease = open_run(run.path).open_leases[0]
        assert (lease.array, lease.pulses) == ("main", 7)
        run.intents.completed("main", run.ticket)
    assert unknown(run.path) == {}


def test_a_lease_closes_only_when_what_it_covered_is_on_the_disk(tmp_path, rng, monkeypatch):
    run = rig(tmp_path)
    run.intents.cover("main", cells((0, 0)), 1)
    real_sync = durable.sync
    monkeypatch.setattr(durable, "sync", lambda fd: (time.sleep(0.5), real_sync(fd))[1])
    ticket = run.readings(0, 0, read_block(), measured(rng))
    run.intents.completed("main", ticket)
    time.sleep(IDLE_NS * 1e-9 + 0.2)
    assert run.acked < ticket
    assert unknown(run.path) == {"main": [[0, 0]]}
    monkeypatch.setattr(durable, "sync", real_sync)
    wait_until(lambda: run.acked >= ticket)
    wait_until(lambda: unknown(run.path) == {})
    run.close()


def test_many_small_writes_cost_few_syncs(tmp_path, rng, monkeypatch):
    records = []
    with rig(tmp_path) as run:
        append = type(run.intents)._append
        monkeypatch.setattr(
            type(run.intents), "_append", lambda self, *a: (records.append(1), append(self, *a))[1]
        )
        begin = time.monotonic()
        for _ in range(400):
            place = (int(rng.integers(6)), int(rng.integers(5)))
            run.intents.cover("main", cells(place), 1)
            run.intents.completed("main", run.ticket)
        seconds = time.monotonic() - begin
        assert len(records) <= 14 + 4 * seconds


def test_a_block_longer_than_a_lease_is_renewed_while_it_runs(tmp_path):
    with rig(tmp_path) as run:
        run.intents.cover("main", cells((1, 1)), 1)
        time.sleep(LEASE_NS * 1e-9 + 0.4)
        rows = _records(run.path)
        assert [row["kind"] for row in rows][:2] == [0, 1]
        assert rows[-1]["until_ns"] > run.t_ns
        for row in rows:
            assert row["until_ns"] - row["t_ns"] <= LEASE_NS
        run.intents.completed("main", run.ticket)


def _records(path):
    import pyarrow as pa

    with pa.OSFile(str(path / "intents.arrows"), "rb") as file:
        return pa.ipc.open_stream(file).read_all().to_pylist()


@pytest.mark.parametrize(
    ("places", "scope"),
    [
        ([np.s_[:, :]], 0),
        ([np.s_[1:3, 2:4]], 1),
        ([(0, 0), (5, 4)], 2),
    ],
    ids=["whole array", "rows and columns", "single devices"],
)
def test_devices_are_named_in_the_shortest_way_and_come_back_the_same(tmp_path, places, scope):
    run = rig(tmp_path)
    run.intents.cover("main", cells(*places), 3)
    assert _records(run.path)[0]["scope"] == scope
    np.testing.assert_array_equal(
        open_run(run.path).unknown_devices()["main"], np.argwhere(cells(*places))
    )
    run.close("interrupted")
    assert unknown(run.path) == {"main": np.argwhere(cells(*places)).tolist()}


def test_a_block_that_failed_leaves_its_devices_unknown_after_an_orderly_end(tmp_path):
    with rig(tmp_path) as run:
        run.intents.cover("main", cells((3, 3)), 1)
        run.intents.abandon("main")
        run.intents.cover("main", cells((4, 4)), 1)
        run.intents.completed("main", run.ticket)
    assert unknown(run.path) == {"main": [[3, 3]]}


def test_an_intent_that_cannot_be_written_forbids_the_block(tmp_path, monkeypatch):
    run = rig(tmp_path)
    run.intents.cover("main", cells((0, 0)), 1)

    def broken(fd):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync", broken)
        with pytest.raises(StoreError, match="write an intent"):
            run.intents.cover("main", cells((1, 0)), 1)
    run.close("interrupted")
    assert [0, 0] in unknown(run.path)["main"]


def test_a_damaged_file_of_intents_makes_its_arrays_unknown_as_a_whole(tmp_path, rng):
    with rig(tmp_path) as run:
        for k in range(5):
            run.intents.cover("main", cells((k, 0)), 1)
            run.intents.completed("main", 0)
            time.sleep(0.02)
    file = run.path / "intents.arrows"
    good = file.read_bytes()
    whole = {"main": np.argwhere(np.ones(SHAPE)).tolist()}
    begin = good.index(b"\xff\xff\xff\xff", 8)
    second = good.index(b"\xff\xff\xff\xff", begin + 8)
    for offset in rng.integers(second, len(good), 40):
        content = bytearray(good)
        content[offset] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(content))
        opened = open_run(run.path)
        found = {name: f.tolist() for name, f in opened.unknown_devices().items()}
        if opened.problems:
            assert found == whole
        else:  # padding between the buffers
            assert found == {}


def test_a_second_session_learns_of_open_leases_and_closes_them(tmp_path):
    run = rig(tmp_path)
    run.intents.cover("main", cells((2, 2)), 1)
    run.close("interrupted")
    again = RunFolder.reopen(run.path)
    assert [lease.written.nonzero()[0].tolist() for lease in again.unresolved] == [[2]]
    again.intents.cover("other", cells((0, 1)), 1)
    assert set(unknown(run.path)) == {"main", "other"}
    again.devices_are_known()
    assert again.unresolved == ()
    assert set(unknown(run.path)) == {"other"}
    again.intents.completed("other", again.ticket)
    again.close()
    assert unknown(run.path) == {}
    assert [p.name for p in sorted(run.path.glob("intents*"))] == [
        "intents-000001.arrows", "intents.arrows",
    ]  # fmt: skip


WRITER = """
import sys, time
import numpy as np
from recording import make
run = make(sys.argv[1], backend="rig", simulated=False)
mask = np.zeros((6, 5), np.bool_)
mask[1, 2] = True
run.intents.cover("main", mask, 4)
sys.stdout.write(str(run.path) + "\\n")
sys.stdout.flush()
time.sleep(60)
"""


def test_after_a_kill_the_devices_of_an_open_lease_are_unknown(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=Path(__file__).parent,
        stdout=subprocess.PIPE, env={**os.environ},
    )  # fmt: skip
    try:
        path = writer.stdout.readline().decode().strip()
        assert open_run(path).is_running
    finally:
        writer.kill()
        writer.communicate()
    opened = open_run(path)
    assert not opened.is_running
    assert unknown(path) == {"main": [[1, 2]]}
