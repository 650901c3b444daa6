"""A framed board on a bad line: never a wrong pulse, always a clear error, and the next frame."""

from __future__ import annotations

import contextlib
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from hil_drivers.factory import RigFactory
from hil_drivers.serial_board.frames import FrameError, unpack
from hil_drivers.serial_board.messages import Op
from serial_bench import on_bench, station_of, text_of

from hil.control.opening import make_backend
from hil.errors import BackendError, BackendUnavailable, LinkError, LockedError
from hil.limits import SafetyLimits
from hil.measurement import Status
from hil.program import LineState, Phase, PulseBlock
from hil.testing import programs

QUICK = 'timeout = "60 ms"'
STATION = station_of(text_of(rows=2, cols=2, settings=QUICK))
OP = STATION.drive.operating_point()


def write(backend, repeat=1):
    """Return a block of potentiating pulses of one device, with a read after them."""
    return programs.write_step(backend.geometry, OP, [0], [1], repeat=repeat)


class Line:
    """Changes the first frames of one kind that go one way; ``seen`` are those that came."""

    def __init__(self, bench, way, op):
        self.op, self.seen, self._changes = op, [], []
        setattr(bench.faults["board"], way, self)

    def next(self, change):
        """Change the next frame of the kind by ``change``, and only that."""
        self._changes.append(change)

    def __call__(self, data):
        out = bytearray()
        while data:
            part, mark, data = data.partition(b"\0")
            try:
                ours = bool(part) and unpack(part).op == self.op
            except FrameError:
                ours = False
            if ours:
                self.seen.append(part)
                if self._changes:
                    out += self._changes.pop()(part + mark)
                    continue
            out += part + mark
        return bytes(out)


@contextmanager
def opened(**options):
    with on_bench(STATION, seed=5, **options) as (board, bench), board:
        yield board, bench


def expected(n_pulses):
    """Return the conductances of the twin after as many pulses."""
    sim, _ = make_backend(STATION, STATION.array[0], sim=True, seed=5)
    with sim:
        if n_pulses:
            sim.run_block(write(sim, n_pulses))
        return sim.true_conductance_siemens()


def flip(bit):
    def change(frame):
        out = bytearray(frame)
        out[bit // 8] ^= 1 << bit % 8
        return bytes(out)

    return change


CHANGES = {
    "flipped bit": lambda size: [flip(bit) for bit in range(8 * size)],
    "lost byte": lambda size: [lambda f, k=k: f[:k] + f[k + 1 :] for k in range(size)],
    "doubled byte": lambda size: [lambda f, k=k: f[: k + 1] + f[k:] for k in range(size)],
    "cut": lambda size: [lambda f, k=k: f[:k] for k in range(size)],
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize(
    ("way", "op"), [("wire_in", Op.SEQ_RUN), ("wire_out", Op.SEQ_RUN | 0x80)], ids=["sent", "heard"]
)
def test_damage_at_any_place_of_the_frame_that_starts_pulses_gives_each_pulse_once(way, op, kind):
    with opened() as (board, bench):
        line = Line(bench, way, op)
        board.run_block(write(board))
        size = len(line.seen[0]) + 1
        changes = CHANGES[kind](size)
        for change in changes:
            line.next(change)
            board.run_block(write(board))
        assert board.ledger.device_pulses == 1 + len(changes)
        assert board.link.resends >= len(changes) - size // 8 - 1
        true = bench.array.conductance_siemens()
        assert bench.safe is False or bench.safe  # whatever the relays: levels are looked at below
        assert all(out.level_v == 0.0 for out in bench.outputs().values())
    assert true == pytest.approx(expected(1 + len(changes)), rel=1e-9)


@pytest.mark.parametrize("op", [Op.SEQ_LOAD, Op.FETCH, Op.READ_MATRIX, Op.ARM])
@pytest.mark.parametrize("way", ["wire_in", "wire_out"])
def test_damage_of_other_frames_changes_no_reading(op, way):
    with opened() as (board, bench):
        read = programs.read_steps(board.geometry, OP, np.eye(2, dtype=np.bool_))
        good = [m.current_a for m in board.run([read, read])]
        line = Line(bench, way, op if way == "wire_in" else op | 0x80)
        for bit in range(0, 160, 7):
            line.next(flip(bit))
            (found,) = board.run([read])
            np.testing.assert_array_equal(found.current_a, good[0])
            assert not (found.status & np.uint32(Status.TIMEOUT)).any()


@pytest.mark.parametrize("op", [Op.FETCH | 0x40, Op.READ_MATRIX | 0x40])
def test_readings_that_are_lost_or_damaged_on_the_way_are_sent_again(op):
    station = station_of(text_of(rows=12, cols=40, settings=QUICK))
    with on_bench(station, seed=5, board={"max_payload": 300}) as (board, bench), board:
        read = programs.read_steps(board.geometry, OP, np.eye(12, dtype=np.bool_))
        if op == Op.FETCH | 0x40:
            read = read.steps(0, 12)
            read = PulseBlock.build(
                read.phase, read.state, read.level_v, read.width_s, gap_s=read.gap_s, repeat=2,
                sense=read.sense,
            )  # fmt: skip
        (good,) = board.run([read])
        line = Line(bench, "wire_out", op)
        for change in (
            flip(100),
            lambda _: b"",
            lambda f: f + f,
            lambda f: f[:-1],
            lambda f: f[:9],
        ):
            line.next(lambda f: f)
            line.next(change)
            (found,) = board.run([read])
            np.testing.assert_array_equal(found.current_a, good.current_a)


def test_noise_between_frames_is_passed_over():
    rng = np.random.default_rng(3)
    with opened() as (board, bench):
        faults = bench.faults["board"]
        faults.wire_out = lambda data: rng.bytes(7) + b"\0" + data
        faults.wire_in = lambda data: data if rng.random() < 0.7 else rng.bytes(5) + b"\0" + data
        for _ in range(40):
            board.run_block(write(board))
        faults.wire_in = faults.wire_out = None
        true = bench.array.conductance_siemens()
    assert true == pytest.approx(expected(40), rel=1e-9)


def test_garbage_as_from_a_wrong_baud_rate_is_a_clear_error():
    rng = np.random.default_rng(4)
    with on_bench(STATION) as (board, bench):
        bench.faults["board"].wire_out = lambda data: rng.bytes(len(data)) + b"\0"
        with pytest.raises(LinkError, match="baud rate"), board:
            pass
        assert bench.safe
        bench.faults["board"].wire_out = None
        with board:
            assert board.is_open


def test_silence_is_a_clear_error():
    station = station_of(text_of(settings=QUICK + ', startup = "0 s"'))
    with on_bench(station) as (board, bench):
        bench.faults["board"].mute = True
        with pytest.raises(LinkError, match="HELLO: no answer"), board:
            pass


def test_another_version_of_the_protocol_is_refused():
    with on_bench(STATION, board={"version": 2}) as (board, bench):
        with pytest.raises(LinkError, match="version"), board:
            pass
        assert bench.safe


@pytest.mark.parametrize(("rows", "cols"), [(8, 2), (1, 2), (2, 3)])
def test_a_board_of_another_size_is_refused_before_anything_is_driven(rows, cols):
    with on_bench(STATION, board={"rows": rows, "cols": cols}) as (board, bench):
        before = bench.array.conductance_siemens().copy()
        with pytest.raises(BackendUnavailable, match=f"the board {rows}, {cols}"), board:
            pass
        assert bench.safe
        np.testing.assert_array_equal(bench.array.conductance_siemens(), before)


def test_a_reset_between_blocks_is_noticed_and_nothing_is_sent_again():
    with opened() as (board, bench):
        board.run_block(write(board))
        bench.instruments["board"].reset()
        with pytest.raises(LinkError, match="was reset"):
            board.run_block(write(board))
        assert board.ledger.device_pulses == 1
        assert board.unfinished is None or not board.unfinished.possible.any()
        board.run_block(write(board))  # a session of its own
        assert board.ledger.device_pulses == 2
        true = bench.array.conductance_siemens()
    assert true == pytest.approx(expected(2), rel=1e-9)


def paced(bench, happens, at_s=300e-6):
    """Make the next run take its time; ``happens`` is called when it has come to ``at_s``."""
    bench.faults.pace = 0.02

    def during(run_s):
        if run_s < at_s:
            bench.faults.during_run = during
        else:
            bench.faults.pace = 0.0
            happens()

    bench.faults.during_run = during


def test_a_reset_during_a_run_leaves_every_pulse_of_it_in_doubt():
    with opened() as (board, bench):
        paced(bench, bench.instruments["board"].reset)
        with pytest.raises(LinkError, match="was reset"):
            board.run_block(write(board, 10))
        left = board.unfinished
        assert left.known.sum() == 0
        assert left.possible.tolist() == [10]
        assert board.ledger.device_pulses == 10
        assert all(out.level_v == 0.0 for out in bench.outputs().values())
        board.run_block(write(board))


def test_unplugging_during_a_run_is_a_clear_error_and_makes_the_board_safe():
    with on_bench(STATION, seed=5) as (board, bench):
        with board:
            paced(bench, lambda: bench.cut_link("board"))
            with pytest.raises(LinkError):
                board.run_block(write(board, 10))
            with contextlib.suppress(LinkError):
                board.close()  # cannot confirm that it is safe
        left = board.unfinished
        assert left.possible.tolist() == [10]
        assert board.ledger.device_pulses == 10
        assert all(out.level_v == 0.0 for out in bench.outputs().values())
        with board:
            board.run_block(write(board))


def test_a_run_that_the_board_ends_is_counted_as_far_as_it_came():
    with opened() as (board, bench):
        paced(bench, bench.instruments["board"].session_closed, at_s=1e-3)
        with pytest.raises(BackendError, match="lost its link"):
            board.run_block(write(board, 10))
        left = board.unfinished
        done = int(left.possible[0])
        assert 0 < left.known[0] <= done < 10
        assert board.ledger.device_pulses == done
        true = bench.array.conductance_siemens()
    low, high = expected(int(left.known[0])), expected(done)
    assert ((true >= low - 1e-12) & (true <= high + 1e-12)).all()


def test_an_abort_from_another_thread_ends_a_run():
    with opened() as (board, bench):
        bench.faults.pace = 0.01  # 75 ms of pulses take 7.5 s
        thread = threading.Timer(0.5, board.abort)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(BackendError, match="told to be safe"):
            board.run_block(write(board, 250))
        assert time.monotonic() - begun < 6.0
        thread.join()
        bench.faults.pace = 0.0
        assert all(not o.on or o.level_v == 0.0 for o in bench.outputs().values())
        assert 0 < board.unfinished.known.sum() < 250


def test_a_host_that_no_longer_lives_is_noticed_by_the_watchdog():
    station = station_of(text_of(rows=2, cols=2, settings=QUICK + ', watchdog = "0.5 s"'))
    with on_bench(station) as (board, bench), board:
        board.run_block(write(board))
        time.sleep(1.0)
        board.run_block(write(board))  # it was fed meanwhile
        board.link.stop_feeding()
        time.sleep(1.0)
        assert all(not o.on for o in bench.outputs().values())
        with pytest.raises(BackendError, match="UNARMED"):
            board.run_block(write(board))
        board.run_block(write(board))
        assert board.ledger.device_pulses == 3


def test_another_process_finds_the_port_locked():
    with on_bench(STATION) as (_, bench):
        station = STATION.at(bench.resources)
        first, second = (RigFactory().create(station, station.array[0], seed=0) for _ in range(2))
        with first, pytest.raises((LockedError, LinkError)), second:
            pass
        with second:
            assert second.identify().startswith("board: ")


def test_the_boards_own_limits_and_the_stations_are_merged():
    limits = SafetyLimits(compliance_a=1e-3)
    with on_bench(STATION, limits=limits, board={"width_max": 150_000}) as (board, _), board:
        assert board.capabilities.width_s.max == pytest.approx(150e-6)
        with pytest.raises(ValueError, match="width"):
            board.run_block(write(board))


def test_a_line_that_floats_is_refused_by_a_board_that_cannot():
    with on_bench(STATION, board={"can": 0x0406}) as (board, _), board:
        state = np.full((1, 4), LineState.FLOAT, dtype=np.uint8)
        state[0, 0] = LineState.DRIVE
        with pytest.raises(ValueError, match="float"):
            board.run_block(PulseBlock.build(Phase.READ, state, 0.1, 1e-3))
