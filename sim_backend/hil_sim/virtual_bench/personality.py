"""What every emulated instrument has: a name, channels, sessions, an error queue, a status byte."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from hil.errors import ConfigError
from hil_sim.virtual_bench.engine import RunAborted
from hil_sim.virtual_bench.faults import InstrumentFaults
from hil_sim.virtual_bench.latencies import MESSAGE, latency_s
from hil_sim.virtual_bench.terminal import Terminal

if TYPE_CHECKING:
    from hil_sim.virtual_bench.bench import Bench
    from hil_sim.virtual_bench.network import Network

Setting = str | int | float | bool


class Reply(bytes):
    """Several response messages to one message, such as what each ``print`` of a script sends.

    Attributes:
        parts: the messages; the value itself is all of them, as a raw socket carries them.
    """

    parts: tuple[bytes, ...]

    def __new__(cls, parts: Iterable[bytes]) -> Self:
        """Join ``parts`` and keep where they end."""
        kept = tuple(parts)
        out = super().__new__(cls, b"".join(kept))
        out.parts = kept
        return out


def parts_of(reply: bytes | None) -> tuple[bytes, ...]:
    """Return the response messages that a reply holds."""
    if reply is None:
        return ()
    return reply.parts if isinstance(reply, Reply) else (reply,)


class Personality(ABC):
    """One emulated instrument: bytes in, bytes out, synchronous.

    Attributes:
        terminals: channels by the names that wiring uses.
        owed_s: wall-clock time that what happened takes on a realistic bench, not yet slept.
        block_aware: messages may hold binary blocks whose bytes are no terminator.
    """

    driver: ClassVar[str] = ""
    default_model: ClassVar[str] = ""
    settings_known: ClassVar[frozenset[str]] = frozenset(
        {"model", "serial", "transport", "gpib_address", "trigger_in", "trigger_out"}
    )
    block_aware: ClassVar[bool] = True
    queue_limit: ClassVar[int] = 10

    def __init__(self, bench: Bench, name: str, settings: Mapping[str, Setting]) -> None:
        unknown = sorted(set(settings) - self.settings_known)
        if unknown:
            raise ConfigError(f"the emulator of a {self.driver} has no such option",
                              field=f"options.{name}.{unknown[0]}")  # fmt: skip
        self.bench, self.name = bench, name
        self.settings = dict(settings)
        self.model = str(self.settings.get("model", self.default_model))
        self.serial = str(self.settings.get("serial", "1400001"))
        self.terminals: dict[str, Terminal] = {}
        self.errors: deque[tuple[int, str]] = deque()
        self.busy = False
        self.abort_requested = False
        self.messages = 0
        self.owed_s = 0.0

    @property
    def faults(self) -> InstrumentFaults:
        """The faults that a test has put in."""
        return self.bench.faults[self.name]

    def post_error(self, code: int, text: str) -> None:
        """Append to the error queue; the last entry of a full one becomes -350."""
        if len(self.errors) >= self.queue_limit:
            self.errors[-1] = (-350, "Queue overflow")
        else:
            self.errors.append((code, text))

    def status_byte(self) -> int:
        """Return the status byte; bit 2 says that the error queue holds something."""
        return 4 if self.errors else 0

    def wired(self, network: Network) -> None:  # noqa: B027 - most are wired by the station alone
        """Look at the net list that the station gave, and add to it what goes without saying."""

    def session_opened(self) -> None:  # noqa: B027 - most instruments do not mind
        """Note that somebody connects; called with the bench's lock held."""

    def session_closed(self) -> None:  # noqa: B027
        """Note that somebody has gone; called with the bench's lock held."""

    @property
    def is_matrix(self) -> bool:
        """Whether the instrument is a switch matrix."""
        return False

    def closed_names(self) -> list[str]:
        """Return the closed crosspoints in the matrix' own grammar."""
        return []

    @abstractmethod
    def handle(self, message: bytes) -> bytes | None:
        """Execute one message (terminator removed); return its reply, terminator included."""

    def watch_interlock(self) -> None:  # noqa: B027 - most instruments have none
        """Do what an interlock that opened or closed since the last message does."""

    def is_urgent(self, message: bytes) -> bool:
        """Whether ``message`` interrupts a run that another session has started."""
        return False

    def takes(self, seconds: float) -> None:
        """Let ``seconds`` pass on the bench's clock, and on a realistic one on the wall too."""
        self.bench.dwell(seconds)
        if self.bench.realistic:
            self.owed_s += seconds

    def settle(self, what: str) -> None:
        """Take a documented time, on realistic benches only."""
        if self.bench.realistic:
            self.takes(latency_s(self.driver, what))

    def clear(self) -> None:
        """Device clear: stop what runs, forget unread replies; outputs stay."""
        if self.busy:
            self.interrupt()
        self.bench.engine.abort({id(t) for t in self.terminals.values()})

    def interrupt(self) -> None:
        """Stop the run that another session waits for; return when it has stopped."""
        self.abort_requested = True
        self.bench.changed.notify_all()
        self.bench.changed.wait_for(lambda: not self.busy, 5.0)

    def before_run(self) -> None:  # noqa: B027 - most instruments have nothing to arm
        """Arm what waits for triggers of other instruments."""

    def reset(self) -> None:
        """``*RST``: outputs off, defaults."""
        for terminal in self.terminals.values():
            terminal.reset()

    def power_cycle(self) -> None:
        """Go off and on: what runs stops, settings and memory are lost, the power-on bit is set."""
        self.abort_requested = True
        self.bench.engine.abort({id(t) for t in self.terminals.values()})
        self.reset()
        self.errors.clear()
        if self.faults.reset_cuts_link:
            self.bench.cut_link(self.name)

    def exchange(self, message: bytes) -> bytes | None:
        """Handle a message of any session, one at a time, with the injected faults."""
        faults = self.faults
        with self.bench.changed:
            if self.busy and self.is_urgent(message):
                self.interrupt()
            self.bench.changed.wait_for(lambda: not self.busy)
            self._inject(message, faults)
            self.watch_interlock()
            self.busy, self.abort_requested = True, False
            try:
                self.settle(MESSAGE)
                reply = None if faults.mute else self.handle(message)
            except RunAborted:
                reply = None
            finally:
                self.busy = False
                self.bench.changed.notify_all()
        return self._spoil(reply, faults)

    def _inject(self, message: bytes, faults: InstrumentFaults) -> None:
        self.messages += 1
        self.bench.message_counts[self.name] = self.messages
        if faults.before is not None:
            faults.before(message)
        if faults.queue_error is not None:
            if faults.queue_error_after <= 0:
                self.post_error(*faults.queue_error)
                faults.queue_error = None
            else:
                faults.queue_error_after -= 1
        if faults.reset_after is not None:
            faults.reset_after -= 1
            if faults.reset_after < 0:
                faults.reset_after = None
                self.power_cycle()

    def _spoil(self, reply: bytes | None, faults: InstrumentFaults) -> bytes | None:
        if faults.cut_after is not None:
            faults.cut_after -= 1
            if faults.cut_after < 0:
                faults.cut_after = None
                self.bench.cut_link(self.name)
                return None
        if reply is None:
            return None
        if faults.drop_replies > 0:
            faults.drop_replies -= 1
            return None
        if faults.truncate_to is not None:
            reply, faults.truncate_to = reply[: faults.truncate_to], None
        if faults.double_reply:
            reply, faults.double_reply = reply * 2, False
        return reply
