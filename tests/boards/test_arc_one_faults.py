"""What goes wrong on the line of an ArC ONE, which has no checksum, and what the driver does."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from arc_bench import on_bench, station_of
from arc_bench import text_of as any_text_of

from hil.errors import BackendError, BackendUnavailable, LinkError, LinkTimeout, ReadbackError
from hil.measurement import Status
from hil.phases.reading import read_rows
from hil.program import Phase
from hil.testing import programs


def text_of():
    """Return a station whose answers are waited for no longer than a loaded computer takes."""
    return any_text_of(timeout="0.5 s")


@pytest.fixture
def op():
    return station_of(text_of()).drive.operating_point()


def pulse(backend, op, row=0, col=1, repeat=1):
    return programs.write_step(backend.geometry, op, [row], [col], repeat=repeat)


def read_cell(backend, op, row, col):
    return read_rows(backend.geometry, op, backend.capabilities, np.array([row]), np.array([col]))


class Once:
    """Changes the bytes of the n-th message that fits, and no other."""

    def __init__(self, change, n=1, fits=lambda data: True):
        self.change, self.left, self.fits = change, n, fits

    def __call__(self, data):
        if not self.fits(data):
            return data
        self.left -= 1
        return self.change(data) if self.left == 0 else data


def is_pulse(data):
    return data.startswith(b"3\n")


def without(data, k):
    return data[:k] + data[k + 1 :]


@pytest.mark.parametrize("lost", range(4))
def test_a_read_whose_answer_lost_a_byte_is_read_again_and_says_so(lost, op):
    with on_bench(text_of()) as (board, _, emulated), board:
        block = read_cell(board, op, 1, 2)
        before = board.run_block(block)
        emulated.faults.wire_out = Once(lambda data: without(data, lost))
        after = board.run_block(block)
        assert after.current_a == before.current_a
        assert (after.status & Status.READ_RETRIED).all()
        assert not (before.status & Status.READ_RETRIED).any()
        assert board.link.resets == 2
        assert emulated.pulses == []


def test_a_doubled_byte_is_found_before_the_next_command(op):
    with on_bench(text_of()) as (board, _, emulated), board:
        block = read_cell(board, op, 1, 2)
        before = board.run_block(block)
        emulated.faults.wire_out = Once(lambda data: data + data[-1:])
        board.run_block(block)
        after = board.run_block(block)
        assert after.current_a == before.current_a
        assert (after.status & Status.READ_RETRIED).all()


def test_a_pulse_whose_answer_is_lost_is_never_given_again(op):
    with on_bench(text_of()) as (board, _, emulated), board:
        block = pulse(board, op, repeat=5)
        emulated.faults.wire_out = Once(lambda data: data[:2], n=4)
        with pytest.raises(LinkTimeout, match="2 of 4 bytes came") as caught:
            board.run_block(block)
        assert any("cell (0, 1) was being pulsed" in note for note in caught.value.__notes__)
        assert [p[:2] for p in emulated.pulses] == [(1, 2)] * 4
        left = board.unfinished
        assert left.known.tolist() == [3]
        assert left.possible.tolist() == [4]
        assert board.ledger.device_pulses == 4
        assert not emulated.initialised, "the board was not reset"
        board.run_block(block)
        assert len(emulated.pulses) == 9
        assert board.unfinished is None


def test_wherever_a_byte_of_a_pulse_is_lost_at_most_one_pulse_is_given(op):
    """A lost line end ends in an error; what a lost digit does is on the page of the boards."""
    command = b"3\n1\n2\n1.5\n0.0002\n"
    unnoticed = []
    with on_bench(text_of()) as (board, _, emulated), board:
        board.settings = board.settings.model_copy(update={"timeout": 0.2})
        board.run_block(pulse(board, op, row=1, col=0, repeat=40))
        for k in range(len(command)):
            board.close()
            board.open()
            emulated.pulses.clear()
            emulated.faults.wire_in = Once(lambda data, k=k: without(data, k), fits=is_pulse)
            try:
                board.run_block(pulse(board, op))
            except (LinkError, ReadbackError):
                pass
            else:
                unnoticed.append(k)
            lasting = [p for p in emulated.pulses if p[3] > 0.0]
            assert len(lasting) <= 1, k
            assert all(p[3] <= 0.0002 for p in lasting if command[k : k + 1] == b"\n"), k
            assert board.ledger.device_pulses > 0
            assert emulated.faults.wire_in.left == 0, "the command was another one"
    # Digits and the point of level and width: "15" or "1." in place of "1.5", and so on.
    assert set(unnoticed) <= {6, 7, 8, *range(10, 16)}


def test_a_pulse_on_another_device_is_found_by_reading_back(op):
    with on_bench(text_of()) as (board, _, emulated), board:
        board.run_block(pulse(board, op, row=2, col=1, repeat=40))
        emulated.faults.wire_in = Once(
            lambda data: data.replace(b"3\n1\n", b"3\n3\n"), fits=is_pulse
        )
        with pytest.raises(ReadbackError, match=r"cell \(0, 1\), word 1 and bit 2"):
            board.run_block(pulse(board, op))
        assert emulated.pulses[-1][:2] == (3, 2)
        assert board.unfinished.known.tolist() == [0]
        assert board.unfinished.possible.tolist() == [1]


def test_garbage_as_from_a_wrong_baud_rate_drives_nothing(op):
    rng = np.random.default_rng(3)
    with on_bench(text_of()) as (board, _, emulated):
        emulated.faults.wire_out = lambda data: rng.bytes(len(data) + 3)
        with pytest.raises((LinkError, BackendUnavailable)):
            board.open()
        assert not board.is_open
        emulated.faults.wire_out = None
        emulated.faults.wire_in = lambda data: rng.bytes(len(data))
        with pytest.raises(LinkError, match="0 of 4 bytes came"):
            board.open()
        emulated.faults.wire_in = None
        with board:
            board.run_block(read_cell(board, op, 0, 0))
        assert emulated.pulses == []


def test_a_board_that_says_nothing_is_not_opened():
    with on_bench(text_of()) as (board, _, emulated):
        emulated.faults.mute = True
        with pytest.raises(LinkTimeout, match="0 of 4 bytes came"):
            board.open()
        assert not board.is_open


def test_a_board_that_resets_itself_does_not_go_on_with_a_pulse_and_is_set_up_again(op):
    with on_bench(text_of()) as (board, _, emulated), board:
        block = pulse(board, op, repeat=4)
        emulated.faults.before = Once(
            lambda text: setattr(emulated.faults, "reset_after", 0), n=3,
            fits=lambda text: text.startswith(b"3\n"),
        )  # fmt: skip
        with pytest.raises(LinkTimeout):
            board.run_block(block)
        assert len(emulated.pulses) == 2
        assert board.unfinished.known.tolist() == [2]
        emulated.faults.reset_after = 0
        m = board.run_block(read_cell(board, op, 0, 1))
        assert np.isfinite(m.current_a).all()
        assert (m.status & Status.READ_RETRIED).all() or board.link.resets >= 3


def test_unplugging_in_a_train_of_pulses_is_an_error_and_the_board_can_be_opened_again(op):
    with on_bench(text_of()) as (board, bench, emulated):
        emulated.faults.before = Once(
            lambda text: bench.cut_link("board"), n=3, fits=lambda text: text.startswith(b"3\n")
        )
        with pytest.raises(LinkError) as caught, board:
            board.run_block(pulse(board, op, repeat=6))
        assert caught.value.address == board.resource
        # The answer to the third may still have come, so that a fourth was sent into the void.
        assert len(emulated.pulses) <= board.ledger.device_pulses
        assert board.ledger.device_pulses in (3, 4)
        emulated.faults.before = None
        with board:
            board.run_block(pulse(board, op, repeat=2))


def test_a_port_that_is_in_use_is_refused():
    with on_bench(text_of()) as (board, bench, _):
        other = type(board).board(
            station_of(text_of()).at(bench.resources), board_array(), table_of(bench), virtual=True
        )
        with board, pytest.raises(LinkError, match="another program has the port"):
            other.open()


def board_array():
    return station_of(text_of()).array[0]


def table_of(bench):
    return station_of(text_of()).at(bench.resources).instrument[0]


def test_an_abort_from_another_thread_ends_a_wait_for_an_answer(op):
    with on_bench(text_of()) as (board, _, emulated):
        with board:
            block = pulse(board, op, repeat=3)
            timer = threading.Timer(0.05, board.abort)

            def lost(data):
                timer.start()  # from now on the board waits for an answer
                return b""

            emulated.faults.wire_out = Once(lost, n=2)
            with pytest.raises(LinkError, match="cancelled"):
                board.run_block(block)
            timer.join()
            with pytest.raises(BackendError, match="abort"):
                board.run_block(block)
            assert len(emulated.pulses) == 2
        with board:
            board.run_block(block)


def test_readings_of_a_programme_that_fails_are_kept_with_phase_and_place(op):
    with on_bench(text_of()) as (board, _, emulated), board:
        board.settings = board.settings.model_copy(update={"read_tries": 1})
        block = read_rows(
            board.geometry, op, board.capabilities, np.array([0, 1]), np.array([0, 3])
        )
        assert block.phase is Phase.READ
        emulated.faults.wire_out = Once(lambda data: b"", n=3)
        with pytest.raises(LinkTimeout):
            board.run_block(block)
        left = board.unfinished
        assert left.known.tolist() == [1, 0]
        assert left.possible.tolist() == [1, 1]
        assert np.isfinite(left.readings.current_a).tolist() == [True, True, False, False]
