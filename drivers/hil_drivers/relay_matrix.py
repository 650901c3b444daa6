"""What all relay matrices do: know what is closed, move as little as possible, read back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, final

from hil_drivers.instrument import SwitchMatrix
from hil_drivers.safely import Attempts
from hil_drivers.transport.session import Session


class RelayMatrix(SwitchMatrix):
    """Opens before it closes, in one message where the instrument can; compares every closure."""

    open_everything: ClassVar[str]  #: command that opens every relay, in any state

    _closed: frozenset[str] | None = None  #: as last read back, None when not known

    @abstractmethod
    def _move(self, opened: frozenset[str], closed: frozenset[str]) -> frozenset[str]:
        """Open, then close, poll errors, and return what the instrument says is closed then.

        Both empty: open every relay.
        """

    @abstractmethod
    def _read_closed(self) -> frozenset[str]:
        """Return what the instrument says is closed."""

    @final
    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""
        self._closed = self._read_closed()
        return self._closed

    @final
    def close(self, crosspoints: Iterable[str]) -> None:
        """Close these besides those already closed."""
        chosen = self.check_crosspoints(crosspoints)
        self._change(frozenset(), chosen - self._known())

    @final
    def open_relays(self, crosspoints: Iterable[str]) -> None:
        """Open these."""
        chosen = self.check_crosspoints(crosspoints)
        self._change(chosen & self._known(), frozenset())

    @final
    def route(self, crosspoints: Iterable[str]) -> None:
        """Open what is surplus, then close what is missing."""
        chosen = self.check_crosspoints(crosspoints)
        before = self._known()
        self._change(before - chosen, chosen - before)

    @final
    def open_all(self) -> None:
        """Open every relay."""
        self._closed = None
        self._compare(frozenset(), self._move(frozenset(), frozenset()))

    @final
    def safe(self) -> None:
        """Open every relay and read that back; idempotent."""
        self.open_all()

    @final
    def abort(self, second_session: Session) -> None:
        """Device clear and open every relay through another session."""
        attempts = Attempts(self.name)
        attempts.run(second_session.clear)
        attempts.run(lambda: second_session.write(self.open_everything))
        attempts.finish()

    def _known(self) -> frozenset[str]:
        return self.closed() if self._closed is None else self._closed

    def _change(self, opened: frozenset[str], closed: frozenset[str]) -> None:
        if not opened and not closed:
            return
        expected = (self._known() - opened) | closed
        self._closed = None
        self._compare(expected, self._move(opened, closed))

    def _compare(self, expected: frozenset[str], found: frozenset[str]) -> None:
        self._closed = found
        self.verify(expected, found)
