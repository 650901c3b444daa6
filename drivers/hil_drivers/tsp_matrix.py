"""Relay matrices with TSP: Keithley 707B/708B and 3706A differ in names and timing only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, Final

from hil.errors import InstrumentError, LinkError
from hil_drivers.relay_matrix import RelayMatrix
from hil_drivers.transport.session import SHORT_TIMEOUT_S
from hil_drivers.tsp import poll_errors, printed

_STATE: Final = 'print(channel.getclose("allslots"),errorqueue.count)'
_OPEN_ALL: Final = 'channel.open("allslots")'
#: Relays of a full 707B (six slots of 8 x 12).
_MOST: Final = 576


def crosspoint_list(crosspoints: Iterable[str]) -> str:
    """Return a channel list in a fixed order."""
    return ",".join(sorted(crosspoints))


class TspMatrix(RelayMatrix):
    """Open, close, wait, read back and count errors in one message; break before make."""

    open_everything: ClassVar[str] = f"abort\n{_OPEN_ALL}"

    def reset_to_known(self) -> None:
        """Reset, all relays open, break before make."""
        self.session.write("reset()\nerrorqueue.clear()\n"
                           "channel.connectrule=channel.BREAK_BEFORE_MAKE")  # fmt: skip
        self.open_all()
        self.check_errors("reset")

    def errors(self) -> list[InstrumentError]:
        """Return and remove the entries of the error queue."""
        return poll_errors(self.session, "channel list")

    def _read_closed(self) -> frozenset[str]:
        return self._state(_STATE, 0)[0]

    def _move(self, opened: frozenset[str], closed: frozenset[str]) -> frozenset[str]:
        lines = [f'channel.{verb}("{crosspoint_list(some)}")'
                 for verb, some in (("open", opened), ("close", closed)) if some]  # fmt: skip
        moves = len(opened) + len(closed) if lines else _MOST
        lines = lines or [_OPEN_ALL]
        found, errors = self._state("\n".join([*lines, "waitcomplete()", _STATE]), moves)
        if errors:
            self.check_errors(lines[-1])
        return found

    def _state(self, message: str, moves: int) -> tuple[frozenset[str], int]:
        answer = self.session.query(message, SHORT_TIMEOUT_S + moves * self.settle_s)
        values = printed(answer)
        if len(values) != 2 or not isinstance(values[1], float):
            raise LinkError(f"the matrix answered {answer!r}", self.session.address)
        # The raw text: 1001 is a crosspoint and not the number that `printed` makes of it.
        names = answer.split("\t")[0]
        if values[0] is None:
            return frozenset(), int(values[1])
        found = re.sub(r"\([^)]*\)|\s", "", names).upper().replace(",", ";").split(";")
        return frozenset(found) - {""}, int(values[1])
