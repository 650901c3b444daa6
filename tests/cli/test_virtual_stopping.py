"""Ctrl-C and SIGTERM while pulses run on the virtual bench, in real time and real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import write

from hil.cli.commands.init import starter_files
from hil.measurement import Status
from hil.record import open_run

# One run of the instruments takes about 2 s.
LONG = 'schema = 1\nkind = "ltp-ltd"\ncells = [[1, 2]]\ncycles = 20\npulses = 400\n'
WATCHED = str(Path(__file__).with_name("watched_bench.py"))
SIGNALS = [signal.SIGINT, signal.SIGTERM]
NAMES = ["Ctrl-C", "SIGTERM"]

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="a test cannot send Ctrl-C to one process alone on Windows"
)


def scpi(station):
    """Return the starter station with a B2902A over VXI-11 in place of the 2600B."""
    return (
        station.replace('driver = "keithley-2600b"', 'driver = "keysight-b2900"')
        .replace("TCPIP0::192.168.0.5::5025::SOCKET", "TCPIP0::192.168.0.5::INSTR")
        .replace("smu.a", "smu.1")
        .replace("smu.b", "smu.2")
        # Its lists hold 2500 points, so they are slow ones.
        .replace('read_width = "1 ms"', 'read_width = "20 ms"')
        .replace('write_width = "200 us"', 'write_width = "10 ms"')
        .replace('gap = "100 us"', 'gap = "10 ms"')
    )


class Watched:
    """``hil run`` on a bench whose outputs are watched."""

    def __init__(self, folder, change=str, protocol=LONG):
        for name, text in starter_files(rig=True).items():
            write(folder, name, change(text) if name == "station.toml" else text)
        write(folder, "long.toml", protocol)
        self.folder, self.log = folder, folder / "outputs"
        self.process = subprocess.Popen(
            [sys.executable, WATCHED, str(self.log), "run", "long.toml", "-s", "station.toml",
             "--virtual", "--wire-log"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def changes(self):
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text(encoding="ascii").splitlines()]
        return [(int(when), what) for when, what in lines]

    def wait_until_on(self):
        deadline = time.monotonic() + 60
        while not self.changes() or self.changes()[-1][1] != "on":
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.05)

    def signal(self, number):
        """Send a signal; return when, on the clock that the log uses."""
        when = time.monotonic_ns()
        self.process.send_signal(number)
        return when

    def finish(self):
        _, stderr = self.process.communicate(timeout=60)
        assert self.process.returncode == 130, stderr
        (run,) = [path for path in (self.folder / "runs").iterdir() if path.is_dir()]
        return open_run(run)


@pytest.fixture
def watched(tmp_path):
    found = Watched(tmp_path)
    yield found
    found.process.kill()
    found.process.communicate()


def test_a_second_ctrl_c_is_off_within_200_ms_on_scpi_sources_too(tmp_path):
    watched = Watched(tmp_path, scpi, LONG.replace("400", "25"))
    try:
        watched.wait_until_on()
        watched.signal(signal.SIGINT)
        time.sleep(0.1)
        assert watched.changes()[-1][1] == "on"
        second = watched.signal(signal.SIGINT)
        run = watched.finish()
    finally:
        watched.process.kill()
        watched.process.communicate()
    after = [(when, what) for when, what in watched.changes() if when > second]
    assert [what for _, what in after] == ["off"]
    print(f"off after {(after[0][0] - second) * 1e-6:.1f} ms")
    assert (after[0][0] - second) * 1e-9 < 0.2
    assert run.status == "interrupted"


@pytest.mark.parametrize("number", SIGNALS, ids=NAMES)
def test_a_second_signal_is_off_within_200_ms_while_a_run_goes_on(watched, number):
    watched.wait_until_on()
    watched.signal(number)
    time.sleep(0.1)
    assert watched.changes()[-1][1] == "on"  # the block at hand is being finished
    second = watched.signal(number)
    run = watched.finish()
    after = [(when, what) for when, what in watched.changes() if when > second]
    assert [what for _, what in after] == ["off"]  # off, and never on again
    assert (after[0][0] - second) * 1e-9 < 0.2
    assert (run.status, run.verify()) == ("interrupted", ())
    (event,) = [e for e in run.events if e["kind"] == "unfinished"]
    assert event["pulses_known"] == 0
    assert event["pulses_possible"] > 0
    rows = run.pulses.to_pylist()
    assert rows
    assert all(row["executed"] is None for row in rows)
    assert all(row["status"] & Status.COUNT_UNKNOWN for row in rows)


def test_the_first_signal_finishes_the_run_of_the_instruments_and_records_it(watched):
    watched.wait_until_on()
    first = watched.signal(signal.SIGTERM)
    run = watched.finish()
    after = [(when, what) for when, what in watched.changes() if when > first]
    assert [what for _, what in after] == ["off"]
    assert (after[0][0] - first) * 1e-9 > 0.2  # it was not cut off
    assert (run.status, run.verify()) == ("interrupted", ())
    assert not [e for e in run.events if e["kind"] == "unfinished"]
    assert all(n == 1 for n in run.pulses["executed"].to_pylist())
    assert np.isfinite(run.reads["current_a"].to_numpy()).all()
