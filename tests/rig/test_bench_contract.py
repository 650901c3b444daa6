"""The contract suite over TCP: every rig kind on emulated instruments."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from benches import STATIONS, on_bench, station_of

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
            self.stack, self.benches = stack, {}
            yield
            for bench in self.benches.values():
                assert not bench.incidents

    def make(self, limits=None):
        station = station_of(STATIONS[self.kind]())
        backend, bench = self.stack.enter_context(on_bench(station, seed=4, limits=limits))
        self.benches[id(backend)] = bench
        return backend, station.drive.operating_point()

    def outputs_on(self, backend):
        outputs = self.benches[id(backend)].outputs().values()
        return any(o.on and o.level_v != 0.0 for o in outputs)


class TestDualSmu(OnBench):
    pass


class TestPulseGeneratorAndSmu(OnBench):
    kind = "b"


class TestChannelPerLine(OnBench):
    kind = "c"


class TestBiasSupplies(OnBench):
    kind = "d"
