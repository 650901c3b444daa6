"""What a driver needs of a link: write, query, binary blocks, device clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: Time for a message that asks for no work; longer ones are computed from the work they ask for.
SHORT_TIMEOUT_S: Final = 2.0

BinaryType = Literal["<f4", ">f4", "<f8", ">f8"]


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How an instrument frames its messages; serial fields count for ``ASRL`` resources only."""

    write_termination: str = "\n"
    read_termination: str = "\n"
    baud: int = 9600
    parity: Literal["none", "even", "odd"] = "none"


@runtime_checkable
class Session(Protocol):
    """One open link to one instrument; used by one thread.

    ``transactions`` counts messages sent (a query is one). Nothing is ever sent twice.
    """

    address: str
    transactions: int

    def write(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> None:
        """Send one message.

        Raises:
            LinkError: the link is lost; LinkTimeout when it does not take the message in time.
        """

    def write_binary(
        self, header: str, values: NDArray[Any], timeout_s: float = SHORT_TIMEOUT_S
    ) -> None:
        """Send ``header`` and a definite-length IEEE 488.2 block of the array's bytes."""

    def read(self, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Return one reply line without its terminator; the instrument was asked before."""

    def query(self, message: str, timeout_s: float = SHORT_TIMEOUT_S) -> str:
        """Send one message and return the reply line."""

    def query_binary(
        self, message: str, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Send one message and return a binary block of exactly ``count`` numbers.

        The length is known beforehand, so that ``#0`` blocks (which hold line feeds) are safe.

        Raises:
            LinkError: the block is shorter, longer or no block.
        """

    def read_binary(
        self, count: int, dtype: BinaryType, timeout_s: float = SHORT_TIMEOUT_S
    ) -> NDArray[np.float64]:
        """Return a binary block of exactly ``count`` numbers; the instrument was asked before.

        Raises:
            LinkError: as :meth:`query_binary`.
        """

    def clear(self) -> None:
        """Clear the device: whatever is queued in it or on the way is dropped."""

    def close(self) -> None:
        """Close the link; idempotent, never raises."""


def messages(commands: Sequence[str]) -> str:
    """Return several commands as one message, one per line (TSP)."""
    return "\n".join(commands)
