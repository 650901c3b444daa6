"""Before a rig writes, what it is about to write is on the disk; on a nearly full disk it waits."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from ohmic import OhmicBackend

from hil.capabilities import Range
from hil.control.intending import device_pulses, written_devices
from hil.control.recorder import Recorder
from hil.control.runner import Runner
from hil.errors import LimitError, LinkTimeout, RunInterrupted, StoreError
from hil.geometry import THREE_TERMINAL, ArrayGeometry
from hil.ledger import Ledger
from hil.limits import SafetyLimits
from hil.operating import OperatingPoint
from hil.phases.reading import read_map
from hil.phases.writing import erase_rows, program_counts
from hil.record import CommitPolicy, RunFolder, open_run

OP = OperatingPoint()


class Watched(OhmicBackend):
    """Notes, while it drives a block, which devices the run folder says it may be writing."""

    def __init__(self, **changes):
        super().__init__(np.full((3, 4), 10e-6), **changes)
        self.seen = []
        self.path = None

    def _execute(self, block):
        if self.path is not None:
            self.seen.append(open_run(self.path).unknown_devices())
        return super()._execute(block)


def make_run(tmp_path, **changes):
    arguments = {"kind": "run", "backend": "ohmic", "simulated": False} | changes
    return RunFolder.create(tmp_path, "test", **arguments)


def counts_at(*places):
    counts = np.zeros((3, 4), dtype=np.int64)
    for place in places:
        counts[place] = 2
    return counts


def test_a_lease_is_open_while_a_block_writes_and_closed_after_the_run(tmp_path):
    backend, folder = Watched(), make_run(tmp_path)
    backend.path = folder.path
    programme = program_counts(backend.geometry, OP, counts_at((0, 1), (2, 3)))
    reading = next(iter(read_map(backend.geometry, OP, backend.capabilities)))
    with backend, folder:
        runner = Runner(backend, OP, Recorder(folder, {backend: "main"}))
        runner.block(reading)
        for _ in runner.programme([programme]):
            pass
    assert backend.seen[0] == {}
    assert {tuple(cell) for cell in backend.seen[1]["main"]} >= {(0, 1), (2, 3)}
    assert open_run(folder.path).unknown_devices() == {}


def test_a_block_that_was_refused_leaves_nothing_unknown(tmp_path):
    limits = SafetyLimits(device_v=Range(-0.1, 0.1))
    backend, folder = OhmicBackend(np.full((3, 4), 10e-6), limits=limits), make_run(tmp_path)
    block = program_counts(backend.geometry, OP, counts_at((1, 1)))
    with backend, pytest.raises(LimitError), folder:
        Runner(backend, OP, Recorder(folder)).block(block)
    assert backend.driven == []
    assert open_run(folder.path).unknown_devices() == {}


def test_a_block_that_failed_leaves_its_devices_unknown(tmp_path):
    class Lost(OhmicBackend):
        def _execute(self, block):
            raise LinkTimeout("no answer", "fake")

    backend, folder = Lost(np.full((3, 4), 10e-6)), make_run(tmp_path)
    block = program_counts(backend.geometry, OP, counts_at((1, 1)))
    with backend, pytest.raises(LinkTimeout), folder:
        Runner(backend, OP, Recorder(folder, {backend: "a"})).block(block)
    assert open_run(folder.path).unknown_devices()["a"].tolist() == [[1, 1]]


def test_the_devices_named_are_those_that_the_ledger_counts():
    generator = np.random.default_rng(5)
    geometry = ArrayGeometry(5, 7)
    for _ in range(20):
        counts = generator.integers(0, 4, (5, 7)) * (generator.random((5, 7)) < 0.3)
        block = program_counts(geometry, OP, counts)
        ledger = Ledger(geometry)
        pulses = ledger.add(block)
        np.testing.assert_array_equal(written_devices(geometry, block), ledger.selected() > 0)
        assert device_pulses(geometry, block) == pulses


def test_an_erase_names_whole_rows():
    geometry = ArrayGeometry(4, 3, THREE_TERMINAL)
    op = replace(OP, erase_v=5.0, erase_s=1e-3)
    block = erase_rows(geometry, op, np.array([1, 3]))
    ledger = Ledger(geometry)
    pulses = ledger.add(block)
    np.testing.assert_array_equal(written_devices(geometry, block), ledger.selected() > 0)
    assert device_pulses(geometry, block) == pulses > 0


def test_a_large_block_names_at_least_what_it_writes(monkeypatch):
    geometry = ArrayGeometry(5, 7)
    block = program_counts(geometry, OP, np.eye(5, 7, dtype=np.int64))
    monkeypatch.setattr("hil.control.intending._MOST_WORK", 10)
    named = written_devices(geometry, block)
    assert named[np.eye(5, 7, dtype=bool)].all()


def test_nothing_is_driven_while_the_disk_is_nearly_full(tmp_path, monkeypatch):
    backend, folder = OhmicBackend(np.full((3, 4), 10e-6)), make_run(tmp_path)
    block = program_counts(backend.geometry, OP, counts_at((1, 1)))
    with backend, folder:
        runner = Runner(backend, OP, Recorder(folder))
        folder._watch.short_of_space = True
        free = threading.Timer(0.5, setattr, (folder._watch, "short_of_space", False))
        free.start()
        runner.block(block)
        free.join()
    events = [(e["kind"], e.get("what")) for e in open_run(folder.path).events]
    assert events[1:3] == [("pause", "low disk space"), ("resume", "low disk space")]
    assert len(backend.driven) == 1


def test_a_pause_ends_with_a_requested_stop_or_after_its_time(tmp_path):
    backend = OhmicBackend(np.full((3, 4), 10e-6))
    block = program_counts(backend.geometry, OP, counts_at((1, 1)))
    folder = make_run(tmp_path)
    folder._watch.short_of_space = True
    threading.Timer(0.3, backend.request_stop).start()
    with backend, pytest.raises(RunInterrupted), folder:
        Runner(backend, OP, Recorder(folder)).block(block)
    assert open_run(folder.path).status == "interrupted"
    late = make_run(tmp_path, policy=CommitPolicy(pause_s=0.2))
    late._watch.short_of_space = True
    with backend, pytest.raises(StoreError, match=r"bytes free, needs \d+; nobody made room"), late:
        Runner(backend, OP, Recorder(late)).block(block)
    assert backend.driven == []
    assert open_run(late.path).status == "failed"
