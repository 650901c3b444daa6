"""Who answers on a serial port: asked in plain text first, and never anything that could pulse."""

from __future__ import annotations

import time
from typing import Final

from hil.errors import HilError, LinkError, LockedError
from hil_drivers.serial_board import frames, messages
from hil_drivers.serial_board.frames import Frame, FrameError
from hil_drivers.serial_board.messages import Hello, Op
from hil_drivers.transport.exclusive import InstrumentLocks
from hil_drivers.transport.serialport import SerialPort

#: A challenge for which the coded HELLO holds no printable character and no line end, so that an
#: instrument that reads text finds no word in it.
QUIET: Final = 0x81828385
_ANSWER_S: Final = 0.4
_MOST: Final = 4096


def who_answers(resource: str, *, baud: int = 115_200, patience_s: float = 2.5) -> str:
    """Return in words who answers on a serial port: a framed board, some instrument, or nobody.

    ``*IDN?`` is asked for ``patience_s``, since some boards start anew when their port is opened.
    HELLO, which makes a board safe, is sent only where that was answered.
    """
    locks = InstrumentLocks({"port": resource})
    try:
        locks.take("port")
        port = SerialPort(resource, baud=baud)
    except LockedError as exc:
        locks.release()
        return f"in use: {exc}"
    except HilError as exc:
        locks.release()
        return f"cannot be opened: {exc}"
    try:
        identity = _identity(port, patience_s)
        if identity is None:
            return f"no answer to *IDN? at {baud} baud"
        hello = _hello(port)
        if hello is None:
            return f"answers *IDN?: {identity}"
        return f"framed board: {described(hello)}"
    except LinkError as exc:
        return f"fails: {exc}"
    finally:
        port.close()
        locks.release()


def described(hello: Hello) -> str:
    """Return what a board says of itself, in one line."""
    return (
        f"{hello.identity}; {hello.rows} x {hello.cols}, {hello.level_min_v:g} … "
        f"{hello.level_max_v:g} V in {hello.level_step_v:g} V, {hello.width_min / 1e9:g} … "
        f"{hello.width_max / 1e9:g} s in {hello.time_step / 1e9:g} s, readings to "
        f"{hello.current_max_a:g} A in {hello.current_step_a:g} A"
    )


def _identity(port: SerialPort, patience_s: float) -> str | None:
    until_s = time.monotonic() + patience_s
    while True:
        port.write(b"\n*IDN?\n")  # the line end before it ends what may be there already
        heard, again_s = bytearray(), time.monotonic() + _ANSWER_S
        while (left_s := again_s - time.monotonic()) > 0.0 and len(heard) < _MOST:
            heard += port.read_some(left_s)
            *lines, _ = heard.rsplit(b"\0", 1)[-1].split(b"\n")
            for line in lines:
                text = line.decode("ascii", "replace").strip()
                if text.isprintable() and text.count(",") >= 1 and "\ufffd" not in text:
                    return text
        if time.monotonic() > until_s:
            return None


def _hello(port: SerialPort) -> Hello | None:
    port.write(frames.pack(Frame(0, 0, Op.HELLO, messages.CHALLENGE.pack(QUIET))))
    heard, until_s = bytearray(), time.monotonic() + _ANSWER_S
    while (left_s := until_s - time.monotonic()) > 0.0 and len(heard) < _MOST:
        heard += port.read_some(left_s)
        *parts, _ = heard.split(b"\0")
        for part in parts:
            try:
                frame = frames.unpack(bytes(part))
                if frame.op == Op.HELLO | frames.REPLY:
                    return Hello.of(frame.payload, port.address)
            except FrameError:
                continue
    port.write(b"\n")  # an instrument that reads lines drops what was no command
    return None
