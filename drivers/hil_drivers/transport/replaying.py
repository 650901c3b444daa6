"""Recorded exchanges in place of instruments: one session, or those of a whole rig."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import LinkError, LinkTimeout
from hil_drivers.transport.session import SHORT_TIMEOUT_S, BinaryType
from hil_drivers.transport.wirelog import Exchange, block_text, load_wire_log


class ReplaySession:
    """Answers from recorded exchanges; any surplus, missing or different message is a LinkError."""

    def __init__(self, address: str, exchanges: Iterable[Exchange]) -> None:
        self.address = address
        self.transactions = 0
        self._left = list(exchanges)
        self._at = 0

    @classmethod
    def of(cls, pairs: Sequence[tuple[str | None, str | NDArray[Any] | None]]) -> ReplaySession:
        """Return a session of pairs (sent, reply): None = nothing sent, or no reply.

        An array as the reply is a binary block of its dtype; ``("<clear>", None)`` a device clear.
        """
        exchanges = []
        for n, (sent, reply) in enumerate(pairs):
            if sent == "<clear>":
                exchanges.append(Exchange(n, 0.0, "", "clear"))
            elif reply is None:
                exchanges.append(Exchange(n, 0.0, "", "write", sent=sent or ""))
            else:
                op, text = ("read", "") if sent is None else ("query", sent)
                if isinstance(reply, str):
                    exchanges.append(Exchange(n, 0.0, "", op, sent=text, reply=reply))
                else:
                    dtype, block = reply.dtype.str, block_text(reply)
                    exchanges.append(
                        Exchange(n, 0.0, "", f"{op}_binary", sent=text, dtype=dtype, block=block)
                    )
        return cls("replay", exchanges)

    def finish(self) -> None:
        """Check that everything recorded was used; LinkError naming the first that was not."""
        if self._at < len(self._left):
            rest = self._left[self._at]
            raise LinkError(f"{len(self._left) - self._at} recorded exchanges were not used; "
                            f"next is {rest.op} {rest.sent!r}", self.address)  # fmt: skip

    def _next(self, op: str, sent: str = "") -> Exchange:
        if self._at >= len(self._left):
            raise LinkError(f"{op} {sent!r} is not in the recording, which has ended", self.address)
        exchange = self._left[self._at]
        if (exchange.op, exchange.sent) != (op, sent):
            raise LinkError(f"{op} {sent!r} came where the recording has {exchange.op} "
                            f"{exchange.sent!r} (exchange {exchange.n})", self.address)  # fmt: skip
        self._at += 1
        if op not in ("read", "read_binary", "clear"):
            self.transactions += 1
        if exchange.error:
            timed_out = exchange.error.startswith(LinkTimeout.__name__)
            raise (LinkTimeout if timed_out else LinkError)(exchange.error, self.address)
        return exchange

    def write(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> None:
        """Check one message against the recording."""
        self._next("write", message)

    def write_binary(
        self, header: str, values: NDArray[Any], timeout_s: float = SHORT_TIMEOUT_S
    ) -> None:
        """Check one block against the recording."""
        exchange = self._next("write_binary", header)
        if exchange.block != block_text(values):
            raise LinkError(f"the block after {header!r} differs from the recording", self.address)

    def read(self, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Return the recorded reply."""
        return self._next("read").reply

    def query(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Check the message and return the recorded reply."""
        return self._next("query", message).reply

    def query_binary(
        self, message: str, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Check the message and return the recorded block."""
        return self._block(self._next("query_binary", message), count)

    def read_binary(
        self, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Return the recorded block."""
        return self._block(self._next("read_binary"), count)

    def _block(self, exchange: Exchange, count: int) -> NDArray[np.float64]:
        values = np.frombuffer(base64.b64decode(exchange.block), dtype=exchange.dtype)
        if len(values) != count:
            raise LinkError(f"a block of {len(values)} numbers came, {count} were asked for",
                            self.address)  # fmt: skip
        return values.astype(np.float64)

    def clear(self) -> None:
        """Check that the recording has a device clear here."""
        self._next("clear")

    def close(self) -> None:
        """Nothing to close."""


def replayed(path: str | Path) -> Callable[[str], ReplaySession]:
    """Return what opens sessions by instrument name on the wire log ``path``.

    A rig that does what the recorded one did gets the same answers; whatever differs is a
    LinkError. A second session of an instrument goes on where the first one was.

    Raises:
        StoreError: the file cannot be read or is no wire log.
    """
    recorded = load_wire_log(path)
    sessions: dict[str, ReplaySession] = {}

    def connect(name: str) -> ReplaySession:
        if name not in recorded:
            raise LinkError(f"the wire log {path} has no instrument {name!r}", name)
        return sessions.setdefault(name, ReplaySession(name, recorded[name]))

    return connect
