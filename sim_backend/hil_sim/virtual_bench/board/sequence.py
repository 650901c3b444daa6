"""The sequence memory: items parsed to steps, checked and put on the board's grids (section 6)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.program import LineState
from hil_sim.virtual_bench.board.codes import Armed, Can, Code, Features, Refused

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
LEVEL, WIDTH, COMPLIANCE, STATE, SENSE = range(5)
FILL, EACH, TIMING, SENSING, STEP = 0x10, 0x20, 0x30, 0x31, 0x40
_DTYPES: Final = ("<f4", "<u4", "<f4", "u1", "u1")
_SPAN = struct.Struct("<HH")
_TIMING, _SENSING, _STEP = struct.Struct("<III"), struct.Struct("<fII"), struct.Struct("<I")


@dataclass(slots=True, eq=False)
class Steps:
    """Steps as asked for; columns over steps, (n_steps, n_lines) where of lines; times in ns."""

    level_v: FloatArray
    width: IntArray
    compliance_a: FloatArray
    state: NDArray[np.uint8]
    sense: NDArray[np.bool_]
    timing: IntArray  #: rise, fall, gap
    window: IntArray  #: delay, aperture
    range_a: FloatArray
    repeat: IntArray

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.repeat)


def parse(items: bytes, n_lines: int, max_steps: int) -> Steps:
    """Return the steps of a sequence.

    Raises:
        Refused: BAD_SEQUENCE with the offset of the item, LIMIT for too many steps.
    """
    registers = [np.zeros(n_lines, dtype=kind) for kind in _DTYPES]
    registers[COMPLIANCE][:] = np.inf
    registers[STATE][:] = LineState.GROUND
    lines: list[list[NDArray[np.generic]]] = [[] for _ in registers]
    kept = [register.copy() for register in registers]
    timing, sensing = (0, 0, 0), (0.0, 0, 0)
    times, senses, repeats = [], [], []
    at, end = 0, len(items)
    while at < end:
        tag, begin = items[at], at
        at += 1
        try:
            if tag == STEP:
                (repeat,) = _STEP.unpack_from(items, at)
                at += 4
                for k, register in enumerate(kept):
                    lines[k].append(register)
                times.append(timing)
                senses.append(sensing)
                repeats.append(repeat)
                if len(repeats) > max_steps:
                    raise Refused(Code.LIMIT, max_steps, "too many steps")
                continue
            if tag == TIMING:
                timing, at = _TIMING.unpack_from(items, at), at + 12
                continue
            if tag == SENSING:
                sensing, at = _SENSING.unpack_from(items, at), at + 12
                continue
            register_number, each = tag & 0x0F, tag & 0xF0 == EACH
            if tag & 0xF0 not in (FILL, EACH) or register_number > SENSE:
                raise _bad(begin, f"tag {tag:#04x}")
            first, count = _SPAN.unpack_from(items, at)
            if count == 0 or first + count > n_lines:
                raise _bad(begin, f"span {first}:{count}")
            values, at = _values(items, at + 4, register_number, count if each else 0)
        except (struct.error, IndexError):
            raise _bad(begin, "ends in an item") from None
        if (register_number == STATE and values.max() > LineState.DRIVE) or (
            register_number == SENSE and values.max() > 1
        ):
            raise _bad(begin, "value")
        # A step that was taken keeps its register: the next ones get a copy.
        changed = kept[register_number].copy()
        changed[first : first + count] = values
        kept[register_number] = changed
    return _columns(lines, times, senses, repeats, n_lines)


def _values(items: bytes, at: int, register: int, count: int) -> tuple[NDArray[np.generic], int]:
    """Return ``count`` packed values, one plain value for 0, and where they end."""
    bits = {STATE: 2, SENSE: 1}.get(register)
    kind = np.dtype(_DTYPES[register])
    size = max(count, 1) * kind.itemsize if bits is None or not count else -(-count * bits // 8)
    raw = items[at : at + size]
    if len(raw) < size:
        raise IndexError
    if bits is None or not count:
        return np.frombuffer(raw, dtype=kind), at + size
    single = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), bitorder="little")
    if bits == 1:
        return single[:count], at + size
    return single[0::2][:count] + 2 * single[1::2][:count], at + size


def _bad(offset: int, text: str) -> Refused:
    return Refused(Code.BAD_SEQUENCE, offset, text)


def _columns(
    lines: list[list[NDArray[np.generic]]], times: list[tuple[int, int, int]],
    senses: list[tuple[float, int, int]], repeats: list[int], n_lines: int,
) -> Steps:  # fmt: skip
    n = len(repeats)

    def stacked(k: int, kind: type[np.generic]) -> NDArray[Any]:
        return np.array(lines[k], dtype=kind).reshape(n, n_lines)

    window = np.array([sensing[1:] for sensing in senses], dtype=np.int64).reshape(n, 2)
    return Steps(
        stacked(LEVEL, np.float64), stacked(WIDTH, np.int64), stacked(COMPLIANCE, np.float64),
        stacked(STATE, np.uint8), stacked(SENSE, np.bool_),
        np.array(times, dtype=np.int64).reshape(n, 3), window,
        np.array([sensing[0] for sensing in senses], dtype=np.float64),
        np.array(repeats, dtype=np.int64),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A checked sequence on the board's grids; times in ns.

    Attributes:
        steps: delivered levels and times.
        step_width, period: (n_steps,) per pulse.
        readings, duration: of the whole run.
        low_v, high_v, longest, most_a: extremes of driven lines, for ARM; widths and compliances
            of those at other levels than 0 V.
        check: CRC-32 of the bytes.
    """

    steps: Steps
    step_width: IntArray
    period: IntArray
    readings: int
    duration: int
    low_v: float
    high_v: float
    longest: int
    most_a: float
    level_error: float
    time_error: int
    check: int = 0
    total: int = 0

    def allow(self, armed: Armed) -> None:
        """Raise Refused(LIMIT) when ARM's limits do not hold all of it."""
        if not (armed.level_min <= self.low_v and self.high_v <= armed.level_max):
            raise Refused(Code.LIMIT, 0, "level beyond ARM")
        if self.longest > armed.width_max:
            raise Refused(Code.LIMIT, 0, "width beyond ARM")
        if self.most_a > armed.compliance_max:
            raise Refused(Code.LIMIT, 0, "compliance beyond ARM")


def checked(asked: Steps, features: Features) -> Loaded:
    """Return a sequence on the grids.

    Raises:
        Refused: LIMIT or UNSUPPORTED, with the step.
    """
    live = asked.repeat > 0
    driven = asked.state == LineState.DRIVE
    step_width = asked.width.max(axis=1, initial=0)
    width, timing, window = (
        _on_grid(times, features.time_step) for times in (asked.width, asked.timing, asked.window)
    )
    wide = width.max(axis=1, initial=0)
    period = wide + (timing[:, 0] + timing[:, 1]) // 2 + timing[:, 2]
    sensed = asked.sense.sum(axis=1)
    # As floats, since what is asked for may be beyond 64 bits.
    time_used, readings_used = (
        np.cumsum(per_pulse.astype(np.float64) * asked.repeat) for per_pulse in (period, sensed)
    )
    _refuse(
        *_unsupported(asked, features, live, driven),
        *_beyond(asked, features, live, driven, step_width),
        (Code.LIMIT, "longer than the longest run", time_used > features.max_run),
        (Code.LIMIT, "more readings than fit", readings_used > features.max_readings),
    )
    code = np.rint(asked.level_v / features.level_step)
    level = np.where(driven, code * features.level_step, 0.0)
    there = live[:, None] & driven
    steps = replace(asked, level_v=level, width=width, timing=timing, window=window)
    lifted = there & (asked.level_v != 0.0)
    off = np.abs(width - asked.width)[there].max(initial=0)
    return Loaded(
        steps, wide, period, int((sensed * asked.repeat).sum()), int((period * asked.repeat).sum()),
        float(asked.level_v[there].min(initial=0.0)), float(asked.level_v[there].max(initial=0.0)),
        int(asked.width[lifted].max(initial=0)),
        float(asked.compliance_a[lifted].max(initial=0.0)),
        float(np.abs(level - asked.level_v)[there].max(initial=0.0)),
        max(int(off), int(np.abs(wide - step_width)[live].max(initial=0))),
    )  # fmt: skip


def _on_grid(times: IntArray, step: int) -> IntArray:
    return np.asarray(np.rint(times / step).astype(np.int64) * step)


Check = tuple[Code, str, NDArray[np.bool_]]  #: (n_steps,) or (n_steps, n_lines) where it fails


def _refuse(*checks: Check) -> None:
    """Raise Refused for the first step that fails any check, and of its failures for the first."""
    found = []
    for order, (code, what, bad) in enumerate(checks):
        if bad.any():
            first = int(np.argmax(bad.any(axis=1) if bad.ndim == 2 else bad))
            found.append((first, order, code, what))
    if found:
        step, _, code, what = min(found)
        raise Refused(code, step, what)


def _unsupported(
    asked: Steps, features: Features, live: NDArray[np.bool_], driven: NDArray[np.bool_]
) -> list[Check]:
    wide = live[:, None]
    pulsed = wide & driven & (asked.level_v != 0.0) & (asked.width > 0)
    widest = np.where(pulsed, asked.width, 0).max(axis=1, initial=0)
    lacking = (
        (Can.FLOAT, "a line cannot float", wide & (asked.state == LineState.FLOAT)),
        (Can.LINE_WIDTH, "one width per step", pulsed & (asked.width != widest[:, None])),
        (Can.PARALLEL_SENSE, "one sensed line per step", live & (asked.sense.sum(axis=1) > 1)),
        (Can.COMPLIANCE, "currents cannot be limited", wide & (asked.compliance_a != np.inf)),
    )  # fmt: skip
    return [
        (Code.UNSUPPORTED, what, bad) for bit, what, bad in lacking if not features.can & bit
    ]  # fmt: skip


def _beyond(
    asked: Steps, features: Features, live: NDArray[np.bool_], driven: NDArray[np.bool_],
    step_width: IntArray,
) -> list[Check]:  # fmt: skip
    there, level, width = live[:, None] & driven, asked.level_v, asked.width
    limit, full = asked.compliance_a, features.current_max
    lifted = there & (level != 0.0)
    fits = (limit >= features.compliance_min) & (limit <= features.compliance_max)
    checks = (
        ("level", there & ~((level >= features.level_min) & (level <= features.level_max))),
        ("compliance", lifted & ~(fits | (limit == np.inf))),
        ("edge", live & (asked.timing[:, :2].max(axis=1, initial=0) > features.edge_max)),
        ("width", lifted & (width != 0)
         & ((width < features.width_min) | (width > features.width_max))),
        ("range", live & ~((asked.range_a >= 0.0) & (asked.range_a <= full))),
        ("sensing window", live & (asked.window.sum(axis=1) > step_width)),
    )  # fmt: skip
    return [(Code.LIMIT, what, bad) for what, bad in checks]


def compile_items(items: bytes, features: Features) -> Loaded:
    """Parse and check a sequence; raises as :func:`parse` and :func:`checked`."""
    loaded = checked(parse(items, features.lines, features.max_steps), features)
    return replace(loaded, check=zlib.crc32(items), total=len(items))


def one_step(
    features: Features, *, level_v: FloatArray, state: NDArray[np.uint8], width: int,
    timing: tuple[int, int, int] = (0, 0, 0), sense: NDArray[np.bool_] | None = None,
    window: tuple[int, int] = (0, 0), range_a: float = 0.0,
    compliance_a: FloatArray | float = np.inf, repeat: int = 1,
) -> Loaded:  # fmt: skip
    """Return a checked sequence of rows of ``level_v`` and ``state`` (n_steps, n_lines)."""
    n, n_lines = level_v.shape
    steps = Steps(
        level_v, np.full((n, n_lines), width), np.broadcast_to(compliance_a, (n, n_lines)).copy(),
        state, np.zeros((n, n_lines), dtype=np.bool_) if sense is None else sense,
        np.tile(timing, (n, 1)), np.tile(window, (n, 1)), np.full(n, range_a),
        np.full(n, repeat, dtype=np.int64),
    )  # fmt: skip
    return checked(steps, features)
