from __future__ import annotations

import threading

import numpy as np
import pytest
from live import Pulses, start

from hil.monitor.tail import EventTail, TableTail
from hil.record import CommitPolicy, open_run
from hil.record.sealing import seal_run

SMALL_PARTS = CommitPolicy(
    max_rows=64, segment_bytes=4096, seal_running=False, seal_share=0.0, max_age_s=0.001
)


def numbers(tail, **state):
    return [n for batch in tail.read(**state) for n in batch.column("seq").to_pylist()]


def test_every_row_comes_once_while_the_run_is_recorded(tmp_path):
    stop = threading.Event()
    with start(tmp_path, policy=SMALL_PARTS) as folder:
        source = Pulses(folder, 16)

        def record() -> None:
            while not stop.is_set():
                source.append(50)
                folder.barrier()

        writer = threading.Thread(target=record)
        writer.start()
        try:
            tail = TableTail(folder.path, "pulses", ("seq",))
            seen = []
            while len(seen) < 8_000:
                seen += numbers(tail)
        finally:
            stop.set()
            writer.join()
        parts = len(list((folder.path / "pulses").glob("*.arrows")))
    seen += numbers(tail, ended=True)
    assert parts > 20
    assert seen == list(range(source.rows))
    assert tail.problems == []


def test_a_batch_that_is_still_being_written_is_waited_for(tmp_path, rng):
    with start(tmp_path / "whole", policy=SMALL_PARTS) as folder:
        Pulses(folder, 16).append(60)
    content = (folder.path / "pulses" / "000000.arrows").read_bytes()
    target = tmp_path / "pulses" / "000000.arrows"
    target.parent.mkdir()
    tail, seen = TableTail(tmp_path, "pulses", ("seq", "g1")), []
    cuts = np.unique(rng.integers(1, len(content), 60))
    for end in [*cuts.tolist(), len(content)]:
        target.write_bytes(content[:end])
        seen += numbers(tail)
    assert seen == list(range(60))
    assert tail.problems == []
    assert numbers(tail, ended=True) == []


def test_rows_that_are_sealed_meanwhile_come_once(tmp_path):
    with start(tmp_path, policy=SMALL_PARTS) as folder:
        source = Pulses(folder, 16)
        for _ in range(30):
            source.append(50)
            folder.barrier()
        tail = TableTail(folder.path, "pulses", ("seq",))
        first = next(iter(tail.read())).column("seq").to_pylist()
    seal_run(folder.path)
    assert list((folder.path / "pulses").glob("*.arrows")) == []
    assert first + numbers(tail, ended=True) == list(range(1500))
    assert tail.problems == []


def test_a_reader_that_stops_half_way_goes_on_where_it_stopped(tmp_path):
    with start(tmp_path, policy=SMALL_PARTS) as folder:
        source = Pulses(folder, 16)
        for _ in range(30):
            source.append(50)
            folder.barrier()
    tail, seen = TableTail(folder.path, "pulses", ("seq",)), []
    while len(seen) < 1500:
        seen += next(iter(tail.read(ended=True))).column("seq").to_pylist()
    assert seen == list(range(1500))


def test_damage_ends_a_segment_and_is_told(tmp_path):
    with start(tmp_path, policy=SMALL_PARTS) as folder:
        source = Pulses(folder, 16)
        for _ in range(30):
            source.append(50)
            folder.barrier()
    part = folder.path / "pulses" / "000001.arrows"
    content = bytearray(part.read_bytes())
    content[-100] ^= 0x10
    part.write_bytes(content)
    tail = TableTail(folder.path, "pulses", ("seq",))
    seen = numbers(tail, ended=True)
    assert seen == open_run(folder.path).pulses["seq"].to_pylist()
    assert len(seen) < 1500
    assert [line.partition(":")[0] for line in tail.problems] == ["pulses/000001.arrows"]


def test_a_line_of_the_log_counts_when_it_is_whole(tmp_path):
    log = tmp_path / "events.jsonl"
    tail = EventTail(tmp_path)
    assert tail.read() == []
    log.write_bytes(b'{"kind": "start"}\n{"kind": "ep')
    assert [e["kind"] for e in tail.read()] == ["start"]
    log.write_bytes(log.read_bytes() + b'och"}\nno json\n')
    assert [e["kind"] for e in tail.read()] == ["epoch"]
    assert tail.problems == ["events.jsonl:3: damaged line"]


@pytest.mark.parametrize("table", ["pulses", "reads", "ops"])
def test_a_table_without_rows_is_no_problem(tmp_path, table):
    tail = TableTail(tmp_path, table, ("op",))
    assert list(tail.read(ended=True)) == []
    assert tail.problems == []
