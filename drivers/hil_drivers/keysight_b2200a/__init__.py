"""Keysight/Agilent B2200A, B2201A and E5250A switch mainframes, SCPI."""

from __future__ import annotations

import re
from typing import ClassVar

from hil.errors import InstrumentError, LinkError
from hil_drivers.relay_matrix import RelayMatrix
from hil_drivers.scpi import chain, poll_errors
from hil_drivers.transport.session import SHORT_TIMEOUT_S

__all__ = ["KeysightB2200A"]


class KeysightB2200A(RelayMatrix):
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
    messages_per_move: ClassVar[int] = 3  # the move, its errors, what is closed

    open_everything: ClassVar[str] = ":OPEN:CARD ALL"

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

    def _read_closed(self) -> frozenset[str]:
        answer = self.session.query(":CLOS:CARD? 0")
        if re.fullmatch(r'[\s(@"]*(\d{5}[\s,]*)*[)"\s]*', answer) is None:
            raise LinkError(f"the matrix answered {answer!r}", self.session.address)
        return frozenset(re.findall(r"\d{5}", answer))

    def _move(self, opened: frozenset[str], closed: frozenset[str]) -> frozenset[str]:
        commands = [f"{verb} (@{','.join(sorted(some))})"
                    for verb, some in ((":OPEN", opened), (":CLOS", closed)) if some]  # fmt: skip
        commands = commands or [self.open_everything]
        timeout_s = SHORT_TIMEOUT_S + 2 * self.settle_s * (1 + len(opened) + len(closed))
        done = self.session.query(chain(*commands, "*OPC?"), timeout_s)
        if done.strip() not in ("1", "+1"):
            raise LinkError(f"*OPC? answered {done!r}", self.session.address)
        self.check_errors(commands[-1])
        return self._read_closed()
