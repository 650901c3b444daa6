"""Relay matrices with TSP: Keithley 707B/708B and 3706A differ in names and timing only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hil.errors import InstrumentError, LinkError
from hil_drivers.instrument import SwitchMatrix
from hil_drivers.safely import Attempts
from hil_drivers.transport.session import SHORT_TIMEOUT_S, Session
from hil_drivers.tsp import poll_errors, printed

_STATE: Final = 'print(channel.getclose("allslots"),errorqueue.count)'


def crosspoint_list(crosspoints: Iterable[str]) -> str:
    """Return a channel list in a fixed order."""
    return ",".join(sorted(crosspoints))


class TspMatrix(SwitchMatrix):
    """Open, close, read back and compare in one message; break before make."""

    _closed: frozenset[str] | None = None  #: as last read back, None when not known

    def reset_to_known(self) -> None:
        """Reset, all relays open, break before make."""
        self.session.write("reset()\nerrorqueue.clear()\n"
                           "channel.connectrule=channel.BREAK_BEFORE_MAKE")  # fmt: skip
        self.open_all()
        self.check_errors("reset")

    def errors(self) -> list[InstrumentError]:
        """Return and remove the entries of the error queue."""
        return poll_errors(self.session, "channel list")

    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""
        state, _ = self._state(_STATE, 0)
        self._closed = state
        return state

    def close(self, crosspoints: Iterable[str]) -> None:
        """Close these besides those already closed."""
        chosen = self.check_crosspoints(crosspoints)
        self._move(frozenset(), chosen - self._known())

    def open_relays(self, crosspoints: Iterable[str]) -> None:
        """Open these."""
        chosen = self.check_crosspoints(crosspoints)
        self._move(chosen & self._known(), frozenset())

    def route(self, crosspoints: Iterable[str]) -> None:
        """Open what is surplus, then close what is missing, in one message."""
        chosen = self.check_crosspoints(crosspoints)
        before = self._known()
        self._move(before - chosen, chosen - before)

    def open_all(self) -> None:
        """Open every relay."""
        self._closed = None
        self._expect(frozenset(), 'channel.open("allslots")', 576)

    def _known(self) -> frozenset[str]:
        return self.closed() if self._closed is None else self._closed

    def _move(self, opened: frozenset[str], closed: frozenset[str]) -> None:
        if not opened and not closed:
            return
        expected = (self._known() - opened) | closed
        self._closed = None
        lines = []
        if opened:
            lines.append(f'channel.open("{crosspoint_list(opened)}")')
        if closed:
            lines.append(f'channel.close("{crosspoint_list(closed)}")')
        self._expect(expected, "\n".join(lines), len(opened) + len(closed))

    def _expect(self, expected: frozenset[str], command: str, moves: int) -> None:
        """Send, wait for the relays, read all back, compare; the error queue comes first."""
        state, errors = self._state(f"{command}\nwaitcomplete()\n{_STATE}", moves)
        if errors:
            self.check_errors(command.splitlines()[-1])
        self._closed = state
        self.verify(expected, state)

    def _state(self, message: str, moves: int) -> tuple[frozenset[str], int]:
        answer = self.session.query(message, SHORT_TIMEOUT_S + moves * self.settle_s)
        values = printed(answer)
        if len(values) != 2 or not isinstance(values[1], float):
            raise LinkError(f"the matrix answered {answer!r}", self.session.address)
        # The raw text: 1001 is a crosspoint and not the number that `printed` makes of it.
        names = answer.split("\t")[0].strip()
        if values[0] is None:
            return frozenset(), int(values[1])
        found = re.sub(r"\([^)]*\)", "", names).replace(",", ";").split(";")
        return frozenset(n.strip().upper() for n in found if n.strip()), int(values[1])

    def safe(self) -> None:
        """Open every relay and read that back; idempotent."""
        attempts = Attempts(self.name)
        attempts.run(self.open_all)
        attempts.finish()

    def abort(self, second_session: Session) -> None:
        """Device clear and open every relay through another session."""
        attempts = Attempts(self.name)
        attempts.run(second_session.clear)
        attempts.run(lambda: second_session.write('abort\nchannel.open("allslots")'))
        attempts.finish()
