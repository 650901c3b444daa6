"""Interlock and event texts that a 2450 has in every command set."""

from __future__ import annotations

import math
from typing import Final

from hil_sim.virtual_bench.personality import Personality
from hil_sim.virtual_bench.terminal import Terminal

# 2450-901-01 rev. B p. 6-33, 2460 quick-start guide p. 10: without the interlock outputs stay
# below 42 V, and switching one on above 21 V is an event.
CEILING_V: Final = 42.0
_WARNED_FROM_V: Final = 21.0
INTERLOCK_WARNING: Final = (5074, "Output voltage limited by interlock")
_WARNINGS: Final = {5074}
ERROR, WARNING = 1, 2


def severity(code: int) -> int:
    """Return the severity of an event: 0 none, 1 error, 2 warning (2461-901-01 rev. A p. 8-70)."""
    return 0 if code == 0 else WARNING if code in _WARNINGS else ERROR


def event_text(owner: Personality, code: int, message: str) -> str:
    """Return an event as ``:SYST:ERR?`` answers it; the time is seconds and nanoseconds."""
    if code == 0:
        return '0,"No error;0;0 0"'
    seconds, nanoseconds = divmod(owner.bench.clock_ns, 10**9)
    return f'{code},"{message};{severity(code)};{seconds} {nanoseconds}"'


def limited_by_interlock(owner: Personality, terminal: Terminal) -> bool:
    """Whether an open interlock keeps a level from being given."""
    return owner.faults.interlock_open and abs(terminal.level_v) > _WARNED_FROM_V


def set_ceiling(owner: Personality, terminal: Terminal) -> None:
    """Limit the output while the interlock is open."""
    terminal.ceiling_v = CEILING_V if owner.faults.interlock_open else math.inf
