"""Keysight/Agilent B2200A, B2201A and E5250A switch mainframes, SCPI."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from hil.errors import InstrumentError, LinkError
from hil_drivers.instrument import SwitchMatrix
from hil_drivers.safely import Attempts
from hil_drivers.scpi import chain, poll_errors
from hil_drivers.transport.session import SHORT_TIMEOUT_S, Session

__all__ = ["KeysightB2200A"]


class KeysightB2200A(SwitchMatrix):
    """Keysight B2200A/B2201A/E5250A in auto configuration; crosspoints like ``00102``.

    Card (0 in auto configuration), two-digit input 01 … 14, two-digit output 01 … 48 (B2200 user's
    guide ed. 4, p. 4-5, 5-39). Free connection rule, so that several inputs may reach an output:
    the router keeps two sources apart. Break before make is set. Limits: 100 V, 1 A (0.5 A for
    the E5250A); about 20 ms for a closure.
    """

    driver: ClassVar[str] = "keysight-b2200a"
    models: ClassVar[str] = r"B220[01]A|E5250A"
    crosspoint_pattern: ClassVar[str] = r"[0-4](0[1-9]|1[0-4])(0[1-9]|[1-3][0-9]|4[0-8])"
    settle_s: ClassVar[float] = 20e-3

    _closed: frozenset[str] | None = None

    def reset_to_known(self) -> None:
        """Reset, auto configuration, free rule, break before make, all relays open."""
        self.session.write(
            chain("*RST", "*CLS", ":FUNC ACON", ":CONN:RULE 0,FREE", ":CONN:SEQ 0,BBM")
        )
        self.open_all()
        self.check_errors("*RST")

    def errors(self) -> list[InstrumentError]:
        """Return and remove the entries of the error queue."""
        return poll_errors(self.session, "channel list")

    def closed(self) -> frozenset[str]:
        """Return the crosspoints that the instrument says are closed."""
        answer = self.session.query(":CLOS:CARD? 0")
        if re.fullmatch(r'[\s(@"]*(\d{5}[\s,]*)*[)"\s]*', answer) is None:
            raise LinkError(f"the matrix answered {answer!r}", self.session.address)
        self._closed = frozenset(re.findall(r"\d{5}", answer))
        return self._closed

    def close(self, crosspoints: Iterable[str]) -> None:
        """Close these besides those already closed."""
        chosen = self.check_crosspoints(crosspoints)
        self._move(frozenset(), chosen - self._known())

    def open_relays(self, crosspoints: Iterable[str]) -> None:
        """Open these."""
        chosen = self.check_crosspoints(crosspoints)
        self._move(chosen & self._known(), frozenset())

    def route(self, crosspoints: Iterable[str]) -> None:
        """Open what is surplus, then close what is missing, in one message; then read back."""
        chosen = self.check_crosspoints(crosspoints)
        before = self._known()
        self._move(before - chosen, chosen - before)

    def open_all(self) -> None:
        """Open every relay."""
        self._expect(frozenset(), (":OPEN:CARD ALL",), 1)

    def _known(self) -> frozenset[str]:
        return self.closed() if self._closed is None else self._closed

    def _move(self, opened: frozenset[str], closed: frozenset[str]) -> None:
        if not opened and not closed:
            return
        expected = (self._known() - opened) | closed
        commands = [f"{verb} (@{','.join(sorted(some))})"
                    for verb, some in ((":OPEN", opened), (":CLOS", closed)) if some]  # fmt: skip
        self._expect(expected, tuple(commands), len(opened) + len(closed))

    def _expect(self, expected: frozenset[str], commands: tuple[str, ...], moves: int) -> None:
        """Send, wait for the relays, poll errors, read all back, compare."""
        self._closed = None
        timeout_s = SHORT_TIMEOUT_S + 2 * self.settle_s * (1 + moves)
        done = self.session.query(chain(*commands, "*OPC?"), timeout_s)
        if done.strip() not in ("1", "+1"):
            raise LinkError(f"*OPC? answered {done!r}", self.session.address)
        self.check_errors(commands[-1])
        self.verify(expected)

    def safe(self) -> None:
        """Open every relay and read that back; idempotent."""
        attempts = Attempts(self.name)
        attempts.run(self.open_all)
        attempts.finish()

    def abort(self, second_session: Session) -> None:
        """Device clear and open every relay through another session."""
        attempts = Attempts(self.name)
        attempts.run(second_session.clear)
        attempts.run(lambda: second_session.write(":OPEN:CARD ALL"))
        attempts.finish()
