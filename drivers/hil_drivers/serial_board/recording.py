"""A wire log that answers in place of a framed board."""

from __future__ import annotations

from collections.abc import Iterable

from hil_drivers.serial_board import frames, messages
from hil_drivers.serial_board.frames import Frame, FrameError
from hil_drivers.serial_board.link import any_challenge
from hil_drivers.serial_board.messages import Op
from hil_drivers.transport.replayport import ReplayPort
from hil_drivers.transport.wirelog import Exchange


class RecordedPort(ReplayPort):
    """Answers from a recording, from which the random numbers of HELLO are taken, too."""

    def __init__(self, name: str, exchanges: Iterable[Exchange]) -> None:
        super().__init__(name, exchanges, by_clock=feeds)

    def challenge(self) -> int:
        """Return the number of the HELLO that comes next; any number where none does."""
        frame = _frame(self.due)
        if frame is None or frame.op != Op.HELLO:
            return any_challenge()
        return int(messages.CHALLENGE.unpack(frame.payload)[0])


def feeds(payload: bytes) -> bool:
    """Return whether bytes only feed the board's watchdog."""
    frame = _frame(payload)
    return frame is not None and (frame.op, frame.number) == (Op.PING, 0)


def _frame(payload: bytes) -> Frame | None:
    try:
        return frames.unpack(payload.strip(b"\0"))
    except FrameError:
        return None
