"""The contract suite on a framed serial board, over a pseudo terminal."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from serial_bench import on_bench, station_of, text_of

from hil.testing import BackendContract


class TestSerialBoard(BackendContract):
    deterministic = False
    read_tolerance = 0.1
    write_tolerance = 0.1
    coding = "amplitude"
    device = "nonlinear"
    cell = "1R"
    can: int | None = None

    @pytest.fixture(autouse=True)
    def _benches(self):
        with ExitStack() as stack:
            self.stack, self.benches = stack, {}
            yield
            for bench in self.benches.values():
                assert not bench.incidents

    def make(self, limits=None):
        text = text_of(device=self.device, coding=self.coding, cell=self.cell)
        station = station_of(text.replace('"2 ms"', '"20 us"').replace('"200 us"', '"10 us"'))
        backend, bench = self.stack.enter_context(
            on_bench(station, seed=4, limits=limits, board={"can": self.can} if self.can else None)
        )
        self.benches[id(backend)] = bench
        with backend:
            pass  # from now on it knows what the board can do
        return backend, station.drive.operating_point()

    def break_midway(self, backend):
        """Make the board safe when a few steps have run, as its watchdog would."""
        bench = self.benches[id(backend)]
        board = bench.instruments["board"]
        bench.faults.pace = 0.01

        def stop(run_s):
            if run_s < 250e-6:  # two of five steps of 120 us
                bench.faults.during_run = stop
            else:
                board.session_closed()

        bench.faults.during_run = stop
        return True

    def outputs_on(self, backend):
        outputs = self.benches[id(backend)].outputs().values()
        return any(o.on and o.level_v != 0.0 for o in outputs)


class TestWidthsPerLine(TestSerialBoard):
    coding = "width"


class TestBoardThatSensesOneLineAtATime(TestSerialBoard):
    can = 0x0409


class TestFirmware(TestSerialBoard):
    """The reference firmware in C in place of the emulator, on the same simulated array."""

    @pytest.fixture(autouse=True)
    def _firmware(self, _benches, firmware, monkeypatch):
        pytest.importorskip("pty", reason="needs a POSIX system")
        from test_firmware_twin import OnFirmware

        monkeypatch.setattr(OnFirmware, "program", firmware)
        monkeypatch.setattr("hil_sim.virtual_bench.bench.personality_class", lambda _: OnFirmware)
        # After the benches are: until then their threads may still talk to it.
        self.stack.callback(self._close_firmware)

    def _close_firmware(self):
        for bench in self.benches.values():
            bench.instruments["board"].firmware.close()

    def break_midway(self, backend):
        return False  # its pulses take no time

    def outputs_on(self, backend):
        return self.benches[id(backend)].instruments["board"].firmware.outputs_on
