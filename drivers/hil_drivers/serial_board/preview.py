"""The plan of a programme before it is run: runs, requests, bytes, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hil.program import Phase, PulseBlock
from hil_drivers.serial_board.messages import CELL, READING

if TYPE_CHECKING:
    from hil_drivers.serial_board.backend import SerialBoard

#: Planning values: a request and its reply over USB, and bytes per second of full-speed USB.
REQUEST_S: Final = 1e-3
USB_BYTES_PER_S: Final = 1e6


@dataclass
class Totals:
    """Sums over a programme; times in seconds."""

    blocks: int = 0
    pulses: int = 0
    readings: int = 0
    runs: int = 0
    matrices: int = 0
    requests: int = 0
    n_bytes: int = 0
    pulse_s: float = 0.0
    idle_s: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def link_s(self) -> float:
        """Time on the link."""
        return self.requests * REQUEST_S + self.n_bytes / USB_BYTES_PER_S

    @property
    def total_s(self) -> float:
        """Predicted time of everything."""
        return self.pulse_s + self.idle_s + self.link_s


def totals(board: SerialBoard, programme: Iterable[PulseBlock]) -> Totals:
    """Return the sums over ``programme``; nothing is driven.

    Raises:
        LimitError: the board cannot do a block.
    """
    out = Totals()
    for block in programme:
        out.blocks += 1
        if block.phase is Phase.IDLE:
            out.idle_s += block.duration_s
            continue
        plan = board.plan(block)
        out.pulses += plan.lowered.block.n_pulses
        out.readings += block.n_readings
        for note in plan.lowered.notes:
            out.notes[note] = out.notes.get(note, 0) + 1
        for part in plan.parts:
            out.runs += 1
            out.pulse_s += part.duration / 1e9
            out.matrices += bool(part.matrix)
            record = CELL if part.matrix else READING
            out.n_bytes += len(part.code) + part.n_readings * record.itemsize
            out.requests += 1 if part.matrix else 3
    return out


def lines(board: SerialBoard, programme: Iterable[PulseBlock]) -> list[str]:
    """Return the plan in words."""
    t = totals(board, programme)
    return [
        f"{board.name}: {t.blocks} blocks, {t.pulses} pulses, {t.readings} readings",
        f"runs inside the board: {t.runs}, of which {t.matrices} are matrix reads; about "
        f"{t.requests} requests and {t.n_bytes} bytes ({t.link_s:.3g} s)",
        f"predicted time: {t.total_s:.3g} s (pulses {t.pulse_s:.3g} s, waiting {t.idle_s:.3g} s)",
        "batched: all pulses; the computer only loads and starts sequences",
        *([] if board.hello is not None else ["what the board can do is assumed: it is not open"]),
        *(f"{note} ({n} blocks)" for note, n in sorted(t.notes.items())),
    ]
