"""The link to a board: numbered requests, the one resend that is allowed, streams, out of band.

A request is sent again only as the very same frame, which the board executes once at most. One
thread makes requests; :meth:`BoardLink.safe_now` and the watchdog's pings come from others.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from hil.errors import BackendError, InstrumentError, LinkError, LinkTimeout
from hil_drivers.serial_board import frames, messages
from hil_drivers.serial_board.feeding import Feeder
from hil_drivers.serial_board.frames import ERROR, PART, REPLY, Frame, FrameError
from hil_drivers.serial_board.messages import BoardStatus, Code, Hello, Op
from hil_drivers.serial_board.streams import Sink
from hil_drivers.transport.serialport import SerialPort

_LARGEST: Final = 8192 + 64 + 8192 // 254  #: a coded frame of the largest payload, and a little
_SAFE_S: Final = 0.5  # an abort waits so long for the board's word, over and above the time-out
_LAST_NUMBER: Final = 0xFFFF
_NOISE: Final = 4  # damage is noticed at once, and noise may come before a good reply

#: Errors after which nothing is known of the board until HELLO.
_ENDS_SESSION: Final = (Code.NO_SESSION, Code.BAD_NUMBER, Code.CONFLICT)


def any_challenge() -> int:
    """Return a random 32-bit number for HELLO."""
    return secrets.randbits(32)


class _Damaged(Exception):
    """What came was no frame."""


class _NotUnderstood(_Damaged):
    """The board says that what we sent was no frame."""


class SessionEnded(LinkError):
    """The board knows nothing of the session; ``after_resend`` when an earlier try may have run."""

    after_resend = True


class BoardLink:
    """Requests to one board over one serial port.

    Args:
        port: open.
        timeout_s: for a reply, on top of what the request itself takes.
        tries: how often one frame is sent into silence; four times as often into noise.
        draw: returns another 32-bit number each time, for HELLO.

    Attributes:
        hello: what the board said last; None before :meth:`begin`.
        lost: the session has ended in doubt; only :meth:`begin` and SAFE are possible.
        resends: frames sent again so far.
    """

    def __init__(
        self, port: SerialPort, *, timeout_s: float = 0.25, tries: int = 4,
        draw: Callable[[], int] = any_challenge,
    ) -> None:  # fmt: skip
        self.port, self.timeout_s, self.tries = port, timeout_s, tries
        self._draw = draw
        self.hello: Hello | None = None
        self.lost = True
        self.resends = 0
        self._session = self._number = 0
        self._buffer = bytearray()
        self._frames: deque[bytes] = deque()
        self._sending, self._using = threading.Lock(), threading.RLock()
        self._was_made_safe = threading.Event()
        self._feeder: Feeder | None = None

    @property
    def address(self) -> str:
        """The port."""
        return self.port.address

    # -- sessions --------------------------------------------------------------------------

    def begin(self, patience_s: float = 0.0) -> Hello:
        """Begin a new session: HELLO, which makes the board safe.

        ``patience_s`` is how long a board may take that resets when its port is opened.

        Raises:
            LinkTimeout: nothing answers. LinkError: what answers does not speak the protocol.
        """
        with self._using:
            self.stop_feeding()
            self.lost, self.hello = True, None
            until_s = time.monotonic() + max(patience_s, self.timeout_s * self.tries)
            damaged = 0
            while True:
                challenge = self._draw()
                self._send(Frame(0, 0, Op.HELLO, messages.CHALLENGE.pack(challenge)))
                again_s = time.monotonic() + self.timeout_s
                while (now_s := time.monotonic()) < again_s:
                    try:
                        hello = self._greeted(challenge, again_s)
                    except _Damaged:
                        damaged += 1
                        continue
                    if hello is not None:
                        self.hello, self.lost, self._number = hello, False, 0
                        return hello
                if now_s > until_s:
                    raise self._silent("HELLO", damaged)

    def _greeted(self, challenge: int, until_s: float) -> Hello | None:
        while (frame := self._next(until_s)) is not None:
            if frame.number or frame.op != Op.HELLO | REPLY:
                continue
            hello = Hello.of(frame.payload, self.address)
            if hello.challenge == challenge:
                self._session = frame.session
                return hello
        return None

    # -- requests --------------------------------------------------------------------------

    def request(self, op: Op, payload: bytes = b"", takes_s: float = 0.0) -> bytes:
        """Return the payload of the reply; ``takes_s`` is what the board needs for the work.

        Raises:
            InstrumentError: the board refuses.
            LinkTimeout, LinkError: no reply, or the session has ended.
        """
        return self.stream(op, payload, None, takes_s)

    def stream(
        self, op: Op, payload: bytes, sink: Sink | None, takes_s: float = 0.0
    ) -> bytes:  # fmt: skip
        """Return the payload of the reply after passing the data frames on, whole and in order."""
        with self._using:
            if self.lost:
                raise LinkError("the session with the board has ended; its state is not known",
                                self.address)  # fmt: skip
            self._number = self.next_number
            coded = frames.pack(Frame(self._session, self._number, op, payload))
            silent = damaged = 0
            while silent < self.tries and damaged < self.tries * _NOISE:
                self.resends += bool(silent or damaged)
                try:
                    self._put(coded)
                    reply = self._answer(op, sink, takes_s)
                except _Damaged:
                    damaged += 1
                    continue
                except SessionEnded as exc:
                    self.lost, exc.after_resend = True, bool(silent or damaged)
                    raise
                except LinkError:
                    self.lost = True
                    raise
                if reply is not None:
                    return reply
                silent += 1
            self.lost = True
            raise self._silent(op.name, damaged)

    def _answer(self, op: Op, sink: Sink | None, takes_s: float) -> bytes | None:
        """Return the reply to the present number; None when it does not come.

        Raises:
            _Damaged: the request or the reply was; of a stream, its rest was waited for.
        """
        until_s = time.monotonic() + takes_s + self.timeout_s
        damaged = begun = False
        if sink is not None:
            sink.begin()
        while True:
            try:
                frame = self._next(until_s)
            except _Damaged as exc:
                if sink is None or (isinstance(exc, _NotUnderstood) and not begun):
                    raise
                damaged = True
                continue
            if frame is None:
                if damaged:
                    raise _Damaged
                return None
            if frame.session != self._session or frame.number != self._number:
                continue
            if frame.op == op | REPLY:
                if sink is not None and not sink.whole(frame.payload):
                    raise _Damaged
                return frame.payload
            if frame.op == op | ERROR:
                raise self._refused(op, frame.payload)
            if sink is not None and frame.op == op | PART:
                begun = True
                until_s = max(until_s, time.monotonic() + self.timeout_s)
                sink.take(frame.payload)

    def _refused(self, op: Op, payload: bytes) -> BackendError:
        code, detail, text = messages.error_of(payload)
        name = messages.code_name(code)
        said = f"{name} {text}".strip() + (f" (detail {detail})" if detail else "")
        if code in _ENDS_SESSION:
            return SessionEnded(
                f"{op.name}: {said}: the board was reset, or another program has spoken to it; "
                "its state is not known and nothing is sent again", self.address,
            )  # fmt: skip
        return InstrumentError(code, said, op.name)

    def _silent(self, what: str, damaged: int) -> LinkError:
        if damaged:
            return LinkError(
                f"{what}: {damaged} damaged frames came, and no good one; is the baud rate right, "
                "and is it a board that speaks the framed protocol?", self.address,
            )  # fmt: skip
        hint = "; is it the right port, and a board that speaks the framed protocol?"
        return LinkTimeout(
            f"{what}: no answer in {self.tries} tries" + (hint if what == "HELLO" else ""),
            self.address,
        )

    @property
    def next_number(self) -> int:
        """The number that the next request will have."""
        return self._number % _LAST_NUMBER + 1

    # -- out of band -----------------------------------------------------------------------

    def status_now(self) -> BoardStatus | None:
        """Return the status, asked for out of band; None when this session is no more.

        It says what has run also when numbers are in doubt. None, too, when nothing answers.
        """
        with self._using:
            for _ in range(self.tries):
                try:
                    self._send(Frame(self._session, 0, Op.SEQ_STATUS))
                    until_s = time.monotonic() + self.timeout_s
                    while (frame := self._next(until_s)) is not None:
                        if frame.session != self._session or frame.number:
                            continue
                        if frame.op == Op.SEQ_STATUS | REPLY:
                            return BoardStatus.of(frame.payload, self.address)
                        if frame.op == Op.SEQ_STATUS | ERROR:
                            return None
                except _Damaged:
                    continue
                except LinkError:
                    return None
        return None

    def safe(self) -> None:
        """Make the board safe, whatever the session; returns once it says so.

        Raises:
            LinkTimeout: it does not say so.
        """
        self.stop_feeding()
        with self._using:
            for _ in range(self.tries):
                self._was_made_safe.clear()
                self._send(Frame(self._session, 0, Op.SAFE))
                if self._heard_safe(time.monotonic() + self.timeout_s):
                    return
        raise LinkTimeout("SAFE: the board does not confirm that its outputs are off", self.address)

    def safe_now(self) -> None:
        """Make the board safe from another thread than the one that makes requests.

        The frame goes between two of that thread's, also while the board runs a sequence.

        Raises:
            LinkTimeout: the board does not say so.
        """
        self.stop_feeding()
        until_s = time.monotonic() + _SAFE_S + self.timeout_s * self.tries
        while time.monotonic() < until_s:
            self._was_made_safe.clear()
            self._send(Frame(self._session, 0, Op.SAFE))
            again_s = time.monotonic() + self.timeout_s
            while time.monotonic() < again_s:
                if self._was_made_safe.wait(0.005):
                    return
                if self._using.acquire(blocking=False):
                    try:
                        if self._heard_safe(again_s):
                            return
                    finally:
                        self._using.release()
        raise LinkTimeout("SAFE: the board does not confirm that its outputs are off", self.address)

    def _heard_safe(self, until_s: float) -> bool:
        while not self._was_made_safe.is_set():
            try:
                if self._next(until_s) is None:
                    return self._was_made_safe.is_set()
            except _Damaged:
                continue
        return True

    def feed_every(self, period_s: float) -> None:
        """Keep the board's watchdog fed until :meth:`stop_feeding`."""
        self.stop_feeding()
        self._feeder = Feeder(self._feed, period_s)

    def stop_feeding(self) -> None:
        """Let the watchdog run out."""
        feeder, self._feeder = self._feeder, None
        if feeder is not None:
            feeder.stop()

    def _feed(self) -> None:
        self._send(Frame(self._session, 0, Op.PING))

    def close(self) -> None:
        """Close the port; never raises."""
        self.stop_feeding()
        self.lost = True
        self.port.close()

    # -- bytes -----------------------------------------------------------------------------

    def _send(self, frame: Frame) -> None:
        self._put(frames.pack(frame))

    def _put(self, coded: bytes) -> None:
        with self._sending:
            self.port.write(coded)

    def _next(self, until_s: float) -> Frame | None:
        """Return the next good frame; None when none comes in time.

        Raises:
            _Damaged: what came is none, or the board could not read ours.
            LinkError: it speaks another version.
        """
        while not self._frames:
            left_s = until_s - time.monotonic()
            got = self.port.read_some(max(left_s, 0.0))
            if not got:
                return None
            self._buffer += got
            *whole, rest = self._buffer.split(b"\0")
            self._buffer = rest if len(rest) <= _LARGEST else bytearray()
            self._frames.extend(bytes(part) for part in whole if part)
        try:
            frame = frames.unpack(self._frames.popleft())
        except frames.VersionError as exc:
            raise LinkError(str(exc), self.address) from exc
        except FrameError as exc:
            raise _Damaged from exc
        if frame.number == 0:
            if frame.op == Op.SAFE | REPLY:
                self._was_made_safe.set()
            elif frame.op == ERROR:
                code, _, text = messages.error_of(frame.payload)
                if code == Code.BAD_VERSION:
                    raise LinkError(f"the board does not speak version {frames.VERSION}: {text}",
                                    self.address)  # fmt: skip
                raise _NotUnderstood
        return frame
