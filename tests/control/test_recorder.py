from __future__ import annotations

import time

import numpy as np
import pytest
from ohmic import OhmicBackend

from hil.control import devicelog
from hil.control.array import SynapseArray
from hil.control.recorder import Recorder
from hil.errors import StoreError
from hil.geometry import ArrayGeometry
from hil.operating import OperatingPoint
from hil.phases.cells import as_reading_steps, joined
from hil.phases.reading import read_rows
from hil.phases.writing import program_counts, pulse_train
from hil.program import Phase, PulseBlock
from hil.record import CommitPolicy, RunFolder, open_run

OP = OperatingPoint()


@pytest.fixture
def backend():
    with OhmicBackend(np.full((3, 4), 10e-6)) as opened:
        yield opened


def make_run(tmp_path, levels="full", policy=None):
    return RunFolder.create(
        tmp_path, "test", kind="run", backend="ohmic", simulated=True, levels=levels, policy=policy
    )


def record(recorder, backend, block, op=1, ordinal=0, **more):
    """Drive a block and record it as a runner does."""
    start_ns, before = backend.clock_ns(), backend.ledger.device_pulses
    readings = backend.run_block(block)
    pulses = backend.ledger.device_pulses - before
    recorder.block(backend, OP, op, ordinal, 0, start_ns, pulses, block, readings, **more)
    return readings


def pulse(backend, row, col):
    at = (np.array([row]), np.array([col]))
    return pulse_train(backend.geometry, OP, *at, OP.potentiate_v, OP.write_s)


def read(backend, row, col):
    at = (np.array([row]), np.array([col]))
    return read_rows(backend.geometry, OP, backend.capabilities, *at)


def test_a_row_that_waits_for_its_reading_is_not_acknowledged(backend, tmp_path):
    with make_run(tmp_path) as folder:
        recorder = Recorder(folder)
        record(recorder, backend, pulse(backend, 1, 2))
        time.sleep(0.2)
        assert folder.acked == 0
        record(recorder, backend, read(backend, 1, 2), ordinal=1)
        recorder.flush()
        deadline = time.monotonic() + 10
        while folder.acked < folder.ticket and time.monotonic() < deadline:
            time.sleep(0.01)
        assert folder.acked == folder.ticket
        assert open_run(folder.path).pulses["g1"].to_pylist() == pytest.approx([11e-6], rel=1e-5)


def test_a_barrier_writes_rows_that_wait_as_they_are(backend, tmp_path):
    with make_run(tmp_path) as folder:
        recorder = Recorder(folder)
        record(recorder, backend, pulse(backend, 1, 2))
        assert folder.barrier() == folder.acked == folder.ticket
        assert open_run(folder.path).pulses["g1"].to_pylist() == [None]
        record(recorder, backend, read(backend, 1, 2), ordinal=1)
    assert open_run(folder.path).pulses.num_rows == 1


def test_what_is_driven_last_is_in_the_run_when_it_is_closed(backend, tmp_path):
    with make_run(tmp_path) as folder:
        record(Recorder(folder), backend, pulse(backend, 2, 3))
    rows = open_run(folder.path).pulses.to_pydict()
    assert (rows["row"], rows["col"], rows["g1"]) == ([2], [3], [None])


@pytest.mark.parametrize("handed_rows", [1, 3, 1 << 15])
def test_rows_are_the_same_however_they_are_grouped(backend, tmp_path, handed_rows):
    policy = CommitPolicy(handed_rows=handed_rows, max_age_s=0.001 if handed_rows == 1 else 10.0)
    with make_run(tmp_path, policy=policy) as folder:
        recorder = Recorder(folder)
        record(recorder, backend, read(backend, 0, 1))
        for n in range(6):
            record(recorder, backend, pulse(backend, 0, 1), ordinal=2 * n)
            record(recorder, backend, read(backend, 0, 1), ordinal=2 * n + 1)
        recorder.flush()
    run = open_run(folder.path)
    np.testing.assert_allclose(run.pulses["g0"], 10e-6 + 1e-6 * np.arange(6), rtol=1e-5)
    np.testing.assert_allclose(run.pulses["g1"], 11e-6 + 1e-6 * np.arange(6), rtol=1e-5)
    assert run.pulses["seq"].to_pylist() == list(range(6))
    assert run.reads["block"].to_pylist() == [0, *range(1, 12, 2)]
    assert run.ops["n_pulses"].to_pylist() == [0, *[1, 0] * 6]


def test_a_write_that_is_not_recorded_in_full_makes_the_conductance_unknown(backend, tmp_path):
    counts = np.zeros((3, 4), dtype=int)
    counts[1, 1] = 2
    with make_run(tmp_path, levels={Phase.REFRESH: "operation"}) as folder:
        array = SynapseArray(backend, OP, recorder=Recorder(folder))
        array.read()
        array.program(counts)
        array.read()
        array.program(counts, phase=Phase.REFRESH)
        array.program(counts)
    g0 = open_run(folder.path).pulses["g0"].to_pylist()
    assert g0[0] == pytest.approx(10e-6, rel=1e-5)
    assert g0[1] is None


def test_recorded_readings_can_no_longer_be_changed(backend, tmp_path):
    with make_run(tmp_path) as folder:
        readings = record(Recorder(folder), backend, read(backend, 0, 0))
        with pytest.raises(ValueError, match="read-only"):
            readings.current_a[:] = 0.0


def test_a_large_block_gives_the_same_rows_in_pieces(backend, tmp_path, monkeypatch):
    counts = np.arange(12).reshape(3, 4) % 5
    block = program_counts(backend.geometry, OP, counts)
    tables = []
    for rows in (1_000_000, 24):
        monkeypatch.setattr(devicelog, "_PIECE_ROWS", rows)
        with make_run(tmp_path) as folder:
            recorder = Recorder(folder)
            recorder.block(backend, OP, 1, 0, 0, 5, int(counts.sum()), block,
                           backend.run_block(read(backend, 0, 0)))  # fmt: skip
        tables.append(open_run(folder.path).pulses.to_pydict())
    whole, pieces = tables
    assert block.n_steps > 2
    assert sum(whole["count"]) == counts.sum()
    np.testing.assert_allclose(whole.pop("t_ns"), pieces.pop("t_ns"), atol=1)  # rounded to ns
    np.testing.assert_equal(pieces, whole)


def test_arrays_of_one_run_keep_their_conductances_apart(backend, tmp_path):
    with OhmicBackend(np.full((3, 4), 50e-6)) as other, make_run(tmp_path) as folder:
        recorder = Recorder(folder)
        for k, each in enumerate((backend, other, backend, other)):
            record(recorder, each, read(each, 0, 0), op=3 * k)
            record(recorder, each, pulse(each, 0, 0), op=3 * k + 1)
            record(recorder, each, read(each, 0, 0), op=3 * k + 2, ends=True)
        recorder.flush()
    run = open_run(folder.path)
    by_op = dict(zip(run.pulses["op"].to_pylist(), run.pulses["g0"].to_pylist(), strict=True))
    assert by_op == pytest.approx({1: 10e-6, 4: 50e-6, 7: 11e-6, 10: 51e-6}, rel=1e-4)
    assert run.reads["op"].to_pylist() == [0, 2, 3, 5, 6, 8, 9, 11]
    assert run.ops["op"].to_pylist() == list(range(12))


def test_a_count_that_a_row_cannot_hold_is_an_error_and_not_a_smaller_count(backend, tmp_path):
    block = pulse(backend, 0, 0)
    many = PulseBlock.build(
        block.phase, block.state, block.level_v, block.width_s, repeat=2**33, gap_s=1.0,
        selected=block.selected,
    )  # fmt: skip
    folder = make_run(tmp_path)
    none = backend.run_block(block)
    Recorder(folder).block(backend, OP, 1, 0, 0, 0, 2**33, many, none)
    with pytest.raises(StoreError, match="more than 4294967295 times"):
        folder.barrier()
    with pytest.raises(StoreError, match="4294967295"):
        folder.close()
    assert open_run(folder.path).status == "failed"


def test_an_array_with_more_rows_than_a_run_can_name_is_refused():
    with pytest.raises(StoreError, match="up to 65535"):
        devicelog.DeviceLog(ArrayGeometry(70_000, 1), OP)


def train_on(backend, row, col, pulses):
    """Return pulses on one device with a read after each, in one block."""
    one = [pulse(backend, row, col), as_reading_steps(read(backend, row, col), Phase.PROGRAM)]
    return joined(one * pulses)


def test_a_block_that_writes_and_reads_gives_the_rows_of_the_blocks_it_is_made_of(
    backend, tmp_path
):
    found = []
    for together in (False, True):
        with (
            OhmicBackend(np.full((3, 4), 10e-6)) as array,
            make_run(tmp_path / str(together)) as folder,
        ):
            recorder = Recorder(folder)
            if together:
                record(recorder, array, train_on(array, 1, 2, 5))
            else:
                for n in range(5):
                    record(recorder, array, pulse(array, 1, 2), ordinal=2 * n)
                    record(recorder, array, read(array, 1, 2), ordinal=2 * n + 1)
            recorder.flush()
        rows = open_run(folder.path).pulses
        found.append({name: rows[name].to_pylist() for name in ("row", "col", "v", "g0", "g1")})
        steps = np.diff(rows["t_ns"].to_numpy())
        assert (steps > 0).all()
    assert len(found[0]["g1"]) == 5
    assert None not in found[1]["g1"]
    assert found[1] == found[0]
