"""The contract suite on an emulated ArC ONE."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from arc_bench import on_bench, station_of, text_of

from hil.testing import BackendContract


class TestArcOne(BackendContract):
    deterministic = False
    read_tolerance = 0.1
    write_tolerance = 0.1
    averages = 2

    @pytest.fixture(autouse=True)
    def _benches(self):
        with ExitStack() as stack:
            self.stack, self.boards = stack, {}
            yield
            for board in self.boards.values():
                assert board.dropped == 0

    def make(self, limits=None):
        text = text_of(timeout="1 s")
        backend, _, board = self.stack.enter_context(on_bench(text, limits=limits))
        self.boards[id(backend)] = board
        return backend, station_of(text).drive.operating_point()

    def outputs_on(self, backend):
        """Return whether the board still knows what it was told; an abort does not wait for it."""
        until_s = time.monotonic() + 10.0
        while self.boards[id(backend)].initialised and time.monotonic() < until_s:
            time.sleep(0.005)
        return self.boards[id(backend)].initialised

    def break_midway(self, backend):
        board = self.boards[id(backend)]
        backend.settings = backend.settings.model_copy(update={"read_tries": 1})
        seen = []

        def before(command):
            if command.startswith(b"1\n"):
                seen.append(command)
                if len(seen) == 6:
                    board.faults.drop_replies = 1

        board.faults.before = before
        return True
