"""One entry of the event list, as text and as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hil.explain.device import Seen
from hil.program import Phase
from hil.units import format_quantity


@dataclass(frozen=True, slots=True)
class Event:
    """A step, a run of equal steps, a scan over rows, or the repetition of earlier events.

    Attributes:
        t_s: start after the start of the programme, without overheads.
        block, step: where it stands; ``phase`` is its phase's name.
        driven: (lines, level in volts, width in seconds) of every group of lines driven alike.
        floating: lines left floating. Lines that are not named are grounded.
        sensed: lines whose current is measured.
        selected: the devices that are written, e.g. ``rows 0 × cols 0…7``.
        repeat: identical pulses of the step; ``period_s`` from one to the next.
        compliance_a: smallest compliance of a driven line, ``inf`` for none.
        seen: what the chosen cell sees, None without a chosen cell.
        row: the one row that differs from all others, None when there is no such row.
        runs: number of such steps, ``every_s`` apart.
        rows: number of rows, from ``row`` on, that get the same one after the other.
        of: above 0, this stands for ``runs`` further rounds of the last ``of`` events.
        signature: what is driven, apart from when and on which row.
    """

    t_s: float
    block: int
    step: int
    phase: str
    driven: tuple[tuple[str, float, float], ...] = ()
    floating: str = ""
    sensed: str = ""
    selected: str = ""
    repeat: int = 1
    period_s: float = 0.0
    compliance_a: float = float("inf")
    seen: Seen | None = None
    row: int | None = None
    runs: int = 1
    every_s: float = 0.0
    rows: int = 1
    of: int = 0
    signature: bytes = field(default=b"", repr=False)

    def same_as(self, other: Event) -> bool:
        """Return True when both drive the same, apart from when."""
        return (self.signature, self.row, self.runs, self.rows, self.of) == (
            other.signature, other.row, other.runs, other.rows, other.of
        ) and _close(self.every_s, other.every_s)  # fmt: skip

    def to_text(self) -> str:
        """Return one line."""
        if self.of:
            what = "event is" if self.of == 1 else f"{self.of} events are"
            more = "once more" if self.runs == 1 else f"{self.runs} times more"
            every = f", every {_time(self.every_s)}" if self.runs > 1 else ""
            return f"{_time(self.t_s):>10}  … the last {what} repeated {more}{every}"
        head = f"{_time(self.t_s):>10}  {self.phase:<9} {self.block}.{self.step:<4}"
        parts = []
        if self.phase == Phase.IDLE.name:
            parts.append(f"wait {_time(self.period_s)}, outputs off")
        parts += [
            f"{lines} {format_quantity(v, 'V')} for {_time(w)}" for lines, v, w in self.driven
        ]
        if self.floating:
            parts.append(f"{self.floating} float")
        if self.sensed:
            parts.append(f"sense {self.sensed}")
        if self.selected:
            parts.append(f"[{self.selected}]")
        if self.compliance_a != float("inf"):
            parts.append(f"limit {format_quantity(self.compliance_a, 'A')}")
        if self.seen is not None:
            parts.append(_seen_text(self.seen))
        if self.repeat != 1:
            parts.append(f"× {self.repeat} every {_time(self.period_s)}")
        if self.runs > 1:
            parts.append(f"({self.runs} such steps, every {_time(self.every_s)})")
        if self.rows > 1 and self.row is not None:
            first, last = self.row + 1, self.row + self.rows - 1
            rows = f"row {first}" if first == last else f"rows {first}…{last}"
            parts.append(f"then {rows} alike, every {_time(self.every_s)}")
        return head + "  " + "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for JSON."""
        out: dict[str, Any] = {
            "t_s": self.t_s, "phase": self.phase, "block": self.block, "step": self.step,
            "driven": [{"lines": n, "level_v": v, "width_s": w} for n, v, w in self.driven],
            "floating": self.floating, "sensed": self.sensed, "selected": self.selected,
            "repeat": self.repeat, "period_s": self.period_s,
            "compliance_a": None if self.compliance_a == float("inf") else self.compliance_a,
            "row": self.row, "runs": self.runs, "rows": self.rows, "every_s": self.every_s,
            "repeats_last": self.of,
        }  # fmt: skip
        if self.seen is not None:
            out["device"] = {
                "port": self.seen.port,
                "voltage_v": None if np.isnan(self.seen.v) else self.seen.v,
                "width_s": self.seen.width_s, "selection": self.seen.selection,
                "spans": [{"until_s": end, "voltage_v": v} for end, v in self.seen.spans],
            }  # fmt: skip
        return out


def _time(value_s: float) -> str:
    return "0 s" if value_s == 0 else format_quantity(value_s, "s", digits=6)


def _seen_text(what: Seen) -> str:
    if what.selection == "floating":
        return f"{what.port} port floating"
    if not what.spans:
        return f"sees 0 V ({what.selection})"
    if len(what.spans) == 1:
        return f"sees {format_quantity(what.v, 'V')} for {_time(what.width_s)} ({what.selection})"
    pieces = ", ".join(f"{format_quantity(v, 'V')} until {_time(end)}" for end, v in what.spans)
    return f"sees {pieces} ({what.selection})"


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
