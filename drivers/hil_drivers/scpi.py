"""What all SCPI instruments share: the error queue and lists of numbers in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from hil.errors import InstrumentError, LinkError
from hil_drivers.lowering import number

if TYPE_CHECKING:
    from hil_drivers.transport.session import Session

#: SCPI-99 asks for at least 2 entries; instruments here have 10 to 100.
MAX_ERRORS: Final = 100
_ENTRY = re.compile(r'\s*([+-]?\d+)\s*,\s*"?(.*?)"?\s*')


def poll_errors(session: Session, last_command: str) -> list[InstrumentError]:
    """Return and remove all entries of ``:SYST:ERR?``, oldest first."""
    found: list[InstrumentError] = []
    for _ in range(MAX_ERRORS):
        answer = session.query(":SYST:ERR?")
        match = _ENTRY.fullmatch(answer)
        if match is None:
            raise LinkError(f"the error queue answered {answer!r}", session.address)
        code = int(match.group(1))
        if code == 0:
            return found
        found.append(InstrumentError(code, match.group(2), last_command))
    return found


def numbers(values: Iterable[float]) -> str:
    """Return numbers separated by commas."""
    return ",".join(number(float(v)) for v in values)


def chain(*commands: str) -> str:
    """Return commands as one message; every command begins at the root (``:`` or ``*``)."""
    return ";".join(commands)
