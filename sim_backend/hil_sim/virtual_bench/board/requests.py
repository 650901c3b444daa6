"""The requests of the protocol, one method each (docs/serial-protocol.md, section 4)."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable

import numpy as np

from hil.program import LineState
from hil_sim.virtual_bench.board import codes
from hil_sim.virtual_bench.board.codes import Armed, Can, Code, Op, Refused, Why
from hil_sim.virtual_bench.board.core import Core
from hil_sim.virtual_bench.board.run import Run
from hil_sim.virtual_bench.board.sequence import Loaded, compile_items, one_step
from hil_sim.virtual_bench.board.streams import Fetch, Matrix, Stream

Answer = bytes | Stream | Callable[[], bytes]  #: now, in data frames, or when the run is over
#: What the level is divided by on row, column, other rows, other columns; V/2 and V/3 schemes.
_DIVISORS = {1: (2.0, -2.0, math.inf, math.inf), 2: (2.0, -2.0, -6.0, 6.0)}


class Requests:
    """Executes requests on a :class:`Core`; each returns its answer or raises Refused."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._by_op: dict[int, tuple[struct.Struct | None, bool, Callable[..., Answer]]] = {
            Op.PING: (None, True, self.ping),
            Op.ARM: (codes.ARM, False, self.arm),
            Op.SAFE: (_NOTHING, True, self.safe),
            Op.WDOG: (_U32, True, self.wdog),
            Op.ERR: (_NOTHING, True, self.err),
            Op.TRIG: (_U8, False, self.trig),
            Op.PULSE: (codes.PULSE, False, self.pulse),
            Op.READ: (codes.READ, False, self.read),
            Op.READ_MATRIX: (codes.MATRIX, False, self.matrix),
            Op.SEQ_LOAD: (None, False, self.load),
            Op.SEQ_RUN: (codes.RUN, False, self.run),
            Op.SEQ_STATUS: (_NOTHING, True, self.status),
            Op.FETCH: (codes.FETCH, True, self.fetch),
        }

    def execute(self, op: int, payload: bytes, number: int) -> Answer:
        """Execute one request."""
        if op not in self._by_op:
            raise Refused(Code.BAD_OP, op)
        layout, while_running, method = self._by_op[op]
        if layout is not None and len(payload) != layout.size:
            raise Refused(Code.BAD_LENGTH, len(payload))
        if op == Op.SEQ_LOAD and len(payload) < codes.LOAD_HEAD.size:
            raise Refused(Code.BAD_LENGTH, len(payload))
        if self.core.running and not while_running:
            raise Refused(Code.BUSY)
        if op in _CHECKED and zlib.crc32(payload[:-4]) != int.from_bytes(payload[-4:], "little"):
            raise Refused(Code.CHECKSUM)
        if self.core.fault is not None:
            text, self.core.fault = self.core.fault, None
            self.core.go_safe(Why.HARDWARE)
            raise Refused(Code.HARDWARE, 0, text)
        if op in _DRIVES:
            self.core.need_armed()
        if layout is None:
            return method(payload)
        values = layout.unpack(payload)
        return method(number, *values[:-1]) if op in _CHECKED else (
            method(number, *values) if op == Op.SEQ_RUN else method(*values)
        )  # fmt: skip

    def ping(self, payload: bytes) -> bytes:
        """Return the bytes."""
        return payload

    def arm(self, low_v: float, high_v: float, width_max: int, compliance_a: float) -> bytes:
        """Arm."""
        armed = self.core.arm(Armed(low_v, high_v, width_max, compliance_a))
        return codes.ARM.pack(
            armed.level_min, armed.level_max, armed.width_max, armed.compliance_max
        )

    def safe(self) -> bytes:
        """Go safe."""
        self.core.go_safe(Why.ASKED)
        return self.core.status_block()

    def wdog(self, timeout_ms: int) -> bytes:
        """Set the watchdog."""
        if not 50 <= timeout_ms <= 60_000:
            raise Refused(Code.LIMIT, timeout_ms, "50 ... 60000 ms")
        self.core.watchdog_ms = timeout_ms
        return _U32.pack(timeout_ms)

    def err(self) -> bytes:
        """Return the number of errors and the latest, and forget them."""
        core = self.core
        count, (code, text) = core.errors, core.latest
        core.errors, core.latest = 0, (0, "")
        return struct.pack("<HH", min(count, 65535), code) + text.encode()[:96]

    def trig(self, action: int) -> bytes:
        """Give a trigger pulse, or count."""
        can = self.core.features.can
        if action > 1:
            raise Refused(Code.RANGE, action)
        if not can & (Can.TRIG_IN if action else Can.TRIG_OUT):
            raise Refused(Code.UNSUPPORTED, action)
        if action == 0:
            self.core.pulse()
        return _U32.pack((self.core.edges() - self.core.edges_before) & codes.ALL)

    def _device(self, row: int, col: int) -> None:
        features = self.core.features
        if row >= features.rows:
            raise Refused(Code.RANGE, row, "row")
        if col >= features.cols:
            raise Refused(Code.RANGE, col, "column")

    def pulse(
        self, number: int, row: int, col: int, level_v: float, width: int, rise: int, fall: int,
        gap: int, count: int, compliance_a: float, scheme: int,
    ) -> Answer:  # fmt: skip
        """Give pulses to one device."""
        self._device(row, col)
        features = self.core.features
        if scheme > 3:
            raise Refused(Code.UNSUPPORTED, scheme, "scheme")
        rows, line = features.rows, features.rows + col
        state = np.full((1, features.lines), LineState.GROUND, dtype=np.uint8)
        level = np.zeros((1, features.lines))
        array = slice(rows + features.cols)
        if scheme in _DIVISORS:
            on_row, on_col, rest_row, rest_col = _DIVISORS[scheme]
            level[0, :rows], level[0, rows : array.stop] = level_v / rest_row, level_v / rest_col
            level[0, row], level[0, line] = level_v / on_row, level_v / on_col
            state[0, array] = LineState.DRIVE if scheme == 2 else LineState.GROUND
            state[0, [row, line]] = LineState.DRIVE
        else:
            if scheme == 3:
                state[0, array] = LineState.FLOAT
                state[0, line] = LineState.GROUND
            level[0, row], state[0, row] = level_v, LineState.DRIVE
        limit = np.full((1, features.lines), math.inf)
        limit[0, [row, line]] = compliance_a
        loaded = one_step(features, level_v=codes.singles(level), state=state, width=width,
                          timing=(rise, fall, gap), compliance_a=limit, repeat=count)  # fmt: skip
        run = self.core.begin(loaded, number)
        across = float(loaded.steps.level_v[0, row] - loaded.steps.level_v[0, line])

        def reply() -> bytes:
            executed = count if run.ended else run.pulses
            return codes.PULSE_REPLY.pack(across, int(loaded.step_width[0]), executed, run.status)

        return reply

    def read(
        self, number: int, row: int, col: int, level_v: float, width: int, delay: int,
        aperture: int, range_a: float,
    ) -> Answer:  # fmt: skip
        """Read one device."""
        self._device(row, col)
        loaded = self._reads(row, 1, col, 1, level_v, width, (0, 0, 0), (delay, aperture),
                             range_a, math.inf)  # fmt: skip
        run = self.core.begin(loaded, number)

        def reply() -> bytes:
            if not run.taken:
                raise Refused(Code.UNARMED, 0, "became safe before the reading")
            return run.records()[:1].tobytes()

        return reply

    def matrix(
        self, number: int, first_row: int, n_rows: int, first_col: int, n_cols: int,
        level_v: float, width: int, rise: int, fall: int, gap: int, delay: int, aperture: int,
        range_a: float, compliance_a: float,
    ) -> Answer:  # fmt: skip
        """Read a part of the array row by row."""
        if n_rows == 0 or n_cols == 0:
            raise Refused(Code.RANGE, 0, "no cells")
        self._device(first_row + n_rows - 1, first_col + n_cols - 1)
        if not self.core.features.can & Can.PARALLEL_SENSE:
            raise Refused(Code.UNSUPPORTED, 0, "one sensed line per step")
        loaded = self._reads(
            first_row, n_rows, first_col, n_cols, level_v, width, (rise, fall, gap),
            (delay, aperture), range_a, compliance_a,
        )  # fmt: skip
        run = self.core.begin(loaded, number)
        return Matrix(self.core, run, first_row, first_col, n_cols)

    def _reads(
        self, first_row: int, n_rows: int, first_col: int, n_cols: int, level_v: float, width: int,
        timing: tuple[int, int, int], window: tuple[int, int], range_a: float, limit_a: float,
    ) -> Loaded:  # fmt: skip
        features = self.core.features
        shape = (n_rows, features.lines)
        state = np.full(shape, LineState.GROUND, dtype=np.uint8)
        level, sense = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
        steps = np.arange(n_rows)
        state[steps, first_row + steps] = LineState.DRIVE
        level[steps, first_row + steps] = level_v
        begin = features.rows + first_col
        sense[:, begin : begin + n_cols] = True
        return one_step(
            features, level_v=level, state=state, width=width, timing=timing, sense=sense,
            window=window, range_a=range_a, compliance_a=limit_a,
        )  # fmt: skip

    def load(self, payload: bytes) -> bytes:
        """Write into the sequence memory; check it all with the flag *last*."""
        core = self.core
        offset, total, flags = codes.LOAD_HEAD.unpack_from(payload)
        items = payload[codes.LOAD_HEAD.size :]
        if offset + len(items) > total or total > len(core.memory):
            raise Refused(Code.RANGE, len(core.memory), "sequence memory")
        core.memory[offset : offset + len(items)] = items
        core.loaded = None
        if not flags & 1:
            return codes.LOAD_REPLY.pack(0, 0, 0, 0, 0.0, 0)
        loaded = compile_items(bytes(core.memory[:total]), core.features)
        if core.armed is not None:
            loaded.allow(core.armed)
        core.loaded = loaded
        return codes.LOAD_REPLY.pack(
            loaded.steps.n_steps, loaded.readings, loaded.duration, loaded.check,
            loaded.level_error, loaded.time_error,
        )  # fmt: skip

    def run(self, number: int, total: int, check: int, flags: int, wait_ms: int) -> bytes:
        """Begin to run the loaded sequence."""
        core = self.core
        loaded = core.loaded
        if loaded is None or (loaded.total, loaded.check) != (total, check):
            raise Refused(Code.NOT_LOADED)
        if flags & 1 and not core.features.can & Can.TRIG_IN:
            raise Refused(Code.UNSUPPORTED, flags, "trigger input")
        run: Run = core.begin(loaded, number, wait_ms * 1e-3 if flags & 1 else None)
        return codes.RUN_REPLY.pack(len(run.readings), loaded.duration)

    def status(self) -> bytes:
        """Return the status block."""
        return self.core.status_block()

    def fetch(self, kind: int, first: int, count: int) -> Stream:
        """Return the stream of readings, levels or statuses."""
        return Fetch(self.core, kind, first, count)


_NOTHING, _U8, _U32 = struct.Struct("<"), struct.Struct("<B"), struct.Struct("<I")
_CHECKED = frozenset({Op.PULSE, Op.READ, Op.READ_MATRIX})
_DRIVES = _CHECKED | {Op.SEQ_RUN}
