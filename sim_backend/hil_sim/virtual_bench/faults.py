"""Faults that a test can put into a bench."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class InstrumentFaults:
    """Faults of one instrument; each is consumed or stays as said.

    Attributes:
        drop_replies: number of replies that never come.
        truncate_to: the next reply ends after so many bytes, None = whole.
        double_reply: the next reply comes twice.
        late_s: wall-clock delay of replies; ``late_replies`` of them, -1 = all.
        corrupt_idn: answer to ``*IDN?``, None = the true one.
        queue_error: (code, text) put into the error queue at the next message.
        queue_error_after: messages to let pass before ``queue_error``.
        stuck_open, stuck_closed: crosspoints (as the matrix writes them) that do not move.
        missing_card: card numbers that are absent.
        mute: the instrument no longer answers anything (link up).
        refuse: new connections are closed at once.
        reset_after: messages after which the instrument goes off and on (power glitch), None.
        reset_cuts_link: going off and on cuts its connections, too.
        before: called with every message before it is handled, to put in other faults in time.
        cut_after: messages after which the connections are cut, instead of a reply, None.
        interlock_open: outputs cannot be switched on.
        wire_in, wire_out: change bytes on their way to and from an instrument on a serial line.
        language: what a 2450 answers to ``*LANG?``, None = SCPI.
    """

    drop_replies: int = 0
    truncate_to: int | None = None
    double_reply: bool = False
    late_s: float = 0.0
    late_replies: int = -1
    corrupt_idn: str | None = None
    queue_error: tuple[int, str] | None = None
    queue_error_after: int = 0
    stuck_open: set[str] = field(default_factory=set)
    stuck_closed: set[str] = field(default_factory=set)
    missing_card: set[int] = field(default_factory=set)
    mute: bool = False
    refuse: bool = False
    reset_after: int | None = None
    reset_cuts_link: bool = False
    before: Callable[[bytes], None] | None = None
    cut_after: int | None = None
    language: str | None = None
    interlock_open: bool = False
    wire_in: Callable[[bytes], bytes] | None = None
    wire_out: Callable[[bytes], bytes] | None = None

    def lateness_s(self) -> float:
        """Return by how much the reply at hand is late, in seconds of wall-clock time."""
        if self.late_s <= 0.0 or self.late_replies == 0:
            return 0.0
        self.late_replies -= self.late_replies > 0
        return self.late_s


@dataclass(slots=True)
class Faults:
    """Faults by instrument name, and the pace of the bench.

    Attributes:
        pace: virtual seconds per wall-clock second; 0 = runs take no time.
        during_run: called once with virtual seconds since a run began, then forgotten.
    """

    pace: float = 0.0
    during_run: Callable[[float], None] | None = None
    _by_name: dict[str, InstrumentFaults] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __getitem__(self, instrument: str) -> InstrumentFaults:
        with self._lock:
            return self._by_name.setdefault(instrument, InstrumentFaults())
