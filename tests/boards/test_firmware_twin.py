"""Firmware and emulator behind the driver, and the plain simulator: one array, one result."""

from __future__ import annotations

import os
import pty
import sys
import time
import tty
from contextlib import contextmanager

import numpy as np
import pytest
from boards import Firmware
from hil_drivers.factory import RigFactory
from hil_sim.virtual_bench import catalogue, open_bench
from hil_sim.virtual_bench.instruments.serial_board import SerialBoard
from serial_bench import on_bench, station_of, text_of
from test_fuzz_of_boards import KINDS, spoiled

from hil.control.opening import make_backend
from hil.errors import HilError
from hil.program import PulseBlock
from hil.testing import programs

CURRENT_STEP_A = 1e-9


class OnFirmware(SerialBoard):
    """The bench's board with the firmware in place of its own machine."""

    program = None

    def __init__(self, bench, name, settings):
        super().__init__(bench, name, settings)
        features = self.core.features
        self.firmware = Firmware(self.program, self.core.pins, features.rows, features.cols)

    def receive(self, data):
        with self.bench.changed:
            return self.firmware.exchange(data)

    def tick(self):
        return self.receive(b"")

    def idle_s(self):
        return 0.05

    def session_opened(self):
        self.firmware.tell(b"L\1")

    def session_closed(self):
        self.firmware.tell(b"L\0")
        self.firmware.exchange(b"")


@pytest.fixture(params=["emulator", "firmware"])
def either(request, monkeypatch):
    """Which board the bench has."""
    if request.param == "firmware":
        OnFirmware.program = request.getfixturevalue("firmware")
        monkeypatch.setattr(catalogue, "personality_class", lambda driver: OnFirmware)
        monkeypatch.setattr("hil_sim.virtual_bench.bench.personality_class", lambda _: OnFirmware)
    return request.param


@contextmanager
def on_board(station, **options):
    with on_bench(station, **options) as (backend, bench):
        try:
            yield backend, bench
        finally:
            firmware = getattr(bench.instruments["board"], "firmware", None)
    if firmware is not None:
        assert not firmware.outputs_on
        firmware.close()


def programme(geometry, op):
    """Return blocks that write a pattern and read it, with widths and levels of many kinds."""
    blocks = []
    for i in range(geometry.n_rows):
        cols = list(range(0, geometry.n_cols, i + 1))
        blocks.append(programs.write_step(geometry, op, [i], cols, repeat=3 + i))
        widths = np.linspace(0.5, 1.0, geometry.n_cols) * op.write_s
        blocks.append(programs.write_step(geometry, op, [i], cols, up=i % 2 == 0, width_s=widths))
    drives = np.eye(geometry.n_rows, dtype=np.bool_)
    blocks.append(programs.read_steps(geometry, op, drives, repeat=2))
    back = np.eye(geometry.n_cols, dtype=np.bool_)
    blocks.append(programs.read_steps(geometry, op, back, backward=True))
    coded = op.read_s * np.linspace(0.25, 1.0, geometry.n_rows)
    every = np.ones((1, geometry.n_rows), dtype=np.bool_)
    blocks.append(programs.read_steps(geometry, op, every, width_s=coded))
    return blocks


def run(backend, op):
    with backend:
        out = list(backend.run(programme(backend.geometry, op)))
    return np.concatenate([m.current_a for m in out])


def test_the_same_programme_on_board_and_simulator_gives_the_same_conductances(either):
    station = station_of(text_of(rows=5, cols=3))
    sim, op = make_backend(station, station.array[0], sim=True, seed=5)
    expected = run(sim, op)
    with on_board(station, seed=5) as (backend, bench):
        found = run(backend, op)
        assert bench.array.g == pytest.approx(sim.true_conductance_siemens(), rel=1e-9)
        assert np.unique(bench.array.g).size > 5
        assert bench.array.ordinal.tolist() == sim.array.ordinal.tolist()
        assert bench.safe
    assert found == pytest.approx(expected, rel=1e-6, abs=CURRENT_STEP_A / 2)


def test_both_boards_report_the_same_numbers_to_the_last_bit(firmware, monkeypatch):
    station = station_of(text_of(rows=4, cols=4))
    op = station.drive.operating_point()
    with on_board(station, seed=6) as (backend, _):
        emulated = run(backend, op)
    OnFirmware.program = firmware
    monkeypatch.setattr("hil_sim.virtual_bench.bench.personality_class", lambda _: OnFirmware)
    with on_board(station, seed=6) as (backend, _):
        assert run(backend, op).tolist() == emulated.tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_the_firmware_is_driven_over_a_pseudo_terminal_and_goes_safe_when_it_closes(firmware):
    station = station_of(text_of(rows=4, cols=4))
    op = station.drive.operating_point()
    bench = open_bench(station, seed=7)
    bench.warm_up()
    master, slave = pty.openpty()
    tty.setraw(slave)
    board = Firmware(firmware, bench.instruments["board"].core.pins, stream=master)
    board.serve()
    try:
        moved = station.at({"board": os.ttyname(slave)})
        backend = RigFactory().create(moved, moved.array[0], seed=7, virtual=True)
        with backend:
            block = programs.write_step(backend.geometry, op, [1], [2], repeat=12)
            backend.run_block(block)
            assert board.outputs_on
        # The board's answer and the news of its pins reach this test on ways of their own.
        end = time.monotonic() + 10.0
        while board.outputs_on and time.monotonic() < end:
            time.sleep(0.005)
        assert not board.outputs_on
        sim, _ = make_backend(station, station.array[0], sim=True, seed=7)
        with sim:
            sim.run_block(block)
        assert bench.array.g == pytest.approx(sim.true_conductance_siemens(), rel=1e-9)
    finally:
        os.close(slave)
        board.close()
        os.close(master)


class Delivered:
    """What reached the pins: levels in codes and widths in ns of every pulse."""

    def __init__(self, instrument):
        self.log = []
        self._run = instrument.core.pins.run
        instrument.core.pins.run = self

    def __call__(self, block):
        self.log += pulses_of(block)
        return self._run(block)


def pulses_of(block: PulseBlock):
    level = np.where(block.state == 2, np.rint(block.level_v / 0.0005), 0).astype(int)
    width = np.rint(block.step_width_s * 1e9).astype(int)
    return [
        (*level[step].tolist(), int(width[step]))
        for step in range(block.n_steps)
        for _ in range(int(block.repeat[step]))
    ]


def drive_on_a_bad_line(cases, seed):
    """Run ``cases`` blocks of the driver over a line that damages; return how many succeeded."""
    station = station_of(text_of(rows=2, cols=2, settings='timeout = "40 ms"'))
    op = station.drive.operating_point()
    rng = np.random.default_rng(seed)
    done = 0
    with on_board(station, seed=1) as (backend, bench):
        faults, delivered = bench.faults["board"], Delivered(bench.instruments["board"])
        left = [0]

        def damage(data):
            left[0] -= 1
            return spoiled(kind, data, rng, b"\0") if left[0] == 0 else data

        for case in range(cases):
            kind, way = KINDS[case % len(KINDS)], ("wire_in", "wire_out")[int(rng.integers(2))]
            block = programs.write_step(
                backend.geometry, op, [case % 2], [case // 2 % 2], repeat=1 + case % 3,
                scale=0.2 + 0.001 * (case % 500),
            )  # fmt: skip
            asked = pulses_of(block)
            delivered.log.clear()
            try:
                with backend:
                    left[0] = int(rng.integers(1, 5))
                    setattr(faults, way, damage)
                    backend.run_block(block)
                    faults.wire_in = faults.wire_out = None
                assert delivered.log == asked, (case, kind, way)
                done += 1
            except HilError:
                assert delivered.log == asked[: len(delivered.log)], (case, kind, way)
            finally:
                faults.wire_in = faults.wire_out = None
            assert bench.safe
    return done


def test_the_driver_never_gives_a_wrong_pulse_over_a_damaged_line(either):
    assert drive_on_a_bad_line(40, 11) >= 36


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_driver_never_gives_a_wrong_pulse_over_a_line_damaged_very_often(either):
    assert drive_on_a_bad_line(1000, 12) >= 900
