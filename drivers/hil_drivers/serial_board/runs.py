"""Runs on a board: arm, load what changed, run, fetch; and what it says after a failure."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import InstrumentError, LinkError, ReadbackError
from hil.measurement import Status
from hil_drivers.serial_board import messages
from hil_drivers.serial_board.link import BoardLink, SessionEnded
from hil_drivers.serial_board.messages import READING, BoardStatus, Hello, Op, State
from hil_drivers.serial_board.plan import Part, Plan, Planner
from hil_drivers.serial_board.streams import Cells, Records, status_of

#: Records of one FETCH: after damage so many are sent again.
_AT_ONCE: Final = 8192
_FEEDS: Final = 4.0  #: pings in the time of the watchdog
_TOLERATED: Final = 0.01  #: share of a step by which levels may differ from what was asked for


class Runner:
    """Drives the parts of plans on one board within one session.

    Args:
        link: a session that has begun.
        hello: what the board said.
        planner: made for it.
        limits: the payload of ARM.
        watchdog_s: after which the board makes itself safe when it hears nothing.

    Attributes:
        armed: the board is, as far as is known.
    """

    def __init__(
        self, link: BoardLink, hello: Hello, planner: Planner, limits: bytes, watchdog_s: float
    ) -> None:
        self.link, self.hello, self.planner = link, hello, planner
        self._limits, self._watchdog_s = limits, watchdog_s
        self.armed = False
        self._inside = b""  # what the sequence memory holds
        self._loaded = (0, 0.0, 0)  # check, level and time error of what is loaded and checked
        self._ready = False
        self._run_number = 0
        link.request(Op.WDOG, messages.WDOG.pack(round(watchdog_s * 1e3)))

    def arm(self) -> None:
        """Arm the board unless it is, and keep its watchdog fed."""
        if not self.armed:
            self.link.request(Op.ARM, self._limits)
            self.link.feed_every(self._watchdog_s / _FEEDS)
            self.armed = True

    # -- loading ---------------------------------------------------------------------------

    def load(self, part: Part) -> float:
        """Load the part's sequence, or what changed of it; return its error of levels in volts.

        Raises:
            ReadbackError: what the board has understood is something else.
        """
        code = part.code
        if self._ready and code == self._inside:
            return self._loaded[1]
        first, stop = _changed(self._inside, code)
        self._ready, self._inside = False, b""
        room = self.hello.max_payload - messages.SEQ_LOAD.size
        at = first
        while True:
            end = min(at + room, stop)
            last = end == stop
            head = messages.SEQ_LOAD.pack(at, len(code), int(last))
            reply = self.link.request(Op.SEQ_LOAD, head + code[at:end], _loading_s(len(code)))
            at = end
            if last:
                break
        steps, readings, _, check, level_error, time_error = _unpacked(
            messages.LOADED, reply, self.link.address
        )
        wanted = part.stop - part.start, part.n_readings, zlib.crc32(code)
        if (steps, readings, check) != wanted:
            raise ReadbackError(
                f"the board has understood {steps} steps with {readings} readings (check "
                f"{check:08x}) instead of {wanted[0]} with {wanted[1]} ({wanted[2]:08x})"
            )
        half = self.hello.level_step_v / 2 * (1 + 1e-3)
        if (
            level_error > max(half, 1e-6 * self.hello.level_max_v)
            or time_error > self.hello.time_step
        ):
            raise ReadbackError(
                f"the board would deliver levels up to {level_error:g} V and times up to "
                f"{time_error} ns away from what is asked for"
            )
        self._inside, self._ready = code, True
        self._loaded = check, level_error, time_error
        return float(level_error)

    def exact(self, plan: Plan) -> Plan:
        """Load the plan's first part; return the plan with the levels that the board delivers.

        These are fetched where they are not those asked for: of a board that is calibrated.
        """
        parts = [part for part in plan.parts if part.code]
        if not parts:
            return plan
        near = max(_TOLERATED * self.hello.level_step_v, 1e-6 * self.hello.level_max_v)
        if self.load(parts[0]) <= near:
            return plan
        level = plan.delivered.level_v.copy()
        for part in parts:
            self.load(part)
            count = (part.stop - part.start) * self.hello.lines
            _, raw = self._fetch(messages.LEVELS, count)
            found = np.frombuffer(raw, messages.RECORDS[messages.LEVELS]).reshape(
                -1, self.hello.lines
            )
            at = slice(part.start, part.stop)
            given = found[:, self.planner.board_line].astype(np.float64)
            level[at] = np.where(plan.delivered.state[at] == 2, given, level[at])
        return replace(plan, delivered=replace(plan.delivered, level_v=level, template=None))

    # -- running ---------------------------------------------------------------------------

    def run(self, part: Part) -> tuple[BoardStatus, NDArray[np.void]]:
        """Run a part and return the status at its end and its readings (dtype READING).

        Raises:
            InstrumentError: the board refuses; nothing was driven.
            LinkError: it is not known what was driven.
        """
        self._run_number = 0
        if part.matrix:
            return self._read_matrix(part)
        self.load(part)
        payload = messages.SEQ_RUN.pack(len(part.code), self._loaded[0], 0, 0)
        self._run_number = self.link.next_number
        try:
            self.link.request(Op.SEQ_RUN, payload)
        except (InstrumentError, SessionEnded) as exc:
            if not isinstance(exc, SessionEnded) or not exc.after_resend:
                self._run_number = 0  # refused: nothing has begun
            raise
        status, raw = self._fetch(messages.READINGS, part.n_readings, part.duration / 1e9)
        if status.state == State.RUNNING:  # at 0 V after the last reading
            status, _ = self._fetch(messages.READINGS, 0, part.duration / 1e9)
        readings = np.frombuffer(raw, READING)
        if status.state == State.DONE and readings.size != part.n_readings:
            raise LinkError(
                f"{readings.size} of {part.n_readings} readings came", self.link.address
            )
        return status, readings

    def _fetch(self, kind: int, count: int, takes_s: float = 0.0) -> tuple[BoardStatus, bytearray]:
        out = bytearray()
        first = 0
        size = messages.RECORDS[kind].itemsize
        while True:
            wanted = min(count - first, _AT_ONCE)
            records = Records(kind, first)
            reply = self.link.stream(
                Op.FETCH, messages.FETCH.pack(kind, first, wanted), records, takes_s
            )
            status = status_of(reply, self.link.address)
            out += records.taken
            got = len(records.taken) // size
            first += got
            if first >= count or got < wanted:
                return status, out

    def _read_matrix(self, part: Part) -> tuple[BoardStatus, NDArray[np.void]]:
        check = messages.CHECK.pack(zlib.crc32(part.matrix))
        _, n_rows, first_col, n_cols, *_ = messages.MATRIX.unpack(part.matrix)
        cells = Cells(messages.MATRIX.unpack(part.matrix)[0], n_rows, first_col, n_cols)
        self._run_number = self.link.next_number
        reply = self.link.stream(Op.READ_MATRIX, part.matrix + check, cells, part.duration / 1e9)
        status = status_of(reply, self.link.address)
        if status.state == State.DONE and cells.count != part.n_readings:
            raise LinkError(f"{cells.count} of {part.n_readings} cells came", self.link.address)
        return status, cells.readings(self.hello.rows)

    def limited_steps(self, part: Part) -> list[int]:
        """Return the steps of the last run in which a current limit was reached."""
        _, raw = self._fetch(messages.STEPS, part.stop - part.start)
        found = np.frombuffer(raw, messages.RECORDS[messages.STEPS])
        return [part.start + int(k) for k in np.flatnonzero(found & int(Status.I_COMPLIANCE))]

    # -- after a failure -------------------------------------------------------------------

    def doubtful(self) -> BoardStatus | None:
        """Return how far the run that failed has come; None when the board cannot say.

        A run that never began has 0 steps.
        """
        if self._run_number == 0:
            return BoardStatus(State.STOPPED, 0, 0, 0, 0, 0, 0, 0, messages.ALL, 0xFFFF)
        status = self.link.status_now()
        if status is None or status.number == self._run_number:
            return status
        return replace(status, steps=0, pulses=0, in_pulse=0, readings=0)

    def left_behind(self, status: BoardStatus) -> NDArray[np.void]:
        """Return the readings of a run that ended early, as far as they can be had."""
        raw: bytes | bytearray = b""
        if status.readings and not self.link.lost:
            try:
                _, raw = self._fetch(messages.READINGS, status.readings)
            except LinkError:
                raw = b""
        return np.frombuffer(raw, READING)


def _changed(old: bytes, new: bytes) -> tuple[int, int]:
    """Return (first, stop) of the bytes of ``new`` that have to be sent where ``old`` is."""
    if len(old) != len(new) or not new:
        return 0, len(new)
    differ = np.flatnonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8))
    if not differ.size:
        return 0, 0
    return int(differ[0]), int(differ[-1]) + 1


def _loading_s(n_bytes: int) -> float:
    """Return a bound on the time in which a board checks a sequence of ``n_bytes``."""
    return 5e-6 * n_bytes


def _unpacked(layout: struct.Struct, payload: bytes, address: str) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise LinkError(f"{len(payload)} bytes came instead of {layout.size}", address)
    return layout.unpack(payload)
