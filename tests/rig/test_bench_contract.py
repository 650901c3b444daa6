"""The contract suite over TCP: every rig kind on emulated instruments."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from benches import STATIONS, on_bench, station_of
from command_log import CommandLog

from hil.testing import BackendContract

pytest.importorskip("lupa")


class OnBench(BackendContract):
    kind = "a"
    deterministic = False
    read_tolerance = 0.1
    write_tolerance = 0.1

    @pytest.fixture(autouse=True)
    def _benches(self):
        with ExitStack() as stack:
            self.stack, self.benches, self.logs = stack, {}, []
            yield
            for bench in self.benches.values():
                assert not bench.incidents
            for log in self.logs:
                assert log.invented == []

    def make(self, limits=None):
        return self.enter(STATIONS[self.kind](), limits)

    def enter(self, text, limits, **options):
        """Return (backend, operating point) of a station whose messages are looked up."""
        station = station_of(text)
        self.logs.append(CommandLog({i.name: i.driver for i in station.instrument}))
        backend, bench = self.stack.enter_context(
            on_bench(station, seed=4, limits=limits, wire_log=self.logs[-1], **options)
        )
        self.benches[id(backend)] = bench
        return backend, station.drive.operating_point()

    def break_midway(self, backend):
        faults = self.benches[id(backend)].faults["smu"]
        runs = []

        def before(message):
            if message.startswith(b"hil_run("):
                runs.append(message)
                if len(runs) == 3:
                    faults.queue_error = (802, "OUTPUT blocked by interlock")

        faults.before = before
        return True

    def outputs_on(self, backend):
        outputs = self.benches[id(backend)].outputs().values()
        return any(o.on and o.level_v != 0.0 for o in outputs)


class TestDualSmu(OnBench):
    pass


class TestPulseGeneratorAndSmu(OnBench):
    kind = "b"


class TestChannelPerLine(OnBench):
    kind = "c"

    def break_midway(self, backend):
        return False  # every block is one run


class TestBiasSupplies(OnBench):
    kind = "d"
