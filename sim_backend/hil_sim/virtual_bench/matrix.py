"""What every switch matrix has: relays by name, stuck ones, absent cards, and time to move."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hil_sim.virtual_bench.latencies import RELAY, latency_s
from hil_sim.virtual_bench.network import parse_crosspoint
from hil_sim.virtual_bench.personality import Personality


class Relays:
    """The relays of one matrix and the net list that they make.

    Attributes:
        closed: crosspoints that conduct, by name.
        operate_s: time of one move.
    """

    def __init__(self, owner: Personality) -> None:
        self.owner, self.operate_s = owner, latency_s(owner.driver, RELAY)
        self.closed: set[str] = set()
        self.moves = 0

    def move(self, opened: Iterable[str], closed: Iterable[str], make_first: bool = False) -> None:
        """Open and close relays, break before make unless ``make_first``."""
        faults = self.owner.faults
        going = (set(opened) & self.closed) - faults.stuck_closed
        coming = set(closed) - self.closed - faults.stuck_open
        for part in ("closed", "opened") if make_first else ("opened", "closed"):
            names = going if part == "opened" else coming
            if not names:
                continue
            self.owner.bench.note_relays(self.owner.name, names)
            self.closed = self.closed - names if part == "opened" else self.closed | names
            self.moves += len(names)
            self._publish()
            self.owner.takes(self.operate_s * len(names))

    def _publish(self) -> None:
        network = self.owner.bench.network
        points = (parse_crosspoint(self.owner.driver, name) for name in self.closed)
        network.set_closed(self.owner.name, {p for p in points if p is not None})


def spans(text: str, separator: str, single: Callable[[str], list[str]]) -> list[str]:
    """Return the crosspoints of a list with spans ``first:last`` over the columns of one row."""
    out: list[str] = []
    for entry in text.split(separator):
        first, _, last = entry.strip().partition(":")
        if not last:
            out.extend(single(first))
            continue
        stem, start, stop = first[:-2], first[-2:], last[-2:]
        if last[:-2] != stem or not (start.isdigit() and stop.isdigit()):
            out.append(entry.strip())
            continue
        out.extend(f"{stem}{n:02d}" for n in range(int(start), int(stop) + 1))
    return out


class Matrix(Personality):
    """What a switch matrix answers to the bench."""

    relays: Relays

    @property
    def is_matrix(self) -> bool:
        """True."""
        return True

    def closed_names(self) -> list[str]:
        """Return the closed crosspoints."""
        return sorted(self.relays.closed)
