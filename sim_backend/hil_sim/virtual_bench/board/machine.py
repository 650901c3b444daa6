"""The protocol: bytes in, bytes out; sessions, numbers, and the resend that is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable

from hil_sim.virtual_bench.board.codes import ERROR_HEAD, Code, Op, Refused, Why
from hil_sim.virtual_bench.board.core import Core
from hil_sim.virtual_bench.board.frames import (
    DATA,
    ERROR,
    REPLY,
    VERSION,
    Damaged,
    Frame,
    Identify,
    Receiver,
    encode,
)  # fmt: skip
from hil_sim.virtual_bench.board.requests import Requests
from hil_sim.virtual_bench.board.streams import Stream

_BURST = 1 << 16  # bytes of a stream between looks at the input
_IDLE_S = 0.05
_PACED_S = 1e-3


class Machine:
    """A board behind a serial line.

    Args:
        core: the board.
        salt: returns a number that differs from one HELLO to the next.
        boot: returns a number that differs from one reset to the next.
        arrived: told every intact frame before anything is done with it.
        version: of the protocol that it speaks.

    Attributes:
        session: the nonce, 0 = none. number: of the last request.
    """

    def __init__(
        self, core: Core, *, salt: Callable[[], int], boot: Callable[[], int],
        arrived: Callable[[Frame], None] | None = None, version: int = VERSION,
    ) -> None:  # fmt: skip
        self.core, self.requests = core, Requests(core)
        self._salt, self._boot, self._arrived = salt, boot, arrived
        self._version = version
        self._receiver = Receiver(core.features.max_payload, version)
        self._out: list[bytes] = []
        self.reset()

    def reset(self) -> None:
        """Power-on: no session, safe."""
        self.core.reset()
        self._receiver.reset()
        self._out.clear()
        self.boot = self._boot()
        self._forget()
        self.session = 0

    def _forget(self) -> None:
        self.number, self._crc = 0, -1
        self._stored: bytes | None = None
        self._stream: Stream | None = None
        self._again: Callable[[], Stream] | None = None
        self._deferred: Callable[[], bytes] | None = None
        self._op = 0

    def link_lost(self) -> None:
        """The host has gone: go safe."""
        self.core.go_safe(Why.LINK)
        self._receiver.reset()
        self._stream = None

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return what is sent back by now."""
        for arrival in self._receiver.feed(data):
            if isinstance(arrival, Frame):
                self._frame(arrival)
            elif isinstance(arrival, Damaged):
                self._damaged(arrival)
            elif isinstance(arrival, Identify):
                self._out.append(self.core.identity.encode()[:128] + b"\n")
        return self.tick()

    def _damaged(self, arrival: Damaged) -> None:
        refused = Refused(Code.BAD_FRAME)
        if arrival.version is not None:
            refused = Refused(Code.BAD_VERSION, arrival.version)
        self._error(self.session, 0, 0, refused)

    def tick(self) -> bytes:
        """Do what is due: watchdog, a slice of the run, data frames; return what is sent."""
        core = self.core
        core.watch()
        if core.running:
            core.advance()
        if self._deferred is not None and not core.running:
            self._finish(self._deferred)
        if self._stream is not None:
            self._pump(self._stream)
        out = b"".join(self._out)
        self._out.clear()
        return out

    @property
    def busy(self) -> bool:
        """Whether a run, a stream or an answer is under way."""
        return self.core.running or self._stream is not None or self._deferred is not None

    def idle_s(self) -> float:
        """Return after how many seconds :meth:`tick` has something to do."""
        core = self.core
        if core.running:
            return _PACED_S if core.pace() > 0.0 or core.waiting else 0.0
        if self._stream is not None:
            return 0.0
        left = core.watchdog_left_s
        return _IDLE_S if math.isinf(left) else min(max(left, 0.0), _IDLE_S)

    def _frame(self, frame: Frame) -> None:
        core = self.core
        if self._arrived is not None:
            self._arrived(frame)
        mine = frame.session == self.session != 0
        if mine:
            core.fed = core.clock()
        if frame.op == Op.HELLO and frame.number == 0:
            self._hello(frame)
            return
        if frame.op == Op.SAFE:
            core.go_safe(Why.ASKED)
        expected = self.number % 65535 + 1
        again = mine and frame.number == self.number != 0
        if mine and frame.number == expected:
            self._execute(frame)
        elif again and frame.crc == self._crc:
            self._resend()
        elif frame.op == Op.SAFE:
            self._send(frame.session, frame.number, Op.SAFE | REPLY, core.status_block())
        elif not mine:
            self._error(frame.session, frame.number, frame.op, Refused(Code.NO_SESSION))
        elif frame.number == 0 and frame.op == Op.SEQ_STATUS and not frame.payload:
            self._send(frame.session, 0, Op.SEQ_STATUS | REPLY, core.status_block())
        elif frame.number != 0 or frame.op != Op.PING:
            code = Code.CONFLICT if again else Code.BAD_NUMBER
            self._error(frame.session, frame.number, frame.op, Refused(code, expected))

    def _hello(self, frame: Frame) -> None:
        """Begin a session."""
        if len(frame.payload) != 4:
            self._error(frame.session, 0, Op.HELLO, Refused(Code.BAD_LENGTH, len(frame.payload)))
            return
        challenge = int.from_bytes(frame.payload, "little")
        self.core.hello()
        self._forget()
        self.session = (challenge ^ self._salt()) & 0xFFFFFFFF or 1
        features, identity = self.core.features, self.core.identity
        payload = features.hello(challenge, self.boot, self.core.watchdog_ms, identity)
        self._send(self.session, 0, Op.HELLO | REPLY, payload)

    def _execute(self, frame: Frame) -> None:
        """Execute a request with a new number."""
        self._forget()
        self.number, self._crc, self._op = frame.number, frame.crc, frame.op
        try:
            answer = self.requests.execute(frame.op, frame.payload, frame.number)
        except Refused as refused:
            self._error(self.session, self.number, frame.op, refused, store=True)
            return
        if isinstance(answer, bytes):
            self._reply(answer)
        elif isinstance(answer, Stream):
            self._stream, self._again = answer, answer.again
        else:
            self._deferred = answer

    def _resend(self) -> None:
        """Answer a request that came again; nothing is driven."""
        if self._stored is not None:
            self._out.append(self._stored)
        elif self._again is not None:
            self._stream = self._again()

    def _finish(self, make: Callable[[], bytes]) -> None:
        """Answer a request whose run is over."""
        self._deferred = None
        try:
            self._reply(make())
        except Refused as refused:
            self._error(self.session, self.number, self._op, refused, store=True)

    def _reply(self, payload: bytes) -> None:
        self._stored = encode(self.session, self.number, self._op | REPLY, payload, self._version)
        self._out.append(self._stored)

    def _pump(self, stream: Stream) -> None:
        """Send data frames, and the reply after the last."""
        sent = 0
        while sent < _BURST and (payload := stream.next()) is not None:
            self._send(self.session, self.number, stream.op | DATA, payload)
            sent += len(payload)
        if sent < _BURST and stream.complete:
            self._stream = None
            self._send(self.session, self.number, stream.op | REPLY, stream.reply())

    def _send(self, session: int, number: int, op: int, payload: bytes) -> None:
        self._out.append(encode(session, number, op, payload, self._version))

    def _error(
        self, session: int, number: int, op: int, refused: Refused, *, store: bool = False
    ) -> None:  # fmt: skip
        core = self.core
        core.errors, core.latest = core.errors + 1, (int(refused.code), refused.text)
        payload = ERROR_HEAD.pack(refused.code, refused.detail) + refused.text.encode()[:96]
        frame = encode(session, number, (op & 0x3F) | ERROR, payload, self._version)
        self._out.append(frame)
        if store:
            self._stored = frame
