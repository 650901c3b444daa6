"""Steps as the items of a board's sequence memory. See docs/serial-protocol.md, section 6."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState

_LEVEL, _WIDTH, _COMPLIANCE, _STATE, _SENSE = range(5)
_FILL, _EACH = 0x10, 0x20
_TIMING, _SENSING, _STEP = 0x30, 0x31, 0x40

_SPAN: Final = struct.Struct("<BHH")
_TIMES: Final = struct.Struct("<BIII")
_MEASURE: Final = struct.Struct("<BfII")
_REPEAT: Final = struct.Struct("<BI")
_WORDS: Final = {_LEVEL: "<f4", _WIDTH: "<u4", _COMPLIANCE: "<f4"}
_BITS: Final = {_STATE: 2, _SENSE: 1}

_NOT_DRIVEN: Final = np.float32(3e38)  # equal to no level, so that a line driven again is noticed

Words = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Steps of a board's lines, on its grids; times in nanoseconds.

    Attributes:
        state, sense: (n_steps, n_lines) uint8.
        level: (n_steps, n_lines) float32 volts.
        width: (n_steps,) or (n_steps, n_lines) uint32.
        times: (n_steps, 3) uint32 rise, fall, gap.
        repeat: (n_steps,) uint32.
        compliance: (n_lines,) float32 amperes, infinite = none.
        range_a: measuring range, 0 = the board's choice; ``delay`` and ``aperture`` of readings.
    """

    state: NDArray[np.uint8]
    sense: NDArray[np.uint8]
    level: NDArray[np.float32]
    width: NDArray[np.uint32]
    times: NDArray[np.uint32]
    repeat: NDArray[np.uint32]
    compliance: NDArray[np.float32]
    range_a: float = 0.0
    delay: int = 0
    aperture: int = 0

    def part(self, start: int, stop: int, repeat: NDArray[np.uint32]) -> Steps:
        """Return steps ``start`` to ``stop`` (exclusive) with other repeats."""
        at = slice(start, stop)
        return Steps(
            self.state[at], self.sense[at], self.level[at], self.width[at], self.times[at],
            repeat, self.compliance, self.range_a, self.delay, self.aperture,
        )  # fmt: skip


def encode(steps: Steps) -> bytes:
    """Return the items; registers that keep their values cost nothing."""
    n_steps, n_lines = steps.state.shape
    out = bytearray()
    put = _Registers(n_lines, out)
    if np.isfinite(steps.compliance).any():
        put.all(_COMPLIANCE, steps.compliance)
    if steps.range_a or steps.delay or steps.aperture:
        out += _MEASURE.pack(_SENSING, steps.range_a, steps.delay, steps.aperture)
    driven = steps.state == LineState.DRIVE
    widths = steps.width.ndim == 2
    new = {
        _STATE: _changes(steps.state), _SENSE: _changes(steps.sense),
        _WIDTH: _changes(steps.width), _TIMING: _changes(steps.times),
    }  # fmt: skip
    new_level = _changes(np.where(driven, steps.level, _NOT_DRIVEN))
    repeats = steps.repeat.tolist()
    for k in range(n_steps):
        if new[_STATE][k]:
            put.changed(_STATE, steps.state[k])
        if new_level[k]:
            put.changed(_LEVEL, np.where(driven[k], steps.level[k], put.now[_LEVEL]))
        if new[_WIDTH][k]:
            if widths:
                put.changed(_WIDTH, steps.width[k])
            else:
                put.all(_WIDTH, np.full(n_lines, steps.width[k]))
        if new[_SENSE][k]:
            put.changed(_SENSE, steps.sense[k])
        if new[_TIMING][k]:
            out += _TIMES.pack(_TIMING, *steps.times[k].tolist())
        out += _REPEAT.pack(_STEP, repeats[k])
    return bytes(out)


def _changes(rows: Words) -> list[bool]:
    """Return for every row whether it differs from the one before it; the first does."""
    changed = rows[1:] != rows[:-1]
    if changed.ndim == 2:
        changed = changed.any(axis=1)
    return [True, *changed.tolist()][: len(rows)]


class _Registers:
    """What the board's registers hold, and the items that change them."""

    def __init__(self, n_lines: int, out: bytearray) -> None:
        self._out, self._n = out, n_lines
        self.now: dict[int, Words] = {
            _LEVEL: np.zeros(n_lines, np.float32), _WIDTH: np.zeros(n_lines, np.uint32),
            _COMPLIANCE: np.full(n_lines, np.inf, np.float32),
            _STATE: np.full(n_lines, LineState.GROUND, np.uint8),
            _SENSE: np.zeros(n_lines, np.uint8),
        }  # fmt: skip

    def all(self, register: int, values: Words) -> None:
        """Set a register of all lines."""
        self._put(register, 0, values)
        self.now[register] = values

    def changed(self, register: int, values: Words) -> None:
        """Set a register of the lines where it changes, in the fewest bytes found."""
        at = np.flatnonzero(values != self.now[register])
        if not at.size:
            return
        first, stop = int(at[0]), int(at[-1]) + 1
        bits = _BITS.get(register)
        each = -(-(stop - first) * bits // 8) if bits else 4 * (stop - first)
        one = (_SPAN.size + (1 if bits else 4)) * 2  # two items already pay off seldom: look at few
        spans: Iterable[tuple[int, int]] = ((first, stop),)
        if each > one:
            runs = _runs(at, values)
            if len(runs) * one // 2 < each + _SPAN.size:
                spans = runs
        for begin, end in spans:
            self._put(register, begin, values[begin:end])
        self.now[register] = values

    def _put(self, register: int, first: int, values: Words) -> None:
        count = values.size
        uniform = bool((values == values[0]).all())
        if register in _WORDS:
            packed = values.astype(_WORDS[register], copy=False)
            body = packed[:1].tobytes() if uniform else packed.tobytes()
        elif uniform:
            body = bytes([int(values[0])])
        else:
            body = _packed(values, _BITS[register])
        self._out += _SPAN.pack((_FILL if uniform else _EACH) + register, first, count)
        self._out += body


def _runs(at: NDArray[np.int64], values: Words) -> list[tuple[int, int]]:
    """Return (first, stop) of the stretches of ``at`` that are adjacent and have one value."""
    apart = (np.diff(at) > 1) | (values[at[1:]] != values[at[:-1]])
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), at.size]
    return [(int(at[a]), int(at[b - 1]) + 1) for a, b in pairwise(edges)]


def _packed(values: Words, bits: int) -> bytes:
    """Return small values with the first in the lowest bits."""
    if bits == 2:
        values = np.stack([values & 1, values >> 1], axis=1).ravel()
    return np.packbits(values, bitorder="little").tobytes()
