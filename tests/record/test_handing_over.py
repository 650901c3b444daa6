"""Rows that a source makes in the writer thread, beside rows given as values."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from recording import make, measured, read_block

from hil.errors import StoreError
from hil.program import Phase
from hil.record import open_run
from hil.record.joining import joined
from hil.record.segments import Rows


class Operations:
    """One row of ``ops`` per number; odd numbers wait for the next one."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    @property
    def waiting_since(self):
        return self.waiting[0][0] if self.waiting else None

    def rows(self, run):
        self.threads.add(threading.get_ident())
        for _, ticket, _, number in run:
            if number < 0:
                raise StoreError("a number below zero")
            self.waiting.append((ticket, number))
            if number % 2 == 0:
                yield from self.flush()

    def flush(self):
        numbers = [number for _, number in self.waiting]
        self.waiting = []
        if numbers:
            n = len(numbers)
            whole = [np.zeros(n, t) for t in ("i8", "i8", "u1", "u2", "i8", "i8", "i8", "f8", "f8")]
            whole[1][:] = numbers
            yield "ops", Rows(whole, {}, n)


def test_rows_given_both_ways_keep_their_order(tmp_path):
    source = Operations()
    with make(tmp_path) as run:
        for number in range(0, 3000, 2):
            if number % 300 < 150:
                run.hand_over(source, number, 1, 1, 100)
            else:
                run.operation(number, Phase.READ)
    ops = open_run(run.path).ops
    assert ops["op"].to_pylist() == list(range(0, 3000, 2))
    assert ops["seq"].to_pylist() == list(range(1500))
    assert threading.get_ident() not in source.threads


def test_only_rows_on_the_disk_are_acknowledged(tmp_path):
    source = Operations()
    with make(tmp_path) as run:
        first = run.hand_over(source, 2, 1, 1, 100)
        assert run.barrier() == first == run.acked
        run.hand_over(source, 3, 1, 1, 100)
        run.event("op")  # two syncs' time for the writer
        assert run.acked == first
        assert run.barrier() == run.acked == 2
        assert open_run(run.path).ops["op"].to_pylist() == [2, 3]
    assert open_run(run.path).stop["rows_acknowledged"] == 2


def test_an_entry_that_does_not_fit_surfaces_and_is_counted_as_lost(tmp_path):
    source = Operations()
    run = make(tmp_path)
    run.hand_over(source, 2, 1, 1, 100)
    run.barrier()
    run.hand_over(source, -1, 1, 1, 100)
    with pytest.raises(StoreError, match="below zero"):
        run.barrier()
    with pytest.raises(StoreError, match="below zero"):
        run.hand_over(source, 4, 1, 1, 100)
    with pytest.raises(StoreError, match="below zero"):
        run.close()
    stop = open_run(run.path).stop
    assert (stop["rows_appended"], stop["rows_acknowledged"]) == (3, 1)


def test_what_is_handed_over_counts_in_the_bounded_queue(tmp_path, rng):
    source, taken = Operations(), threading.Event()

    class Slow(Operations):
        def rows(self, run):
            taken.wait(20)
            yield from super().rows(run)

    slow = Slow()
    with make(tmp_path) as run:
        run.hand_over(slow, 2, 1, 1 << 15, 1 << 40)  # more bytes than the queue holds
        threading.Timer(0.3, taken.set).start()
        run.hand_over(source, 4, 1, 1, 100)
        assert taken.is_set()
        run.readings(0, 0, read_block(), measured(rng))
    assert open_run(run.path).ops["op"].to_pylist() == [2, 4]


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_pieces_of_any_layout_and_type_are_joined(rng, dtype):
    pieces = [rng.integers(0, 99, (3, 4)), rng.normal(size=(4, 6))[:, ::2], np.empty(0)]
    whole = joined(pieces, np.dtype(dtype))
    expected = np.concatenate([np.asarray(piece, dtype).ravel() for piece in pieces])
    np.testing.assert_array_equal(whole, expected)
    assert whole.dtype == dtype
    assert not whole.flags.writeable
    one = np.arange(6.0).reshape(2, 3).T
    np.testing.assert_array_equal(joined([one], one.dtype), one.ravel())
    assert one.flags.writeable
    assert joined([], np.dtype(dtype)).size == 0
