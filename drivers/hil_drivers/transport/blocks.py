"""IEEE 488.2 binary blocks and the numbers that instruments use for 'no reading'."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import LinkError
from hil.measurement import Status

#: SCPI's infinity is 9.9E37 and its NaN 9.91E37 (SCPI-99 vol. 1, 7.2.1.4); FLEX instruments give
#: 199.999E+99. Whatever is as large as the first is no reading, with either sign.
OVERFLOW: Final = 9.9e37 * (1 - 1e-6)


def definite_block(values: NDArray[Any]) -> bytes:
    """Return ``#<digits><length><bytes>`` of the array's memory."""
    payload = np.ascontiguousarray(values).tobytes()
    length = str(len(payload))
    return f"#{len(length)}{length}".encode("ascii") + payload


def parse_block_header(head: bytes, address: str = "") -> int:
    """Return how many digits of length follow ``#d``; 0 for a block without a length.

    Raises:
        LinkError: it is no block.
    """
    if len(head) != 2 or head[:1] != b"#" or not head[1:].isdigit():
        raise LinkError(f"a binary block should begin with '#', {head!r} came", address)
    return int(head[1:])


def readings(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Return the values with NaN for overflows, and their status bits."""
    out = np.array(values, dtype=np.float64)
    bad = ~(np.abs(out) < OVERFLOW)
    status = np.where(bad, np.uint32(Status.OVERFLOW), np.uint32(0)).astype(np.uint32)
    out[bad] = np.nan
    return out, status


def parse_numbers(text: str, count: int, address: str = "") -> NDArray[np.float64]:
    """Return ``count`` numbers of a comma separated reply.

    Raises:
        LinkError: another count, or something that is no number.
    """
    parts = text.split(",") if text.strip() else []
    if len(parts) != count:
        raise LinkError(f"{count} numbers were asked for, {len(parts)} came", address)
    try:
        return np.array([float(p) for p in parts])
    except ValueError as exc:
        raise LinkError(f"a reply holds no number: {exc}", address) from exc
