"""A block that fails in its middle: what was read is kept, what may have run is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ohmic import OhmicBackend

from hil.backend import Unfinished
from hil.control.recorder import Recorder
from hil.control.runner import Runner
from hil.errors import BackendError, LinkTimeout, ReadbackError
from hil.measurement import MeasurementBlock, Status
from hil.operating import OperatingPoint
from hil.phases.reading import read_map
from hil.phases.writing import program_counts
from hil.program import Phase
from hil.record import RunFolder, open_run

OP = OperatingPoint()


class Breaking(OhmicBackend):
    """Loses its link in the middle of block number ``fatal``: one step is sure, one is not."""

    def __init__(self, fatal=1, cause=None):
        super().__init__(np.full((3, 4), 10e-6))
        self.fatal, self.cause = fatal, cause

    def _execute(self, block):
        if len(self.driven) < self.fatal:
            return super()._execute(block)
        self.sure = super()._execute(block.steps(0, 1))
        raise LinkTimeout("no answer", "fake")

    def _salvage(self, asked, prepared):
        known, possible = np.zeros((2, asked.n_steps), dtype=np.int64)
        known[0], possible[:2] = asked.repeat[0], asked.repeat[:2]
        delivered = replace(prepared, repeat=possible, template=None)
        return Unfinished(asked, delivered, known, possible, self.sure, self.cause)


@pytest.fixture
def counts():
    counts = np.zeros((3, 4), dtype=np.int64)
    counts[0, 0], counts[1, 1], counts[2, 2] = 5, 7, 9
    return counts


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path, "test", kind="run", backend="ohmic", simulated=True)


def drive(backend, folder, programme):
    with backend, folder:
        for _ in Runner(backend, OP, Recorder(folder)).programme(programme):
            pass


def test_pulses_that_may_have_run_are_counted_and_marked(run, counts):
    backend = Breaking()
    programme = program_counts(backend.geometry, OP, counts)
    assert programme.n_steps == 3
    good = program_counts(backend.geometry, OP, counts // 5)
    with pytest.raises(LinkTimeout):
        drive(backend, run, [good, programme])
    assert backend.safe_calls == 2  # once for the failure, once on closing
    assert backend.ledger.device_pulses == 3 + 5 + 7
    left = open_run(run.path)
    assert (left.status, left.verify()) == ("failed", ())
    rows = left.pulses.to_pylist()
    assert [(r["row"], r["count"], r["executed"]) for r in rows] == [
        (0, 1, 1), (1, 1, 1), (2, 1, 1), (0, 5, 5), (1, 7, None),
    ]  # fmt: skip
    assert [r["status"] for r in rows] == [0, 0, 0, 0, int(Status.COUNT_UNKNOWN)]
    assert rows[4]["t_ns"] > rows[3]["t_ns"]
    (event,) = [e for e in left.events if e["kind"] == "unfinished"]
    assert event["phase"] == "PROGRAM"
    assert (event["pulses"], event["pulses_known"], event["pulses_possible"]) == (21, 5, 12)
    assert event["error"] == "LinkTimeout: fake: no answer"


def test_readings_of_a_block_that_failed_are_recorded(run):
    backend = Breaking(fatal=0)
    programme = read_map(backend.geometry, OP, backend.capabilities)
    with pytest.raises(LinkTimeout):
        drive(backend, run, programme)
    left = open_run(run.path)
    sensed = int(next(iter(programme)).sense[0].sum())
    assert left.reads.num_rows == sensed > 0
    assert set(left.reads["step"].to_pylist()) == {0}
    assert np.isfinite(left.reads["current_a"].to_numpy()).all()


def test_a_closed_loops_block_is_kept_in_the_same_way(run, counts):
    backend = Breaking(fatal=0)
    block = program_counts(backend.geometry, OP, counts)
    with pytest.raises(LinkTimeout), backend, run:
        Runner(backend, OP, Recorder(run)).block(block)
    assert open_run(run.path).pulses["executed"].to_pylist() == [5, None]


def test_a_clearer_cause_replaces_the_error_and_names_it(counts):
    backend = Breaking(fatal=0, cause=ReadbackError("smu was reset"))
    with backend, pytest.raises(ReadbackError, match="was reset") as caught:
        backend.run_block(program_counts(backend.geometry, OP, counts))
    assert isinstance(caught.value.__cause__, LinkTimeout)
    assert backend.unfinished is not None


def test_what_is_left_of_one_run_is_not_taken_for_the_next_ones(counts):
    backend = Breaking(fatal=0)
    block = program_counts(backend.geometry, OP, counts)
    with backend:
        with pytest.raises(LinkTimeout):
            backend.run_block(block)
        backend.fatal = 99
        backend.run_block(block)
        assert backend.unfinished is None


def test_a_block_that_never_began_leaves_nothing(counts):
    class Refusing(OhmicBackend):
        def _prepare(self, block):
            raise BackendError("made to fail")

    backend = Refusing(np.full((3, 4), 10e-6))
    with backend, pytest.raises(BackendError):
        backend.run_block(program_counts(backend.geometry, OP, counts))
    assert backend.unfinished is None
    assert backend.ledger.device_pulses == 0
    assert backend.safe_calls == 2


def test_by_default_every_pulse_of_a_failed_block_may_have_run(counts):
    class Failing(OhmicBackend):
        def _execute(self, block):
            raise BackendError("made to fail")

    backend = Failing(np.full((3, 4), 10e-6))
    with backend, pytest.raises(BackendError):
        backend.run_block(program_counts(backend.geometry, OP, counts))
    left = backend.unfinished
    assert left.possible.tolist() == [5, 7, 9]
    assert left.known.sum() == len(left.readings) == 0
    assert backend.ledger.device_pulses == 21


def test_too_many_readings_end_in_the_safe_state_like_any_failure(counts):
    class Generous(OhmicBackend):
        def _execute(self, block):
            super()._execute(block)
            return MeasurementBlock.empty(1)

    backend = Generous(np.full((3, 4), 10e-6))
    block = program_counts(backend.geometry, OP, counts)
    assert block.phase is Phase.PROGRAM
    with backend:
        with pytest.raises(BackendError, match="promises 0"):
            list(backend.run([block]))
        assert backend.safe_calls == 1
