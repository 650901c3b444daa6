"""The message exchange protocol of IEEE 488.2, for interfaces on which replies are asked for."""

from __future__ import annotations

from collections import deque

from hil_sim.virtual_bench.personality import Personality, parts_of
from hil_sim.virtual_bench.transport import answer, split_message

MAV = 16


class MessageExchange:
    """Input buffer and output queue of one session with one instrument.

    A message that comes while a reply is unread is INTERRUPTED (-410, the old reply is lost), a
    read without one is UNTERMINATED (-420). The queues are not bounded, so that DEADLOCKED (-430)
    does not occur. TSP instruments go on adding to their output queue.
    """

    def __init__(self, instrument: Personality) -> None:
        self.instrument = instrument
        self._input = bytearray()
        self._output: deque[bytes] = deque()

    def write(self, data: bytes, end: bool) -> None:
        """Take bytes; ``end`` is the END message, which ends a message like a newline does."""
        self._input += data
        aware = self.instrument.block_aware
        while (message := split_message(self._input, aware)) is not None:
            self._take(message)
        if end and self._input:
            # END ends a message, whatever its last byte is.
            message = bytes(self._input)
            self._input.clear()
            self._take(message)

    def _take(self, message: bytes) -> None:
        if self._output and self.instrument.block_aware and message.strip():
            with self.instrument.bench.lock:
                self.instrument.post_error(-410, "Query INTERRUPTED")
            self._output.clear()
        self._output.extend(parts_of(answer(self.instrument, message)))

    def read(self, count: int, stop: int | None = None) -> tuple[bytes, bool]:
        """Return up to ``count`` bytes and whether they end the reply; nothing when there is none.

        ``stop`` is a byte that also ends the transfer.
        """
        if not self._output:
            with self.instrument.bench.lock:
                self.instrument.post_error(-420, "Query UNTERMINATED")
            return b"", False
        first = self._output.popleft()
        size = min(count, len(first))
        if stop is not None:
            found = first.find(bytes([stop]), 0, size)
            size = size if found < 0 else found + 1
        if size < len(first):
            self._output.appendleft(first[size:])
        return first[:size], size == len(first)

    def clear(self) -> None:
        """Device clear."""
        self._input.clear()
        self._output.clear()
        with self.instrument.bench.lock:
            self.instrument.clear()

    def trigger(self) -> None:
        """Group execute trigger."""
        self._output.extend(parts_of(answer(self.instrument, b"*TRG")))

    def status_byte(self) -> int:
        """Return the status byte of a serial poll."""
        with self.instrument.bench.lock:
            return self.instrument.status_byte() | MAV * bool(self._output)
