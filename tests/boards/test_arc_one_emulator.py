"""The emulated ArC ONE, asked as its published clients ask: numbers by %d and %f, one per line."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import serial
from arc_bench import on_bench, text_of


class Client:
    """A client of a few lines, none of them the driver's."""

    def __init__(self, resource):
        self.port = serial.serial_for_url(resource, 921600, timeout=20.0)

    def tell(self, *fields):
        lines = [f"{v:f}" if isinstance(v, float) else str(v) for v in fields]
        self.port.write("".join(line + "\n" for line in lines).encode())

    def floats(self, n):
        return np.frombuffer(self.port.read(4 * n), dtype=np.float32)

    def silent(self):
        self.port.timeout = 0.05
        got = self.port.read(1)
        self.port.timeout = 20.0
        return got == b""


@pytest.fixture
def bench():
    with on_bench(text_of(3, 2)) as (_, bench, board):
        client = Client(bench.resources["board"])
        client.tell("00")
        client.tell("0", 30, 3, 2, 2, 0, 1, 0.5)
        assert client.port.readline() == b"1\n"
        client.tell("01", 2, 0.5)
        yield client, board, bench.array
        client.port.close()


def test_the_firmware_is_two_16_bit_numbers(bench):
    client, _, _ = bench
    client.tell("999")
    assert np.frombuffer(client.port.read(4), dtype="<u2").tolist() == [2, 1]


def test_reads_of_one_of_all_and_of_chosen_devices_agree(bench):
    client, _, array = bench
    true = 1.0 / array.conductance_siemens()
    client.tell("1", 2, 1)
    assert client.floats(1)[0] == pytest.approx(true[1, 0], rel=1e-6)
    client.tell("2", 1, 3, 2)
    assert client.floats(6) == pytest.approx(true.ravel(), rel=1e-6)
    client.tell("2", 2, 32, 32, 2)
    client.tell(3, 2)
    client.tell(1, 1)
    assert client.floats(2) == pytest.approx([true[2, 1], true[0, 0]], rel=1e-6)


def test_a_pulse_acts_on_its_device_and_half_of_it_on_the_others_of_its_lines(bench):
    client, board, array = bench
    before = array.conductance_siemens().copy()
    client.tell("3", 2, 1, 1.5, 200e-6)
    ohm = client.floats(1)[0]
    after = array.conductance_siemens()
    assert (after != before).tolist() == [[False, False], [True, False], [False, False]]
    assert ohm == pytest.approx(1.0 / after[1, 0], rel=1e-6)
    # 2.2 V: its half is above this device's threshold of 1 V, on both lines, and nowhere else.
    client.tell("3", 2, 1, 2.2, 200e-6)
    client.floats(1)
    moved = array.conductance_siemens() != after
    assert moved.tolist() == [[True, False], [True, True], [True, False]]
    assert board.pulses[-1] == (2, 1, 2.2, 200e-6)


def test_a_selected_device_is_pulsed_without_an_answer_until_another_is_read(bench):
    client, board, _ = bench
    client.tell("02", 3, 2)
    client.tell("04", 1.5, 200e-6)
    client.tell("04", -1.5, 200e-6)
    assert client.silent()
    assert [p[:3] for p in board.pulses] == [(3, 2, 1.5), (3, 2, -1.5)]
    client.tell("1", 1, 1)
    client.floats(1)
    client.tell("04", 1.5, 200e-6)
    assert client.silent()
    assert len(board.pulses) == 2


def test_several_words_are_read_together_and_the_others_are_at_0_v(bench):
    client, _, array = bench
    g = array.conductance_siemens()
    client.tell("50", 1.0, 100e-6, 0.3, 2, 2, 1, 1, 3)
    ohm, volts, _ = client.floats(3)
    assert volts / ohm == pytest.approx(0.3 * (g[0, 1] + g[2, 1]), rel=1e-6)


def test_several_words_are_pulsed_together_between_reads_of_the_whole_bit(bench):
    client, _, array = bench
    before = array.conductance_siemens().copy()
    client.tell("50", 1.5, 200e-6, 0.3, 2, 2, 2, 1, 3)
    rows = client.floats(18).reshape(6, 3)
    after = array.conductance_siemens()
    assert rows[:3, 0] == pytest.approx(1.0 / before[:, 1], rel=1e-6)
    assert rows[3:, 0] == pytest.approx(1.0 / after[:, 1], rel=1e-6)
    assert (after != before).tolist() == [[False, True], [False, False], [False, True]]


def test_a_curve_ends_with_a_resistance_of_nothing(bench):
    client, _, array = bench
    g = array.conductance_siemens()[0, 0]
    client.tell("201", 0.3, 0.2, 0.1, 0.1, 1e-3, 1e-3, 0.0, 0.0, 1, 0, 0, 0, 1)
    client.tell(1, 1)
    rows = []
    while True:
        ohm, volts, _ = client.floats(3)
        if int(ohm) <= 0:
            break
        rows.append((ohm, volts))
    assert [v for _, v in rows] == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.1, -0.1, -0.2, -0.1])
    assert [ohm for ohm, _ in rows] == pytest.approx([1.0 / g] * 8, rel=1e-6)
    assert client.silent()


def test_a_board_that_was_not_set_up_obeys_nothing(bench):
    client, board, _ = bench
    client.tell("00")
    client.tell("1", 1, 1)
    client.tell("3", 1, 1, 1.5, 200e-6)
    assert client.silent()
    assert board.pulses == []
    client.tell("999")
    assert len(client.port.read(4)) == 4


def test_a_device_that_is_not_there_is_open_and_an_unknown_command_is_nothing(bench):
    client, _, _ = bench
    client.tell("777")
    client.tell("1", 9, 1)
    assert client.floats(1)[0] == math.inf
    client.tell("1", 0, 0)
    assert client.floats(1)[0] == math.inf


def test_commands_that_come_too_early_are_lost():
    with on_bench(text_of(3, 2), drop_faster_s=0.5) as (_, bench, board):
        client = Client(bench.resources["board"])
        client.tell("999")
        assert len(client.port.read(4)) == 4
        client.tell("999")
        assert client.silent()
        assert board.dropped == 4
        time.sleep(0.6)
        client.tell("999", "999")
        assert len(client.port.read(4)) == 4
        assert client.silent()
        client.port.close()
