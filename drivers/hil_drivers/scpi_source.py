"""What all SCPI sources share: starting, waiting, the safe state and aborting."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from hil.errors import BackendError, InstrumentError, LimitError, LinkError, ReadbackError
from hil_drivers.instrument import SourceInstrument
from hil_drivers.safely import Attempts
from hil_drivers.scpi import chain, poll_errors
from hil_drivers.steps import (
    SOFTWARE_START,
    ChannelSteps,
    Delivered,
    SpotReading,
    SyncPlan,
    SyncRole,
)
from hil_drivers.transport.blocks import parse_numbers
from hil_drivers.transport.session import SHORT_TIMEOUT_S, Session

_ARM_POLL_S: Final = 1e-3


class ScpiSource(SourceInstrument):
    """A source that is loaded, started and switched off by chained SCPI messages."""

    _running = False
    _complete = False  #: the run that is loaded has ended as it should
    _last = ""
    _run_s = 0.0  #: time of the run that is loaded
    _sync = SOFTWARE_START

    @abstractmethod
    def _off(self) -> Sequence[str]:
        """Commands that bring every level to 0 V and every output off."""

    @abstractmethod
    def _output_queries(self) -> Sequence[str]:
        """One query per output that answers 0 when it is off."""

    @abstractmethod
    def _begin_commands(self) -> Sequence[str]:
        """Outputs on and begin, or be armed; empty when nothing is loaded."""

    @abstractmethod
    def _end_commands(self) -> Sequence[str]:
        """Wait for the end of the run inside the instrument, then levels 0 V and outputs off."""

    @staticmethod
    def _common_messages(sync: SyncPlan | None) -> int:
        """Return the messages of starting and ending a run: start, outputs off, errors.

        A follower is asked besides whether it waits, and told apart to switch off.
        """
        return 5 if sync is not None and sync.role is SyncRole.FOLLOWER else 3

    def errors(self) -> list[InstrumentError]:
        """Return and remove the entries of the error queue."""
        return poll_errors(self.session, self._last)

    def safe(self) -> None:
        """Stop what runs, levels 0 V, outputs off, read back; idempotent."""
        attempts = Attempts(self.name)
        if self._running:
            attempts.run(self.session.clear)
        attempts.run(lambda: self.session.write(chain(*self._off())))
        # Over a raw socket nothing overtakes a run: what was sent is done when it has ended.
        left_s = self._run_s if self._running else 0.0
        attempts.run(lambda: self._verify_off(SHORT_TIMEOUT_S + left_s))
        attempts.finish()
        self._running = False

    def abort(self, second_session: Session) -> None:
        """Device clear, stop, outputs off through another session."""
        attempts = Attempts(self.name)
        attempts.run(second_session.clear)
        attempts.run(lambda: second_session.write(chain(*self._off())))
        attempts.finish()

    def start(self) -> None:
        """Outputs on and begin; the instrument switches off by itself at the end.

        A follower is armed when this returns: a trigger that came before would be lost.
        """
        commands = self._begin_commands()
        if not commands:
            raise BackendError(f"{self.name}: nothing is loaded")
        self._running, self._complete = True, False
        if self._sync.role is not SyncRole.FOLLOWER:
            self._send(*commands, *self._end_commands())
            return
        self._send(*commands)
        deadline = time.monotonic() + SHORT_TIMEOUT_S
        while not self._armed():
            if time.monotonic() > deadline:
                raise BackendError(
                    f"{self.name}: it does not wait for its trigger line {self._sync.line}"
                )
            time.sleep(_ARM_POLL_S)

    def _armed(self) -> bool:
        """Return whether the follower waits for its trigger line now.

        Unless an instrument has a register that says so: it answers after what was sent before.
        """
        self.session.query(chain(*self._output_queries()))
        return True

    def wait(self, timeout_s: float) -> None:
        """Return when the outputs answer that they are off; they do so after the run."""
        if self._sync.role is SyncRole.FOLLOWER:
            self._send(*self._end_commands())
        self._verify_off(timeout_s)
        self._running = False
        self.check_errors(self._last)
        self._complete = True

    def _points_taken(self, query: str, planned: int) -> int:
        """Return how many points can be fetched: all, or what is there when a run broke off."""
        if self._complete:
            return planned
        answer = self.session.query(query)
        return min(int(parse_numbers(answer, 1, self.session.address)[0]), planned)

    def _note_duration(self, delivered: Delivered) -> None:
        self._run_s = float((delivered.repeat * delivered.period_s).sum())

    def _send(self, *commands: str) -> None:
        """Send commands as one message, remembered for error reports."""
        self._last = commands[-1]
        message = chain(*commands)
        self.session.write(message, SHORT_TIMEOUT_S + len(message) / 1e5)

    def _verify_off(self, timeout_s: float) -> None:
        queries = self._output_queries()
        answer = self.session.query(chain(*queries), timeout_s)
        states = answer.split(";")
        if len(states) != len(queries):
            raise LinkError(f"{chain(*queries)} answered {answer!r}", self.session.address)
        for query, state in zip(queries, states, strict=True):
            if state.strip() not in ("0", "+0", "OFF"):
                raise ReadbackError(f"{self.name}: an output is still on ({query} is {state!r})")

    def _own(self, channel: str) -> None:
        if channel not in self.channels:
            raise LimitError("channels", len(self.channels) + 1, len(self.channels), "",
                             where=f"{self.name}.{channel}",
                             note=f"it has {', '.join(self.channels)}")  # fmt: skip

    def _spot(
        self, channel: str, level_v: float, compliance_a: float, range_a: float | None,
        aperture_s: float, width_s: float,
    ) -> SpotReading:  # fmt: skip
        """Return the reading of one level that is held for ``width_s``, as a run of its own."""
        self._own(channel)
        steps = ChannelSteps.build(level_v, width_s, width_s, measure=True, aperture_s=aperture_s,
                                   compliance_a=compliance_a, range_a=range_a)  # fmt: skip
        self.load({channel: steps})
        self.start()
        self.wait(SHORT_TIMEOUT_S + 2 * width_s)
        found = self.collect()[channel]
        if not len(found):
            raise BackendError(f"{self.name}.{channel}: no reading came")
        return SpotReading(float(found.level_v[0]), float(found.current_a[0]),
                           float(found.range_a[0]), int(found.status[0]))  # fmt: skip
