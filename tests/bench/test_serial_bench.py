"""Serial boards over a pseudo terminal: requests, streamed readings, matrix reads, products."""

from __future__ import annotations

import os
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "boards"))

from boards import STEP_A, STEP_V, Firmware, Resistors, build
from hil_drivers.factory import RigFactory
from hil_drivers.serial_board.messages import READING, READINGS, Op
from serial_bench import on_bench, station_of, text_of

from hil.phases.matvec import MatVec
from hil.phases.reading import read_map
from hil.program import Phase

pytest.importorskip("pty", reason="pseudo terminals need a POSIX system")

SIZE, REQUESTS, ROUNDS, PRODUCTS = 64, 1000, 9, 200
#: Figures to reach: requests and bytes per second, seconds of a matrix read and of a product.
PER_S, BYTES_PER_S, MATRIX_S, FORWARD_S = 10_000, 5e6, 20e-3, 2e-3


def station():
    text = text_of(SIZE, SIZE, coding="width")
    for old, new in (('"2 ms"', '"20 us"'), ('"200 us"', '"10 us"'), ('"100 us"', '"10 us"')):
        text = text.replace(old, new)
    return station_of(text)


@contextmanager
def emulator(_):
    """Yield an open board: the emulator of the virtual bench."""
    with on_bench(station(), seed=3) as (board, _), board:
        yield board


class Quick(Firmware):
    """The firmware on resistors that answer at once, so that the firmware is what is timed."""

    def _pulse(self, times, range_a):
        lines, g = self.lines, self.pins.g
        v = np.where(lines["state"] == 2, lines["code"] * STEP_V, 0.0)
        row_v, col_v = v[:SIZE], v[SIZE:]
        current = np.concatenate([row_v * g.sum(1) - g @ col_v, col_v * g.sum(0) - row_v @ g])
        sensed = np.zeros(int(lines["sense"].sum()), dtype=[("count", "<i4"), ("bits", "<u2")])
        sensed["count"] = np.rint(current[lines["sense"] == 1] / STEP_A)
        return b"\0\0" + sensed.tobytes()


@contextmanager
def firmware(folder):
    """Yield an open board: the firmware in C, as a process of its own, on resistors."""
    import pty
    import tty

    master, slave = pty.openpty()
    tty.setraw(slave)
    program = build(folder, "-O2")
    process = Quick(program, Resistors(SIZE, SIZE), SIZE, SIZE, stream=master)
    process.serve()
    moved = station().at({"board": os.ttyname(slave)})
    try:
        with RigFactory().create(moved, moved.array[0], seed=0, virtual=True) as board:
            yield board
    finally:
        os.close(slave)
        process.close()
        os.close(master)


PEERS = {"emulator": emulator, "firmware": firmware}


@pytest.mark.parametrize("peer", PEERS)
def test_print_what_a_serial_board_gives_per_second(peer, tmp_path, capsys):
    op = station().drive.operating_point()
    with PEERS[peer](tmp_path) as board:
        link = board.link

        def requests():
            for _ in range(REQUESTS):
                link.request(Op.PING, b"12345678")

        per_s = REQUESTS / seconds(requests, ROUNDS, min)

        (block,) = read_map(board.geometry, op, board.capabilities)
        assert board.plan(block).parts[0].matrix
        matrix_s = seconds(lambda: board.run_block(block), ROUNDS)

        lines = np.arange(SIZE)
        product = MatVec(
            board.geometry, op, board.capabilities, lines, SIZE + lines, lines, Phase.FORWARD
        )
        rng = np.random.default_rng(0)
        inputs = iter(rng.random((PRODUCTS, 1, SIZE)))

        def forward():
            asked = product.block(next(inputs))
            product.decode(asked, board.run_block(asked), 1)

        forward_s = seconds(forward, PRODUCTS)

        batch = product.block(rng.random((board.hello.max_readings // SIZE // 2, SIZE)))
        n_readings = len(board.run_block(batch))
        fetch_s = seconds(lambda: board._runner._fetch(READINGS, n_readings), ROUNDS)
        bytes_per_s = n_readings * READING.itemsize / fetch_s
        assert link.resends == 0
    with capsys.disabled():
        print(
            f"\nserial board, {peer} over a pty: {per_s:.0f} requests/s "
            f"({per_s / PER_S:.1f} x the goal), {bytes_per_s / 1e6:.1f} MB/s of streamed readings "
            f"({bytes_per_s / BYTES_PER_S:.1f} x), {SIZE} x {SIZE} read-matrix "
            f"{matrix_s * 1e3:.1f} ms ({MATRIX_S / matrix_s:.1f} x), forward on {SIZE} lines "
            f"{forward_s * 1e3:.2f} ms ({FORWARD_S / forward_s:.1f} x)"
        )


def seconds(work, rounds, which=statistics.median):
    """Return the median (or least) time of one call, after one that is not counted."""
    work()
    taken = []
    for _ in range(rounds - 1):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return which(taken)
