"""The line to an ArC ONE: paced, every command followed by an answer, resynchronised by a reset.

The protocol has no frames, so a line that is lost makes the board take the next one in its place.
Two rules keep that harmless. A command that is not answered is followed by a question about the
firmware: until that is answered nothing is read or pulsed. After an answer that did not come only
the reset ``00`` is sent, which as a voltage is 0 V and as a width 0 s, as often as a command has
lines: the board may take the first ones for what it still waits for. Select and pulse (``02``,
``04``) are not used: a question in place of a lost width would be a pulse of 999 s.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hil.errors import BackendUnavailable, LinkError
from hil_drivers.arc_one import protocol
from hil_drivers.arc_one.protocol import ReadMode
from hil_drivers.transport.serialport import SerialPort

_QUIET_S: Final = 0.03  # silence after which nothing more is on its way
_MOST_S: Final = 3.0
#: Lines of the longest command, the initialisation.
_MOST_LINES: Final = 8
_SANE_OHM: Final = (1e-1, 1e15)  # beyond: no resistance but bytes out of step


@dataclass(frozen=True, slots=True)
class BoardSetup:
    """What the board is told when it is initialised, and how the line is used.

    Attributes:
        words, bits: lines that the board drives, from 1.
        cycles: samples averaged per read.
        mode: how it reads.
        read_v: voltage of the reads after a pulse.
        write_delay_s: least time between two commands.
        timeout_s: longest wait for the answer to a read, pulses not counted.
        reset_s: time that the board takes to start.
    """

    words: int
    bits: int
    cycles: int
    mode: ReadMode
    read_v: float
    write_delay_s: float
    timeout_s: float
    reset_s: float


class ArcLink:
    """One board on an open port; used by one thread, :meth:`abort` from any."""

    def __init__(
        self, port: SerialPort, setup: BoardSetup, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.port, self.setup, self._sleep = port, setup, sleep
        self.version: tuple[int, int] | None = None
        self.resets = 0  #: times it was reset, the first included
        self._ready = False
        self._in_step = False  # the last command was answered as it should be
        self._read_v: float | None = None
        self._last_s = -1e9
        self._sending = threading.Lock()
        self._aborted = False

    # -- life ------------------------------------------------------------------------------

    @property
    def is_safe(self) -> bool:
        """Whether the board was reset and has done nothing since."""
        return not self._ready

    def reset(self) -> None:
        """Restart the board; it drives nothing and knows nothing then.

        Raises:
            LinkError: the port is gone.
        """
        self._ready, self._read_v = False, None
        self.resets += 1
        for _ in range(1 if self._in_step else _MOST_LINES):
            self._send(protocol.RESET)
        self._in_step = False
        self._sleep(self.setup.reset_s)

    def make_safe(self) -> None:
        """Reset the board and hear from it that it has started.

        Raises:
            LinkError: it is not heard; LinkTimeout: it does not answer.
        """
        self.reset()
        if self._aborted:
            return
        self.port.drain(_QUIET_S, _MOST_S)
        self.version = self._ask_firmware()

    def initialise(self) -> None:
        """Reset the board and set it up, whatever was on the line before.

        Raises:
            BackendUnavailable: something else answers.
            LinkError: the port is gone; LinkTimeout: nothing answers.
        """
        setup = self.setup
        self.make_safe()
        self._send(protocol.initialise(setup.cycles, setup.words, setup.bits,
                                       protocol.signed_mode(setup.mode, setup.read_v),
                                       setup.read_v))  # fmt: skip
        answer = self.port.read_until(b"\n", setup.timeout_s, most=64)
        if answer.strip() != str(protocol.READY).encode():
            raise BackendUnavailable(
                f"{self.port.address}: an ArC ONE answers its initialisation by 1, {answer!r} came"
            )
        self._ready = True
        self._set_read(setup.read_v)

    def use(self) -> None:
        """Initialise the board unless it is ready."""
        if not self._ready:
            self.initialise()

    def abort(self) -> None:
        """Send a reset and end every wait; from any thread. The port is of no use afterwards."""
        self._aborted, self._ready = True, False
        with contextlib.suppress(LinkError):  # a port that is gone drives nothing any more
            self._write(protocol.RESET)
        self.port.cancel()

    # -- what it does ----------------------------------------------------------------------

    def read_one(self, word: int, bit: int, volts: float) -> float:
        """Return the resistance of one cell in ohms at ``volts``."""
        self._set_read(volts)
        return float(self._resistances(protocol.read_one(word, bit), 1, 0.0)[0])

    def read_all(self, volts: float) -> NDArray[np.float64]:
        """Return (words x bits,) resistances in ohms at ``volts``, word by word."""
        self._set_read(volts)
        words, bits = self.setup.words, self.setup.bits
        return self._resistances(protocol.read_all(words, bits), words * bits, 0.0)

    def pulse(self, word: int, bit: int, volts: float, width_s: float) -> float:
        """Pulse one cell once and return its resistance in ohms after it.

        Raises:
            LinkError: no sound answer came; the pulse may have run. It is never sent again.
        """
        self._set_read(self.setup.read_v)
        return float(self._resistances(protocol.pulse_read(word, bit, volts, width_s), 1,
                                       width_s)[0])  # fmt: skip

    def _set_read(self, volts: float) -> None:
        """Set the voltage of the reads that follow; the firmware's answer shows that it took it."""
        if volts == self._read_v:
            return
        self._read_v = None
        self._refuse_unread()
        self._send(protocol.set_read(self.setup.mode, volts))
        self._ask_firmware()
        self._read_v = volts

    def _ask_firmware(self) -> tuple[int, int]:
        self._refuse_unread()
        self._send(protocol.FIRMWARE)
        found = protocol.firmware(
            self.port.read_exactly(protocol.FIRMWARE_BYTES, self.setup.timeout_s)
        )
        if self.version is not None and found != self.version:
            raise LinkError(f"the firmware was {self.version}, now {found} is answered: the line "
                            "is out of step", self.port.address)  # fmt: skip
        self._in_step = True
        return found

    def _resistances(self, command: bytes, count: int, busy_s: float) -> NDArray[np.float64]:
        self._refuse_unread()
        self._send(command)
        # A whole array takes longer than one cell, but not more between two replies.
        until_s = self.setup.timeout_s + busy_s + 0.05 * count
        found = protocol.resistances(self.port.read_exactly(4 * count, until_s))
        low, high = _SANE_OHM
        bad = ~(((found > low) & (found < high)) | np.isposinf(found))
        if bad.any():
            raise LinkError(f"{found[bad][0]:g} ohm is no resistance: the line is out of step",
                            self.port.address)  # fmt: skip
        self._in_step = True
        return found

    def _refuse_unread(self) -> None:
        unread = self.port.unread
        if unread:
            raise LinkError(f"{unread} bytes came that nobody asked for: the line is out of step",
                            self.port.address)  # fmt: skip

    def _send(self, command: bytes) -> None:
        wait_s = self._last_s + self.setup.write_delay_s - time.monotonic()
        if wait_s > 0.0:
            time.sleep(wait_s)
        if self._aborted and command != protocol.RESET:
            raise LinkError("the board was aborted", self.port.address)
        self._in_step = False
        self._write(command)

    def _write(self, command: bytes) -> None:
        with self._sending:
            self.port.write(command)
            self._last_s = time.monotonic()
