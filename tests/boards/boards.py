"""Both boards of the tests: the emulator's machine, and the firmware as a process."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hil_sim.virtual_bench.board.codes import Can, Features
from hil_sim.virtual_bench.board.core import Core
from hil_sim.virtual_bench.board.machine import Machine

from hil.measurement import MeasurementBlock, Status, reading_index
from hil.program import LineState, Phase, PulseBlock, SensePlan

FIRMWARE = Path(__file__).parents[2] / "docs" / "firmware"
HERE = Path(__file__).parent
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1", "-g"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
LINE = np.dtype([("state", "u1"), ("sense", "u1"), ("_", "<u2"), ("code", "<i4"), ("width", "<u4"),
                 ("limit", "<f4")])  # fmt: skip
STEP_V, STEP_A = 0.0005, 1e-9


def compiler():
    return next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)


def build(folder, *options, sources=(FIRMWARE / "board.c", HERE / "hal_process.c"), name="board"):
    """Compile the firmware; skip where there is no compiler (or no such option)."""
    cc = compiler()
    if cc is None:
        pytest.skip("no C compiler (cc, gcc or clang) on this system")
    out = Path(folder) / name
    command = [cc, *WARNINGS, *options, "-I", str(FIRMWARE), *map(str, sources), "-o", str(out),
               "-lm"]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode and SANITIZE[0] in options and "sanitize" in made.stderr:
        pytest.skip(f"{cc} has no sanitizers")
    assert made.returncode == 0, made.stderr
    return out


class Resistors:
    """Pins of an array of resistors; logs every pulse that is delivered.

    A pulse is (levels of the driven lines in codes, states, widths in ns).
    """

    def __init__(self, rows=4, cols=4):
        self.rows, self.cols = rows, cols
        self.g = 1e-6 * (1.0 + np.arange(rows * cols).reshape(rows, cols))
        self.tripped_steps = ()
        self.log = []

    def run(self, block):
        width = np.rint(block.width_s * 1e9).astype(int)
        for step in range(block.n_steps):
            state = block.state[step]
            codes = np.where(state == LineState.DRIVE, np.rint(block.level_v[step] / STEP_V), 0)
            widths = np.broadcast_to(width[step], state.shape)
            pulse = codes.astype(int).tobytes() + state.tobytes() + widths.tobytes()
            self.log += [pulse] * int(block.repeat[step])
        out = MeasurementBlock.empty(block.n_readings)
        for column in out.columns().values():
            column[:] = 0
        out.step[:], out.line[:], out.pulse[:] = reading_index(block)
        v = np.where(block.state == LineState.DRIVE, block.level_v, 0.0)
        row_v, col_v = v[:, : self.rows], v[:, self.rows :]
        current = np.hstack([row_v * self.g.sum(1) - col_v @ self.g.T,
                             col_v * self.g.sum(0) - row_v @ self.g])  # fmt: skip
        out.current_a[:] = current[out.step, out.line]
        return out


class Emulated:
    """The machine of the virtual bench, without a link."""

    def __init__(self, pins, rows=4, cols=4, can=0x40F, *, unique=1, pace=None, **features):
        self.unique = unique
        features = Features(rows, cols, rows + cols, "synapse-hil,Emulator,0001,1.0", can=Can(can),
                            **features)  # fmt: skip
        self.outputs_on, self.edges = False, 0
        self.core = Core(features, pins, outputs=self._outputs, pace=pace or (lambda: 0.0),
                         edges=lambda: self.edges, pulse=self._trigger)  # fmt: skip
        self.machine = Machine(self.core, salt=self._next, boot=self._next)
        self.pins, self.triggers = pins, 0

    def _outputs(self, on):
        self.outputs_on = on

    def _trigger(self):
        self.triggers += 1

    def _next(self):
        self.unique += 1
        return self.unique

    def exchange(self, data, patience_s=0.0):
        out = self.machine.receive(data)
        end = time.monotonic() + patience_s
        while (self.machine.busy and not self.core.waiting) or (not out and time.monotonic() < end):
            more = self.machine.tick()
            if not more and self.machine.idle_s() > 0.0:
                time.sleep(1e-3)
            out += more
        return out

    def reset(self):
        self.machine.reset()

    def close(self):
        pass


class Firmware:
    """The firmware as a process; ``exchange`` returns when it has nothing left to do.

    ``serve()`` instead answers for the array from a thread, with ``stream`` as descriptor 0.
    """

    def __init__(self, program, pins, rows=4, cols=4, can=0x40F, *, unique=1, stream=None):
        self.program, self.pins = program, pins
        self.arguments = [str(n) for n in (rows, cols, can)]
        self.n_lines, self.unique, self.outputs_on, self.triggers = rows + cols, unique, False, 0
        self._given = stream
        self._start()

    def _start(self):
        self.array, array = socket.socketpair()
        if self._given is None:
            self.stream, stream = socket.socketpair()
            self.stream.setblocking(False)
        else:
            self.stream = stream = self._given
        self.process = subprocess.Popen(
            [str(self.program), *self.arguments, str(self.unique), str(array.fileno())],
            stdin=stream, pass_fds=[array.fileno()], stderr=subprocess.PIPE,
        )  # fmt: skip
        array.close()
        if self._given is None:
            stream.close()
        self.lines = np.zeros(self.n_lines, dtype=LINE)
        self.thread = None

    def _exactly(self, count):
        out = b""
        while len(out) < count:
            part = self.array.recv(count - len(out))
            if not part:
                raise EOFError(self.process.stderr.read().decode())
            out += part
        return out

    def _answer(self):
        """Take one message of the array's side; return its kind."""
        kind = self._exactly(1)
        if kind == b"O":
            self.outputs_on = self._exactly(1) != b"\0"
        elif kind == b"t":
            self.triggers += 1
        elif kind == b"P":
            *times, range_a = struct.unpack("<6If", self._exactly(28))
            if self._exactly(1) != b"\0":
                self.lines = np.frombuffer(self._exactly(16 * self.n_lines), dtype=LINE)
            self.array.sendall(b"R" + self._pulse(times, range_a))
        return kind

    def _pulse(self, times, range_a):
        width, rise, fall, gap, delay, aperture = times
        lines = self.lines
        widths = lines["width"].astype(float)
        same = bool((lines["width"] == lines["width"][0]).all())
        block = PulseBlock.build(
            Phase.UPDATE, lines["state"][None].copy(), lines["code"][None] * STEP_V,
            np.array([width * 1e-9]) if same else widths[None] * 1e-9, rise_s=rise * 1e-9,
            fall_s=fall * 1e-9, gap_s=gap * 1e-9, compliance_a=lines["limit"].astype(float),
            sense=lines["sense"][None] == 1,
            sensing=SensePlan(range_a, aperture * 1e-9 or None, delay_s=delay * 1e-9),
        )  # fmt: skip
        seen = self.pins.run(block)
        status = 1 if self.pins.tripped_steps else 0
        over = ~(np.abs(seen.current_a) <= range_a)
        count = np.where(over, 0, np.rint(seen.current_a / STEP_A)).astype("<i4")
        bits = (seen.status & (Status.I_COMPLIANCE | 0x202)) | np.where(over, 4, 0)
        pairs = zip(count.tolist(), bits.tolist(), strict=True)
        return struct.pack("<H", status) + b"".join(struct.pack("<iH", *pair) for pair in pairs)

    def exchange(self, data, patience_s=0.0):
        out = b""
        end = time.monotonic() + patience_s
        while True:
            while data:
                with contextlib.suppress(BlockingIOError):
                    data = data[self.stream.send(data) :]
            self.array.sendall(b"Q")
            while self._answer() != b"q":
                with contextlib.suppress(BlockingIOError):
                    out += self.stream.recv(1 << 16)
            with contextlib.suppress(BlockingIOError):
                while part := self.stream.recv(1 << 16):
                    out += part
            if out or time.monotonic() >= end:
                return out

    def serve(self):
        def run():
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._answer()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def tell(self, kind):
        """``F`` hardware fault, ``T`` trigger edge, ``L\\0`` the host has gone."""
        self.array.sendall(kind)

    def reset(self):
        self.close()
        self.unique += 1000
        self._start()

    def close(self):
        self.array.shutdown(socket.SHUT_RDWR)
        self.process.wait(30)
        if self.thread is not None:
            self.thread.join(30)
        error = self.process.stderr.read().decode()
        self.process.stderr.close()
        self.array.close()
        if self._given is None:
            self.stream.close()
        assert not error, error
