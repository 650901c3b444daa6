"""What goes over ArC ONE's serial line: decimal lines up, little-endian binary numbers down.

Nothing is framed, numbered or summed. Sources of every number here: docs/array-boards.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.capabilities import Range

BAUD: Final = 921600
MAX_LINES: Final = 32  # words, and bits
VOLTS: Final = Range(-12.0, 12.0)  # of a pulse and of a read
PULSE_S: Final = Range(90e-9, 10.0)

RESET: Final = b"00\n"
FIRMWARE: Final = b"999\n"
FIRMWARE_BYTES: Final = 4
READY: Final = 1  # the answer to an initialisation


class ReadMode(IntEnum):
    """How the board measures a resistance."""

    CLASSIC = 0
    TIA = 1
    TIA4P = 2
    TIA4P_NEGATIVE = 3


class Session(IntEnum):
    """What the board's terminals are joined to."""

    LOCAL = 0


class Inhibit(IntEnum):
    """What unselected lines are held at during a pulse."""

    HALF = 1


def number(value: float) -> str:
    """Return a number as the board reads it; what it stands for is ``float`` of that."""
    return f"{value:.9g}"


def sent(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the numbers that the lines for ``values`` stand for."""
    unique, back = np.unique(values, return_inverse=True)
    return np.array([float(number(v)) for v in unique.tolist()])[back].reshape(values.shape)


def packet(*fields: int | float | str) -> bytes:
    """Return one command: every field on a line of its own."""
    return "".join(
        f"{number(field) if isinstance(field, float) else field}\n" for field in fields
    ).encode("ascii")


def initialise(cycles: int, words: int, bits: int, mode: ReadMode, read_v: float) -> bytes:
    """Return the command that sets up the board; it answers a line with :data:`READY`."""
    return packet("0", cycles, words, bits, int(mode), int(Session.LOCAL), int(Inhibit.HALF),
                  float(read_v))  # fmt: skip


def set_read(mode: ReadMode, read_v: float) -> bytes:
    """Return the command for the voltage of the reads that follow; it is not answered."""
    return packet("01", int(signed_mode(mode, read_v)), float(read_v))


def signed_mode(mode: ReadMode, read_v: float) -> ReadMode:
    """Return the mode for a voltage: four-point reads have one for each sign."""
    if mode in (ReadMode.TIA4P, ReadMode.TIA4P_NEGATIVE):
        return ReadMode.TIA4P_NEGATIVE if read_v < 0.0 else ReadMode.TIA4P
    return mode


def read_one(word: int, bit: int) -> bytes:
    """Return the command that reads one cell; it is answered by its resistance in ohms."""
    return packet("1", word, bit)


def read_all(words: int, bits: int) -> bytes:
    """Return the command that reads every cell; resistances come word by word."""
    return packet("2", 1, words, bits)


def pulse_read(word: int, bit: int, volts: float, width_s: float) -> bytes:
    """Return the command for one pulse on one cell; it is answered by the resistance after it."""
    return packet("3", word, bit, float(volts), float(width_s))


def resistances(reply: bytes) -> NDArray[np.float64]:
    """Return the resistances in ohms of a reply."""
    return np.frombuffer(reply, dtype="<f4").astype(np.float64)


def firmware(reply: bytes) -> tuple[int, int]:
    """Return major and minor version of a reply to :data:`FIRMWARE`."""
    major, minor = np.frombuffer(reply, dtype="<u2").tolist()
    return major, minor
